from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.registry.models import Models
from pipeline.registry.tracking import Tracking
from tests.registering import registered, with_database

# What a page or a card must not take for markup.
HOSTILE = "<script>alert(1)</script>|`"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> str:
    """A root with two versions of the model `texts`, untrained: 16 and 24 units. No test changes
    them, or gives `texts` a champion: a test that does has a name of its own.
    """
    root = with_database(str(tmp_path_factory.mktemp("home")))
    config = CorpusConfig(
        name="texts", source=str(texts), val=0.2, test=0.0, licence="PSF-2.0", url=HOSTILE
    )
    build_corpus(config, root)
    for size in (16, 24):
        registered(root, size)
    return root


@pytest.fixture
def models(home: str) -> Models:
    """The registry of `home`."""
    return Models(Tracking(home))
