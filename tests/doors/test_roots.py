"""Roots that cannot be: read-only, full, of another kind, without credentials, strangely named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from pipeline import storage
from pipeline.errors import InputError, StoreError
from tests.doors.house import contents, shown
from tests.jobs.conftest import HOUSE, process

Refused = Callable[..., str]

JOBS: dict[str, list[str]] = {
    "build_corpus": [],
    "train": [],
    "sample": [],
    "reproduce": [],
    "models": ["list"],
    "schedule": ["--once"],
}
ROOTS = [
    "zip://root.zip",
    "zip://x::/tmp/none.zip",
    "simplecache::s3://bucket/root",
    "http://127.0.0.1:1/root",
    "https://host/root",
    "memory://root",
    "github://root",
    "nosuch://root",
    "gs://bucket/root",
    "abfs://container/root",
    "sftp://host/root",
    "s3://bucket/root?versionId=3",
    "s3://bucket/ro*t",
    "/tmp/root?mode=ro",
    "/tmp/root#1",
    "/tmp/100%25",
    "/tmp/ro[o]t",
    "/tmp/ro\not",
    "/tmp/\udcff",
    " ",
]


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("root", ROOTS, ids=map(shown, ROOTS))
def test_what_cannot_hold_a_root_is_refused_by_every_job(
    refused: Refused, job: str, root: str
) -> None:
    line = refused(job, "--root", root, *JOBS[job])
    assert "root" in line
    if job == "models":
        assert "mlflow" not in line  # it was not asked


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("root", ["/dev/null", "/dev/null/x", "/proc/none", "/" + "x" * 300])
def test_a_root_that_cannot_be_made_is_refused_by_every_job(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, job: str, root: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")  # which schedule asks for
    assert root in refused(job, "--root", root, *JOBS[job])


# What a full disk comes to, or a quota: no file of the process may have a byte. In a process of its
# own, because pytest keeps what tests print in files.
FULL_DISK = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, recipe_of: Callable[..., str]
) -> None:
    root = tmp_path / "root"
    arguments = ["--recipe", recipe_of(), "--root", str(root)]
    done = subprocess.run(
        [sys.executable, "-B", "-c", FULL_DISK, "jobs/build_corpus.py", *arguments],
        capture_output=True,
        text=True,
        cwd=HOUSE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith(f"error: cannot write under {root}: OSError: [Errno 27] File too")
    assert done.stderr.count("\n") == 1
    assert contents(root).files == frozenset()


@pytest.mark.parametrize("write", [storage.write_bytes, storage.create])
def test_a_disk_that_fills_up_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[str, bytes], object]
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.publishing.os.fsync", full)
    url = str(tmp_path / "file")
    with pytest.raises(StoreError, match=rf"cannot reach {tmp_path}.*No space left.*free space"):
        write(url, b"x")
    assert issubclass(StoreError, OSError)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root user may write everywhere, so the filesystem refuses by itself."""

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr("pipeline.publishing.os.makedirs", refuse)
    with pytest.raises(InputError, match=r"cannot write under .*Read-only.*Choose another --root"):
        storage.check_writable(str(tmp_path))
    with pytest.raises(StoreError, match="Read-only file system"):
        storage.write_bytes(str(tmp_path / "x"), b"")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "redentials"),
        (
            {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"},
            "127.0.0.1:1",
        ),
    ],
)
def test_s3_without_credentials_or_with_a_wrong_endpoint_is_one_line(
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    environment: dict[str, str],
    said: str,
) -> None:
    nowhere = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    for name, value in {**nowhere, **environment}.items():
        monkeypatch.setenv(name, value)
    s3 = fsspec.get_filesystem_class("s3")
    monkeypatch.setattr(s3, "retries", 1)
    s3.clear_instance_cache()
    for job in ("build_corpus", "train", "reproduce"):
        line = refused(job, "--root", "s3://bucket/root")
        assert said in line or "127.0.0.1:1" in line
    s3.clear_instance_cache()
    for job, arguments in (("build_corpus", ["--list"]), ("build_corpus", ["--verify"])):
        assert said in refused(job, "--root", "s3://bucket/root", *arguments)


def test_for_real_there_is_no_traceback(tmp_path: Path) -> None:
    for job, arguments in (
        ("train", ["--root", "/dev/null"]),
        ("models", ["--root", "zip://x::/tmp/none.zip", "list"]),
    ):
        assert process(job, *arguments).refusal
