"""The Kubernetes manifests: by the schemas of Kubernetes and KubeRay, by what the operator makes of
them, and by Pod Security's `restricted`."""

from __future__ import annotations

import copy
import json
import re
import shlex
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from tests.cluster import kuberay
from tests.cluster.pod_security import violations

HOUSE = Path(__file__).parent.parent.parent
KUBERNETES = sorted((HOUSE / "cluster" / "kubernetes").glob("*.yaml"))
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
IMAGE = f"unreasonable:{PROJECT['version']}"
# The oldest and the newest that the schemas have: most of what runs lies between.
VERSIONS = ["1.27", "1.37"]
SCHEMAS = "kubernetes-json-schema"
RAY = json.loads((Path(__file__).parent / "schemas" / "kuberay.json").read_text())


@cache
def documents() -> list[tuple[str, dict[str, Any]]]:
    return [
        (path.name, document)
        for path in KUBERNETES
        for document in yaml.safe_load_all(path.read_text())
    ]


def kinds(kind: str) -> list[dict[str, Any]]:
    return [document for _, document in documents() if document["kind"] == kind]


def the(kind: str) -> dict[str, Any]:
    (document,) = kinds(kind)
    return document


# ---- schemas


@cache
def definitions(kubernetes: str) -> Registry:
    """What the schemas of a version refer to. The package itself reads it for each object."""
    value = schema_contents(f"{SCHEMAS}/v{kubernetes}.0-local-strict/_definitions.json", kubernetes)
    return Resource.from_contents(value) @ Registry()


@cache
def validator(kind: str, api: str, kubernetes: str) -> jsonschema.Draft202012Validator:
    """Kubernetes' own schema of a kind, where fields that it does not know are mistakes."""
    file = f"{kind.lower()}-{api.split('.', maxsplit=1)[0].replace('/', '-')}"
    folder = f"{SCHEMAS}/v{kubernetes}.0-local-strict"
    schema = schema_contents(f"{folder}/{file}.json", kubernetes)
    registry = Resource.from_contents(schema) @ definitions(kubernetes)
    return jsonschema.Draft202012Validator(schema, registry=registry)


