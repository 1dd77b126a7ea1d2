from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.explaining import effects, finder, shifts
from pipeline.explaining.finder import fast_length, find, run_tests
from pipeline.explaining.findings import Found
from pipeline.explaining.labels.label import Label

SIZE = 24_000
HALF = 12_000
DRAWS = np.random.default_rng(8)
TOKENS = DRAWS.integers(0, 4, SIZE)
# On and off in runs of a length that no few tokens tell.
RUNS = np.repeat(DRAWS.integers(0, 2, SIZE // 40), 40).astype(np.float32)
RUN = Label("run", "binary", RUNS)
TOKEN = Label("token", "binary", (TOKENS == 1).astype(np.float32))
RARE = Label("rare", "binary", (np.arange(SIZE) == 7).astype(np.float32))
NUMBER = Label("number", "real", np.convolve(RUNS, np.ones(25) / 25, "same").astype(np.float32))


def noise(units: int, seed: int) -> np.ndarray:
    """Units (T, 1, H) that tell nothing, and change as slowly as states do."""
    draws = np.random.default_rng(seed)
    values = draws.normal(size=(units, SIZE // 8)).repeat(8, axis=1)
    return (np.clip(values * 30, -127, 127)).astype(np.int8).T[:, None, :]


def found(run: Any = None, **planted: np.ndarray) -> Found:
    hidden = noise(6, 1)
    for name, values in planted.items():
        hidden[:, 0, int(name.removeprefix("unit"))] = values
    signals = {"hidden": hidden, "cell": noise(6, 2)}
    untrained = {"hidden": noise(6, 3)[HALF:], "cell": noise(6, 4)[HALF:]}
    labels = [RUN, TOKEN, RARE, NUMBER]
    return find(TOKENS, signals, labels, untrained, 4, *([run] if run else []))


def test_a_unit_that_tracks_a_label_is_found_with_its_effect_and_direction() -> None:
    tracking = (40 - 80 * RUNS + DRAWS.normal(0, 30, SIZE)).clip(-127, 127).astype(np.int8)
    result = found(unit4=tracking)
    (finding,) = result.findings
    assert (finding.layer, finding.unit, finding.signal, finding.sign) == (0, 4, "hidden", -1)
    ranked = effects.ranks_of_bytes(tracking[result.first_half :])
    wanted = RUNS[result.first_half :]
    assert finding.label in ("run", "number")
    best = {row.label: row.best for row in result.labels}
    assert best["run"].effect == pytest.approx(1 - effects.effect("binary", ranked, wanted))
    assert best["run"].counts
    assert best["run"].interval is not None
    assert best["run"].interval.low < best["run"].effect < best["run"].interval.high
    assert best["run"].p <= 0.001
    assert {row.label: row.units for row in result.labels} == {"run": 1, "token": 0, "number": 1}


def test_what_the_current_token_tells_is_no_finding() -> None:
    result = found(unit2=np.where(TOKENS == 1, 90, -90).astype(np.int8))
    assert result.findings == ()
    best = {row.label: row.best for row in result.labels}["token"]
    assert (best.unit, best.effect, best.counts) == (2, 1.0, False)
    assert best.p <= 0.05
    assert best.ngram == pytest.approx(1)


def test_what_an_untrained_network_has_too_is_no_finding() -> None:
    tracking = (80 * RUNS - 40 + DRAWS.normal(0, 30, SIZE)).clip(-127, 127).astype(np.int8)
    hidden = noise(6, 1)
    hidden[:, 0, 4] = tracking
    result = find(TOKENS, {"hidden": hidden}, [RUN], {"hidden": hidden[HALF:]}, 4)
    assert result.findings == ()
    assert result.labels[0].best.p <= 0.05


def test_what_holds_on_the_first_half_alone_is_no_finding() -> None:
    half = fast_length(SIZE // 2)
    tracking = 80 * RUNS - 40
    tracking[half:] = noise(1, 9)[half:, 0, 0]
    assert found(unit1=tracking.astype(np.int8)).findings == ()


def test_noise_has_no_findings_and_rare_labels_are_named() -> None:
    result = found()
    assert result.findings == ()
    assert result.too_rare == ("rare",)
    assert [row.label for row in result.labels] == ["run", "token", "number"]


def test_the_number_of_tasks_and_their_order_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def backwards(
        function: Callable[[Any], Any], tasks: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        for index in reversed(range(len(tasks))):
            yield index, json.loads(json.dumps(function(tasks[index])))

    series = noise(10, 5)[:, 0].T.copy()
    alone = run_tests(series, [RUN, NUMBER])
    monkeypatch.setattr(finder, "SERIES_A_TASK", 3)
    many = run_tests(series, [RUN, NUMBER], backwards)
    np.testing.assert_array_equal(alone.observed, many.observed)
    np.testing.assert_array_equal(alone.maxima, many.maxima)
    assert (shifts.p_values(many) == shifts.p_values(alone)).all()


def test_lengths_are_such_that_an_fft_is_fast() -> None:
    assert [fast_length(size) for size in (1, 7, 50_000, 50_001, 49_999)] == [
        1,
        6,
        50_000,
        50_000,
        49_152,
    ]


def test_a_short_text_is_refused() -> None:
    with pytest.raises(InputError, match="the text has 90 tokens; the cell finder needs at least"):
        find(TOKENS[:90], {"hidden": noise(1, 1)[:90]}, [], {"hidden": noise(1, 1)[:90]}, 4)


def test_a_text_without_any_label_has_an_empty_result() -> None:
    result = find(TOKENS, {"hidden": noise(1, 1)}, [RARE], {"hidden": noise(1, 1)[HALF:]}, 4)
    assert (result.findings, result.labels, result.too_rare) == ((), (), ("rare",))


def test_findings_are_json() -> None:
    assert json.dumps([row.to_json() for row in found().labels])
