"""Whether a model goes on word for word, asked of writers whose memory is known."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.corpora.manifest import Corpus
from pipeline.corpora.trace import Tracer
from pipeline.engine.engine import Engine, engine_of
from pipeline.engine.request import Request
from pipeline.errors import InputError
from pipeline.evaluation.canary import canary, section
from tests.engine import small


class Parrot:
    """Knows a text by heart, and goes on from where it last read the prime, `knows` symbols."""

    def __init__(self, corpus: Corpus, knows: int, shortest: int) -> None:
        self.writable = SimpleNamespace(vocab=corpus.vocab)
        tokens = corpus.open_split("train")
        self.text = corpus.vocab.decode(tokens.read(0, len(tokens)))
        self.knows = knows
        self.shortest = shortest

    def sample(self, requests: list[Request]) -> list[bytes]:
        return [self.one(request) for request in requests]

    def one(self, request: Request) -> bytes:
        assert request.temperature == 0
        place = self.text.find(request.prime)
        known = b""
        if place >= 0 and len(request.prime) >= self.shortest:
            place += len(request.prime)
            known = self.text[place : place + self.knows]
        # Goes on with a symbol that is not the text's.
        wrong = b"a" if self.text[place + self.knows : place + self.knows + 1] != b"a" else b"b"
        return request.prime + (known + wrong * request.num_chars)[: request.num_chars]


def asked(corpus: Corpus, knows: int, shortest: int = 0, **settings: Any) -> Any:
    parrot: Any = Parrot(corpus, knows, shortest)
    return canary(parrot, corpus, **{"prefixes": (100, 300), "places": 30, **settings})


def test_who_knows_it_by_heart_reproduces_train_and_not_val(corpus: Corpus, texts: Path) -> None:
    result = asked(corpus, 50)
    exact = {(share.split, share.prefix): share.exact for share in result.shares}
    places = result.shares[1].asked
    assert places > 20
    assert exact[("train", 300)] == places
    assert (exact[("val", 100)], exact[("val", 300)]) == (0, 0)
    found = result.reproduced[0]
    raw = (texts / found.path).read_bytes()
    assert raw[found.offset : found.offset + 50].decode() == found.text
    value = json.loads(json.dumps(result.to_json()))
    assert value["continued"] == 50
    shown = section(result)
    assert shown.table[2][:4] == ("train", "300", str(places), f"{places} (100.0%)")
    assert shown.table[-1][0] == "reproduced"


def test_one_symbol_less_is_not_word_for_word(corpus: Corpus) -> None:
    result = asked(corpus, 49, prefixes=(300,), splits=("train",))
    (share,) = result.shares
    assert (share.exact, share.agreed) == (0, 49.0)
    assert result.reproduced == ()


def test_a_longer_prefix_may_be_what_it_takes(corpus: Corpus) -> None:
    result = asked(corpus, 50, shortest=200, splits=("train",))
    by_prefix = {share.prefix: share.exact for share in result.shares}
    assert by_prefix[100] == 0 < by_prefix[300]


def test_a_real_engine_is_asked(corpus: Corpus) -> None:
    engine: Engine = engine_of(small.network(symbols=len(corpus.vocab)), corpus.vocab)
    result = canary(engine, corpus, prefixes=(8,), places=5)
    assert [(share.split, share.exact) for share in result.shares] == [("train", 0), ("val", 0)]
    assert all(share.agreed < 25 for share in result.shares)


def test_places_lie_where_something_can_be_remembered(corpus: Corpus) -> None:
    found = asked(corpus, 50, places=400, prefixes=(20,), splits=("train",)).shares[0].asked
    tracer = Tracer(corpus)
    assert 300 < found <= 400
    assert any(
        len(set(tracer.text("train", place, place + 50))) < 10
        for place in range(0, corpus.tokens_in("train") - 50, 50)
    )


def test_what_cannot_be_asked_is_refused(corpus: Corpus) -> None:
    with pytest.raises(InputError, match="no split of corpus texts has 10000050 tokens"):
        asked(corpus, 50, prefixes=(10_000_000,))
    other = engine_of(small.network(), small.VOCAB)
    with pytest.raises(InputError, match="vocabulary is not that of corpus texts@"):
        canary(other, corpus)
