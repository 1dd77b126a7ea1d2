"""Manifests of Ray's cluster launcher, the image, systemd: what their validators do not look at.

test_kubernetes.py has those of Kubernetes.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

HOUSE = Path(__file__).parent.parent.parent
LAUNCHER = [HOUSE / "ray_cluster.yaml", HOUSE / "cluster" / "ray_cluster.local.yaml"]
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
LOCK = dict(
    line.split("==")
    for line in (HOUSE / "requirements.lock").read_text().splitlines()
    if "==" in line
)


# ---- the cluster launcher


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_rays_validator_takes_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(path.read_text())
    if config["provider"]["type"] == "local":
        from ray.autoscaler._private.local import config as local

        monkeypatch.setattr(local, "get_lock_path", lambda *_: "/dev/null", raising=False)
    validate_config(prepare_config(config))


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_the_cluster_asks_for_a_token_and_shows_nothing(path: Path) -> None:
    text = path.read_text()
    config = yaml.safe_load(text)
    assert config["auth"]["ssh_user"]
    head, worker = (" ".join(config[f"{kind}_start_ray_commands"]) for kind in ("head", "worker"))
    assert "--dashboard-host=127.0.0.1" in head
    assert "$RAY_HEAD_IP" in worker
    assert "RAY_AUTH_MODE=token" in text
    assert "chmod 0600 ~/.ray/auth_token" in " ".join(config["setup_commands"])
    assert any(target.endswith("/.ray/auth_token") for target in config["file_mounts"])
    assert "requirements.lock" in " ".join(config["setup_commands"])
    assert config["idle_timeout_minutes"] > 0
    assert not re.search(
        r"(secret|password|token)\s*[:=]\s*['\"]?[0-9a-f]{16}", text, re.IGNORECASE
    )


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_files_are_found_from_the_projects_folder(path: Path) -> None:
    """Ray takes them from where `ray up` is called, wherever the file lies."""
    mounts = yaml.safe_load(path.read_text())["file_mounts"]
    local = [file for file in mounts.values() if not file.startswith("~")]
    assert local == ["requirements.lock"]
    assert (HOUSE / local[0]).is_file()


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_jobs_of_a_cluster_find_the_venvs_python(path: Path, tmp_path: Path) -> None:
    """By the shell: what the start commands call `ray`, and `python` in its environment."""
    config = yaml.safe_load(path.read_text())
    venv = tmp_path / "venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "ray").write_text('#!/bin/sh\n[ "$1" = stop ] || command -v python && env\n')
    (venv / "python").write_text("#!/bin/sh\n")
    for program in ("ray", "python"):
        (venv / program).chmod(0o755)
    profile = tmp_path / "profile.sh"
    write_profile = config["setup_commands"][-1]
    if "/etc/profile.d" in write_profile:
        write_profile = write_profile.replace("sudo tee /etc/profile.d/unreasonable.sh", "cat")
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        profile.write_text(
            subprocess.run(
                ["bash", "-c", write_profile],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
    for kind in ("head", "worker"):
        for command in config[f"{kind}_start_ray_commands"]:
            done = subprocess.run(
                ["bash", "-c", command.replace("/etc/profile.d/unreasonable.sh", str(profile))],
                env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "RAY_HEAD_IP": "192.0.2.1"},
                capture_output=True,
                text=True,
                check=True,
            )
        first, *environment_lines = done.stdout.splitlines()
        assert first == str(venv / "python")
        assert f"RAY_AUTH_TOKEN_PATH={tmp_path}/.ray/auth_token" in environment_lines
        assert "RAY_AUTH_MODE=token" in environment_lines


def policy(name: str) -> list[dict[str, Any]]:
    value = json.loads((HOUSE / "cluster" / "aws" / name).read_text())
    assert value["Version"] == "2012-10-17"
    statements: list[dict[str, Any]] = value["Statement"]
    return statements


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def allowed(name: str) -> dict[str, list[dict[str, Any]]]:
    """A policy's statements by action."""
    found: dict[str, list[dict[str, Any]]] = {}
    for statement in policy(name):
        assert statement["Effect"] == "Allow"
        for action in listed(statement["Action"]):
            found.setdefault(action, []).append(statement)
    return found


