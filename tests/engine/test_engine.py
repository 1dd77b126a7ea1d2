from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpora.vocab import Vocab
from pipeline.errors import DamagedError, InputError
from pipeline.engine.engine import Engine, Piece, Request, _borders
from pipeline.engine.weights import Layout
from pipeline.training.config import ModelConfig
from pipeline.model.network import CharRNN, initialize

VOCAB = Vocab("byte", [10, *range(97, 109)])
PRECISIONS = ("fp32", "int8")


def engine(
    cell: str = "lstm", embedding: int = 0, vocab: Vocab = VOCAB, size: int = 24, **options: Any
) -> tuple[Engine, CharRNN]:
    shape = {"num_layers": 2, "hidden_size": size, "embedding_size": embedding}
    model = CharRNN(ModelConfig(vocab_size=len(vocab), cell=cell, **shape))  # type: ignore[arg-type]
    initialize(model, 1)
    return Engine(model, vocab, [(1, 3), (3, 1)], **options), model


def fed(made: Engine, tokens: np.ndarray) -> np.ndarray:
    """Logits (T, B, V) after each of tokens (T, B)."""
    from pipeline.sampling import kernels

    lanes = made.lanes(tokens.shape[1])
    steps = []
    for row in tokens.astype(np.int64):
        kernels.feed(row, len(row), made.layout.kind, made.layout.arrays, *lanes.buffers)
        steps.append(lanes.logits[:, : len(made.vocab)].copy())
    return np.stack(steps)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding", [0, 6])
