"""The report: one file that asks for nothing, in which hostile text is letters."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation import report
from pipeline.evaluation.plots import Bar, bars
from pipeline.evaluation.section import Section
from tests.browser import opened
from tests.evaluation.sample_result import SCORE, evaluation

HOSTILE = "</td><script>alert(1)</script><img src=//evil.example onerror=x>\u202e\x00\x1b[2J&\"'{0}"


class Elements(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def made(**changes: object) -> str:
    return report.page("A report", report.sections(evaluation(**changes)))


def test_every_figure_is_shown_with_its_interval_and_its_rule() -> None:
    text = Elements(made()).text
    for shown in (
        "1.7500 [1.7000, 1.8000]",
        "+0.2500 [+0.2000, +0.3000]",
        "tail: the end of the text",
        "2 symbols, 2 bytes",
        "45 bits: a price",
        "2.4000",  # xz, cold
        "2.0000",  # xz, warm
        "80,000 bytes",
        "4.5000",
        "80,000 of 90,000 bytes of train of texts@0123456789ab",
        "Intervals of 95% are over 20 blocks of 1,000 bytes (2,000 resamples)",
        "not over seeds",
    ):
        assert shown in text, shown


def test_what_was_not_made_is_left_out() -> None:
    titles = [part.title for part in report.sections(evaluation())]
    assert titles[:2] == ["The text", "How good"]
    bare = evaluation(differences=(), compressors=(), ngrams=(), training=None)
    left = [part.title for part in report.sections(bare)]
    assert set(titles) - set(left) == {
        "Differences, paired by block",
        "Compressors",
        "N-gram models of bytes",
    }
    short = dataclasses.replace(SCORE, curve=(1.0,), bits_per_byte_interval=None)
    assert "Along the text" not in made(models=(short,))
    few = dataclasses.replace(evaluation().bootstrap, blocks=3)
    assert "too short for intervals" in made(models=(short,), bootstrap=few)


def test_a_part_of_another_subject_is_a_line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SECTIONS", [*report.SECTIONS, lambda found: Section(title="New")])
    assert report.sections(evaluation())[-1].title == "New"


def test_hostile_text_is_letters_wherever_it_stands() -> None:
    part = Section(title=HOSTILE, lead=HOSTILE, table=((HOSTILE, "b"), ("c", HOSTILE)))
    hostile = evaluation(
        models=(dataclasses.replace(SCORE, model=HOSTILE, corpus=HOSTILE),),
        text=dataclasses.replace(evaluation().text, source=HOSTILE),
    )
    page = report.page(HOSTILE, [part, *report.sections(hostile)])
    found = Elements(page)
    assert not {"script", "img", "iframe", "link", "object"} & set(found.tags)
    assert not any(name.startswith("on") for name, _ in found.attributes)
    assert "<script>alert(1)</script>" in found.text  # as letters
    assert not re.search("[\x00\x1b\u202e]", page)
    assert "\\x1b[2J" in found.text


def test_the_page_asks_nobody_for_anything() -> None:
    page = made()
    found = Elements(page)
    for name, value in found.attributes:
        if name in ("src", "href", "xlink:href", "action", "data"):
            assert value.startswith("#"), (name, value)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in found.attributes
    assert "@import" not in page
    assert "prefers-color-scheme: dark" in page


def test_pictures_do_not_share_ids() -> None:
    svg = bars([Bar("a", 1.5)], "bits")
    page = report.page(
        "t", [Section(title="a", plots=(svg, svg)), Section(title="b", plots=(svg,))]
    )
    found = Elements(page)
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 3
    assert page.count("<svg") == 3
    assert "<?xml" not in page
    for name, value in found.attributes:
        if name == "xlink:href":
            assert value.removeprefix("#") in ids
    for target in re.findall(r"url\(#([^)]+)\)", page):
        assert target in ids


def test_the_same_evaluation_gives_the_same_bytes() -> None:
    assert made() == made()


def test_a_figure_stays_on_one_line_and_a_long_text_may_break() -> None:
    table = (("what", "value"), ("byte", "4,808"), ("text", "x" * 40))
    html = report.page("mine", [Section(title="Places", table=table)])
    assert '<td class="short">4,808</td>' in html
    assert f"<td>{'x' * 40}</td>" in html


def test_an_excerpt_keeps_its_lines_and_a_link_its_place() -> None:
    part = Section(title="A", excerpt="\n  a <b>\n", links=(('"x"', '../a.html?"b'),))
    html = report.page("mine", [part])
    assert "<pre>\n\n  a &lt;b&gt;\n</pre>" in html
    assert '<p><a href="../a.html?&quot;b">&quot;x&quot;</a></p>' in html


IN_A_BROWSER = (
    "</td></table><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
    "\u2028\u202e\x00\ud800<svg onload=alert(1)>&lt;"
)


@pytest.mark.browser
def test_hostile_text_stays_text_in_a_browser(browser: Any, tmp_path: Path) -> None:
    table = (("what", IN_A_BROWSER), (IN_A_BROWSER, "4,808"))
    part = Section(
        title=IN_A_BROWSER, lead=IN_A_BROWSER, table=table, plots=(bars([Bar("a", 1.0)], "bits"),)
    )
    html = report.page("mine", [part]).encode()
    with opened(browser, html, tmp_path) as shown:
        assert shown.page.title() == "mine"
        assert shown.page.locator("script, img, svg[onload]").count() == 0
        assert shown.page.locator("svg").count() == 1
        cell = shown.page.locator("td").first.text_content()
        assert cell.startswith("</td></table><script>document.title='run'</script><img src=x")
        assert "\\u202e\\x00\\ud800" in cell
