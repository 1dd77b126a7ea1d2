from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from pipeline import urls
from pipeline.errors import InputError, StoreError


def test_local_paths_become_absolute_and_urls_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert urls.absolute("a/../b") == str(tmp_path / "b")
    assert urls.absolute("~/b/") == "/home/someone/b"
    assert urls.absolute("file:///a/b/") == "/a/b"
    assert urls.absolute("local:///a/../b") == "/b"
    assert urls.absolute("s3://bucket/key/") == "s3://bucket/key"
    assert urls.absolute("zip://a/b.txt::x.zip") == f"zip://a/b.txt::{tmp_path}/x.zip"
    assert urls.absolute("zip://a::tar://b::x.tar") == f"zip://a::tar://b::{tmp_path}/x.tar"
    assert urls.absolute("https://host/folder/") == "https://host/folder/"
    assert urls.absolute("http://host/folder/") == "http://host/folder/"


def test_an_unknown_protocol_is_one_clear_error() -> None:
    with pytest.raises(InputError) as refused:
        urls.filesystem("nosuch://x")
    assert str(refused.value) == (
        "cannot open 'nosuch://x': Protocol not known: nosuch. "
        "Use a path or an fsspec URL, or install the protocol's package."
    )


def test_a_url_has_a_filesystem_and_a_path_on_it(tmp_path: Path) -> None:
    assert urls.filesystem("memory://a/b") == (fsspec.filesystem("memory"), "/a/b")
    assert urls.filesystem(str(tmp_path))[1] == str(tmp_path)
    assert urls.is_local(str(tmp_path))
    assert urls.is_local(f"file://{tmp_path}")
    assert not urls.is_local("memory://a")


def test_an_http_url_is_bared_of_what_follows_its_path() -> None:
    assert urls.bare("https://host/a.zip?token=b.tar#c") == "https://host/a.zip"
    assert urls.bare("http://host/a.zip#part?x") == "http://host/a.zip"
    assert urls.bare("https://host/a.zip") == "https://host/a.zip"
    assert urls.bare("s3://bucket/what?.txt") == "s3://bucket/what?.txt"
    assert urls.bare("/a/b#c") == "/a/b#c"


def test_urls_are_joined_by_one_slash() -> None:
    assert urls.join("s3://bucket/", "a", "b.txt") == "s3://bucket/a/b.txt"
    assert urls.join("/a", "b") == "/a/b"
    assert urls.join("/a/") == "/a"


def test_the_root_unless_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREASONABLE_ROOT", "s3://bucket/root")
    assert urls.default_root() == "s3://bucket/root"
    monkeypatch.setenv("UNREASONABLE_ROOT", "")
    assert urls.default_root() == "~/unreasonable"
    monkeypatch.delenv("UNREASONABLE_ROOT")
    assert urls.default_root() == "~/unreasonable"


def test_what_others_wrote_meanwhile_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten = []
    fs = fsspec.filesystem("memory")
    monkeypatch.setattr(fs, "invalidate_cache", lambda: forgotten.append(fs))
    assert urls.fresh("memory://a/b") == (fs, "/a/b")
    assert forgotten == [fs]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (" ", "--root is empty"),
        ("/a\nb", r"holds '\\n'"),
        ("http://x/y", "cannot hold a root"),
        ("zip://a", "cannot hold a root"),
        ("zip://a::/b.zip", "cannot hold a root"),
        ("memory://a", "cannot hold a root"),
        ("/a?b", r"holds '\?'"),
        ("s3://a/b%20", "holds '%'"),
        ("nosuch://a", "^--root: cannot open 'nosuch://a': Protocol not known"),
    ],
)
def test_what_cannot_hold_a_root_is_refused(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        urls.root_url(url)


def test_a_root_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert urls.root_url("here") == str(tmp_path / "here")
    assert urls.root_url("s3://bucket/root/") == "s3://bucket/root"


def test_what_a_store_raises_names_the_url_in_one_line() -> None:
    with pytest.raises(StoreError) as caught, urls.reaching("s3://b/x"):
        raise KeyError("no\nregion")
    assert str(caught.value) == (
        "cannot reach s3://b/x: KeyError: 'no\\nregion'. "
        "Check the URL, and its store's credentials, endpoint, rights and free space."
    )
    assert urls.reason(caught.value) == "KeyError: 'no\\nregion'"
    for passes in (FileNotFoundError, NotADirectoryError, InputError):
        with pytest.raises(passes, match="as it is"), urls.reaching("x"):
            raise passes("as it is")


def test_a_nul_is_in_no_url() -> None:
    with pytest.raises(InputError, match="NUL"):
        urls.filesystem("/a\0b")


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///", "s3:///key", "gs://", "memory://", "memory:///", "zip://a::s3://"]
)
def test_a_url_that_names_no_place_is_refused(url: str) -> None:
    """Without its end it would be a local folder of the name "s3:"."""
    with pytest.raises(InputError, match=r"names no place in its store; give all of it: \w+://BUC"):
        urls.absolute(url)
    assert urls.absolute("memory:///a") == "memory:///a"
