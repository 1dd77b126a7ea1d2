"""Jobs on a Ray cluster, by its dashboard's address: submitted once, under ids of ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cluster.connect import FORWARDED, ConnectionFailedError, refusal

_HOUSE = Path(__file__).parent.parent
# What a job needs of the folder that holds the code: of a checkout, or of an installed package,
# where all of site-packages lies beside it. Patterns as in .gitignore, the last that fits decides;
# the folder itself, ".", must stay, or Ray sends nothing at all.
_EXCLUDES = ("/*", "!/.", "!/pipeline", "!/jobs", "!/cluster", "__pycache__/")
# What a job needs to know of the one who submits it. Secrets stay at home: a job's environment is
# shown in the dashboard.
_FORWARDED = (*FORWARDED, "MLFLOW_TRACKING_URI", "UNREASONABLE_SHARED_ROOT")


class RayJobs:
    """A cluster's jobs.

    The address is $RAY_ADDRESS: the dashboard's, such as http://127.0.0.1:8265. Every method raises
    ConnectionFailedError when the cluster does not answer or refuses us.
    """

    def __init__(self, address: str | None = None) -> None:
        from ray.job_submission import JobSubmissionClient

        self.address = address or os.environ.get("RAY_ADDRESS", "")
        if not self.address.startswith(("http://", "https://")):
            state = f"is {self.address!r}" if self.address else "is not set"
            raise ConnectionFailedError(
                f"RAY_ADDRESS {state}; give the dashboard of the cluster, "
                "such as http://127.0.0.1:8265."
            )
        try:
            self.client: Any = JobSubmissionClient(self.address)
        except Exception as error:  # Ray lets through whatever its HTTP client raises
            raise self._failed(error) from None

    def start(self, job_id: str, entrypoint: str) -> None:
        """Submit a command in the project's folder, under an id.

        One that the cluster knows already is left alone.
        """
        if self.has_ended(job_id) is not None:
            return
        environment = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
        runtime = {
            "working_dir": str(_HOUSE),
            "excludes": list(_EXCLUDES),
            "env_vars": environment,
        }
        try:
            self.client.submit_job(entrypoint=entrypoint, submission_id=job_id, runtime_env=runtime)
        except Exception as error:
            # Another scheduler may have submitted the same id since we asked.
            was_submitted = isinstance(error, RuntimeError) and "already exists" in str(error)
            if not was_submitted:
                raise self._failed(error) from None

    def has_ended(self, job_id: str) -> bool | None:
        """Whether a job has ended, well or not; None for an id that the cluster does not know."""
        try:
            status = self.client.get_job_status(job_id)
        except Exception as error:
            if isinstance(error, RuntimeError) and _is_unknown_id(str(error)):
                return None
            raise self._failed(error) from None
        return str(status.value) in ("SUCCEEDED", "FAILED", "STOPPED")

    def output(self, job_id: str) -> str:
        """What a job has logged so far; "" where the cluster cannot say.

        Its log is shown to whoever waits; that it is missing for a moment is no reason to leave.
        """
        try:
            return str(self.client.get_job_logs(job_id))
        except Exception:  # the job may not have begun, and its node may be gone
            return ""

    def _failed(self, error: Exception) -> ConnectionFailedError:
        return ConnectionFailedError(refusal(self.address, error))


def _is_unknown_id(message: str) -> bool:
    return "404" in message or "does not exist" in message
