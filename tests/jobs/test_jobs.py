"""The jobs as a person runs them: processes, exit statuses, one line of error, one line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent.parent
RECIPE = """
corpus: {{name: mine, source: {source}, val: 0.2, test: 0.0}}
train: {{num_layers: 1, hidden_size: 24, global_batch_size: 8, seq_len: 32, max_steps: 20, eval_every: 20, num_workers: 2}}
sample: {{num_files: 2, num_chars: 300}}
"""


def job(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"jobs/{name}.py", *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=HOUSE,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize("name", ["build_corpus", "train", "sample", "reproduce"])
def test_help_and_bad_flags(name: str) -> None:
    shown = job(name, "--help")
    assert shown.returncode == 0
    assert "--recipe" in shown.stdout
    for arguments in (
        ["--no_such_flag", "1"],
        ["--recipe", "nope"],
        ["--scale", "nope"],
        ["--rec", "pystdlib"],
    ):
        refused = job(name, *arguments)
        assert refused.returncode == 2
        assert refused.stdout == ""
        assert len(refused.stderr.splitlines()) == 1, refused.stderr
        assert refused.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--num_layers", "two"], "num_layers"),
        (["train", "--num_layers", "0"], "num_layers is 0"),
        (["train", "--corpus", "nope"], "no corpus 'nope'"),
        (["train", "--learning_rate", "nan"], "learning_rate"),
        (["train", "--resume", "nope"], "no run 'nope'"),
        (["train", "--num_workers", "2:1"], "num_workers is 2:1"),
        (["train", "--num_workers", "1:40"], "40 workers share 32 lanes"),
        (["train", "--eval_every", "soon"], "eval_every is soon"),
        (["train", "--checkpoint_every", "0m"], "checkpoint_every is 0m"),
        (["train", "--sample_every", "1,x"], "sample_every is '1,x'"),
        (["train", "--precision", "bf16"], "precision bf16 needs a GPU"),
        (["train", "--num_workers", "99"], "99 workers share 32 lanes"),
        (["build_corpus", "--source", "/no/such/file"], "does not exist"),
        (["build_corpus", "--unit", "word"], "unit"),
        (["sample", "--model", "models:/nope@champion"], "no model"),
        (["sample", "--temperature", "-1"], "temperature"),
        (["sample", "--seed", "99999999999999999999"], "seed is"),
    ],
)
def test_wrong_values_are_one_line_and_status_two(arguments: list[str], expected: str) -> None:
    refused = job(*arguments)
    assert refused.returncode == 2, refused.stderr
    assert refused.stdout == ""
    errors = [line for line in refused.stderr.splitlines() if "mlflow.store.db" not in line]
    assert len(errors) == 1, refused.stderr
    assert expected in errors[0]


@pytest.mark.long  # tests/test_s3.py runs the same jobs on a root on S3
def test_a_recipe_from_source_to_report(tmp_path: Path, texts: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE.format(source=texts))
    root = tmp_path / "root"
    first = job("reproduce", "--recipe", recipe, "--root", root)
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout.splitlines()[-1])
    assert set(result["val_bits_per_byte"]) == {"model", "xz", "unigram"}
    assert len(Path(result["samples"]).with_name("sample-00000.txt").read_bytes()) == 300
    sampled = job(
        "sample", "--recipe", recipe, "--root", root
    )  # everything is there: no engine starts
    assert json.loads(sampled.stdout.splitlines()[-1])["written"] == 0
    assert "starting a local Ray" not in sampled.stderr


def test_a_corpus_is_built_listed_checked_and_pruned(tmp_path: Path, texts: Path) -> None:
    root = tmp_path / "root"
    mine = ["--recipe", "paulgraham", "--source", texts, "--root", root]
    first = json.loads(job("build_corpus", *mine).stdout)
    other = json.loads(job("build_corpus", *mine, "--unit", "char", "--keep", 1, "--force").stdout)
    assert other["removed"] == [first["version"]]
    shown = job("build_corpus", "--list", "--root", root)
    (row,) = json.loads(shown.stdout)["corpora"]
    assert (row["name"], row["version"], row["latest"]) == ("paulgraham", other["version"], True)
    assert "paulgraham" in shown.stderr
    checked = job("build_corpus", "--verify", "--name", "paulgraham", "--root", root)
    assert json.loads(checked.stdout)["version"] == other["version"]
    (Path(other["url"]) / "documents.arrow").write_bytes(b"damaged")
    refused = job("build_corpus", "--verify", "--name", "paulgraham", "--root", root)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "documents.arrow does not have the digest" in refused.stderr.splitlines()[-1]
