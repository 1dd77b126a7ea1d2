"""Sample text files from a registered model, on a pool of Ray Data actors."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

try:
    from jobs.command import Common, Job, announce, late
except ModuleNotFoundError as missing:  # a Python without the package
    from uninstalled import refuse  # type: ignore[import-not-found]  # it lies beside this file

    refuse(missing)
from pipeline import storage
from pipeline.sampling.config import SampleConfig
from pipeline.training.preflight import check_machine

log = logging.getLogger("unreasonable")


def sample(config: SampleConfig, common: Common) -> dict[str, Any]:
    # Here, because the job's output and its run in MLflow are begun before Ray is.
    check_machine(1, use_gpu=config.use_gpu)
    from pipeline.sampling.run import run_sampling

    # Entered only where a file is missing: who runs a finished job again waits for no Ray.
    @contextlib.contextmanager
    def engine(output: str) -> Iterator[None]:
        from cluster.connect import node_count, ray_session

        announce("sample", config)
        with ray_session(dashboard=False):
            storage.check_reachable_by(output, node_count(), option="--output")
            yield

    run = run_sampling(config, common.root, engine)
    log.info("samples: %s", run.result.samples)
    return run.to_json()


JOB = Job(
    description=__doc__ or "",
    section="sample",
    config_class=SampleConfig,
    run=sample,
    plan=late("jobs.plans", "sample_plan"),
)
main = JOB.main

if __name__ == "__main__":
    main()
