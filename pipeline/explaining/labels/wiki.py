"""Wikipedia's markup: links, templates, tags, URLs and the www that they begin with."""

from __future__ import annotations

import numpy as np

from pipeline.explaining.labels import common
from pipeline.explaining.labels.label import DEEPEST, Label, binary, real, run_lengths

# A link that is never closed would put the rest of the text inside it.
LONGEST = 2000
_ENDS_URL = " \t\n\r|<>\"{}[]'"
_SCHEMES = ("http://", "https://", "ftp://")


def labels(text: str) -> list[Label]:
    """Labels of a wiki's markup, those of any text left out."""
    links = pair_depths(text, "[", "]")
    templates = pair_depths(text, "{", "}")
    inside_link = links > 0
    return [
        binary("inside [[ ]]", inside_link),
        real("position in [[ ]]", run_lengths(inside_link)),
        binary("inside {{ }}", templates > 0),
        real("{{ }} depth", templates),
        binary("inside a tag", tags(text)),
        *urls(text),
        common.quotes(text),
        *common.brackets(text),
    ]


def pair_depths(text: str, opener: str, closer: str) -> np.ndarray:
    """How many doubled brackets are open (N,): [[ opens with its second bracket, ]] closes with
    its second. An empty line closes all, and so do LONGEST symbols without either.
    """
    depths = np.zeros(len(text), np.int64)
    depth = 0
    last = 0
    before = ""  # "" where it has been used up: "[[[" opens once
    for place, symbol in enumerate(text):
        used_up = False
        if symbol == before == opener:
            depth = min(DEEPEST, depth + 1)
            last = place
            used_up = True
        elif symbol == before == closer:
            depth = max(0, depth - 1)
            last = place
            used_up = True
        elif (symbol == before == "\n") or place - last > LONGEST:
            depth = 0
        depths[place] = depth
        before = "" if used_up else symbol
    return depths


def tags(text: str) -> bytearray:
    """Inside <...>: a name or a slash stands behind the opening bracket, and no second one."""
    inside = bytearray(len(text))
    is_on = False
    for place, symbol in enumerate(text):
        following = text[place + 1 : place + 2]
        if symbol == "<":
            is_on = following.isalpha() or following in ("/", "!")
        elif symbol in ">\n":
            is_on = False
        inside[place] = is_on
    return inside


def urls(text: str) -> list[Label]:
    """Inside a URL, from the end of its scheme or of www. on, and the www run itself."""
    inside = bytearray(len(text))
    run = bytearray(len(text))
    is_on = False
    for place, symbol in enumerate(text):
        if symbol in _ENDS_URL:
            is_on = False
        elif symbol == "/":
            # text[:place] would be copied: a few symbols back are enough for every scheme.
            is_on = is_on or text[max(0, place - 7) : place + 1].endswith(_SCHEMES)
        elif symbol == "." and text[max(0, place - 3) : place] == "www":
            is_on = True
        inside[place] = is_on
        run[place] = symbol == "w" and _in_www(text, place)
    return [binary("inside a URL", inside), binary("www run", run)]


def _in_www(text: str, place: int) -> bool:
    """Whether a w is one of exactly three that stand alone."""
    window = text[max(0, place - 3) : place + 4]
    at = min(place, 3)
    for first in range(max(0, at - 2), at + 1):
        is_run = window[first : first + 3] == "www"
        around = window[max(0, first - 1) : first] + window[first + 3 : first + 4]
        if is_run and not any(symbol.isalnum() for symbol in around):
            return True
    return False
