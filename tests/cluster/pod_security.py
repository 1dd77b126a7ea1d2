"""Kubernetes' Pod Security standard `restricted`, for Linux pods."""

from __future__ import annotations

from typing import Any

_VOLUMES = {
    *["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"],
    *["projected", "secret"],
}
_HOST = ("hostNetwork", "hostPID", "hostIPC")
_SECCOMP = ("RuntimeDefault", "Localhost")


def violations(pod: dict[str, Any]) -> list[str]:
    """What `restricted` refuses of a pod's spec; empty for one that it admits."""
    found = [f"pod: {name}" for name in _HOST if pod.get(name)]
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= _VOLUMES:
            found.append(f"pod: volume {volume['name']} is a {', '.join(sorted(kinds))}")
    of_pod = pod.get("securityContext", {})
    if of_pod.get("sysctls"):
        found.append("pod: sysctls")
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        refused = _of_container(container, of_pod)
        found += [f"{container['name']}: {reason}" for reason in refused]
    return found


def _of_container(container: dict[str, Any], of_pod: dict[str, Any]) -> list[str]:
    own = container.get("securityContext", {})
    # What a container does not say, its pod says.
    both = of_pod | own
    capabilities = own.get("capabilities", {})
    host_ports = [port for port in container.get("ports", []) if port.get("hostPort")]
    rules = {
        "allowPrivilegeEscalation must be false": own.get("allowPrivilegeEscalation") is False,
        "privileged": not own.get("privileged"),
        "capabilities must drop ALL": "ALL" in capabilities.get("drop", []),
        "adds capabilities": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot must be true": both.get("runAsNonRoot") is True,
        "runAsUser is root": both.get("runAsUser") != 0,
        "seccompProfile": both.get("seccompProfile", {}).get("type") in _SECCOMP,
        "procMount": own.get("procMount", "Default") == "Default",
        "hostPort": not host_ports,
    }
    return [reason for reason, holds in rules.items() if not holds]
