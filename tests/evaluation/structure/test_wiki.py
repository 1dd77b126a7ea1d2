"""A dump with planted faults."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.evaluation.structure.findings import Check
from pipeline.evaluation.structure.wiki import host_of, is_time, learn, look, pages, xml_parser

PAGE = b"""  <page>
    <title>Tea</title>
    <id>42</id>
    <timestamp>2006-02-28T23:59:59Z</timestamp>
    <text xml:space="preserve">'''Tea''' is a [[drink|hot drink]], {{cite|a=[[b]]}}.&lt;br/&gt;
== History ==
* one
** two
* [http://example.org/tea] and http://known.org/page
</text><br/>
  </page>
"""
KNOWN = learn(b"see http://known.org/page and http://example.org/other")


def checks(text: bytes) -> dict[str, Check]:
    return {check.name: check for check in look({"a.xml": text}, KNOWN).checks}


def places(check: Check) -> list[tuple[int, str]]:
    return [(finding.offset, finding.kind) for finding in check.findings]


def test_a_good_page_has_no_fault() -> None:
    found = checks(PAGE + PAGE)
    assert found.pop("URLs that the corpus has").count == 2
    assert not [name for name, check in found.items() if check.count < check.out_of]
    assert not [name for name, check in found.items() if not check.out_of]
    assert found["pages that are well-formed XML"].out_of == 2


@pytest.mark.parametrize(
    ("before", "after", "name", "kind"),
    [
        (b"Tea</title>", b"Tea</id>", "tags: openers that are closed", "title is closed as id"),
        (
            b"drink]]",
            b"drink}}",
            "links and templates: closers that close what is open",
            "closes [[",
        ),
        (b"[[drink|", b"[[|", "links that can name a page", "link can name no page"),
        (b"== History ==", b"== History =", "headings with as many = behind", "heading is not"),
        (b"** two", b"**** two", "list items at most one level below", "list level 4 behind"),
        (b"02-28T", b"02-30T", "timestamps that are a time", "timestamp is no time"),
        (b"<id>42", b"<id>4z", "ids that are a number", "id is no number"),
        (b"http://known.org/page", b"http:///page", "URLs that have a host", "URL without a host"),
        (b"example.org", b"invented.org", "URLs whose host the corpus has", "invented host"),
        (b"known.org/page", b"known.org/pgae", "URLs that the corpus has", "invented URL"),
    ],
)
def test_a_planted_fault_is_found_in_its_place(
    before: bytes, after: bytes, name: str, kind: str
) -> None:
    text = PAGE.replace(before, after)
    names = [each for each in checks(text) if each.startswith(name)]
    check = checks(text)[names[0]]
    assert check.count < check.out_of
    line = text.count(b"\n", 0, text.index(after))
    found = [(text.count(b"\n", 0, at), each) for at, each in places(check)]
    assert any(at == line and each.startswith(kind) for at, each in found), found


def test_a_page_that_is_not_well_formed_is_found_at_its_line() -> None:
    text = PAGE + PAGE.replace(b"&lt;br", b"<br &lt")
    check = checks(text)["pages that are well-formed XML"]
    assert (check.count, check.out_of) == (1, 2)
    assert check.findings[0].offset == text.index(b"    <text", len(PAGE))


def test_pages_are_those_that_begin_and_are_not_cut() -> None:
    text = b"</page><page>a<page>b</page><page>c"
    assert list(pages(text)) == [(7, 14, False), (14, 28, True)]


def test_entities_are_not_expanded_and_no_file_is_read(tmp_path: Path) -> None:
    from lxml import etree

    secret = tmp_path / "secret"
    secret.write_text("secret words")
    hostile = f'<!DOCTYPE page [<!ENTITY x SYSTEM "{secret}">]><page>&x;</page>'
    assert "secret" not in etree.fromstring(hostile.encode(), xml_parser()).xpath("string()")
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE page [<!ENTITY e0 "x">{levels}]><page>&e11;</page>'
    with pytest.raises(etree.XMLSyntaxError, match="amplification"):
        etree.fromstring(bomb.encode(), xml_parser())


def test_times_and_hosts() -> None:
    stamps = [b"2004-02-29T00:00:00Z", b"2005-02-29T00:00:00Z", b"2005-02-28 00:00:00", b"2005"]
    assert [is_time(stamp) for stamp in stamps] == [True, False, False, False]
    assert host_of(b"https://En.Wiki.org:80/a") == b"en.wiki.org"
    assert host_of(b"http://10.0.0.1") == b"10.0.0.1"
    assert host_of(b"http://wiki/a") == host_of(b"http://a b.org/") == b""


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lxml", None)
    with pytest.raises(InputError, match=r"pip install 'unreasonable\[evaluate\]'"):
        xml_parser()
