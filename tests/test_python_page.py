"""What docs/python.md says to type does what it says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.engine.opening import open_engine
from pipeline.model.artifact import read_artifact
from pipeline.registry.models import _signature
from pipeline.sampler import sample, stream
from tests.engine.small import fed

HOUSE = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
PAGE = (HOUSE / "docs" / "python.md").read_text()
# An LSTM, a GRU, and an RNN with an embedding, each of two layers.
FOLDERS = ["checkpoint/run/checkpoint-00000004", "models/gru", "models/rnn"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_plain_torch_gives_our_logits(folder: str) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"folder": GOLDEN / folder}
    exec(block, names)
    artifact = read_artifact(str(GOLDEN / folder))
    tokens = np.arange(50) * 7 % artifact.about.model.vocab_size
    with torch.no_grad():
        theirs = names["logits"](torch.from_numpy(tokens)).numpy()
    ours = fed(open_engine(artifact, "fp32"), tokens[:, None])[:, 0]
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)
    assert np.ptp(ours) > 0.1


def test_every_setting_is_in_the_table_with_its_default() -> None:
    table = dict(re.findall(r"^\| (\w+) \| (?:int|float|str), (\S+) \|", PAGE, re.MULTILINE))
    for function in (sample, stream):
        parameters = inspect.signature(function).parameters.values()
        settings = {
            each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY
        }
        assert settings.pop("unknown") == "refuse"
        assert {name: repr(value).replace("'", '"') for name, value in settings.items()} == table


def test_every_param_of_the_pyfunc_is_named() -> None:
    sentence = re.search(r"The params are\n?(.*?)\.\n", PAGE, re.DOTALL)
    assert sentence
    for param in _signature().params.params:
        assert param.name in sentence[1]


def test_a_tracking_uri_is_set_before_mlflow_is_asked() -> None:
    assert PAGE.index("MLFLOW_TRACKING_URI=") < PAGE.index("mlflow models serve")
    assert PAGE.index("mlflow.set_tracking_uri") < PAGE.index("mlflow.pyfunc.load_model")
