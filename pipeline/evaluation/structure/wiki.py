"""A Wikipedia dump: XML outside, wiki markup inside, and values that look like themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluation.structure.findings import EXCERPT, Found, Tally, Texts, finished, joined
from pipeline.evaluation.structure.nesting import Balance, Event

# No tag of a dump is longer; without a bound, "<a <a <a" would be searched again at each "<".
_TAG = re.compile(rb"<(/?)([A-Za-z_][\w:.-]{0,60}+)([^<>]{0,1000}+)>")
_PAGE_EDGE = re.compile(rb"<(/?)page>")
_LINK = re.compile(rb"\[\[|\]\]|\{\{|\}\}")
_LINK_OPENERS = {b"]]": "[[", b"}}": "{{"}
_TARGET = re.compile(rb"\[\[([^\[\]]{0,500})\]\]")
_NO_TITLE = re.compile(rb"[<>{}\n]")  # what no page can be called
_HEADING = re.compile(rb"^(={2,})([^\n]*)$", re.MULTILINE)
_ITEM = re.compile(rb"^(?:([*#:;]+)[^\n]*|[^\n]*)$", re.MULTILINE)
_TIMESTAMP = re.compile(rb"<timestamp>([^<\n]{0,100})</timestamp>")
_ID = re.compile(rb"<id>([^<\n]{0,100})</id>")
_NUMBER = re.compile(rb"[1-9][0-9]{0,11}|0")
_URL = re.compile(rb"(?:https?|ftp)://[^\s<>\"\[\]|{}]{0,500}")
_HOST = re.compile(rb"(?:https?|ftp)://([^/:?#]*)(?::\d{1,5})?(?=[/?#]|$)")
_HOST_NAME = re.compile(rb"(?:[\w-]{1,63}\.){1,10}[A-Za-z]{2,24}|(?:\d{1,3}\.){3}\d{1,3}")


@dataclass(frozen=True)
class Addresses:
    """URLs of the corpus, and the hosts they lead to."""

    urls: frozenset[bytes]
    hosts: frozenset[bytes]


@dataclass
class _Tallies:
    """In the report's order."""

    pages: Tally = field(default_factory=lambda: Tally("pages that are well-formed XML"))
    targets: Tally = field(default_factory=lambda: Tally("links that can name a page"))
    headings: Tally = field(
        default_factory=lambda: Tally("headings with as many = behind as before")
    )
    items: Tally = field(
        default_factory=lambda: Tally("list items at most one level below the one before")
    )
    times: Tally = field(default_factory=lambda: Tally("timestamps that are a time"))
    ids: Tally = field(default_factory=lambda: Tally("ids that are a number"))
    shaped: Tally = field(default_factory=lambda: Tally("URLs that have a host"))
    hosts: Tally = field(default_factory=lambda: Tally("URLs whose host the corpus has"))
    urls: Tally = field(default_factory=lambda: Tally("URLs that the corpus has"))


def learn(reference: bytes) -> Addresses:
    urls = frozenset(_URL.findall(reference))
    return Addresses(urls, frozenset(host_of(url) for url in urls))


def look(texts: Texts, known: Addresses) -> Found:
    tags = Balance("tags", wrong_closes=True)
    links = Balance("links and templates", wrong_closes=False)
    tallies = _Tallies()
    parser = xml_parser()
    for file, text in texts.items():
        tags.add(file, text, tag_events(text))
        links.add(file, text, _link_events(text))
        _count_pages(parser, file, text, tallies.pages)
        _count_markup(file, text, tallies)
        _count_values(file, text, tallies)
        _count_urls(file, text, known, tallies)
    order: list[Tally] = list(vars(tallies).values())
    return joined([tags.found(), links.found(), Found(checks=finished(order))])


def xml_parser() -> Any:
    """A parser that fetches nothing and expands nothing. InputError without the extra."""
    try:
        from lxml import etree
    except ImportError:
        raise InputError(
            "structure of wiki text needs the extra evaluate: pip install 'unreasonable[evaluate]'."
        ) from None
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=False
    )


