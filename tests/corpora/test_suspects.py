"""What looks compressed or binary is named with the remedy; text in any encoding is not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile

import pytest

from pipeline.corpora.documents import Document
from pipeline.corpora.suspects import NAMED, Suspects, looks_like, suspects_of


def zipped() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a", "text")
    return target.getvalue()


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (gzip.compress(b"text", mtime=0), "gzip"),
        (bz2.compress(b"text"), "bzip2"),
        (lzma.compress(b"text"), "xz"),
        (zipped(), "zip"),
        (b"\x28\xb5\x2f\xfd rest", "zstd"),
        (b"\x89PNG\r\n\x1a\nrest", "PNG"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x7fELF\x02", "a program"),
        ("\ufefftext".encode("utf-16-le"), "UTF-16"),
        ("\ufefftext".encode("utf-16-be"), "UTF-16"),
        (b"text\x00text", "binary"),
        (b"x" * 4095 + b"\x00", "binary"),
        (b"x" * 93 + b"\x01" * 5, "binary"),
        (b"\x7f", "binary"),
    ],
)
def test_what_is_no_text_is_told(beginning: bytes, kind: str) -> None:
    assert looks_like(beginning) == kind


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"text\r\n\twith\x0cform feeds, \x1b[1mcolours\x1b[0m and \x08 backspaces" * 3,
        "\ufeffcaf\u00e9 \u3042".encode(),
        "caf\u00e9 \u00fcber".encode("latin-1"),
        "\u3042\u3044".encode("shift-jis"),
        b"BZh is how this text begins",
        b"BZh",
        b"PK, said he",
        b"x" * 4096 + b"\x00",
        b"x" * 95 + b"\x01" * 5,
    ],
)
def test_text_is_no_suspect(beginning: bytes) -> None:
    assert looks_like(beginning) is None


def document(path: bytes, suspect: str) -> Document:
    return Document(path, [], bytes(32), -1, suspect)


def test_a_few_are_named_and_all_are_counted() -> None:
    assert NAMED == 5
    these = [document(b"%d.gz" % n, "gzip") for n in range(7)]
    found = suspects_of([document(b"text", ""), *these, document(b"\xff", "")])
    assert found == Suspects(7, tuple((f"{n}.gz", "gzip") for n in range(5)))
    assert found.warning() == (
        "7 documents do not look like text and will be learnt as noise: '0.gz' (gzip), "
        "'1.gz' (gzip), '2.gz' (gzip), '3.gz' (gzip), '4.gz' (gzip) and 2 more; leave them out "
        "with --exclude '*.gz', or unpack them with a glob: --source 'FOLDER/*.gz'."
    )
    assert Suspects.from_json(found.to_json()) == found
    assert found.to_json()["documents"] == 7
    assert found.to_json()["named"][0] == ["0.gz", "gzip"]


def test_the_remedy_goes_by_what_they_are() -> None:
    assert suspects_of([document(b"text", "")]).warning() == ""
    assert suspects_of([]) == Suspects()
    assert suspects_of([document(b"a/b.c/core\xff", "a program")]).warning() == (
        "1 document does not look like text and will be learnt as noise: "
        "'a/b.c/core\ufffd' (a program); leave them out with --exclude 'a/b.c/core\ufffd'."
    )
    archive = suspects_of([document(b"x.zip", "zip")]).warning()
    assert archive.endswith("--exclude '*.zip', or read one archive with --source FOLDER/NAME.zip.")
    six = suspects_of([document(b"%d" % n, "binary") for n in range(6)])
    assert "'4' (binary) and 1 more; leave" in six.warning()


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"documents": 1},
        {"documents": True, "named": []},
        {"documents": 1, "named": [["a"]]},
        {"documents": 1, "named": [["a", 1]]},
        {"documents": 1, "named": ["ab"]},
        {"documents": 1, "named": "ab"},
    ],
)
def test_what_is_no_record_is_refused(value: object) -> None:
    with pytest.raises((KeyError, TypeError)):
        Suspects.from_json(value)
