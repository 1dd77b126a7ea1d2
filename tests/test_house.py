"""The rules of the house that a machine can check: which room imports which, who knows the engines,
what has a test.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent

# From the bottom up: a room imports rooms that stand before it, never one behind it.
ORDER = (
    "corpora",
    "model",
    "engine",
    "registry",
    "training",
    "sampling",
    "evaluation",
    "explaining",
    "reproducing",
)
BESIDE = ("scheduling",)  # imports no room, and no room imports it
LOOSE = (
    "storage",
    "urls",
    "publishing",
    "errors",
    "estimates",
    "hints",
    "compiled_code",
    "progress",
    "terminal",
    "counter_rng",
    "recipes",
    "yaml_files",
    "settings",
    "kinds",
    "lease",
    "runs",
    "tasks",
)
FACADE = "pipeline.sampler"  # README's door: the one loose file that may import rooms

RAY = {"pipeline.tasks", "pipeline.training.on_ray", "pipeline.sampling.on_ray"}
MLFLOW = {
    "pipeline.registry.tracking",
    "pipeline.registry.models",
    "pipeline.registry.pyfunc",
    "pipeline.registry.system_metrics",
}
# Modules that a job imports before it knows what to do: none of the engines, each of which takes
# seconds.
LIGHT = [
    "pipeline.corpora.config",
    "pipeline.training.config",
    "pipeline.sampling.config",
    "pipeline.evaluation.config",
    "pipeline.recipes",
    "jobs.unreasonable",
    "jobs.build_corpus",
    "jobs.train",
    "jobs.sample",
    "jobs.evaluate",
    "jobs.reproduce",
    "jobs.models",
    "jobs.schedule",
    "jobs.completion",
]
# A module without a test file of its own name, and the test that covers it.
COVERED_ELSEWHERE: dict[str, str] = {
    "pipeline.sampler": "tests/sampling/test_api.py",
    # Old names for models that were registered before the rooms.
    "pipeline.sampling.engine": "tests/registry/test_pyfunc.py",
    "pipeline.training.artifact": "tests/registry/test_pyfunc.py",
    # From source to report, as a job: anything less would be mocks of every room.
    "pipeline.reproducing.recipe": "tests/reproducing/test_stages.py",
    "jobs.plan_tables": "tests/jobs/test_plans.py",
    "jobs.build_corpus": "tests/jobs/test_jobs.py",
    "jobs.train": "tests/jobs/test_jobs.py",
    "jobs.reproduce": "tests/jobs/test_jobs.py",
    "jobs.job_parser": "tests/jobs/test_command.py",
    "jobs.model_actions": "tests/jobs/test_models.py",
    "jobs.schedule": "tests/cluster/test_schedule.py",
}


def modules(folder: str) -> list[str]:
    """Names of all modules below a folder, packages' own files left out: those hold prose alone."""
    paths = sorted((HOUSE / folder).rglob("*.py"))
    return [
        ".".join(path.relative_to(HOUSE).with_suffix("").parts)
        for path in paths
        if path.name != "__init__.py"
    ]


PIPELINE = modules("pipeline")


def imports(module: str) -> set[str]:
    """Modules that a module names in an import, anywhere in it, under TYPE_CHECKING and in
    functions too.
    """
    tree = ast.parse((HOUSE / (module.replace(".", "/") + ".py")).read_text())
    named = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named.add(node.module)
            # `from pipeline.corpora import manifest` names a module as well.
            named |= {f"{node.module}.{alias.name}" for alias in node.names}
    return named


def room_of(module: str) -> str:
    """The room of a module of pipeline; "" for a loose file."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else ""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE, check=False
    )


def test_every_folder_of_pipeline_is_a_room_and_every_other_file_is_named() -> None:
    rooms = {room_of(module) for module in PIPELINE} - {""}
    assert rooms <= {*ORDER, *BESIDE}
    loose = {module.split(".")[1] for module in PIPELINE if not room_of(module)}
    assert loose == {*LOOSE, FACADE.split(".")[1]}


@pytest.mark.parametrize("module", PIPELINE)
def test_no_import_runs_up(module: str) -> None:
    named = {name for name in imports(module) if name in PIPELINE}
    rooms = {room_of(name) for name in named} - {"", room_of(module)}
    if module == FACADE:
        return
    if not room_of(module) or room_of(module) in BESIDE:
        assert not rooms, f"{module} imports {rooms}"
    else:
        allowed = ORDER[: ORDER.index(room_of(module))]
        assert rooms <= set(allowed), (
            f"{module} imports {rooms - set(allowed)}, which stand above it"
        )


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {module: imports(module) & set(PIPELINE) for module in PIPELINE}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for named in sorted(graph[module]):
                visit(named, (*path, module))
            done.add(module)

    for module in PIPELINE:
        visit(module, ())


def test_imports_run_from_jobs_to_pipeline_and_cluster_only() -> None:
    forbidden = {"pipeline": ("jobs", "cluster"), "cluster": ("jobs", "pipeline")}
    for folder, others in forbidden.items():
        for module in modules(folder):
            named = {name.split(".")[0] for name in imports(module)}
            assert not named & set(others), module


@pytest.mark.parametrize(("engine", "users"), [("ray", RAY), ("mlflow", MLFLOW)])
def test_an_engine_is_imported_by_its_adapters_alone(engine: str, users: set[str]) -> None:
    found = {
        module
        for module in PIPELINE
        if any(name.split(".")[0] == engine for name in imports(module))
    }
    assert found == users


def test_the_core_runs_without_ray_and_without_mlflow() -> None:
    core = [
        module
        for module in PIPELINE
        if module not in RAY and room_of(module) in ("", "corpora", "model", "engine", "scheduling")
    ]
    lines = ["import sys", "sys.modules.update(ray=None, mlflow=None)"]
    done = python("\n".join([*lines, *(f"import {name}" for name in core if name != FACADE)]))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", LIGHT)
def test_what_reads_a_command_line_imports_no_engine(name: str) -> None:
    done = python(f"import sys, {name}; print(*{{'torch', 'ray', 'mlflow'}} & set(sys.modules))")
    assert done.stdout.strip() == "", done.stdout + done.stderr


def test_a_model_is_sampled_without_torch() -> None:
    """The engine needs numpy and numba. torch takes 3 s to import, ray and mlflow more."""
    code = (
        "import sys, pipeline.engine.opening; print(*{'torch', 'ray', 'mlflow'} & set(sys.modules))"
    )
    done = python(code)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


def test_no_job_hides_a_standard_module() -> None:
    assert not {path.stem for path in (HOUSE / "jobs").glob("*.py")} & set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", [*PIPELINE, *modules("jobs"), *modules("cluster")])
def test_every_module_has_a_test_file_of_its_name_or_is_named_in_the_table(module: str) -> None:
    parts = module.split(".")
    folders = parts[1:-1] if parts[0] == "pipeline" else parts[:-1]
    own = Path("tests", *folders, f"test_{parts[-1]}.py")
    if module in COVERED_ELSEWHERE:
        assert not (HOUSE / own).exists(), f"{own} exists: take {module} out of the table"
        assert (HOUSE / COVERED_ELSEWHERE[module]).exists()
    else:
        assert (HOUSE / own).exists(), f"write {own}, or name the test that covers {module}"
