"""Mutation testing: do a module's own tests notice when one small thing in the module changes?

`python tests/mutants.py [MODULE ...] [--jobs N] [--lines]`, or `make mutants`. For each module of
MODULES, mutmut writes its mutants, changed in one place each, and runs the module's own tests
against every one. Fails when a module's tests kill under 90% of them, or when a mutant survives
that tests/MUTANTS.md does not list with a reason. Works in a copy of the tree, and removes it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Each module and the tests that are its own: they alone must notice.
MODULES: dict[str, str | tuple[str, ...]] = {
    "pipeline/counter_rng.py": "tests/test_counter_rng.py",
    "pipeline/runs.py": "tests/test_runs.py",
    "pipeline/corpora/blocks.py": "tests/corpora/test_blocks.py",
    "pipeline/corpora/encode.py": "tests/corpora/test_encode.py",
    "pipeline/corpora/history.py": "tests/corpora/test_history.py",
    "pipeline/corpora/layout.py": "tests/corpora/test_layout.py",
    "pipeline/corpora/retention.py": "tests/corpora/test_retention.py",
    "pipeline/corpora/shares.py": "tests/corpora/test_shares.py",
    "pipeline/corpora/splits.py": "tests/corpora/test_splits.py",
    "pipeline/corpora/text.py": "tests/corpora/test_text.py",
    "pipeline/corpora/trace.py": "tests/corpora/test_trace.py",
    "pipeline/corpora/vocab.py": "tests/corpora/test_vocab.py",
    "pipeline/model/about.py": "tests/model/test_about.py",
    "pipeline/model/config.py": "tests/model/test_config.py",
    "pipeline/model/scoring.py": "tests/model/test_scoring.py",
    "pipeline/engine/engine.py": "tests/engine/test_engine.py",
    "pipeline/engine/lanes.py": "tests/engine/test_lanes.py",
    "pipeline/engine/precision.py": "tests/engine/test_precision.py",
    "pipeline/engine/request.py": "tests/engine/test_request.py",
    "pipeline/engine/weights.py": "tests/engine/test_weights.py",
    "pipeline/registry/archive.py": "tests/registry/test_archive.py",
    "pipeline/registry/card.py": "tests/registry/test_card.py",
    "pipeline/registry/champion.py": "tests/registry/test_champion.py",
    "pipeline/training/checkpoint.py": "tests/training/test_checkpoint.py",
    "pipeline/training/dropout.py": "tests/training/test_dropout.py",
    "pipeline/training/journal.py": "tests/training/test_journal.py",
    "pipeline/training/lanes.py": "tests/training/test_lanes.py",
    "pipeline/training/optim.py": "tests/training/test_optim.py",
    "pipeline/sampling/plan.py": "tests/sampling/test_plan.py",
    "pipeline/scheduling/calendar.py": "tests/scheduling/test_calendar.py",
    "pipeline/scheduling/ledger.py": "tests/scheduling/test_ledger.py",
    "pipeline/scheduling/scheduler.py": "tests/scheduling/test_scheduler.py",
}

HOUSE = Path(__file__).resolve().parent.parent
ACCEPTED = HOUSE / "tests" / "MUTANTS.md"
LEAST = 0.9  # of a module's mutants are to be killed
LONGEST = 900  # seconds for one module, then something hangs
MEMORY = 4 << 30  # bytes for one process: a loop made endless may fill a list
WHY = "WHY?"  # where --lines leaves room for the reason

# mutmut mutates no function with decorators but one of PLAIN alone; undecorate() takes these off.
PLAIN = {"staticmethod", "classmethod"}
UNDONE = PLAIN | {
    "property",
    "cached_property",
    "functools.cached_property",
    "contextlib.contextmanager",
    "torch.no_grad()",
}

# A fork lacks the OpenMP threads that its parent has started, and hangs waiting for them.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

# The profile is drive()'s, which imports Hypothesis before pytest can rewrite it. A mutant's time
# is up after eight seconds and four times what the tests take by themselves.
SETTINGS = """
[tool.mutmut]
source_paths = ["pipeline"]
only_mutate = [{module}]
also_copy = ["jobs", "cluster"]
pytest_add_cli_args_test_selection = [{tests}, "-m", "not long and not gpu"]
pytest_add_cli_args = [
    "-p", "no:cacheprovider", "--hypothesis-profile=mutants",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
]
timeout_constant = 2.0
timeout_multiplier = 4.0
use_git_change_detection = false
track_dependencies = false
"""


@dataclass(frozen=True)
class Mutant:
    """A function with one thing changed: the text before and after, and what became of it."""

    function: str
    old: str
    new: str
    fate: str  # in mutmut's words

    @property
    def survives(self) -> bool:
        return self.fate in ("survived", "no tests")

    def line(self, module: str) -> str:
        """How MUTANTS.md names it, up to the reason: by text, for a line's number moves."""
        return f"- `{module}` `{self.function}`: `{self.old}` → `{self.new}`: "


def undecorate(source: str) -> tuple[str, list[str]]:
    """The same program with `def f`, `f = d(f)` for `@d def f`; and what is left decorated."""
    lines = source.splitlines()
    top = ast.parse(source).body
    left = []
    for body in (top, *(node.body for node in top if isinstance(node, ast.ClassDef))):
        for node in body:
            if not isinstance(node, ast.FunctionDef) or not node.decorator_list:
                continue
            names = [ast.unparse(decorator) for decorator in node.decorator_list]
            if not set(names) <= UNDONE:
                left.append(node.name)
            elif len(names) > 1 or names[0] not in PLAIN:
                first = node.decorator_list[0].lineno
                lines[first - 1 : node.lineno - 1] = [""] * (node.lineno - first)
                value = "".join(f"{name}(" for name in names) + node.name + ")" * len(names)
                end = node.end_lineno or node.lineno
                lines[end - 1] += f"\n{' ' * node.col_offset}{node.name} = {value}"
    return "\n".join(lines) + "\n", left


