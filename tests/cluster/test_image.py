"""The image, without a container engine: the Dockerfile's own steps in a clean folder.

Nothing is fetched: the packages of the lock are those that the tests run with, and what needs a
distribution (apt-get, useradd) is only parsed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent.parent


def instructions(text: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions and their arguments, lines that go on joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(name, " ".join(argument.split())) for name, argument in found]


@dataclass
class Image:
    """A folder in place of an image: /app and /venv lie in it."""

    root: Path
    context: Path
    stage: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    only_parsed: list[str] = field(default_factory=list)

    def build(self, steps: list[tuple[str, str]]) -> None:
        for name, argument in steps:
            getattr(self, f"do_{name.lower()}")(argument)

    def do_from(self, argument: str) -> None:
        image, *named = argument.split()
        assert image.startswith("python:3.11-")
        self.stage = named[-1] if named else "last"

    def do_workdir(self, argument: str) -> None:
        assert argument == "/app"
        (self.root / "app").mkdir(exist_ok=True)

    def do_copy(self, argument: str) -> None:
        words = [word for word in argument.split() if not word.startswith("--chown")]
        if words[0].startswith("--from="):
            # Of an earlier stage, to the same place: it lies there already.
            assert words[1] == words[2]
            return
        *sources, target = words
        for source in sources:
            place = self.root / "app" / (target if target != "./" else source)
            if (self.context / source).is_dir():
                shutil.copytree(self.context / source, place)
            else:
                shutil.copy(self.context / source, place)

    def do_run(self, argument: str) -> None:
        if "apt-get" in argument:
            self.only_parsed.append(argument)
            subprocess.run(["sh", "-n", "-c", argument], check=True)
            return
        python = shlex.quote(sys.executable)
        offline = "--no-index --quiet"
        if argument.endswith("--no-deps ."):
            offline += " --no-build-isolation"  # setuptools is here
        # The same commands: with this Python's pip, which installs into the new venv.
        command = argument.replace(
            "/venv/bin/pip install", f"{python} -m pip --python {self.venv} install {offline}"
        )
        command = command.replace("python -m venv /venv", f"{python} -m venv --without-pip /venv")
        command = command.replace(" /venv", f" {self.venv}")
        first, *rest = command.split(" && ")
        self.shell(first)
        if "-m venv" in first:
            # The lock's packages, as if they had been fetched into it.
            site = self.venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
            there = f"{sysconfig.get_path('purelib')}\n"
            (site / "site-packages" / "fetched.pth").write_text(there)
        for each in rest:
            self.shell(each)

    def do_arg(self, argument: str) -> None:
        name, _, value = argument.partition("=")
        self.environment[name] = value.strip('"')

    def do_env(self, argument: str) -> None:
        for setting in shlex.split(argument):
            name, _, value = setting.partition("=")
            self.environment[name] = value

    def do_user(self, argument: str) -> None:
        assert argument == "1000"

    def do_cmd(self, argument: str) -> None:
        self.command = json.loads(argument)

    @property
    def venv(self) -> Path:
        return self.root / "venv"

    def shell(self, command: str) -> None:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.root / "app",
            env={**clean(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    def run(self, *command: str) -> str:
        path = self.environment["PATH"].replace("/venv", str(self.venv))
        done = subprocess.run(
            command,
            cwd=self.root / "app",
            env={**clean(), **self.environment, "PATH": path.replace("$PATH", "/usr/bin:/bin")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


def clean() -> dict[str, str]:
    """An environment without this project on Python's path."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"}


def context(folder: Path) -> Path:
    """What a container engine sends of the project: what .dockerignore lets through."""
    rules = (HOUSE / ".dockerignore").read_text().split()
    assert rules[0] == "*"
    for rule in rules[1:]:
        if rule.startswith("!"):
            source = HOUSE / rule[1:]
            target = folder / rule[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
    ignored = [rule.removeprefix("**/") for rule in rules if rule.startswith("**/")]
    for path in sorted(folder.rglob("*"), reverse=True):
        if any(fnmatch(path.name, rule) for rule in ignored):
            shutil.rmtree(path)
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    built = Image(root=folder / "root", context=context(folder / "context"))
    built.root.mkdir()
    built.build(instructions((HOUSE / "Dockerfile").read_text()))
    return built


def test_its_steps_can_be_run(image: Image) -> None:
    assert image.stage == "last"
    assert [step.split()[0] for step in image.only_parsed] == ["apt-get"]
    assert image.environment["RAY_AUTH_MODE"] == "token"


def test_what_it_starts_by_itself_is_there(image: Image) -> None:
    assert "--num_workers" in image.run(*image.command)
    assert "train" in image.run("unreasonable", "--help")


def test_the_package_is_installed_and_brings_its_data(image: Image) -> None:
    code = "import os, pipeline, jobs; print(pipeline.__path__[0]); print(jobs.__path__[0])"
    places = image.run("python", "-I", "-c", code).split()
    assert all(place.startswith(str(image.venv)) for place in places)
    site = Path(places[0]).parent
    for name in ("jobs/recipes/linux.yaml", "pipeline/explaining/script", "cluster/schedule.yaml"):
        assert (site / name).exists()
    assert not list((image.root / "app").rglob("__pycache__"))


def test_an_installed_package_has_schedules(image: Image, tmp_path: Path) -> None:
    line = image.run("unreasonable", "schedule", "--root", str(tmp_path / "root"), "--list")
    listed = json.loads(line.splitlines()[-1])
    assert [row["schedule"] for row in listed["schedules"]] == ["linux", "latex", "wikipedia"]


def test_nothing_else_is_sent(image: Image) -> None:
    sent = {path.name for path in image.context.iterdir()}
    assert sent == {
        *["pipeline", "jobs", "cluster"],
        *["pyproject.toml", "requirements.lock", "README.md", "LICENSE"],
    }
