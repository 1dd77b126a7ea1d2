"""Look inside a model: pages of a text, of cells that mean something, and the model itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

try:
    from jobs.command import Common, Job, announce, late
except ModuleNotFoundError as missing:  # a Python without the package
    from uninstalled import refuse  # type: ignore[import-not-found]  # it lies beside this file

    refuse(missing)
from jobs.evaluate import kinds
from pipeline import storage
from pipeline.explaining.config import ExplainConfig
from pipeline.tasks import Runner, ray_runner, run_here


def explain(config: ExplainConfig, common: Common) -> dict[str, Any]:
    if config.evolution:
        from pipeline.explaining.evolution import run_evolution

        return run_evolution(config.evolution, common.root, config.output).to_json()
    # Late: torch and numba take seconds, and a wrong setting should not wait for them.
    from pipeline.explaining.run import run_explanation

    @contextlib.contextmanager
    def session(output: str) -> Iterator[Runner]:
        announce("explain", config)
        if config.num_workers == 1:
            yield run_here
            return
        from cluster.connect import node_count, ray_session

        with ray_session(dashboard=False):
            storage.check_reachable_by(output, node_count(), option="--output")
            yield ray_runner(config.num_workers)

    return run_explanation(config, common.root, session, kinds(common)).to_json()


JOB = Job(
    description=__doc__ or "",
    section="explain",
    config_class=ExplainConfig,
    run=explain,
    plan=late("jobs.plans", "explain_plan"),
)
main = JOB.main

if __name__ == "__main__":
    main()
