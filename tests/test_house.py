"""The rules of the house that a machine can check: who imports what."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
ADAPTERS = {"pipeline.corpora.build", "pipeline.training.on_ray", "pipeline.sampling.job"}
MLFLOW = {
    "pipeline.registry", "pipeline.sampler_model", "pipeline.training.run", "pipeline.sampling.run", "pipeline.registry.catalogue",
}  # fmt: skip
LIGHT = [
    "pipeline.corpora.config",
    "pipeline.training.config",
    "pipeline.sampling.config",
    "pipeline.recipes",
    "jobs.command",
    "jobs.models",
]


def modules(folder: str) -> list[str]:
    found = sorted((HOUSE / folder).rglob("*.py"))
    return [
        ".".join(path.relative_to(HOUSE).with_suffix("").parts)
        for path in found
        if path.name != "__init__.py"
    ]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE, check=False
    )


def test_the_core_imports_neither_ray_nor_mlflow() -> None:
    core = [name for name in modules("pipeline") if name not in ADAPTERS | MLFLOW]
    lines = [
        "import sys",
        "sys.modules.update(ray=None, mlflow=None)",
        *[f"import {name}" for name in core],
    ]
    done = python("\n".join(lines))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", LIGHT)
def test_configuration_imports_no_engine(name: str) -> None:
    done = python(f"import sys, {name}; print(*{{'torch', 'ray', 'mlflow'}} & set(sys.modules))")
    assert done.stdout.strip() == "", done.stdout + done.stderr


def imports(module: str) -> set[str]:
    tree = ast.parse((HOUSE / (module.replace(".", "/") + ".py")).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_imports_run_from_jobs_to_pipeline_and_cluster_only() -> None:
    for module in modules("pipeline"):
        assert not {
            name for name in imports(module) if name.split(".")[0] in ("jobs", "cluster")
        }, module
    for module in modules("cluster"):
        assert not {
            name for name in imports(module) if name.split(".")[0] in ("jobs", "pipeline")
        }, module


def test_only_one_module_and_the_model_file_import_mlflow() -> None:
    users = {module for module in modules("pipeline") + modules("jobs") + modules("cluster")
             if any(name.split(".")[0] == "mlflow" for name in imports(module))}  # fmt: skip
    assert users == {"pipeline.registry", "pipeline.sampler_model"}


def test_no_job_hides_a_standard_module() -> None:
    assert not {path.stem for path in (HOUSE / "jobs").glob("*.py")} & set(sys.stdlib_module_names)
