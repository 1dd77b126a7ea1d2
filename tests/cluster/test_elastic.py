"""An elastic run gains a worker when the cluster gains a node, and goes on when it is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent.parent

SCRIPT = """
import json, sys, threading, time
import ray
from ray.cluster_utils import Cluster
from pipeline import runs
from pipeline.corpora.manifest import open_corpus
from pipeline.training.config import TrainConfig
from pipeline.training.on_ray import run_training

root = sys.argv[1]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
ray.init(address=cluster.address)
config = TrainConfig(
    corpus="texts", num_layers=1, hidden_size=64, dropout=0.1, global_batch_size=10, seq_len=32,
    max_epochs=0, max_steps=20000, eval_every=20000, checkpoint_every=200, num_workers="1:2",
)
run = f"{root}/runs/r"
results = []
def train():
    results.append(run_training(config, root, "r", "r", open_corpus(root, "texts")))
thread = threading.Thread(target=train)
thread.start()
def worlds():
    states = [runs.read_state(f"{run}/{name}") for name in runs.complete(run)]
    return [state["world_size"] for state in states]
def wait_for(world):
    for _ in range(1500):
        if world in worlds()[-1:]:
            return
        assert thread.is_alive(), results
        time.sleep(0.1)
    raise TimeoutError(f"world of {world}: {worlds()}")
wait_for(1)
node = cluster.add_node(num_cpus=1)
wait_for(2)
cluster.remove_node(node, allow_graceful=False)
wait_for(1)
thread.join()
rows = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
every_step = [row["step"] for row in rows] == list(range(1, 20001))
print(json.dumps({"every_step": every_step, "step": results[0].step}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.long
def test_a_run_gains_and_loses_a_node(tmp_path: Path, texts: Path) -> None:
    from pipeline.corpora.build import build_corpus
    from pipeline.corpora.config import CorpusConfig

    build_corpus(CorpusConfig(name="texts", source=str(texts), val=0.2, test=0.0), str(tmp_path))
    script = tmp_path / "elastic.py"
    script.write_text(SCRIPT)
    environment = {
        **os.environ,
        "UNREASONABLE_RESIZE_S": "2",
        "PYTHONPATH": str(HOUSE),
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    }
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"every_step": True, "step": 20000}
