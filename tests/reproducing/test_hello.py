"""The post's four letters."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.evaluation import report
from pipeline.reproducing.hello import LETTERS, hello, sections


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_four_transitions_are_learned_as_min_char_rnn_learns_them(seed: int) -> None:
    found = hello(seed=seed)
    assert [(each.letter, each.target) for each in found.transitions] == [
        ("h", "e"),
        ("e", "l"),
        ("l", "l"),
        ("l", "o"),
    ]
    assert found.learned == 4
    assert found.losses == pytest.approx(found.min_char_rnn, rel=1e-9)
    assert found.losses[0] > 4
    assert found.losses[-1] < 1


def test_one_update_raises_the_right_letters_share() -> None:
    """The post's figure: the green scores go up, the red ones down."""

    def share(scores: tuple[float, ...], letter: str) -> float:
        weights = np.exp(scores)
        return float(weights[LETTERS.index(letter)] / weights.sum())

    found = hello(steps=1)
    shares = [
        (share(each.first, each.target), share(each.after_one, each.target))
        for each in found.transitions
    ]
    assert sum(np.log(after / before) for before, after in shares) > 0
    assert all(each.after_one == each.last for each in found.transitions)


def test_the_two_ls_are_told_apart_by_the_state_alone() -> None:
    found = hello()
    first, second = found.transitions[2:]
    assert (first.is_learned, second.is_learned) == (True, True)
    # Whatever is answered of a zero state, it is one answer.
    answer = LETTERS[int(np.argmax(found.without_state))]
    assert (answer == "l") + (answer == "o") <= 1
    assert first.last != second.last


def test_untrained_it_has_learned_nothing_yet() -> None:
    assert hello(steps=1, learning_rate=1e-9).learned < 4


def test_it_is_a_page_and_json() -> None:
    found = hello(steps=3)
    html = report.page("hello", sections(found))
    assert "after one update" in html
    assert html.count("<svg") == 1
    assert len(json.loads(json.dumps(found.to_json()))["losses"]) == 3
