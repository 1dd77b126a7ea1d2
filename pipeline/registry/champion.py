"""The champion rule: a new version takes the alias when it has fewer bits per byte on the same
validation text, which none of the two can have learnt.
"""

from __future__ import annotations

import json
import logging
import math
import time

from pipeline import storage
from pipeline.corpora.manifest import Corpus, open_version
from pipeline.corpora.moved import moved_documents
from pipeline.corpora.shards import Tokens, TokenSource
from pipeline.corpora.splits import Division
from pipeline.errors import InputError
from pipeline.hints import command
from pipeline.model.artifact import load_network
from pipeline.model.scoring import bits_per_byte, mean_nats
from pipeline.registry.models import Models, ModelVersion

log = logging.getLogger("unreasonable")

IMPORTED_TAG = "imported_from"  # of a version that was trained under another root
PROMOTED_TAG = "promoted_at"  # Unix seconds at which the rule made a version champion
AT_THE_SAME_TIME_S = 120.0  # far longer than a promotion takes, and clocks differ
DIVISION_TAG = "split"  # how the corpus of a version was divided: its manifest may be gone one day


def promote_if_better(
    models: Models, challenger: ModelVersion, corpus: Corpus, eval_lanes: int
) -> bool:
    """Make the challenger champion if it has fewer val_bits_per_byte on this corpus version's val
    split; whether it was made.

    A champion of another version is scored on the same text, unless it may have learnt some of it:
    then the two do not compare, and the champion stays. Of several that take the alias at the same
    time the best keeps it.
    """
    champion = models.champion(challenger.name)
    if champion is None:
        return _take(models, challenger)
    if champion.version == challenger.version:
        return True  # a registration that is made again
    theirs = float(champion.tags.get("val_bits_per_byte", "nan"))
    is_same_text = champion.tags.get("corpus_fingerprint") == corpus.fingerprint
    if is_same_text and (IMPORTED_TAG in champion.tags or not math.isfinite(theirs)):
        # Another registry's claim, or none: it is measured here.
        theirs = score_on(models, champion, corpus, eval_lanes)
    elif not is_same_text:
        reason = may_have_learnt(champion, corpus)
        if reason:
            log.info(
                "champion %s stays, uncompared, for it may have learnt the new validation text: "
                "%s; to replace it: %s %s",
                champion.uri,
                reason,
                command("models promote"),
                challenger.uri,
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
    return _take(models, challenger)


def _take(models: Models, challenger: ModelVersion) -> bool:
    """Make the challenger champion, unless a better one does the same meanwhile; whether it is.

    No registry moves an alias only if it is where it was. So whoever promotes says so first, in a
    tag, and looks behind it at all who said so just now. The last one to move the alias sees them
    all, and gives it to the best.
    """
    models.tag(challenger, PROMOTED_TAG, str(int(time.time())))
    models.promote(challenger)
    best = challenger
    while True:
        seen = _best_of_now(models, challenger) or challenger
        if seen.version == best.version:
            return best.version == challenger.version
        log.info("%s was promoted at the same time, and is better", seen.uri)
        best = seen
        models.promote(best)


def _best_of_now(models: Models, challenger: ModelVersion) -> ModelVersion | None:
    """The best of the versions that were promoted by the rule within the last minutes.

    Of the challenger's corpus version: others' figures are of other texts.
    """
    since = time.time() - AT_THE_SAME_TIME_S
    rivals = [
        version
        for version in models.versions_of(challenger.name)
        if float(version.tags.get(PROMOTED_TAG, "0")) >= since
        and version.tags.get("corpus_fingerprint") == challenger.tags.get("corpus_fingerprint")
    ]
    finite = [v for v in rivals if math.isfinite(float(v.tags["val_bits_per_byte"]))]
    return min(
        finite or rivals,
        key=lambda version: (float(version.tags["val_bits_per_byte"]), version.number),
        default=None,
    )


def may_have_learnt(version: ModelVersion, corpus: Corpus) -> str:
    """Why a registered model may have learnt text of a corpus version's val split; empty when it
    cannot have.

    It cannot when it learned that version, or one of the same corpus that is divided alike by hash.
    """
    if version.tags.get("corpus_fingerprint") == corpus.fingerprint:
        return ""
    name = version.tags.get("corpus", "").partition("@")[0]
    if name != corpus.name:
        return f"it learned corpus {name or 'unknown'}, not {corpus.name}"
    ours = corpus.manifest.division
    if ours.split in ("tail", "interleaved"):
        whose = "the text" if ours.split == "tail" else "each stream"
        return f"the end of {whose}, which is held out, is another in every version"
    learned = _learned(version, corpus)
    theirs = learned.manifest.division if learned else _division_in_tags(version)
    if theirs is None:
        return "nothing says how its corpus version was split"
    differences = theirs.differences(ours)
    if differences:
        return f"its corpus version was split by {', '.join(differences)}"
    # A whole document stays in its split, whatever is edited in it. A block does not.
    return _edits(learned, corpus) if ours.split == "block" else ""


def division_tags(corpus: Corpus) -> dict[str, str]:
    """The tag of a model's version that says how its corpus was divided."""
    return {DIVISION_TAG: json.dumps(corpus.manifest.division.to_json(), sort_keys=True)}


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


def _learned(version: ModelVersion, corpus: Corpus) -> Corpus | None:
    """The version of this corpus that a model learned, if it is there still, beside the others."""
    number = version.tags.get("corpus", "").partition("@")[2]
    try:
        learned = open_version(storage.join(corpus.url.rpartition("/")[0], number))
    except InputError:
        return None
    # A version may have been built again under the same name by other code.
    is_that_one = learned.fingerprint == version.tags.get("corpus_fingerprint")
    return learned if is_that_one else None


def _division_in_tags(version: ModelVersion) -> Division | None:
    try:
        return Division(**json.loads(version.tags[DIVISION_TAG]))
    except (KeyError, TypeError, ValueError):
        return None


def _edits(learned: Corpus | None, corpus: Corpus) -> str:
    """Why edits since a version may have moved text between blocks; empty when none did."""
    if learned is None:
        return "its corpus version is gone, and documents may have been edited since"
    moved = moved_documents(learned, corpus)
    if not moved:
        return ""
    first = moved[0].decode("utf-8", "replace")
    return f"{len(moved)} of its documents were edited, which moves text between blocks ({first})"
