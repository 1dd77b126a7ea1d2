"""What a checkpoint's model gets on its way to the registry: lineage, the precision to sample in,
and a model card.
"""

from __future__ import annotations

import dataclasses
import logging

from pipeline.corpora import history
from pipeline.corpora.manifest import Corpus
from pipeline.engine.engine import engine_of
from pipeline.engine.precision import check_precision
from pipeline.engine.request import Request
from pipeline.model.about import Lineage, PrecisionCheck
from pipeline.model.artifact import ARTIFACT, CARD, CONFIG, json_bytes, load_network, read_files
from pipeline.registry.card import model_card

log = logging.getLogger("unreasonable")

SAMPLE_CHARS = 600
SAMPLE_TEMPERATURE = 0.8


def publishable(url: str, name: str, corpus: Corpus, root: str) -> dict[str, bytes]:
    """The files to register for the checkpoint at `url`: its artifact, with more in its config, and
    the card.

    The loss in int8 and fp32 is measured here on the corpus's validation text, so that every
    sampling job can tell which of them to use.
    """
    files = read_files(url, ARTIFACT)
    network, vocab, about = load_network(files, url)
    sampling = check_precision(network, vocab, corpus.open_split("val"))
    log.info("model %s: sampled in %s", name, _described(sampling))
    about = dataclasses.replace(about, lineage=lineage_of(corpus, root), sampling=sampling)
    engine = engine_of(network, vocab, about.first_tokens, sampling.precision)
    # The card shows what jobs will write: in the precision that was chosen just now.
    request = Request(0, SAMPLE_CHARS, temperature=SAMPLE_TEMPERATURE)
    (sample,) = engine.sample([request])
    card = model_card(name, about, network.num_parameters(), sample)
    return {**files, CONFIG: json_bytes(about.to_json()), CARD: card.encode()}


def lineage_of(corpus: Corpus, root: str) -> Lineage:
    """What a model keeps of its corpus's manifest, and of what its last build was told of the
    sources.
    """
    manifest = corpus.manifest
    origin = history.origin(root, corpus.name)
    return Lineage(
        sources=tuple(origin.sources) if origin else (),
        unit=corpus.vocab.unit,
        documents=manifest.documents,
        documents_sha256=manifest.documents_sha256,
        bytes=manifest.bytes.text,
        url=origin.url if origin else "",
        licence=origin.licence if origin else "",
    )


def _described(sampling: PrecisionCheck) -> str:
    if not sampling.tokens:
        return "fp32: the validation text is too short to measure int8 on"
    int8 = f"{sampling.nats_int8:.5f} nats in int8"
    return f"{sampling.precision}: {int8}, {sampling.nats_fp32:.5f} in fp32"
