"""What a checkpoint's model gets on its way to the registry: lineage, the precision to sample in, and a model card."""

from __future__ import annotations

import json
import logging
from typing import Any

from pipeline.corpora import history
from pipeline.corpora.manifest import Corpus
from pipeline.model_card import SAMPLE_CHARS, card, lineage_of
from pipeline.sampling.engine import Engine, Request
from pipeline.sampling.precision import measured
from pipeline.training import checkpoint
from pipeline.training.artifact import ARTIFACT, CARD, CONFIG

log = logging.getLogger("unreasonable")


def publishable(url: str, name: str, corpus: Corpus, root: str) -> dict[str, bytes]:
    """The files to register for the checkpoint at `url`: its artifact, with more in its config, and the card.

    The loss in int8 and fp32 is measured here on the corpus's validation text, so that every sampling job can tell which
    of them to use.
    """
    files = checkpoint.read(url, ARTIFACT)
    model, vocab, config = checkpoint.load_model(files, url)
    config["lineage"] = lineage_of(corpus.manifest, history.origin(root, corpus.name))
    config["sampling"] = measured(model, vocab, corpus.open_split("val"))
    log.info("model %s: sampled in %s", name, _told(config["sampling"]))
    engine = Engine(model, vocab, config["first_tokens"], config["sampling"]["precision"])
    (sample,) = engine.sample([Request(0, SAMPLE_CHARS, temperature=0.8)])
    text = card(name, config, model.num_parameters(), sample)
    return {**files, CONFIG: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(), CARD: text.encode()}


def _told(sampling: dict[str, Any]) -> str:
    if not sampling["tokens"]:
        return "fp32: the validation text is too short to measure int8 on"
    return f"{sampling['precision']}: {sampling['nats_int8']:.5f} nats in int8, {sampling['nats_fp32']:.5f} in fp32"
