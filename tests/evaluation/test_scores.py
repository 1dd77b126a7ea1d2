"""A model's stream of nats: recomputed with plain PyTorch, whatever the tasks, nothing hidden."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from pipeline.corpora.manifest import Corpus
from pipeline.corpora.vocab import Vocab
from pipeline.errors import InputError
from pipeline.evaluation import scores as module
from pipeline.evaluation.scores import (
    engine_nats,
    lane_bounds,
    lane_tasks,
    lanes_for,
    reading,
    state_ages,
    stream,
)
from pipeline.evaluation.texts import text_of_split
from pipeline.model.artifact import ModelArtifact, check_artifact, load_weights
from tests.engine.small import VOCAB, engine
from tests.registering import untrained


@pytest.fixture(scope="module")
def artifact(corpus: Corpus) -> ModelArtifact:
    return check_artifact("texts", "1", "memory:", untrained(corpus, 16))


def scored(artifact: ModelArtifact, text: bytes, vocab: Vocab, tasks: int = 1) -> np.ndarray:
    read = reading(text, vocab)
    results = [task.run() for task in lane_tasks(artifact, "fp32", read, tasks)]
    return stream(read, results, len(vocab))


def plain_pytorch(artifact: ModelArtifact, tokens: np.ndarray) -> np.ndarray:
    """The nats of tokens but the first by torch.nn.LSTM and a softmax, from the file's weights."""
    loaded = load_weights(artifact.files, "memory:")
    config = loaded.about.model
    lstm = torch.nn.LSTM(config.vocab_size, config.hidden_size, config.num_layers)
    weights = {name: torch.from_numpy(value) for name, value in loaded.weights.items()}
    lstm.load_state_dict(
        {name.removeprefix("layers.0."): weights[name] for name in weights if "layers.0" in name}
    )
    read = torch.from_numpy(tokens.astype(np.int64))
    with torch.no_grad():
        outputs, _ = lstm(torch.nn.functional.one_hot(read[:-1], config.vocab_size).float())
        logits = outputs @ weights["head.weight"].T + weights["head.bias"]
        return torch.nn.functional.cross_entropy(logits, read[1:], reduction="none").numpy()


