"""Data in a page stays data."""

from __future__ import annotations

import base64
import json
import re
import zlib

import numpy as np
import pytest

from pipeline.explaining import page_parts

HOSTILE = "</script><!--<script>\u2028\ud800\x00&\"'"


def test_json_cannot_end_its_block_and_comes_back() -> None:
    block = page_parts.json_block("a", {"text": HOSTILE})
    assert block.count("<") == 2
    assert block.isascii()
    assert json.loads(re.sub("<[^>]*>", "", block))["text"] == HOSTILE


def test_bytes_come_back() -> None:
    data = bytes(range(256)) * 3
    block = page_parts.bytes_block("a", data)
    assert zlib.decompress(base64.b64decode(re.sub("<[^>]*>", "", block))) == data


def test_a_mark_within_a_part_stays() -> None:
    assert page_parts.filled("{{a}}-{{b}}", {"a": "{{b}}", "b": "2"}) == "{{b}}-2"


def test_text_is_escaped_and_shows_what_is_no_character() -> None:
    assert page_parts.escaped("<a>\x00\u202e\ud800\n") == "&lt;a&gt;\ufffd\ufffd\ufffd\n"
    assert page_parts.escaped("a\rb\r\nc") == "a\nb\nc"
    rows = page_parts.table_rows([("a", "<b>"), ("none", "")])
    assert rows == '<tr><th scope="row">a</th><td>&lt;b&gt;</td></tr>'


def test_a_script_that_would_end_its_element_is_no_script_of_ours() -> None:
    with pytest.raises(AssertionError):
        page_parts.script_block("'</SCRIPT>'")


def test_arrays_begin_at_multiples_of_four() -> None:
    arrays = {"a.b": np.arange(3, dtype=np.int8), "c": np.ones((2, 2), np.float32)}
    data, places = page_parts.joined_arrays(arrays)
    assert places == [["a.b", "i1", 0, 3], ["c", "f4", 4, 4]]
    assert np.frombuffer(data, "<f4", 4, 4).tolist() == [1.0] * 4
