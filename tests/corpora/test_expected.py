"""The size and MD5 that a recipe expects of its text."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.corpora import expected
from pipeline.corpora.expected import Expectation, check_listing
from pipeline.corpora.sources import Listing, SourceFile
from pipeline.errors import InputError

from .conftest import corpus_config

TEXT = b"exactly this"
MD5 = hashlib.md5(TEXT).hexdigest()


def test_what_is_expected_may_come_in_pieces() -> None:
    expectation = Expectation(corpus_config(expect_bytes=12, expect_md5=MD5))
    expectation.add("a", TEXT[:5])
    expectation.add("a", TEXT[5:])
    expectation.check("url")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expect_bytes": 13}, "url is not the text .*: expect_bytes is 13, found 12. Fetch it ag"),
        ({"expect_bytes": 11}, "expect_bytes is 11, found 12"),
        ({"expect_md5": "0" * 32}, f"expect_md5 is {'0' * 32}, found {MD5}"),
        ({"expect_bytes": 12, "expect_md5": "0" * 32}, "expect_md5 is"),
    ],
)
def test_another_text_is_refused(changes: dict[str, object], message: str) -> None:
    expectation = Expectation(corpus_config(**changes))
    expectation.add("a", TEXT)
    with pytest.raises(InputError, match=message):
        expectation.check("url")


def test_one_document_is_expected() -> None:
    expectation = Expectation(corpus_config(expect_bytes=12))
    with pytest.raises(InputError, match=r"url holds 0 documents; .* need exactly one"):
        expectation.check("url")
    expectation.add("a", TEXT[:5])
    expectation.add("b", TEXT[5:])
    with pytest.raises(InputError, match="url holds 2 documents; expect_bytes and expect_md5 need"):
        expectation.check("url")


def test_nothing_expected_is_nothing_checked() -> None:
    expectation = Expectation(corpus_config())
    expectation.add("a", TEXT)
    expectation.add("b", TEXT)
    expectation.check("url")
    assert (expectation.size, expectation.paths) == (0, set())
    check_listing(corpus_config(), Listing())
    check_listing(corpus_config(), Listing(files=[SourceFile("a", "/no/such/file", 1)]))


def test_a_plain_file_is_read_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(TEXT)
    listing = Listing(files=[SourceFile("t.txt", str(path), 12)])
    monkeypatch.setattr(expected, "_READ_BYTES", 5)
    check_listing(corpus_config(expect_bytes=12, expect_md5=MD5), listing)
    with pytest.raises(InputError, match=r"t\.txt is not the text this recipe expects"):
        check_listing(corpus_config(expect_bytes=5), listing)
    path.unlink()
    with pytest.raises(InputError, match=r"t\.txt is not there any more"):
        check_listing(corpus_config(expect_bytes=12), listing)


def test_a_source_of_several_documents_cannot_be_expected() -> None:
    file = SourceFile("a", "/no/such/file", 1)
    config = corpus_config(expect_bytes=1)
    for listing in (Listing(files=[file, file]), Listing(files=[file], streams=[file])):
        with pytest.raises(InputError, match="need one document, the source holds 2; name one"):
            check_listing(config, listing)
    with pytest.raises(InputError, match="the source holds 0"):
        check_listing(config, Listing())
    check_listing(config, Listing(streams=[file]))  # checked while it is read
