"""What KubeRay's operator makes of a RayCluster, as far as its rules matter here.

Read off github.com/ray-project/kuberay, ray-operator/controllers/ray/common/pod.go and
utils/validation.go, of versions from 1.6.2 on.
"""

from __future__ import annotations

import copy
import re
from typing import Any

_SHARED_MEMORY = "/dev/shm"
_LOGS = "/tmp/ray"


def head_pod(cluster: dict[str, Any]) -> dict[str, Any]:
    """The spec of the head's pod: with autoscaling, the autoscaler runs beside the head."""
    spec = cluster["spec"]
    pod: dict[str, Any] = copy.deepcopy(spec["headGroupSpec"]["template"]["spec"])
    head = pod["containers"][0]
    if spec.get("enableInTreeAutoscaling"):
        autoscaler: dict[str, Any] = {
            "name": "autoscaler",
            "image": head["image"],
            "command": ["/bin/bash", "-c", "--"],
            "args": ["ray kuberay-autoscaler"],
            "resources": {
                kind: {"cpu": "500m", "memory": "512Mi"} for kind in ("requests", "limits")
            },
        }
        _give_token(cluster, autoscaler)
        options = spec.get("autoscalerOptions", {})
        for replaced in ("resources", "image", "securityContext"):
            if replaced in options:
                autoscaler[replaced] = copy.deepcopy(options[replaced])
        for extended in ("env", "envFrom", "volumeMounts"):
            if extended in options:
                autoscaler[extended] = [*autoscaler.get(extended, []), *options[extended]]
        pod["containers"].append(autoscaler)
        for container in (head, autoscaler):
            _mount_empty_folder(pod, container, "ray-logs", _LOGS)
    _give_token(cluster, head)
    _mount_empty_folder(pod, head, "shared-mem", _SHARED_MEMORY)
    return pod


def worker_pod(cluster: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    """The spec of a worker's pod: an init container waits for the head before it starts."""
    pod: dict[str, Any] = copy.deepcopy(group["template"]["spec"])
    worker = pod["containers"][0]
    waiting: dict[str, Any] = {
        "name": "wait-gcs-ready",
        "image": worker["image"],
        "command": ["/bin/bash", "-c", "--"],
        "args": ["ray health-check"],
        "resources": {kind: {"cpu": "200m", "memory": "256Mi"} for kind in ("requests", "limits")},
    }
    # What comes by `envFrom` is not copied.
    for copied in ("securityContext", "env", "volumeMounts"):
        if copied in worker:
            waiting[copied] = copy.deepcopy(worker[copied])
    _give_token(cluster, waiting)
    _give_token(cluster, worker)
    pod["initContainers"] = [*pod.get("initContainers", []), waiting]
    _mount_empty_folder(pod, worker, "shared-mem", _SHARED_MEMORY)
    return pod


def refusals_of_cluster(cluster: dict[str, Any]) -> list[str]:
    """Why the operator would not make a cluster, though its fields are well formed."""
    spec = cluster["spec"]
    found = _refused_name(cluster["metadata"].get("name", ""), 63)
    if spec.get("authOptions", {}).get("mode") == "token":
        version = [int(part) for part in spec.get("rayVersion", "0").split(".")]
        if version < [2, 52, 0]:
            found.append("token authentication needs rayVersion 2.52.0 or newer")
    groups = [spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])]
    for group in groups:
        if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            found.append("the second autoscaler needs restartPolicy Never")
        started_with = {"num-cpus", "num-gpus", "memory", "resources"} & set(
            group.get("rayStartParams", {})
        )
        if started_with and group.get("resources"):
            found.append("resources stand in rayStartParams and in resources")
    return found


def refusals_of_job(job: dict[str, Any]) -> list[str]:
    """Why the operator would not run a job."""
    spec = job["spec"]
    found = _refused_name(job["metadata"].get("generateName", "") + "12345", 47)
    ends_cluster = spec.get("shutdownAfterJobFinishes", False)
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not ends_cluster:
        found.append("ttlSecondsAfterFinished needs shutdownAfterJobFinishes")
    if not spec.get("clusterSelector") and not spec.get("rayClusterSpec"):
        found.append("neither clusterSelector nor rayClusterSpec")
    if spec.get("clusterSelector") and ends_cluster:
        found.append("a cluster that was selected cannot be shut down")
    return found


def has_token(container: dict[str, Any]) -> bool:
    """Whether a container of a pod gets a token by variables of its own."""
    names = {variable["name"] for variable in container.get("env", [])}
    return {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} <= names


def _give_token(cluster: dict[str, Any], container: dict[str, Any]) -> None:
    options = cluster["spec"].get("authOptions", {})
    if options.get("mode") != "token":
        return
    secret = options.get("secretName") or cluster["metadata"]["name"]
    reference = {"secretKeyRef": {"name": secret, "key": "auth_token"}}
    given = [
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {"name": "RAY_AUTH_TOKEN", "valueFrom": reference},
    ]
    there = {variable["name"] for variable in container.get("env", [])}
    added = [variable for variable in given if variable["name"] not in there]
    container["env"] = [*container.get("env", []), *added]


def _mount_empty_folder(
    pod: dict[str, Any], container: dict[str, Any], name: str, path: str
) -> None:
    mounts = container.setdefault("volumeMounts", [])
    if any(mount["mountPath"] == path for mount in mounts):
        return
    volumes = pod.setdefault("volumes", [])
    if not any(volume["name"] == name for volume in volumes):
        volumes.append({"name": name, "emptyDir": {}})
    mounts.append({"name": name, "mountPath": path})


def _refused_name(name: str, longest: int) -> list[str]:
    is_label = re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) is not None
    return [] if is_label and len(name) <= longest else [f"name {name!r}"]