def test_aws_profiles_allow_what_is_needed_and_no_more() -> None:
    config = yaml.safe_load(LAUNCHER[0].read_text())
    types = config["available_node_types"]
    profiles = {kind: node["node_config"]["IamInstanceProfile"] for kind, node in types.items()}
    head = profiles.pop("head")
    assert head == {"Name": "unreasonable-ray-head"}
    assert list(profiles.values()) == [{"Name": "unreasonable-ray-node"}] * 2
    actions = allowed("head-policy.json")
    # What Ray's AWS node provider calls with the settings of ray_cluster.yaml. Stopped nodes are
    # not kept, so none is stopped or started.
    assert not config["provider"]["cache_stopped_nodes"]
    assert set(actions) == {
        *["ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ec2:RunInstances"],
        *["ec2:CreateTags", "ec2:TerminateInstances"],
        *["iam:PassRole", "iam:CreateServiceLinkedRole", "ssm:GetParameters"],
    }
    for action, statements in actions.items():
        for statement in statements:
            resources = listed(statement["Resource"])
            # Descriptions cannot be narrowed; whatever changes something is.
            assert (resources == ["*"]) == action.startswith("ec2:Describe")
            touches_instances = any(":instance/" in resource for resource in resources)
            assert not touches_instances or "Condition" in statement
    (ends,) = actions["ec2:TerminateInstances"]
    cluster = {"aws:ResourceTag/ray-cluster-name": config["cluster_name"]}
    assert ends["Condition"] == {"StringEquals": cluster}
    (passes,) = actions["iam:PassRole"]
    assert passes["Resource"].endswith(f":role/{profiles['gpu_worker']['Name']}")
    region = config["provider"]["region"]
    (images,) = actions["ssm:GetParameters"]
    patterns = [resource.split("parameter", 1)[1] for resource in images["Resource"]]
    for node in types.values():
        parameter = node["node_config"]["ImageId"].removeprefix("resolve:ssm:")
        assert any(fnmatch(parameter, pattern) for pattern in patterns)
    assert all(f":{region}:" in resource for resource in images["Resource"])


def test_ray_calls_of_aws_what_the_policy_allows() -> None:
    """Read in the installed provider: a call that is new there must be looked at."""
    import ray.autoscaler._private.aws.node_provider as provider

    source = Path(provider.__file__).read_text()
    calls = set(re.findall(r"(?:ec2|client|ec2_fail_fast)\.([a-z]+_[a-z_]+)\(", source))
    calls |= set(re.findall(r"meta\.client\.([a-z]+_[a-z_]+)", source))
    assert calls == {
        *["create_instances", "create_tags", "describe_instance_types", "terminate_instances"],
        *["start_instances", "stop_instances"],  # of stopped nodes that are kept
        "describe_images",  # where CloudWatch is configured
    }


def test_nodes_may_use_the_bucket_and_nothing_else() -> None:
    for statement in policy("bucket-policy.json"):
        assert all(action.startswith("s3:") for action in listed(statement["Action"]))
        assert "*" not in "".join(listed(statement["Action"]))
        assert re.fullmatch(r"arn:aws:s3:::CHANGE-ME(/\*)?", statement["Resource"])
    (trust,) = policy("trust-policy.json")
    assert trust["Principal"] == {"Service": "ec2.amazonaws.com"}


def test_aws_nodes_are_encrypted_tagged_and_have_what_jobs_ask_for() -> None:
    config = yaml.safe_load(LAUNCHER[0].read_text())
    assert {"type", "region"} <= set(config["provider"])
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    for name, node in types.items():
        assert all(
            disk["Ebs"]["Encrypted"] for disk in node["node_config"]["BlockDeviceMappings"]
        ), name
        assert node["node_config"]["TagSpecifications"][0]["Tags"], name
        assert node["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}, name
    assert types["head"]["resources"] == {"CPU": 0}  # tasks run on workers, drivers here
    cpu, gpu = types["cpu_worker"], types["gpu_worker"]
    assert (cpu["min_workers"], gpu["min_workers"]) == (0, 0)
    assert cpu["resources"]["CPU"] >= 1  # build_corpus and sample ask for one CPU a task
    assert gpu["resources"]["GPU"] >= 1  # train --use_gpu asks for one GPU and cpus_per_worker CPUs
    assert gpu["resources"]["CPU"] >= 1
    assert gpu["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert config["max_workers"] >= cpu["max_workers"] + gpu["max_workers"]


# ---- image and systemd


def test_the_lock_has_the_versions_that_are_tested() -> None:
    for package in ("ray", "torch", "mlflow"):
        assert LOCK[package] == version(package).partition("+")[0]


def test_the_image_has_stages_no_root_and_the_lock() -> None:
    lines = (HOUSE / "Dockerfile").read_text().splitlines()
    assert sum(line.startswith("FROM ") for line in lines) == 2
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["1000"]
    text = "\n".join(lines)
    assert "--requirement requirements.lock" in text
    assert not re.search(
        r"pip install (?!--no-cache-dir (--requirement requirements.lock|--no-deps \.))", text
    )
    minor = re.search(r"FROM python:(3\.\d+)-", text)
    assert minor
    low, high = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert int(low) <= int(minor.group(1).split(".")[1]) < int(high)
    copied = {
        part
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for part in line.split()[1:-1]
    }
    assert all((HOUSE / name).exists() for name in copied)
    allowed = {
        line[1:]
        for line in (HOUSE / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert copied == allowed


def test_systemds_units_call_what_is_there() -> None:
    folder = HOUSE / "cluster" / "systemd"
    service = (folder / "unreasonable-schedule.service").read_text()
    command = next(line for line in service.splitlines() if line.startswith("ExecStart="))
    assert command.split()[1:] == ["jobs/schedule.py", "--once"]
    assert "Type=oneshot" in service
    assert "OnCalendar=" in (folder / "unreasonable-schedule.timer").read_text()
    assert {path.stem for path in folder.iterdir()} == {"unreasonable-schedule"}