def tag_events(text: bytes) -> Iterator[Event]:
    """Tags that open or close something; `<br/>` does neither."""
    for match in _TAG.finditer(text):
        if not match.group(3).endswith(b"/"):
            yield Event(match.start(), match.group(2).decode(), not match.group(1))


def host_of(url: bytes) -> bytes:
    """A URL's host; b"" where it has none that could be one."""
    match = _HOST.match(url)
    host = match.group(1).lower() if match else b""
    return host if _HOST_NAME.fullmatch(host) else b""


def pages(text: bytes) -> Iterator[tuple[int, int, bool]]:
    """Where each page starts and ends, and whether it is closed before the next one begins.

    The page that the text's end cuts is left out.
    """
    began = -1
    for match in _PAGE_EDGE.finditer(text):
        if not match.group(1):
            if began >= 0:
                yield began, match.start(), False
            began = match.start()
        elif began >= 0:
            yield began, match.end(), True
            began = -1


def is_time(stamp: bytes) -> bool:
    """Whether MediaWiki could have written it: 2006-01-31T23:59:59Z, a day that there was."""
    if not re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp):
        return False
    try:
        datetime.strptime(stamp.decode(), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def _link_events(text: bytes) -> Iterator[Event]:
    for match in _LINK.finditer(text):
        sign = match.group()
        yield Event(
            match.start(), _LINK_OPENERS.get(sign, sign.decode()), sign not in _LINK_OPENERS
        )


def _count_pages(parser: Any, file: str, text: bytes, tally: Tally) -> None:
    from lxml import etree

    for start, end, is_closed in pages(text):
        page = text[start:end]
        if not is_closed:
            tally.fails(file, start, "page is not closed before the next", page)
            continue
        try:
            etree.fromstring(page, parser)
        except etree.XMLSyntaxError as error:
            at = start + _line_offset(page, error.position[0])
            shown = text[at : at + EXCERPT]
            tally.fails(file, at, f"not well-formed: {str(error.msg)[:EXCERPT]}", shown)
        else:
            tally.holds()


def _line_offset(page: bytes, line: int) -> int:
    """Where a line begins; lines count from 1."""
    at = 0
    for _ in range(line - 1):
        at = page.find(b"\n", at) + 1
    return at


def _count_markup(file: str, text: bytes, to: _Tallies) -> None:
    for match in _TARGET.finditer(text):
        target = match.group(1).split(b"|")[0].strip()
        if target and not _NO_TITLE.search(target):
            to.targets.holds()
        else:
            to.targets.fails(file, match.start(), "link can name no page", match.group())
    for match in _HEADING.finditer(text):
        rest = match.group(2).rstrip()
        behind = len(rest) - len(rest.rstrip(b"="))
        if behind == len(match.group(1)):
            to.headings.holds()
        elif match.end() < len(text):  # the sample's end cuts no heading that is at fault
            to.headings.fails(file, match.start(), "heading is not closed as it opens", match[0])
    level = 0
    for match in _ITEM.finditer(text):
        before = level
        level = len(match.group(1) or b"")
        if level == 0:
            continue
        if level <= before + 1:
            to.items.holds()
        else:
            kind = f"list level {level} behind level {before}"
            to.items.fails(file, match.start(), kind, match.group())


def _count_values(file: str, text: bytes, to: _Tallies) -> None:
    for match in _TIMESTAMP.finditer(text):
        if is_time(match.group(1)):
            to.times.holds()
        else:
            to.times.fails(file, match.start(), "timestamp is no time", match.group())
    for match in _ID.finditer(text):
        if _NUMBER.fullmatch(match.group(1)):
            to.ids.holds()
        else:
            to.ids.fails(file, match.start(), "id is no number", match.group())


def _count_urls(file: str, text: bytes, known: Addresses, to: _Tallies) -> None:
    for match in _URL.finditer(text):
        url = match.group()
        host = host_of(url)
        answers = (
            (to.shaped, bool(host), "URL without a host"),
            (to.hosts, bool(host) and host in known.hosts, "invented host"),
            (to.urls, url in known.urls, "invented URL"),
        )
        for tally, holds, kind in answers:
            if holds:
                tally.holds()
            else:
                tally.fails(file, match.start(), kind, url)
