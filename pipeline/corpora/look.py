"""A look at some of a corpus's text: how many tokens a byte gives, and which symbols there are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.cutting import Chunks
from pipeline.corpora.text import UndecodableError, prepare
from pipeline.corpora.vocab import build_vocab, count_symbols, symbols_of
from pipeline.errors import InputError

# Of text, over all sources: about 0.5 s of decoding and counting.
LOOK_BYTES = 16 << 20


@dataclass
class TextLook:
    """What the text that was looked at came to, after the recipe's decoding and normalisation."""

    config: CorpusConfig
    budget: int = LOOK_BYTES
    source_bytes: int = 0
    documents: int = 0
    undecodable: int = 0
    tokens: int = 0
    whole: bool = True
    counts: Counter[int] = field(default_factory=Counter)

    @property
    def spent(self) -> bool:
        return self.source_bytes >= self.budget

    @property
    def tokens_per_byte(self) -> float:
        return self.tokens / self.source_bytes if self.source_bytes else 1.0

    def vocab_size(self, share: float = 1.0) -> int:
        """Symbols of a vocabulary that is counted from this text, with a separator a document; 0
        where no text was looked at.

        `share` of all text was looked at, and min_count is taken to be as much smaller here.
        """
        if not self.counts:
            return 0
        counts = Counter(self.counts)
        separator = symbols_of(self.config.separator_text, self.config.unit)
        for symbol, count in count_symbols(separator).items():
            counts[symbol] += count * self.documents
        min_count = self.config.min_count
        if not self.whole:
            min_count = max(1, round(min_count * share))
        return len(build_vocab(counts, self.config.unit, min_count))

    def look(self, path: str, chunks: Chunks, limit: int) -> None:
        """Look at a document's first `limit` bytes or so, and at no more than the budget."""
        read = 0
        tokens = 0
        counts: Counter[int] = Counter()
        for offset, raw in chunks:
            read += len(raw)
            try:
                text = prepare(raw, self.config, starts_document=offset == 0).text
            except UndecodableError as error:
                if self.config.decoding == "strict":
                    raise _undecodable(path, offset, error) from None
                # The build leaves the whole document out.
                self.undecodable += 1
                self.source_bytes += read
                return
            symbols = symbols_of(text, self.config.unit)
            tokens += len(symbols)
            counts.update(count_symbols(symbols))
            if read >= limit or self.source_bytes + read >= self.budget:
                self.whole = False  # there may be more of it
                break
        self.documents += 1
        self.source_bytes += read
        self.tokens += tokens
        self.counts.update(counts)


def _undecodable(path: str, offset: int, error: UndecodableError) -> InputError:
    """The error of the build's own reading (staging.py)."""
    return InputError(
        f"{path}: invalid UTF-8 at byte {offset + error.offset} ({error.reason}); "
        "use --decoding replace or skip, or --unit byte to take bytes as they are."
    )
