"""Samples into files, by one actor: long files are saved as they grow, and go on from there; a file appears when complete.

    <output>/sample-00000.txt                        a complete file
    <output>/.partial/sample-00000.txt.json          its record, written after it, until samples.jsonl has it
    <output>/.partial/sample-00000.txt/part-00000    what a long file has so far, in parts
    <output>/.partial/sample-00000.txt/state.safetensors   the lane behind them, and the parts' digests; replaced whole

Storing runs beside sampling, in threads; memory does not depend on the length of files.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pipeline import storage
from pipeline.errors import DamagedError
from pipeline.sampling.engine import Engine, Piece, request_of, saved_facts
from pipeline.sampling.plan import Plan, Sample

LANES = 64  # texts at once: more gain nothing, each would only be slower
PARTIAL, STATE = ".partial", "state.safetensors"
_BUFFERED_BYTES = 32 << 20
_THREADS = 8

Tell = Callable[[int, bool], None]  # so many characters more; whether they come from an earlier run


@dataclass
class _Text:
    """A file in the making: parts stored so far [name, bytes, sha256], and what is not stored yet."""

    sample: Sample
    parts: list[list[Any]] = field(default_factory=list)
    fresh: bytearray = field(default_factory=bytearray)
    sampled: int = 0
    stored: Future[Any] | None = None  # the last storing of it: the next one waits for it


class Writer:
    """Writes samples of one model under one output folder."""

    def __init__(self, plan: Plan, output: str, engine: Engine) -> None:
        self.plan, self.output, self.engine = plan, output, engine

    def write(self, samples: list[Sample], tell: Tell) -> list[dict[str, Any]]:
        """Sample files side by side, each published as it is complete; returns their records, in the order of completion."""
        config, waiting = self.plan.config, samples[::-1]
        lanes = self.engine.lanes(min(LANES, len(samples)), config.stop.encode(), lines=bool(config.lines))
        texts: dict[str, _Text] = {}
        published: list[Future[dict[str, Any]]] = []
        saved_at = time.monotonic()
        with ThreadPoolExecutor(_THREADS, "store") as pool:
            while waiting or lanes.running:
                while waiting and lanes.free:
                    self._start(lanes, waiting.pop(), texts, tell)
                for piece in lanes.advance():
                    text = texts[str(piece.name)]
                    text.fresh += piece.text
                    tell(piece.sampled - text.sampled, False)
                    text.sampled = piece.sampled
                    if piece.ended:
                        published.append(pool.submit(self._publish, texts.pop(str(piece.name)), piece))
                for future in published:
                    if future.done():
                        future.result()  # a full disk is not found out at the end only
                full = sum(len(text.fresh) for text in texts.values()) > _BUFFERED_BYTES
                if full or time.monotonic() - saved_at >= config.save_every_s:
                    self._save(lanes, texts, pool)
                    saved_at = time.monotonic()
            return [future.result() for future in published]

    def _start(self, lanes: Any, sample: Sample, texts: dict[str, _Text], tell: Tell) -> None:
        """Put a file on a lane: from its beginning, or from where an earlier run saved it."""
        text = _Text(sample)
        request = request_of(self.plan.config, sample.number, sample.prime, sample.temperature)
        saved = None
        url = self._partial(sample, STATE)
        if storage.exists(url):
            saved = storage.read_bytes(url)
            about = _metadata(saved, url)
            text.parts, text.sampled = about["parts"], about["sampled"]
            tell(text.sampled, True)
        lanes.start(sample.name, request, saved)
        texts[sample.name] = text

    def _save(self, lanes: Any, texts: dict[str, _Text], pool: ThreadPoolExecutor) -> None:
        """Store what is new of all running files. The states are taken now, the storing goes on beside."""
        for text in texts.values():
            if text.stored:
                text.stored.result()  # so that a store too slow holds sampling up, not memory
        for name, text in texts.items():
            part, text.fresh = bytes(text.fresh), bytearray()
            digest = storage.sha256_bytes(part)
            # Named by content, too: another job on the same output may stand elsewhere when it writes its part of this number.
            text.parts.append([f"part-{len(text.parts):05d}-{digest[:8]}", len(part), digest])
            state = lanes.save(name, {"parts": text.parts})
            text.stored = pool.submit(self._store, text.sample, text.parts[-1][0], part, state)

    def _store(self, sample: Sample, part_name: str, part: bytes, state: bytes) -> None:
        storage.write_bytes(self._partial(sample, part_name), part)
        storage.write_bytes(self._partial(sample, STATE), state)

    def _publish(self, text: _Text, end: Piece) -> dict[str, Any]:
        """Put a file together, then write its record."""
        if text.stored:
            text.stored.result()
        digest, size = hashlib.sha256(), 0
        with storage.writing(storage.join(self.output, text.sample.name)) as file:
            for piece in self._pieces(text):
                file.write(piece)
                digest.update(piece)
                size += len(piece)
        record = self.plan.record(text.sample) | {
            "num_chars": end.sampled,
            "bytes": size,
            "sha256": digest.hexdigest(),
            "mean_nats": end.nats / end.sampled,
        }
        storage.write_json(storage.join(self.output, PARTIAL, f"{text.sample.name}.json"), record)
        if text.parts:
            storage.remove_tree(self._partial(text.sample))
        return record

    def _pieces(self, text: _Text) -> Iterator[bytes]:
        for name, _, sha256 in text.parts:
            url = self._partial(text.sample, name)
            try:
                part = storage.read_bytes(url)
            except FileNotFoundError:
                raise DamagedError(f"{url} is missing; remove {self._partial(text.sample)} and run again.") from None
            if storage.sha256_bytes(part) != sha256:
                raise DamagedError(f"{url} is not what was written; remove {self._partial(text.sample)} and run again.")
            yield part
        yield bytes(text.fresh)

    def _partial(self, sample: Sample, *parts: str) -> str:
        return storage.join(self.output, PARTIAL, sample.name, *parts)


def _metadata(saved: bytes, url: str) -> dict[str, Any]:
    """What a saved lane's file says of the text before it."""
    try:
        about = saved_facts(saved)
        return {"parts": [list(part) for part in about["parts"]], "sampled": int(about["sampled"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{url} is damaged ({type(error).__name__}: {error}); remove its folder and run again.") from None