def test_the_figures_are_those_of_plain_pytorch(corpus: Corpus, artifact: ModelArtifact) -> None:
    text = text_of_split(corpus, "val").data[: 3 * 8192 + 17]
    nats = scored(artifact, text, corpus.vocab)
    tokens = corpus.vocab.encode(text)
    assert lanes_for(len(tokens)) == 3
    assert nats[0] == math.log(len(corpus.vocab))
    bounds = [lane * (len(tokens) - 1) // 3 for lane in range(4)]
    expected = np.concatenate(
        [
            plain_pytorch(artifact, tokens[start : stop + 1])
            for start, stop in itertools.pairwise(bounds)
        ]
    )
    assert nats[1:] == pytest.approx(expected, rel=1e-4)
    assert nats.mean() == pytest.approx(
        (expected.sum() + math.log(len(corpus.vocab))) / len(tokens), rel=1e-6
    )


@pytest.mark.parametrize("tasks", [2, 3, 5, 100])
def test_any_number_of_tasks_gives_the_same_bits(
    corpus: Corpus, artifact: ModelArtifact, tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LANE_TOKENS", 100)
    text = text_of_split(corpus, "val").data[:523]
    read = reading(text, corpus.vocab)
    assert read.lanes == 5
    split = lane_tasks(artifact, "fp32", read, tasks)
    assert len(split) == {2: 2, 3: 3, 5: 5, 100: 5}[tasks]
    together = scored(artifact, text, corpus.vocab)
    assert scored(artifact, text, corpus.vocab, tasks).tolist() == together.tolist()


def test_lanes_of_unequal_length_and_long_ones_are_read_to_their_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, _ = engine()
    tokens = np.random.default_rng(1).integers(0, len(VOCAB), 40)
    lanes = (tokens[:21], tokens[20:40], tokens[5:9])
    whole = engine_nats(made, lanes)
    assert [len(nats) for nats in whole] == [20, 19, 3]
    monkeypatch.setattr(module, "_STEPS_AT_ONCE", 6)
    for nats, again, lane in zip(whole, engine_nats(made, lanes), lanes, strict=True):
        assert nats.tolist() == again.tolist()
        (alone,) = engine_nats(made, (lane,))
        assert nats.tolist() == alone.tolist()


@pytest.mark.parametrize(
    ("tokens", "lanes"), [(0, 1), (1, 1), (16383, 1), (16384, 2), (64 * 8192, 64), (10**9, 64)]
)
def test_the_number_of_lanes_follows_from_the_text_alone(tokens: int, lanes: int) -> None:
    assert lanes_for(tokens) == lanes


def test_a_symbol_that_no_token_stands_for_is_counted_and_priced() -> None:
    """The model reads on as if it were not there; the score pays what a proof file would."""
    read = reading(b"ab\xffcd\xfe\n", VOCAB)
    assert read.tokens.tolist() == VOCAB.encode(b"abcd\n").tolist()
    assert read.places.tolist() == [0, 1, 3, 4, 6]
    assert (read.unknown.symbols, read.unknown.bytes) == (2, 2)
    bits = 32 + 8  # an escape of frequency 1 in 2**32, and one of 256 bytes
    assert read.unknown.bits == pytest.approx(2 * bits)
    made, _ = engine()
    (nats,) = engine_nats(made, (read.tokens,))
    whole = stream(read, [encoded(nats)], len(VOCAB))
    assert whole[[2, 5]].tolist() == pytest.approx([bits * math.log(2)] * 2)
    assert whole[[1, 3, 4, 6]].tolist() == nats.tolist()
    assert whole[0] == math.log(len(VOCAB))
    assert read.unknown.to_json()["price"].endswith("as a proof file codes them")


def test_an_unknown_token_costs_the_models_price_and_the_spelling() -> None:
    vocab = Vocab("char", [None, *map(ord, "abc")])
    read = reading("ab\u20acc".encode(), vocab)
    assert read.tokens.tolist() == [1, 2, 0, 3]
    spelling = math.log2(0x110000)
    assert (read.unknown.symbols, read.unknown.bytes, read.unknown.bits) == (1, 3, spelling)
    assert read.starts.tolist() == [0, 1, 2, 5]
    whole = stream(read, [encoded(np.array([0.5, 0.25, 0.125]))], 4)
    assert whole.tolist() == [math.log(4), 0.5, 0.25 + spelling * math.log(2), 0.125]
    assert read.unknown.price.startswith("the model's own price of its unknown token")


def encoded(nats: np.ndarray) -> str:
    import base64

    return base64.b64encode(nats.tobytes()).decode()


def test_symbols_begin_where_their_bytes_do() -> None:
    text = "a\u00e9\u20ac\U0001f600\u07ff\u0800\uffff\U00010000z"
    vocab = Vocab("char", sorted(map(ord, text)))
    starts = [len(text[:place].encode()) for place in range(len(text))]
    assert reading(text.encode(), vocab).starts.tolist() == starts


@pytest.mark.parametrize("text", [b"a", b"\xff", b"\xff\xff"])
def test_a_text_in_which_nothing_is_predicted_still_costs(
    text: bytes, artifact: ModelArtifact
) -> None:
    read = reading(text, VOCAB)
    assert lane_tasks(artifact, "fp32", read) == []
    assert stream(read, [], len(VOCAB)).sum() > 0


def test_a_first_symbol_that_is_unknown_is_not_paid_twice() -> None:
    read = reading(b"\xffab", VOCAB)
    whole = stream(read, [encoded(np.array([0.5]))], len(VOCAB))
    assert whole.tolist() == pytest.approx([(32 + 8) * math.log(2), math.log(len(VOCAB)), 0.5])


def test_bytes_that_are_no_text_are_one_line_for_a_model_of_characters() -> None:
    vocab = Vocab("char", [97, 98])
    with pytest.raises(InputError) as refused:
        reading(b"aab\xffa", vocab, "mine/1")
    assert str(refused.value) == (
        "mine/1 reads characters, and the text is not UTF-8 at byte 3; "
        "give UTF-8, or a model of bytes."
    )


def test_the_age_of_the_state_is_what_a_lane_has_read() -> None:
    text = bytes(range(65, 91)) * 1300  # 33,800 tokens: four lanes
    read = reading(text, Vocab("byte", tuple(range(65, 91))))
    assert read.lanes == 4
    ages = state_ages(read, len(text))
    bounds = lane_bounds(len(text) - 1, 4)
    assert ages[0] == 0
    for start, stop in itertools.pairwise(bounds):
        assert ages[start + 1 : stop + 1].tolist() == list(range(1, stop - start + 1))


def test_a_symbol_without_a_token_has_the_age_of_the_one_before() -> None:
    read = reading(b"ab?ba", Vocab("byte", (97, 98)))
    assert state_ages(read, 5).tolist() == [0, 1, 1, 2, 3]
    assert state_ages(reading(b"??", Vocab("byte", (97, 98))), 2).tolist() == [0, 0]
