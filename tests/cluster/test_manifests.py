"""Manifests: what Ray's validator and Kubernetes' own shapes ask for, and what neither looks at."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

HOUSE = Path(__file__).parent.parent.parent
LAUNCHER = [HOUSE / "ray_cluster.yaml", HOUSE / "cluster" / "ray_cluster.local.yaml"]
KUBERNETES = sorted((HOUSE / "cluster" / "kubernetes").glob("*.yaml"))
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
LOCK = dict(
    line.split("==")
    for line in (HOUSE / "requirements.lock").read_text().splitlines()
    if "==" in line
)
IMAGE = f"unreasonable:{PROJECT['version']}"


def documents() -> list[tuple[str, dict[str, Any]]]:
    return [
        (path.name, document)
        for path in KUBERNETES
        for document in yaml.safe_load_all(path.read_text())
    ]


def kinds(kind: str) -> list[dict[str, Any]]:
    return [document for _, document in documents() if document["kind"] == kind]


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
    assert "GPU" not in types["head"]["resources"]
    cpu, gpu = types["cpu_worker"], types["gpu_worker"]
    assert (cpu["min_workers"], gpu["min_workers"]) == (0, 0)
    assert cpu["resources"]["CPU"] >= 1  # build_corpus and sample ask for one CPU a task
    assert gpu["resources"]["GPU"] >= 1  # train --use_gpu asks for one GPU and cpus_per_worker CPUs
    assert gpu["resources"]["CPU"] >= 1
    assert gpu["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert config["max_workers"] >= cpu["max_workers"] + gpu["max_workers"]


# ---- Kubernetes

CONTAINER = {
    "type": "object",
    "required": ["name", "image", "resources", "securityContext"],
    "properties": {
        "resources": {
            "type": "object",
            "required": ["requests", "limits"],
            "properties": {
                key: {"type": "object", "required": ["cpu", "memory"]}
                for key in ("requests", "limits")
            },
        },
        "securityContext": {
            "type": "object",
            "required": ["allowPrivilegeEscalation", "capabilities"],
            "properties": {
                "allowPrivilegeEscalation": {"const": False},
                "capabilities": {
                    "type": "object",
                    "properties": {"drop": {"const": ["ALL"]}},
                    "required": ["drop"],
                },
            },
        },
        "env": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "volumeMounts": {
            "type": "array",
            "items": {"type": "object", "required": ["name", "mountPath"]},
        },
    },
}
POD = {
    "type": "object",
    "required": ["containers", "securityContext"],
    "properties": {
        "containers": {"type": "array", "minItems": 1, "items": CONTAINER},
        "securityContext": {
            "type": "object",
            "required": ["runAsNonRoot", "runAsUser", "seccompProfile"],
            "properties": {
                "runAsNonRoot": {"const": True},
                "runAsUser": {"type": "integer", "minimum": 1},
            },
        },
    },
}
TEMPLATE = {"type": "object", "required": ["spec"], "properties": {"spec": POD}}
SCHEMAS: dict[str, dict[str, Any]] = {
    "RayCluster": {
        "required": ["rayVersion", "headGroupSpec", "workerGroupSpecs"],
        "properties": {
            "rayVersion": {"const": version("ray")},
            "headGroupSpec": {
                "required": ["rayStartParams", "template"],
                "properties": {"template": TEMPLATE},
            },
            "workerGroupSpecs": {
                "type": "array",
                "items": {
                    "required": [
                        "groupName",
                        "replicas",
                        "minReplicas",
                        "maxReplicas",
                        "rayStartParams",
                        "template",
                    ],
                    "properties": {
                        "template": TEMPLATE,
                        "rayStartParams": {"additionalProperties": {"type": "string"}},
                        "minReplicas": {"const": 0},
                    },
                },
            },
        },
    },
    "RayJob": {
        "required": ["entrypoint", "clusterSelector", "submissionMode", "ttlSecondsAfterFinished"]
    },
    "CronJob": {
        "required": ["schedule", "concurrencyPolicy", "jobTemplate"],
        "properties": {
            "concurrencyPolicy": {"const": "Forbid"},
            "jobTemplate": {
                "properties": {
                    "spec": {
                        "required": ["template", "backoffLimit"],
                        "properties": {"template": TEMPLATE},
                    }
                },
            },
        },
    },
    "Deployment": {"required": ["selector", "template"], "properties": {"template": TEMPLATE}},
    "StatefulSet": {
        "required": ["selector", "serviceName", "template"],
        "properties": {"template": TEMPLATE},
    },
    "Service": {"required": ["selector", "ports"]},
}


@pytest.mark.parametrize(
    ("name", "document"),
    documents(),
    ids=lambda value: value if isinstance(value, str) else value["kind"],
)
def test_kubernetes_objects_have_their_shape(name: str, document: dict[str, Any]) -> None:
    assert {"apiVersion", "kind", "metadata"} <= set(document)
    if document["kind"] != "Namespace":
        assert document["metadata"]["namespace"] == "unreasonable"
    if document["kind"] in SCHEMAS:
        jsonschema.validate(document["spec"], SCHEMAS[document["kind"]])


def pods() -> list[dict[str, Any]]:
    """Every pod's spec, wherever it stands."""
    found = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "containers" in value:
                found.append(value)
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    for _, document in documents():
        look(document)
    return found