def check(document: dict[str, Any], kubernetes: str) -> None:
    """Raise for a field that Kubernetes or KubeRay does not know, or of another type."""
    if not document["apiVersion"].startswith("ray.io/"):
        validator(document["kind"], document["apiVersion"], kubernetes).validate(document)
        return
    schema = {"$ref": f"#/$defs/{document['kind']}", "$defs": RAY["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(document)
    spec = document["spec"]
    groups = [spec[name] for name in ("headGroupSpec",) if name in spec]
    for group in [*groups, *spec.get("workerGroupSpecs", [])]:
        check_pod(group["template"]["spec"], kubernetes)
    options = spec.get("autoscalerOptions", {})
    parts = {key: options[key] for key in ("resources", "securityContext", "env") if key in options}
    check_pod({"containers": [{"name": "autoscaler", **parts}]}, kubernetes)


def check_pod(spec: dict[str, Any], kubernetes: str) -> None:
    metadata = {"name": "x", "namespace": "unreasonable"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    validator("Pod", "v1", kubernetes).validate(pod)


@pytest.mark.parametrize("kubernetes", VERSIONS)
@pytest.mark.parametrize(
    ("name", "document"),
    documents(),
    ids=lambda value: value if isinstance(value, str) else value["kind"],
)
def test_objects_are_what_their_schemas_say(
    name: str, document: dict[str, Any], kubernetes: str
) -> None:
    check(document, kubernetes)
    if document["kind"] != "Namespace":
        assert document["metadata"]["namespace"] == "unreasonable"


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    found = copy.deepcopy(document)
    inner = found
    *way, last = path.split(".")
    for step in way:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    inner[last] = value
    return found


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("CronJob", "spec.concurrency", "Forbid"),
        ("CronJob", "spec.jobTemplate.spec.backoffLimit", "none"),
        ("Deployment", "spec.template.spec.containers.0.volumeMount", []),
        ("StatefulSet", "spec.replicas", "one"),
        ("RayCluster", "spec.authOptions.secret", "x"),
        ("RayCluster", "spec.autoscalerOptions.securityContext.capability", {}),
        ("RayCluster", "spec.headGroupSpec.rayStartParams.num-cpus", 2),
        ("RayCluster", "spec.workerGroupSpecs.0.template.spec.containers.0.envFrom", "x"),
        ("RayCluster", "spec.workerGroupSpecs.1.minReplica", 0),
    ],
)
def test_a_wrong_field_is_found(kind: str, path: str, value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(changed(the(kind), path, value), VERSIONS[-1])


def test_the_operator_takes_cluster_and_jobs() -> None:
    cluster = the("RayCluster")
    assert kuberay.refusals_of_cluster(cluster) == []
    assert cluster["spec"]["rayVersion"] == version("ray")
    for job in kinds("RayJob"):
        assert kuberay.refusals_of_job(job) == []
        assert job["spec"]["submissionMode"] == "HTTPMode"
        lives = changed(job, "spec.ttlSecondsAfterFinished", 86_400)
        assert kuberay.refusals_of_job(lives) == [
            "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
        ]
    old = changed(cluster, "spec.rayVersion", "2.51.0")
    assert kuberay.refusals_of_cluster(old) != []


# ---- what the operator makes of them


def rendered(cluster: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pods of a cluster, by group."""
    groups = cluster["spec"]["workerGroupSpecs"]
    workers = {group["groupName"]: kuberay.worker_pod(cluster, group) for group in groups}
    return {"head": kuberay.head_pod(cluster), **workers}


def plain_pods() -> list[dict[str, Any]]:
    """The pods that Kubernetes itself makes."""
    templates = [
        *(each["spec"]["template"] for each in (*kinds("Deployment"), *kinds("StatefulSet"))),
        *(each["spec"]["jobTemplate"]["spec"]["template"] for each in kinds("CronJob")),
    ]
    return [template["spec"] for template in templates]


def pods() -> list[dict[str, Any]]:
    return [*rendered(the("RayCluster")).values(), *plain_pods()]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_every_pod_is_restricted_and_well_formed() -> None:
    assert len(pods()) == 6
    for pod in pods():
        assert violations(pod) == []
        for kubernetes in VERSIONS:
            check_pod(pod, kubernetes)
        for container in containers(pod):
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][kind]), container["name"]
    labels = the("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_pod_that_is_not_restricted_is_found() -> None:
    bare = copy.deepcopy(the("RayCluster"))
    del bare["spec"]["autoscalerOptions"]["securityContext"]
    assert violations(rendered(bare)["head"]) == [
        "autoscaler: allowPrivilegeEscalation must be false",
        "autoscaler: capabilities must drop ALL",
    ]
    (pod, *_) = plain_pods()
    for path, value, reason in (
        ("hostNetwork", True, "pod: hostNetwork"),
        ("volumes", [{"name": "d", "hostPath": {"path": "/"}}], "pod: volume d is a hostPath"),
        ("securityContext.runAsNonRoot", False, "mlflow: runAsNonRoot must be true"),
        ("securityContext.runAsUser", 0, "mlflow: runAsUser is root"),
        ("securityContext.seccompProfile", {"type": "Unconfined"}, "mlflow: seccompProfile"),
        ("containers.0.securityContext.privileged", True, "mlflow: privileged"),
        ("containers.0.securityContext.capabilities.add", ["SYS_ADMIN"], "mlflow: adds capab"),
        ("containers.0.ports", [{"containerPort": 1, "hostPort": 1}], "mlflow: hostPort"),
    ):
        assert violations(changed(pod, path, value))[0].startswith(reason)


def test_every_container_of_the_cluster_has_the_token() -> None:
    """The init container too: it has the worker's `env`, not what comes by `envFrom`."""
    cluster = the("RayCluster")
    names = []
    for pod in rendered(cluster).values():
        for container in containers(pod):
            assert kuberay.has_token(container), container["name"]
            names.append(container["name"])
    waiting = ["wait-gcs-ready", "ray-worker"]
    assert names == ["ray-head", "autoscaler", *waiting, *waiting]
    without = copy.deepcopy(cluster)
    del without["spec"]["authOptions"]
    assert not any(
        kuberay.has_token(container)
        for pod in rendered(without).values()
        for container in containers(pod)
    )


def test_drivers_can_log_in_to_mlflow_and_workers_cannot() -> None:
    pods = rendered(the("RayCluster"))
    login = {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
    head = {variable["name"] for variable in pods["head"]["containers"][0]["env"]}
    assert login <= head
    text = json.dumps([pods["cpu"], pods["gpu"]])
    assert "MLFLOW" not in text
    # The whole Secret, which has the database's password, reaches the server alone.
    whole = [
        container["name"]
        for pod in [*pods.values(), *plain_pods()]
        for container in containers(pod)
        for source in container.get("envFrom", [])
        if source.get("secretRef", {}).get("name") == "mlflow"
    ]
    assert whole == ["mlflow"]


def test_the_scheduler_can_submit() -> None:
    (container,) = the("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert kuberay.has_token(container)
    address = {each["name"]: each.get("value") for each in container["env"]}["RAY_ADDRESS"]
    # KubeRay's name for the head's service.
    assert address == f"http://{the('RayCluster')['metadata']['name']}-head-svc:8265"


def test_names_that_refer_to_each_other_are_there() -> None:
    maps = {document["metadata"]["name"] for document in kinds("ConfigMap")}
    secrets = {
        document["metadata"]["name"]: set(document["stringData"]) for document in kinds("Secret")
    }
    for pod in pods():
        volumes = {volume["name"] for volume in pod.get("volumes", [])} | {"data"}
        for container in containers(pod):
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
    values = [value for secret in kinds("Secret") for value in secret["stringData"].values()]
    assert set(values) == {"CHANGE-ME"}
    settings = next(
        document["data"]
        for document in kinds("ConfigMap")
        if document["metadata"]["name"] == "unreasonable"
    )
    services = {document["metadata"]["name"] for document in kinds("Service")}
    server = re.fullmatch(r"http://(\w+):5000", settings["MLFLOW_TRACKING_URI"])
    assert server is not None
    assert server[1] in services
    selected = {job["spec"]["clusterSelector"]["ray.io/cluster"] for job in kinds("RayJob")}
    assert selected == {the("RayCluster")["metadata"]["name"]} == {"unreasonable"}


def test_what_is_ours_runs_from_one_image_of_this_version() -> None:
    images = {container["image"] for pod in pods() for container in containers(pod)}
    assert {image for image in images if "unreasonable" in image} == {IMAGE}
    assert all(re.search(r":[\w.]+$", image) and not image.endswith(":latest") for image in images)


def test_mlflow_outside_loopback_has_passwords_and_hosts() -> None:
    script = the("Deployment")["spec"]["template"]["spec"]["containers"][0]["args"][0]
    assert "--app-name basic-auth" in script
    assert "--allowed-hosts mlflow:5000" in script
    # Command lines can be read by others.
    assert "POSTGRES_PASSWORD" not in script.split("exec mlflow", 1)[1]


def test_commands_are_jobs_with_flags_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    from jobs import build_corpus, sample, train

    jobs = {"build_corpus": build_corpus.JOB, "train": train.JOB, "sample": sample.JOB}
    workdir = re.search(r"^WORKDIR (\S+)\nUSER", (HOUSE / "Dockerfile").read_text(), re.MULTILINE)
    assert workdir is not None
    for job in kinds("RayJob"):
        python, script, *flags = shlex.split(job["spec"]["entrypoint"])
        assert python == "python"
        # Ray does not start a driver in the image's folder.
        inside = Path(script).relative_to(workdir[1])
        assert (HOUSE / inside).exists()
        jobs[inside.stem].main([*flags, "--print_config"])  # a wrong flag would exit
    pod = the("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert (HOUSE / pod["containers"][0]["command"][1]).exists()


def test_the_schedule_in_kubernetes_is_one(tmp_path: Path) -> None:
    from pipeline.scheduling.load import load_schedules

    text = next(
        document["data"]["schedule.yaml"]
        for document in kinds("ConfigMap")
        if document["metadata"]["name"] == "schedule"
    )
    (tmp_path / "schedule.yaml").write_text(text)
    schedules = load_schedules(str(tmp_path / "schedule.yaml"))
    assert [schedule.name for schedule in schedules] == ["linux"]