@pytest.mark.parametrize("size", [7, 24, 70])
def test_a_step_is_the_models_step(cell: str, embedding: int, size: int) -> None:
    made, model = engine(cell, embedding, size=size)
    tokens = torch.randint(len(VOCAB), (6, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, _ = model(tokens, model.initial_state(9))
    np.testing.assert_allclose(fed(made, tokens.numpy()), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_int8_is_near_the_model_and_adds_whole_numbers() -> None:
    made, model = engine(size=70, precision="int8")
    tokens = torch.randint(len(VOCAB), (6, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, _ = model(tokens, model.initial_state(9))
    difference = np.abs(fed(made, tokens.numpy()) - expected.numpy()).max()
    assert 0 < difference < 0.05
    layout = made.layout  # the head's product, by hand
    panels, start, scale = layout.head
    whole = panels.transpose(0, 2, 1, 3).reshape(len(VOCAB) // 64 * 64 + 64, -1).astype(np.int64)
    lanes = made.lanes(3)
    from pipeline.sampling import kernels

    kernels.feed(np.array([1, 2, 3]), 3, layout.kind, layout.arrays, *lanes.buffers)
    sums = lanes.coarse[-1].astype(np.int64) @ whole.T + start
    assert abs(sums).max() > 1000
    expected_logits = layout.biases[2] + sums.astype(np.float32) * scale
    np.testing.assert_array_equal(lanes.logits, expected_logits)


def test_without_the_processors_dot_product_the_sums_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import numba

    from pipeline.sampling import tiles

    def product(tile: Any) -> np.ndarray:
        @numba.njit
        def run(out: Any, x: Any, panel: Any, start: Any, scale: Any) -> None:
            tile(
                out.ctypes.data, out.strides[0], x.ctypes.data, x.strides[0], panel.ctypes.data, len(panel),
                start.ctypes.data, scale.ctypes.data,
            )  # fmt: skip

        out, generator = np.zeros((2, 64), np.float32), np.random.default_rng(1)
        x, panel = (
            generator.integers(0, 256, (2, 40), np.uint8),
            generator.integers(-127, 128, (10, 64, 4), np.int8),
        )
        run(out, x, panel, np.zeros(64, np.int32), np.ones(64, np.float32))
        expected = x.astype(np.int64) @ panel.transpose(0, 2, 1).reshape(40, 64).astype(np.int64)
        np.testing.assert_array_equal(out, expected)
        return out

    here = product(tiles.int_tile(2))
    monkeypatch.setattr(tiles, "_VNNI", False)
    np.testing.assert_array_equal(product(tiles.int_tile(2)), here)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_seed_gives_the_same_text_and_another_seed_another(precision: str) -> None:
    made, _ = engine(precision=precision)
    first, again, other = (made.sample([Request(0, 3000, seed=seed)])[0] for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_neither_lane_mates_nor_lane_nor_width_change_a_sample(cell: str, precision: str) -> None:
    made, _ = engine(cell, precision=precision, size=40)
    wanted = [
        Request(n, 100 + 37 * (n % 5), 0.5 + n % 3, prime=b"abc"[: n % 4]) for n in range(130)
    ]
    texts = made.sample(wanted)
    for width in (1, 2, 3, 7, 16, 64, 130):
        found: dict[Any, bytes] = {}
        for piece in made.stream(wanted, width=width):
            found[piece.name] = found.get(piece.name, b"") + piece.text
        assert [found[n] for n in range(130)] == texts, width
    assert made.sample(wanted[::-1])[::-1] == texts


def test_threads_sample_what_one_does() -> None:
    made, _ = engine()
    requests = [Request(n, 2000) for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        side_by_side = list(pool.map(lambda request: made.sample([request])[0], requests))
    assert side_by_side == made.sample(requests)


def test_every_request_gets_its_own_number_of_characters() -> None:
    made, _ = engine()
    counts = [1, 255, 256, 257, 513]
    requests = [Request(n, count, prime=b"ab" * n) for n, count in enumerate(counts)]
    assert [len(text) for text in made.sample(requests)] == [
        count + 2 * n for n, count in enumerate(counts)
    ]
    assert all(text.startswith(b"ab" * n) for n, text in enumerate(made.sample(requests)))


@pytest.mark.parametrize("options", [{}, {"lines": 40}, {"top_k": 3, "prime": b"ab"}])
def test_a_saved_lane_goes_on_exactly(options: dict[str, Any]) -> None:
    made, _ = engine(precision="int8")
    request, stop = Request(3, 3000, 0.9, **options), b"" if options else b"hhhhhhh"
    (whole,) = made.sample([request], stop)
    written = b""
    lanes = made.lanes(4, stop, lines=bool(request.lines))
    lanes.start("x", request)
    lanes.start("other", Request(4, 1000, lines=request.lines))
    last: Piece | None = None
    while last is None or not last.ended:
        for piece in lanes.advance():
            if piece.name == "x":
                last, written = piece, written + piece.text
        if last and not last.ended:
            saved = lanes.save("x")
            lanes = made.lanes(2, stop, lines=bool(request.lines))
            lanes.start("x", request, saved)
    assert written == whole
    (end,) = [piece for piece in made.stream([request], stop) if piece.ended]
    assert (end.nats, end.sampled) == (last.nats, last.sampled)


def test_a_saved_lane_of_another_request_or_a_damaged_one_is_refused() -> None:
    made, _ = engine()
    lanes = made.lanes(1)
    lanes.start("x", Request(0, 1000))
    lanes.advance()
    saved = lanes.save("x")
    for request, data in (
        (Request(1, 1000), saved),
        (Request(0, 1000), saved[:-5]),
        (Request(0, 1000), b"\x80\x04N."),
    ):
        with pytest.raises(DamagedError, match="saved lane"):
            made.lanes(1).start("x", request, data)


def test_the_first_character_follows_the_documents_starts() -> None:
    made, _ = engine()
    starts = Counter(made.sample([Request(n, 1) for n in range(400)]))
    assert set(starts) == {b"a", b"c"}
    assert 250 < starts[b"a"] < 350


def test_zero_temperature_takes_the_likeliest_and_top_k_stays_among_k() -> None:
    made, model = engine()
    (text,) = made.sample([Request(0, 50, temperature=0.0, prime=b"a")])
    state = model.initial_state(1)
    with torch.no_grad():
        logits, state = model.step(torch.tensor([1]), state)
        for symbol in text[1:]:
            token = int(logits.argmax())
            assert bytes([symbol]) == VOCAB.decode([token])
            logits, state = model.step(torch.tensor([token]), state)
    assert made.sample([Request(0, 50, temperature=1.0, top_k=1, prime=b"a")])[0] == text


def expected_after_a(model: CharRNN, temperature: float) -> np.ndarray:
    with torch.no_grad():
        logits, _ = model.step(torch.tensor([1]), model.initial_state(1))
    return torch.softmax(logits[0].double() / temperature, 0).numpy()


def observed_after_a(made: Engine, **options: Any) -> np.ndarray:
    drawn = Counter(made.sample([Request(n, 1, prime=b"a", **options) for n in range(4000)]))
    return np.array([drawn[b"a" + VOCAB.decode([token])] for token in range(len(VOCAB))]) / 4000


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(0.7, 0, 1.0), (1.0, 4, 1.0), (1.0, 0, 0.6), (1.5, 5, 0.5)]
)
def test_frequencies_follow_the_softmax(temperature: float, top_k: int, top_p: float) -> None:
    made, model = engine()
    expected = expected_after_a(model, temperature)
    order = np.argsort(-expected)
    kept = order[: top_k or len(order)]
    shares = np.cumsum(expected[kept]) / expected[kept].sum()
    kept = kept[: int(np.searchsorted(shares, top_p)) + 1]  # the fewest that have the probability
    chosen = np.zeros_like(expected)
    chosen[kept] = expected[kept] / expected[kept].sum()
    observed = observed_after_a(made, temperature=temperature, top_k=top_k, top_p=top_p)
    assert set(np.flatnonzero(observed)) == set(kept)
    assert abs(observed - chosen).max() < 0.035


def test_the_nats_are_the_models() -> None:
    made, model = engine()
    request = Request(0, 400, 0.5, prime=b"ab")
    pieces = list(made.stream([request]))
    tokens = torch.from_numpy(
        VOCAB.encode(b"".join(piece.text for piece in pieces)).astype(np.int64)
    )
    with torch.no_grad():
        logits, _ = model(tokens[:-1].unsqueeze(1), model.initial_state(1))
    expected = torch.nn.functional.cross_entropy(logits[1:, 0], tokens[2:], reduction="sum").item()
    assert pieces[-1].nats == pytest.approx(expected, rel=1e-5)
    assert pieces[-1].sampled == 400


def test_a_text_is_scored_as_the_model_scores_it() -> None:
    made, model = engine()
    tokens = torch.randint(len(VOCAB), (50, 3), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits, _ = model(tokens[:-1], model.initial_state(3))
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten()).item()
    assert made.score(tokens.numpy()) == pytest.approx(expected, rel=1e-5)


def test_an_unknown_token_is_never_sampled() -> None:
    made, _ = engine(vocab=Vocab("char", [None, 97, 98, 99]))
    assert set(made.sample([Request(0, 2000)])[0].decode()) == {"a", "b", "c"}


def test_an_unknown_token_stands_for_nothing_in_a_prime_or_a_stop_text() -> None:
    made, _ = engine(vocab=Vocab("char", [None, 97, 98, 99]))
    for request, stop in (
        (Request(0, 9, prime="a\u00e9".encode()), b""),
        (Request(0, 9), "\u00e9".encode()),
    ):
        with pytest.raises(InputError, match="U\\+00E9"):
            made.sample([request], stop)


def test_the_stop_text_ends_a_sample_and_is_written() -> None:
    made, _ = engine()
    requests = [Request(n, 5000) for n in range(10)]
    free = made.sample(requests)
    for text, whole in zip(made.sample(requests, stop=b"fc"), free, strict=True):
        at = whole.index(b"fc") + 2
        assert text == whole[:at]


def test_items_are_lines_that_begin_with_the_prime() -> None:
    made, model = engine()
    (text,) = made.sample([Request(0, 12, 1.0, prime=b"ka", lines=300)])
    items = text.decode().splitlines()
    assert len(items) == 300
    assert text.endswith(b"\n")
    assert all(re.fullmatch("ka[a-l]{0,11}", item) for item in items)
    assert len(set(items)) > 50
    # Each starts from a zero state that has read a line feed: first letters have that state's distribution.
    (free,) = made.sample([Request(0, 50, lines=4000)])
    with torch.no_grad():
        logits, _ = model.step(torch.tensor([0]), model.initial_state(1))
    expected = torch.softmax(logits[0], 0).numpy()
    starts = Counter(line[:1] for line in free.split(b"\n")[:-1])
    observed = (
        np.array([starts[b""], *(starts[VOCAB.text(token)] for token in range(1, len(VOCAB)))])
        / 4000
    )
    assert abs(observed - expected).max() < 0.035


def test_a_prime_outside_the_vocabulary_is_named() -> None:
    made, _ = engine()
    with pytest.raises(InputError, match="byte 0x5A"):
        made.sample([Request(0, 1, prime=b"aZ")])


@given(st.text("ab", min_size=1, max_size=6), st.text("ab", max_size=60))
@settings(max_examples=200, deadline=None)
def test_the_stop_automaton_finds_the_first_occurrence(stop: str, text: str) -> None:
    from pipeline.sampling import kernels

    tokens = np.array([ord(c) for c in stop], np.int64)
    own = np.zeros(len(kernels.FIELDS), np.int64)
    own[kernels.LEFT] = 1000
    ends = [
        at + 1 for at, c in enumerate(text) if kernels._ends(own, ord(c), tokens, _borders(tokens))
    ]
    at = text.find(stop)
    assert (ends[0] if ends else -1) == (at + len(stop) if at >= 0 else -1)


@given(st.integers(1, 9), st.integers(1, 70))
@settings(max_examples=25, deadline=None)
def test_quantised_weights_are_within_half_a_step(symbols: int, size: int) -> None:
    model = CharRNN(ModelConfig(vocab_size=symbols, num_layers=1, hidden_size=size))
    initialize(model, symbols)
    panels, start, scale = Layout(model, "int8").head
    weight = model.head.weight.detach().numpy()
    whole = panels.transpose(0, 2, 1, 3).reshape(64, -1)[:symbols, :size].astype(np.float64)
    steps = scale[:symbols, None].astype(np.float64) * 127
    assert abs(whole * steps - weight).max() <= 0.5001 * steps.max()
    assert (start[:symbols] == -128 * whole.sum(axis=1)).all()