def test_names_that_refer_to_each_other_are_there() -> None:
    maps = {document["metadata"]["name"] for document in kinds("ConfigMap")}
    secrets = {
        document["metadata"]["name"]: set(document["stringData"]) for document in kinds("Secret")
    }
    assert len(pods()) == 6
    for pod in pods():
        volumes = {volume["name"] for volume in pod.get("volumes", [])} | {"data"}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
            for source in container.get("envFrom", []):
                assert source.get("configMapRef", {"name": "unreasonable"})["name"] in maps
                assert source.get("secretRef", {"name": "mlflow"})["name"] in secrets
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                assert reference is None or reference["key"] in secrets[reference["name"]]
        for volume in pod.get("volumes", []):
            assert volume.get("secret", {"secretName": "mlflow"})["secretName"] in secrets
            assert volume.get("configMap", {"name": "unreasonable"})["name"] in maps
    assert all(
        value == "CHANGE-ME"
        for document in kinds("Secret")
        for value in document["stringData"].values()
    )
    settings = next(
        document["data"]
        for document in kinds("ConfigMap")
        if document["metadata"]["name"] == "unreasonable"
    )
    services = {document["metadata"]["name"] for document in kinds("Service")}
    assert re.fullmatch(r"http://(\w+):5000", settings["MLFLOW_TRACKING_URI"]).group(1) in services  # type: ignore[union-attr]
    clusters = {document["metadata"]["name"] for document in kinds("RayCluster")}
    assert (
        {job["spec"]["clusterSelector"]["ray.io/cluster"] for job in kinds("RayJob")}
        == clusters
        == {"unreasonable"}
    )


def test_what_is_ours_runs_from_one_image_of_this_version() -> None:
    images = {container["image"] for pod in pods() for container in pod["containers"]}
    assert {image for image in images if "unreasonable" in image} == {IMAGE}
    assert all(re.search(r":[\w.]+$", image) and not image.endswith(":latest") for image in images)
    for package in ("ray", "torch", "mlflow"):
        assert LOCK[package] == version(package).partition("+")[0]


def test_mlflow_outside_loopback_has_passwords_and_hosts() -> None:
    (server,) = kinds("Deployment")
    script = server["spec"]["template"]["spec"]["containers"][0]["args"][0]
    assert "--app-name basic-auth" in script
    assert "--allowed-hosts mlflow:5000" in script
    assert (
        "POSTGRES_PASSWORD" not in script.split("exec mlflow", 1)[1]
    )  # command lines can be read by others


def test_commands_in_manifests_are_jobs_with_flags_that_exist(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from jobs import build_corpus, sample, train

    jobs = {"build_corpus": build_corpus.JOB, "train": train.JOB, "sample": sample.JOB}
    for job in kinds("RayJob"):
        python, script, *flags = shlex.split(job["spec"]["entrypoint"])
        assert python == "python"
        assert (HOUSE / script).exists()
        jobs[Path(script).stem].main([*flags, "--print_config"])  # a wrong flag would exit
    (cron,) = kinds("CronJob")
    command = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert (HOUSE / command[1]).exists()


def test_the_schedule_in_kubernetes_is_one(tmp_path: Path) -> None:
    from pipeline.scheduling.load import load_schedules

    text = next(
        document["data"]["schedule.yaml"]
        for document in kinds("ConfigMap")
        if document["metadata"]["name"] == "schedule"
    )
    (tmp_path / "schedule.yaml").write_text(text)
    assert [schedule.name for schedule in load_schedules(str(tmp_path / "schedule.yaml"))] == [
        "linux"
    ]


# ---- image and systemd


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
