"""Sample text files from a registered model, on a pool of Ray Data actors."""

from __future__ import annotations

import logging
from typing import Any

from jobs.command import Common, announce, run_command
from pipeline import storage
from pipeline.sampling.config import SampleConfig

log = logging.getLogger("unreasonable")


def sample(config: SampleConfig, common: Common) -> dict[str, Any]:
    from pipeline.registry import Registry
    from pipeline.sampling.batch import default_output, pending, sample_files

    model = Registry(common.root).fetch_model(config.model)
    output = storage.absolute(config.output or default_output(common.root, model, config))
    if not pending(config, model, output):
        return sample_files(config, model, output, local=True)
    from cluster.connect import node_count, ray_session

    announce("sample", config)
    with ray_session():
        storage.check_reachable_by(output, node_count())
        result = sample_files(config, model, output)
    log.info("samples: %s", result["samples"])
    return result


if __name__ == "__main__":
    run_command(__doc__ or "", "sample", SampleConfig, sample)
