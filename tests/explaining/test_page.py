"""The page of a text at work: units, predictions, search, states, and what is hostile."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.corpora.vocab import Vocab
from pipeline.engine.opening import open_engine
from pipeline.errors import InputError
from pipeline.evaluation.section import Section
from pipeline.explaining import page
from pipeline.explaining.page import histograms, labels, text_page
from pipeline.explaining.page_text import Finding, PageText, feed_one, read_text
from pipeline.model.artifact import ModelArtifact
from tests.browser import Opened, opened
from tests.explaining.models import LETTERS, artifact

TEXT = (Path(os.__file__).parent / "bisect.py").read_bytes()[:1500]


def finding(label: str, layer: int, unit: int) -> Finding:
    return Finding(
        label=label, layer=layer, unit=unit, measure="AUROC", effect=0.9, low=0.8, high=0.95
    )


FINDINGS = (finding("inside quotes", 1, 7), finding("position in line", 0, 3))


def ready(content: Opened) -> Any:
    content.page.wait_for_selector("body[data-text=ready]")
    return content.page


@pytest.fixture(scope="module")
def model() -> ModelArtifact:
    return artifact(scale=3.0)


@pytest.fixture(scope="module")
def read(model: ModelArtifact) -> PageText:
    return dataclasses.replace(read_text(model, TEXT, "bisect.py"), findings=FINDINGS)


@pytest.mark.browser
def test_a_unit_is_chosen_and_a_characters_top_five_are_read(
    browser: Any, tmp_path: Path, model: ModelArtifact, read: PageText
) -> None:
    with opened(browser, text_page(read, model), tmp_path) as content:
        on = ready(content)
        on.fill("#layer", "1")
        on.fill("#unit", "7")
        on.hover("#c20")
        told = content.text("#told")
        assert f"unit 7: {read.hidden[1, 7, 20] / 127:.3f}" in told
        surprise = re.search(r"surprise ([\d.]+) nats", told)
        assert surprise
        assert float(surprise[1]) == pytest.approx(read.nats[20], abs=0.006)
        names = [LETTERS.text(token).decode() for token in read.top_tokens[20]]
        shown = on.locator("#c20 i").all_text_contents()
        assert [name for name in names if name.strip()] == [name for name in shown if name in names]
        assert f"{read.top_probabilities[20, 0] * 100:.1f} %" in told
        most = int(read.hidden[1, 7, :60].argmax())
        colour = on.locator(f"#c{most} b").evaluate("cell => cell.style.backgroundColor")
        assert colour.startswith("rgba(34, 160, 60")  # green is above zero
        on.select_option("#palette", "safe")
        colour = on.locator(f"#c{most} b").evaluate("cell => cell.style.backgroundColor")
        assert colour.startswith("rgba(230, 140, 0")


@pytest.mark.browser
def test_keys_step_and_enter_shows_the_whole_state_bit_for_bit(
    browser: Any, tmp_path: Path, model: ModelArtifact, read: PageText
) -> None:
    with opened(browser, text_page(read, model), tmp_path) as content:
        on = ready(content)
        on.fill("#layer", "1")
        on.click("#c0")
        on.focus("#rows")
        for _ in range(130):
            on.keyboard.press("ArrowRight")
        on.keyboard.press("Enter")
        on.wait_for_selector('body[data-shown="1 130"]')
        heads = on.locator("#units-of th").all_text_contents()
        cells = on.locator(f"#units-of td:nth-child({heads.index('cell') + 1})")
        shown = cells.evaluate_all("all => all.map(cell => Number(cell.dataset.value))")
        # The colouring computes the one unit over the whole text, the table all units from the
        # last checkpoint on: the two must agree.
        on.select_option("#mode", "cell")
        on.fill("#unit", "5")
        expected = np.tanh(shown[5])
        assert content.text("#told").endswith(f"layer 1, unit 5: {expected:.3f}.")
    lanes = open_engine(model, "int8").lanes(1)
    for token in read.tokens[:131]:
        feed_one(lanes, token)
    assert np.array_equal(np.float32(shown), lanes.state.cell[1, 0])


@pytest.mark.browser
@pytest.mark.parametrize(("cell", "column"), [("gru", "update"), ("rnn", "before tanh")])
def test_other_cells_have_their_own_state(
    browser: Any, tmp_path: Path, cell: str, column: str
) -> None:
    other = artifact(cell, scale=2.0)
    content = text_page(read_text(other, TEXT[:300], "text"), other)
    with opened(browser, content, tmp_path) as made:
        on = ready(made)
        on.click("#c10")
        on.wait_for_selector('body[data-shown="0 10"]')
        assert column in on.locator("#units-of th").all_text_contents()
        assert on.locator("#mode option").count() == 2


@pytest.mark.browser
def test_the_ranking_is_filtered_and_chooses_a_unit(
    browser: Any, tmp_path: Path, model: ModelArtifact, read: PageText
) -> None:
    with opened(browser, text_page(read, model), tmp_path) as content:
        on = ready(content)
        on.fill("#filter", "QUOTES")
        assert on.locator("#findings tbody tr").count() == 1
        on.click("#findings button")
        on.wait_for_selector('body[data-unit="hidden 1 7"]')


@pytest.mark.browser
def test_a_search_goes_round_and_a_prime_is_written_from(
    browser: Any, tmp_path: Path, model: ModelArtifact, read: PageText
) -> None:
    with opened(browser, text_page(read, model), tmp_path) as content:
        on = ready(content)
        on.fill("#find", "def ")
        times = TEXT.count(b"def ")
        for _ in range(times + 1):
            on.click("#next")
        assert content.text("#found") == f"1 of {times} found"
        assert content.text("#told").startswith("d (character")
        on.select_option("#view", "condensed")
        assert on.locator(".cell i").count() == 0
        on.wait_for_selector("body[data-state=ready]")
        on.fill("#prime", "def ")
        on.fill("#count", "50")
        on.click("#write")
        on.wait_for_selector("body[data-state=ended]")
        assert len(content.text("#text")) == 54


@pytest.mark.browser
def test_a_phone_needs_no_scrolling_sideways(
    browser: Any, tmp_path: Path, model: ModelArtifact, read: PageText
) -> None:
    content = text_page(read, model)
    with opened(browser, content, tmp_path, viewport={"width": 360, "height": 740}) as made:
        on = ready(made)
        assert on.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.browser
def test_a_carriage_return_alone_begins_a_new_row(browser: Any, tmp_path: Path) -> None:
    text = b"ab\rcd\r\nef\n\rgh"
    other = artifact(vocab=Vocab("byte", sorted(set(text))))
    with opened(browser, text_page(read_text(other, text, "rows"), other), tmp_path) as made:
        rows = ready(made).locator(".row").all()
        shown = ["".join(row.locator(".cell b").all_text_contents()) for row in rows]
        assert shown == ["ab\u240d", "cd\u240d\u21b5", "ef\u21b5", "\u240d", "gh"]


@pytest.mark.browser
def test_hostile_text_stays_text(browser: Any, tmp_path: Path) -> None:
    text = "</script><img src=x onerror=alert(1)>\u2028\x00\u202e{{blocks}}<!--"
    symbols = sorted({ord(letter) for letter in text})
    other = artifact(vocab=Vocab("char", symbols), name=text)
    read = read_text(other, text.encode(), text)
    row = dataclasses.replace(finding("\ud800" + text, 0, 0), note=text)
    section = Section(title=text, lead=text, table=((text,), (text,)))
    read = dataclasses.replace(read, findings=(row,), sections=(section,))
    with opened(browser, text_page(read, other), tmp_path) as made:
        on = ready(made)
        assert on.locator("img").count() == 0
        shown = "".join(on.locator(".cell b").all_text_contents())
        assert shown == text.replace("\u2028", "\ufffd").replace("\x00", "\u2400").replace(
            "\u202e", "\ufffd"
        )
        assert text[:30] in made.text("#findings")


def test_bytes_above_ascii_are_called_by_their_number() -> None:
    assert labels(Vocab("byte", [10, 97, 0xC3])) == ["\n", "a", "c3"]
    assert labels(Vocab("char", [None, 0xC3])) == ["\ufffd", "Ã"]


def test_a_histogram_counts_every_state() -> None:
    hidden = np.array([[[-127, 0], [1, 127]]], np.int8)
    (counts,) = histograms(hidden)
    assert sum(counts) == 4
    assert (counts[0], counts[25], counts[-1]) == (1, 2, 1)


def test_too_many_states_are_refused(
    monkeypatch: pytest.MonkeyPatch, model: ModelArtifact, read: PageText
) -> None:
    monkeypatch.setattr(page, "MAX_HIDDEN", 100)
    with pytest.raises(InputError, match=r"bisect.py: 72,000 bytes of hidden states; .* 100"):
        text_page(read, model)
