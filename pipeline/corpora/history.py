"""What a build remembers beside the versions: which state of the sources gave which version.

It is no part of a version, because it is not deterministic.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import MANIFEST, corpus_url
from pipeline.corpora.sources import Listing, SourceFile
from pipeline.corpora.vocab import Vocab
from pipeline.corpora.whole import named_latest
from pipeline.errors import DamagedError

RECORD = "sources.json"

# A file modified this shortly before it was listed may change again within its timestamp's
# resolution, and look the same.
FRESH_S = 2.0


@dataclass(frozen=True)
class SourceRecord:
    """What the last build of a corpus was made from; `state` is source_state's digest, or None."""

    version: str
    state: str | None
    sources: list[str]
    url: str
    licence: str

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_json(cls, value: Any) -> SourceRecord:
        """What a field does not say is empty: then the next build looks at the sources again.

        Raises TypeError for a value of the wrong kind.
        """
        sources = value.get("sources", [])
        state = value.get("state")
        texts = {key: value.get(key, "") for key in ("version", "url", "licence")}
        if not isinstance(sources, list) or not isinstance(state, str | None):
            raise TypeError(f"sources {sources!r}, state {state!r}")
        wrong = [text for text in (*texts.values(), *sources) if not isinstance(text, str)]
        if wrong:
            raise TypeError(f"{wrong[0]!r} is not text")
        return cls(state=state, sources=sources, **texts)


def source_state(config: CorpusConfig, listing: Listing, frozen: Vocab | None) -> str | None:
    """A digest of what the sources look like from outside.

    None when that does not tell whether they changed.
    """
    # All settings, not only those that shape the bytes: another --include takes other documents.
    head = {"config": config.effective(), "vocab": frozen.fingerprint if frozen else ""}
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    trusted_until = time.time() - FRESH_S
    for file in [*listing.files, *listing.streams]:
        if not _tells_changes(file, trusted_until):
            return None
        line = repr((file.path, file.url, file.size, file.state, file.within))
        digest.update(line.encode())  # repr() has escaped what is not UTF-8 in a name
    # They are in skipped.jsonl, so a link that appears makes another version.
    for skip in sorted(listing.skips, key=lambda skip: (skip.path, skip.reason)):
        digest.update(repr((skip.path, skip.reason, skip.size)).encode())
    return digest.hexdigest()


def version_of(root: str, config: CorpusConfig, state: str | None) -> str | None:
    """The published version that this state of the sources gave, if any.

    None as well when LATEST names another: a build was killed between LATEST and its record.
    """
    if state is None:
        return None
    last = origin(root, config.name)
    if last is None or last.state != state or last.version != named_latest(root, config.name):
        return None
    # The version may have been removed since, by --keep or by hand.
    url = storage.join(corpus_url(root, config.name), last.version, MANIFEST)
    return last.version if storage.exists(url) else None


def record(root: str, config: CorpusConfig, state: str | None, version: str) -> None:
    """Remember what a version was built from."""
    last = SourceRecord(version, state, config.sources, config.url, config.licence)
    storage.write_json(_record_url(root, config.name), last.to_json())


def origin(root: str, name: str) -> SourceRecord | None:
    """Where a corpus comes from, as its last build was told; None when nobody has recorded it."""
    url = _record_url(root, name)
    if not storage.exists(url):
        return None
    try:
        return SourceRecord.from_json(storage.read_json(url))
    except (AttributeError, TypeError) as error:
        reason = str(error)[:100]
        raise DamagedError(
            f"{url} is not a record of sources ({reason}); remove it, and build again."
        ) from None


def _tells_changes(file: SourceFile, trusted_until: float) -> bool:
    """Whether the state of a file would be another one if its content were.

    `trusted_until` is in seconds since 1970.
    """
    kind, _, value = file.state.partition(":")
    if not value:
        return False
    # What a web server says of a file need not change with its content.
    if file.url.startswith(("http:", "https:")) or "::http" in file.url:
        return False
    return kind != "mtime" or _seconds(float(value)) <= trusted_until


def _seconds(mtime: float) -> float:
    """A modification time in seconds: os.scandir gives nanoseconds, fsspec seconds."""
    return mtime / 1e9 if mtime > 1e12 else mtime


def _record_url(root: str, name: str) -> str:
    return storage.join(corpus_url(root, name), RECORD)


def written_after(file: SourceFile, instant: float) -> bool:
    """Whether a listed file says that it was written after an instant, in seconds since 1970."""
    kind, _, value = file.state.partition(":")
    return kind == "mtime" and _seconds(float(value)) > instant
