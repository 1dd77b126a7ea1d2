"""Samples into files, by one actor: long files are saved as they grow, and go on from there; a file
appears when complete.

    <output>/sample-00000.txt                a complete file
    <output>/.partial/sample-00000.txt.json  its record, written after it, until samples.jsonl
    <output>/.partial/sample-00000.txt/      what a long file has so far:
        part-00000-1a2b3c4d                  its parts, in order
        state.safetensors                    the lane behind them, and the parts' digests; replaced
                                             whole after each part

Storing runs beside sampling, in threads; memory does not depend on the length of files.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from pipeline import storage
from pipeline.engine.engine import WIDTH, Engine
from pipeline.engine.lanes import Lanes
from pipeline.engine.request import Piece
from pipeline.engine.saved import saved_facts
from pipeline.errors import DamagedError
from pipeline.sampling.plan import Plan, Sample, SampleRecord

LANES = WIDTH  # texts that an actor steps at once
PARTIAL = ".partial"
STATE = "state.safetensors"
# of text in memory, over all lanes, before it is stored whatever the clock says
_BUFFERED_BYTES = 32 << 20
_PART_NAME = re.compile(r"part-\d{5,}-[0-9a-f]{8}")
_THREADS = 8  # enough to hide an object store's latency behind sampling

Tell = Callable[[int, bool], None]  # so many characters more; whether they come from an earlier run


@dataclass(frozen=True)
class _Part:
    """A stored part of a long file."""

    name: str
    size: int
    sha256: str

    def to_json(self) -> list[str | int]:
        return [self.name, self.size, self.sha256]


@dataclass
class _Text:
    """A file in the making: the parts that are stored, and what is not stored yet.

    `last_store` is the last storing of it: the next one waits for it, so parts and states arrive in
    order.
    """

    sample: Sample
    parts: list[_Part] = field(default_factory=list)
    unstored: bytearray = field(default_factory=bytearray)
    sampled: int = 0
    last_store: Future[None] | None = None

    def wait(self) -> None:
        if self.last_store:
            self.last_store.result()


class Writer:
    """Writes samples of one model under one output folder."""

    def __init__(self, plan: Plan, output: str, engine: Engine) -> None:
        self.plan = plan
        self.output = output
        self.engine = engine

    def write(self, samples: list[Sample], tell: Tell) -> list[SampleRecord]:
        """Sample files side by side, each published as it is complete; returns their records, in
        the order of completion.
        """
        config = self.plan.config
        waiting = samples[::-1]
        width = min(LANES, len(samples))
        lanes = self.engine.lanes(width, config.stop.encode(), lines=bool(config.lines))
        texts: dict[str, _Text] = {}
        published: list[Future[SampleRecord]] = []
        saved_at = time.monotonic()
        with ThreadPoolExecutor(_THREADS, "store") as pool:
            while waiting or lanes.running:
                while waiting and lanes.free:
                    self._start(lanes, waiting.pop(), texts, tell)
                for piece in lanes.advance():
                    text = texts[str(piece.name)]
                    text.unstored += piece.text
                    tell(piece.sampled - text.sampled, False)
                    text.sampled = piece.sampled
                    if piece.ended:
                        del texts[str(piece.name)]
                        published.append(pool.submit(self._publish, text, piece))
                _raise_errors(published)
                is_full = sum(len(text.unstored) for text in texts.values()) > _BUFFERED_BYTES
                is_due = time.monotonic() - saved_at >= config.save_every_s
                if is_full or is_due:
                    self._save(lanes, texts, pool)
                    saved_at = time.monotonic()
            return [future.result() for future in published]

    def _start(self, lanes: Lanes, sample: Sample, texts: dict[str, _Text], tell: Tell) -> None:
        """Put a file on a lane: from its beginning, or from where an earlier run saved it."""
        text = _Text(sample)
        saved = None
        url = self._partial(sample, STATE)
        if storage.exists(url):
            saved = storage.read_bytes(url)
            text.parts, text.sampled = _saved_progress(saved, url)
            tell(text.sampled, True)
        lanes.start(sample.name, self.plan.request(sample), saved)
        texts[sample.name] = text

    def _save(self, lanes: Lanes, texts: dict[str, _Text], pool: ThreadPoolExecutor) -> None:
        """Store what is new of all running files. The states are taken now, the storing goes on
        beside.
        """
        for text in texts.values():
            text.wait()  # so that a store too slow holds sampling up, not memory
        for name, text in texts.items():
            data = bytes(text.unstored)
            text.unstored = bytearray()
            digest = storage.sha256_bytes(data)
            # Named by content, too: another job on the same output may stand elsewhere when it
            # writes its part of this number.
            part = _Part(f"part-{len(text.parts):05d}-{digest[:8]}", len(data), digest)
            text.parts.append(part)
            state = lanes.save(name, {"parts": [part.to_json() for part in text.parts]})
            text.last_store = pool.submit(self._store, text.sample, part, data, state)

    def _store(self, sample: Sample, part: _Part, data: bytes, state: bytes) -> None:
        storage.write_bytes(self._partial(sample, part.name), data)
        storage.write_bytes(self._partial(sample, STATE), state)

    def _publish(self, text: _Text, end: Piece) -> SampleRecord:
        """Put a file together, then write its record."""
        text.wait()
        sample = text.sample
        digest = hashlib.sha256()
        size = 0
        with storage.writing(storage.join(self.output, sample.name)) as file:
            for piece in self._pieces(text):
                file.write(piece)
                digest.update(piece)
                size += len(piece)
        record = self.plan.record(
            sample,
            num_chars=end.sampled,
            size=size,
            sha256=digest.hexdigest(),
            mean_nats=end.nats / end.sampled,
        )
        record_url = storage.join(self.output, PARTIAL, f"{sample.name}.json")
        storage.write_json(record_url, record.to_json())
        if text.parts:
            storage.remove_tree(self._partial(sample))
        return record

    def _pieces(self, text: _Text) -> Iterator[bytes]:
        """The whole file in pieces: its parts, read back and checked, and what was never stored."""
        remedy = f"remove {self._partial(text.sample)} and run again."
        for part in text.parts:
            url = self._partial(text.sample, part.name)
            try:
                data = storage.read_bytes(url)
            except FileNotFoundError:
                raise DamagedError(f"{url} is missing; {remedy}") from None
            if storage.sha256_bytes(data) != part.sha256:
                raise DamagedError(f"{url} is not what was written; {remedy}")
            yield data
        yield bytes(text.unstored)

    def _partial(self, sample: Sample, *names: str) -> str:
        return storage.join(self.output, PARTIAL, sample.name, *names)


def _raise_errors(published: list[Future[SampleRecord]]) -> None:
    """A full disk is found out while there is something left to do, not at the end only."""
    for future in published:
        if future.done():
            future.result()


def _saved_progress(saved: bytes, url: str) -> tuple[list[_Part], int]:
    """What a saved lane's file says of the text before it: its parts, and how many characters were
    sampled.
    """
    try:
        facts = saved_facts(saved)
        parts = [_Part(*part) for part in facts["parts"]]
        for part in parts:
            # A name is joined to the folder's URL: it must not lead out of it.
            if not _PART_NAME.fullmatch(part.name):
                raise ValueError(f"there is no part {part.name[:40]!r}")
        return parts, int(facts["sampled"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"{url} is damaged ({type(error).__name__}: {error}); remove its folder and run again."
        ) from None
