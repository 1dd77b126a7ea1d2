"""The champion rule: a new version takes the alias when it has fewer bits per byte on the same
validation text.
"""

from __future__ import annotations

import logging

from pipeline.corpora.manifest import Corpus
from pipeline.corpora.shards import Tokens, TokenSource
from pipeline.model.artifact import load_network
from pipeline.model.scoring import bits_per_byte, mean_nats
from pipeline.registry.models import Models, ModelVersion

log = logging.getLogger("unreasonable")


def promote_if_better(
    models: Models, challenger: ModelVersion, corpus: Corpus, eval_lanes: int
) -> bool:
    """Make the challenger champion if it has fewer val_bits_per_byte on this corpus version's val
    split; whether it was made.

    A champion of another version is scored on the same text. With a tail split the val text is
    another stretch in every version, and may have been learnt: there only models of one version
    compare.
    """
    champion = models.champion(challenger.name)
    if champion is None:
        models.promote(challenger)
        return True
    theirs = float(champion.tags["val_bits_per_byte"])
    if champion.tags["corpus_fingerprint"] != corpus.fingerprint:
        if corpus.manifest.split == "tail":
            log.info(
                "champion %s learned another version of the corpus, "
                "whose tail split does not compare",
                champion.uri,
            )
            return False
        theirs = score_on(models, champion, corpus, eval_lanes)
    ours = float(challenger.tags["val_bits_per_byte"])
    log.info(
        "%s: %.4f bits per byte; champion %s: %.4f", challenger.uri, ours, champion.uri, theirs
    )
    # `not <`, so that a figure that is not a number never wins. Equal figures change nothing: who
    # samples the champion gets the same texts as before.
    if not ours < theirs:
        return False
    models.promote(challenger)
    return True


def score_on(models: Models, version: ModelVersion, corpus: Corpus, lanes: int) -> float:
    """A registered model's bits per byte on a corpus version's val split; infinite where its
    vocabulary lacks a symbol.
    """
    network, vocab, _ = load_network(models.download(version), version.uri)
    tokens: TokenSource = corpus.open_split("val")
    if vocab != corpus.vocab:
        text = corpus.vocab.decode(tokens.read(0, len(tokens)))
        try:
            tokens = Tokens([vocab.encode(text)])
        except ValueError:
            # A symbol that the model does not know, or bytes that are no text to a model of
            # characters. Leaving the symbol out would score another text.
            return float("inf")
    nats = mean_nats(network, tokens, lanes)
    return bits_per_byte(nats, len(tokens), corpus.bytes_in("val"))