def drive(module: str, jobs: int) -> None:
    """In a process of its own whose folder is the copy: run mutmut, write found.json."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    import mutmut.__main__ as mutmut
    from hypothesis import Phase, settings
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.state import state
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key as names_of

    # The same examples every time, and the first that fails will do: to shrink it takes longest.
    ci = settings.get_profile("ci")
    settings.register_profile("mutants", ci, phases=[Phase.explicit, Phase.generate])
    force_failure = mutmut.run_forced_fail_test

    def prepare(runner: Any) -> None:
        """Before the first mutant. mutmut would run those tests only that called its function,
        and misses calls from fixtures of a session: all tests of the file it is. They must pass
        in a fork in which nothing changed, or whatever fails or hangs there counts as killed."""
        force_failure(runner)
        seconds = state().duration_by_test
        for tests in state().tests_by_mangled_function_name.values():
            tests.update(seconds)
        runner.submit("nothing.x_nothing__mutmut_0", list(seconds), LONGEST, sum(seconds.values()))
        code = runner.wait_for_result().exit_code
        if code:
            sys.exit(f"its tests pass, but not in a fork: {status_by_exit_code[code]}, exit {code}")

    mutmut.run_forced_fail_test = prepare
    mutmut._run([], jobs)
    data = SourceFileMutationData(path=module)
    data.load()
    found = []
    for name, code in data.exit_code_by_key.items():
        function, owner = names_of(name)
        diff = get_diff_for_mutant(name, path=module).splitlines()[2:]
        old, new = (" ".join(line[1:].strip() for line in diff if line[0] == sign) for sign in "-+")
        fate = status_by_exit_code[code]
        found.append((f"{owner}.{function}" if owner else function, old, new, fate))
    Path("found.json").write_text(json.dumps(found))


def examine(module: str, jobs: int) -> tuple[list[Mutant], list[str]]:
    """A module's mutants, and the functions that have none because of their decorators."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        tree = Path(place, "tree")
        for folder in ("pipeline", "jobs", "cluster", "tests"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(HOUSE / folder, tree / folder, ignore=ignored)
        source, left = undecorate((tree / module).read_text())
        (tree / module).write_text(source)
        tests = json.dumps(MODULES[module]).strip("[]")
        own = SETTINGS.format(module=json.dumps(module), tests=tests)
        (tree / "pyproject.toml").write_text((HOUSE / "pyproject.toml").read_text() + own)
        Path(place, "tmp").mkdir()
        environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "TMPDIR": f"{place}/tmp"}
        environment.pop("PYTHONPATH", None)
        command = [sys.executable, "-P", __file__, module, "--jobs", str(jobs), "--drive"]
        with Path(place, "log").open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=tree,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LONGEST)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # and what it left behind
                process.wait()
        if not (tree / "found.json").exists():
            said = Path(place, "log").read_text()[-3000:]
            raise RuntimeError(f"mutmut ended with {process.returncode}:\n{said}")
        return [Mutant(*each) for each in json.loads((tree / "found.json").read_text())], left


def unlisted(module: str, mutants: list[Mutant]) -> tuple[list[Mutant], list[str]]:
    """The survivors that MUTANTS.md does not list, and its lines that nothing needs any more."""
    text = ACCEPTED.read_text() if ACCEPTED.exists() else ""
    start = f"- `{module}` "
    lines = [line for line in text.splitlines() if line.startswith(start) and WHY not in line]
    new = []
    for mutant in mutants:
        if mutant.survives:
            known = [line for line in lines if line.startswith(mutant.line(module))]
            if known:
                lines.remove(known[0])  # a line for each: the same text may survive in two places
            else:
                new.append(mutant)
    return new, lines


def judge(module: str, jobs: int, as_lines: bool) -> bool:
    """Print what came of a module's mutants; returns whether all is as it should be."""
    begun = time.monotonic()
    try:
        mutants, left = examine(module, jobs)
    except RuntimeError as error:
        print(f"{module}: {error}", flush=True)
        return False
    new, stale = unlisted(module, mutants)
    killed = sum(not mutant.survives for mutant in mutants)
    late = sum(mutant.fate == "timeout" for mutant in mutants)
    share = f"{killed}/{len(mutants)} killed ({killed / len(mutants):.1%}), {late} by time"
    print(f"{module}: {share}; {len(new)} not listed; {time.monotonic() - begun:.0f} s")
    for mutant in new:
        note = " (no test calls it)" if mutant.fate == "no tests" else ""
        shown = f"  {mutant.function}{note}\n    - {mutant.old}\n    + {mutant.new}"
        print(f"{mutant.line(module)}{WHY}" if as_lines else shown)
    for line in stale:
        print(f"  survives no longer, take it out of {ACCEPTED.name}: {line}")
    if left:
        print(f"  not mutated, for their decorators: {', '.join(left)}")
    sys.stdout.flush()
    return not new and killed >= LEAST * len(mutants)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="some of MODULES; all without")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--lines", action="store_true", help="print lines for MUTANTS.md")
    parser.add_argument("--drive", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        drive(given.modules[0], given.jobs)
        return 0
    if unknown := set(given.modules) - set(MODULES):
        parser.error(f"not in MODULES: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that examine() cleans up
    modules = given.modules or list(MODULES)
    failed = [module for module in modules if not judge(module, given.jobs, given.lines)]
    print(f"{len(modules)} modules, {len(failed)} failed", *failed, sep="\n  ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
