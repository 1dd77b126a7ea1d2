"""Jobs on a cluster, with a client of the tests' own in place of Ray's: test_submit.py has that."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cluster.connect import FORWARDED, ConnectionFailedError
from cluster.submission import RayJobs

HOUSE = Path(__file__).parent.parent.parent
DASHBOARD = "http://127.0.0.1:8265"


class Client:
    """Stands in for Ray's JobSubmissionClient; `fails` is raised by whatever is asked next."""

    fails: Exception | None = None

    def __init__(self, address: str) -> None:
        self.address = address
        self.jobs: dict[str, str] = {}
        self.submitted: list[dict[str, Any]] = []
        self.fails_to_submit: Exception | None = None
        if Client.fails:
            raise Client.fails

    def get_job_status(self, job_id: str) -> Any:
        if Client.fails:
            raise Client.fails
        if job_id not in self.jobs:
            raise RuntimeError(f"Request failed with status code 404: Job {job_id} does not exist")
        return SimpleNamespace(value=self.jobs[job_id])

    def get_job_logs(self, job_id: str) -> str:
        if Client.fails:
            raise Client.fails
        return f"log of {job_id}\n"

    def submit_job(self, **job: Any) -> None:
        if self.fails_to_submit:
            raise self.fails_to_submit
        self.submitted.append(job)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> RayJobs:
    module = ModuleType("ray.job_submission")
    module.JobSubmissionClient = Client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray.job_submission", module)
    monkeypatch.setattr(Client, "fails", None)
    for name in (*FORWARDED, "MLFLOW_TRACKING_URI", "UNREASONABLE_SHARED_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_ADDRESS", DASHBOARD)
    return RayJobs()


def test_the_address_is_the_dashboards(jobs: RayJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (jobs.address, jobs.client.address) == (DASHBOARD, DASHBOARD)
    assert RayJobs("https://elsewhere").client.address == "https://elsewhere"
    hint = "give the dashboard of the cluster, such as http://127.0.0.1:8265."
    for address, state in (("head:6379", "is 'head:6379'"), ("", "is not set")):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConnectionFailedError) as refused:
            RayJobs()
        assert str(refused.value) == f"RAY_ADDRESS {state}; {hint}"
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(ConnectionFailedError, match="RAY_ADDRESS is not set; "):
        RayJobs()


def test_a_job_is_submitted_once_in_the_projects_folder(
    jobs: RayJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNREASONABLE_ROOT", "s3://b/r")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("UNREASONABLE_SHARED_ROOT", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted")
    jobs.start("nightly-1", "python jobs/schedule.py")
    assert jobs.client.submitted == [
        {
            "entrypoint": "python jobs/schedule.py",
            "submission_id": "nightly-1",
            "runtime_env": {
                "working_dir": str(HOUSE),
                "excludes": ["/*", "!/.", "!/pipeline", "!/jobs", "!/cluster", "__pycache__/"],
                "env_vars": {
                    "UNREASONABLE_ROOT": "s3://b/r",
                    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
                    "UNREASONABLE_SHARED_ROOT": "1",
                },
            },
        }
    ]
    for state in ("PENDING", "RUNNING", "SUCCEEDED", "FAILED"):
        jobs.client.jobs = {"nightly-1": state}
        jobs.start("nightly-1", "python jobs/schedule.py")
    assert len(jobs.client.submitted) == 1


@pytest.mark.parametrize("beside", ["torch/a.py", "six.py", ".env", "pipeline/__pycache__/a.pyc"])
def test_an_installed_package_ships_itself_and_no_other(
    jobs: RayJobs, tmp_path: Path, beside: str
) -> None:
    """By Ray's own packing, of a folder as site-packages is."""
    from ray._private.runtime_env import packaging

    jobs.start("nightly-1", "true")
    excludes = jobs.client.submitted[0]["runtime_env"]["excludes"]
    own = ["pipeline/storage.py", "jobs/recipes/linux.yaml", "jobs/train.py", "cluster/connect.py"]
    for name in [*own, "pipeline/corpora/build.py", beside]:
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text("x")
    package = tmp_path / "package.zip"
    packaging.create_package(
        str(tmp_path / "site"), package, include_gitignore=True, excludes=excludes
    )
    with zipfile.ZipFile(package) as opened:
        names = {info.filename for info in opened.infolist() if not info.is_dir()}
    assert names == {*own, "pipeline/corpora/build.py"}


def test_a_job_that_another_has_just_submitted_is_left_alone(jobs: RayJobs) -> None:
    jobs.client.fails_to_submit = RuntimeError("Job with id nightly-1 already exists.")
    jobs.start("nightly-1", "true")
    for error in (RuntimeError("403 Forbidden"), OSError("403 already exists")):
        jobs.client.fails_to_submit = error
        with pytest.raises(ConnectionFailedError, match=f"^Ray at {DASHBOARD} refuses the token"):
            jobs.start("nightly-1", "true")


@pytest.mark.parametrize(
    ("state", "has_ended"),
    [
        ("PENDING", False),
        ("RUNNING", False),
        ("SUCCEEDED", True),
        ("FAILED", True),
        ("STOPPED", True),
    ],
)
def test_whether_a_job_has_ended(jobs: RayJobs, state: str, has_ended: bool) -> None:
    jobs.client.jobs = {"nightly-1": state}
    assert jobs.has_ended("nightly-1") is has_ended


@pytest.mark.parametrize("message", ["status code 404", "Job x does not exist"])
def test_a_job_that_the_cluster_does_not_know(
    jobs: RayJobs, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    assert jobs.has_ended("nobody's") is None
    monkeypatch.setattr(Client, "fails", RuntimeError(message))
    assert jobs.has_ended("nobody's") is None


def test_what_a_job_logs_is_shown_where_it_can_be_had(
    jobs: RayJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jobs.output("nightly-1") == "log of nightly-1\n"
    monkeypatch.setattr(Client, "fails", RuntimeError("500"))
    assert jobs.output("nightly-1") == ""


@pytest.mark.parametrize("kind", [RuntimeError, ConnectionError, OSError])
def test_a_cluster_that_does_not_answer_is_one_line(
    jobs: RayJobs, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    monkeypatch.setattr(Client, "fails", kind("cannot\n connect"))
    line = f"^no Ray at {DASHBOARD}: check that the cluster is up .*cannot connect"
    with pytest.raises(ConnectionFailedError, match=line):
        jobs.has_ended("nightly-1")
    with pytest.raises(ConnectionFailedError, match=line):
        jobs.start("nightly-1", "true")
    with pytest.raises(ConnectionFailedError, match=line):
        RayJobs()
    monkeypatch.setattr(Client, "fails", OSError("404 connect"))  # not Ray's word about a job
    with pytest.raises(ConnectionFailedError, match="no Ray at"):
        jobs.has_ended("nightly-1")
