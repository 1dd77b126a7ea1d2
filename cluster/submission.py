"""Jobs on a Ray cluster by its dashboard's address: submitted once under an id of ours, asked after, awaited."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cluster.connect import FORWARDED, ConnectionFailedError, refusal

RUNNING, ENDED = "running", "ended"
_HOUSE = Path(__file__).parent.parent
# What a job needs to know of the one who submits it. Secrets stay at home: a job's environment is shown in the dashboard.
_FORWARDED = (*FORWARDED, "MLFLOW_TRACKING_URI", "UNREASONABLE_SHARED_ROOT")


class RayJobs:
    """A cluster's jobs. The address is $RAY_ADDRESS: the dashboard's, such as http://127.0.0.1:8265."""

    def __init__(self, address: str | None = None) -> None:
        from ray.job_submission import JobSubmissionClient

        self.address = address or os.environ.get("RAY_ADDRESS", "")
        if not self.address.startswith(("http://", "https://")):
            found = f"is {self.address!r}" if self.address else "is not set"
            raise ConnectionFailedError(
                f"RAY_ADDRESS {found}; give the dashboard of the cluster, such as http://127.0.0.1:8265."
            )
        self.client: Any = self._asking(lambda: JobSubmissionClient(self.address))

    def start(self, job_id: str, entrypoint: str) -> None:
        """Submit a command from the project's folder under an id; one that the cluster knows already is left alone."""
        if self.status(job_id) is not None:
            return
        environment = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
        runtime = {"working_dir": str(_HOUSE), "env_vars": environment}
        try:
            self.client.submit_job(entrypoint=entrypoint, submission_id=job_id, runtime_env=runtime)
        except RuntimeError as error:
            if "already exists" not in str(error):  # another scheduler was faster
                raise self._failed(error) from None
        except Exception as error:
            raise self._failed(error) from None

    def status(self, job_id: str) -> str | None:
        """RUNNING (or waiting to), ENDED, or None for an id that the cluster does not know."""
        try:
            found = str(self.client.get_job_status(job_id).value)
        except RuntimeError as error:
            if "404" in str(error) or "does not exist" in str(error):
                return None
            raise self._failed(error) from None
        except Exception as error:
            raise self._failed(error) from None
        return ENDED if found in ("SUCCEEDED", "FAILED", "STOPPED") else RUNNING

    def _asking(self, call: Any) -> Any:
        try:
            return call()
        except Exception as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> ConnectionFailedError:
        return ConnectionFailedError(refusal(self.address, error))
