"""The Job that a stage becomes on Kubernetes: a plain Indexed Job, one pod a node, and nothing secret in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.errors import BadRecipe
from infra.launch import elsewhere
from infra.launch.following import FOLLOWED
from infra.launch.nodes import HOST, NODE, NODES
from infra.launch.profile import Profile
from infra.launch.resources import Resources

HOME = "/var/lib/luthier"  # where the images of docker/ may write
USER = 10001  # theirs
NOTICES = "/etc/luthier/followed"  # a pod's annotations, as a file in it
SHORTEST_S = 300.0  # an annotation takes the kubelet a minute or two to show
INDEX = "batch.kubernetes.io/job-completion-index"
NAME = "batch.kubernetes.io/job-name"
CONTAINER = "worker"
_KEPT_S = 86400  # what a flow that died left
_OPEN = re.compile(
    r"(LUTHIER|NCCL|GLOO|OMP)_\w+|AWS_(DEFAULT_)?REGION|AWS_ENDPOINT_URL\w*|MLFLOW_TRACKING_URI|HF_(HUB_OFFLINE|ENDPOINT)"
)
_CLOSED = {"LUTHIER_NOTIFY_URL", "LUTHIER_DATABASE", "LUTHIER_HOME", "LUTHIER_SHARED_ROOT"}
_WITH_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")
_UNITS = {"": "Mi", "K": "Ki", "M": "Mi", "G": "Gi", "T": "Ti"}  # sbatch counts by 1024, and in megabytes


@dataclass(frozen=True)
class Order:
    """What is to run: the worker of a stage, on so many nodes, with these variables."""

    module: str
    spec: str
    resources: Resources
    environment: Mapping[str, str]

    @property
    def labels(self) -> dict[str, str]:
        """By which a later flow finds it."""
        _, stage, key, attempt, _ = self.spec.split("/")
        return labels(stage, key) | {"luthier/attempt": _word(attempt)}

    @property
    def name(self) -> str:
        """The Job's name, from key and attempt; pods add their number to it, and 63 characters are allowed."""
        _, stage, key, attempt, _ = self.spec.split("/")
        return f"luthier-{_word(stage)[:16]}-{key[:8]}-{_word(attempt)[:16]}".strip("-")


def labels(stage: str, key: str) -> dict[str, str]:
    """What all Jobs at a key have."""
    return {"app.kubernetes.io/name": "luthier", "luthier/stage": _word(stage), "luthier/key": key[:40]}


def manifest(order: Order, profile: Profile) -> dict[str, Any]:
    """The Job, as Kubernetes' API takes it. BadRecipe where no image is named, or a variable would tell a password."""
    asked, site = order.resources, profile.kubernetes
    if not site.image:
        raise BadRecipe(
            "no image is named that pods could run",
            place="kubernetes.image of the site's profile",
            remedy="build one with docker/train.Dockerfile, and push it where the cluster's nodes pull from",
        )
    pod = _pod(order, profile)
    marks = order.labels
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": order.name,
            "labels": site.labels | marks,
            "annotations": {"luthier/spec": order.spec},
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": asked.nodes,
            "parallelism": asked.nodes,
            "backoffLimit": 0,  # the stage launches again, from what is stored
            "ttlSecondsAfterFinished": _KEPT_S,
            # So that the Job itself says that a pod was evicted, where the pod is gone by then.
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {"metadata": {"labels": marks}, "spec": pod},
        },
    }


def _pod(order: Order, profile: Profile) -> dict[str, Any]:
    asked, site = order.resources, profile.kubernetes
    ours: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": profile.grace_s,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(order, profile)],
        "volumes": _volumes(site.cache),
    }
    if asked.time:
        ours["activeDeadlineSeconds"] = seconds(asked.time)
    if asked.nodes > 1:
        ours["affinity"] = _apart(order.name)
    if selector := _selector(asked.constraint):
        ours["nodeSelector"] = selector
    told = dict(site.pod)
    if isinstance(own := told.get("nodeSelector"), dict):
        told["nodeSelector"] = {**own, **selector}
    return ours | told


def _container(order: Order, profile: Profile) -> dict[str, Any]:
    site = profile.kubernetes
    ours: dict[str, Any] = {
        "name": CONTAINER,
        "image": site.image,
        "command": [profile.python or "python", "-m", order.module, order.spec],
        "env": _variables(order, profile),
        "resources": _resources(order.resources),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "home", "mountPath": HOME},
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "followed", "mountPath": NOTICES},
        ],
    }
    if site.secret:
        ours["envFrom"] = [{"secretRef": {"name": site.secret}}]
    return ours | dict(site.container)


def _volumes(cache: str) -> list[dict[str, Any]]:
    annotations = {"path": "followed-pod", "fieldRef": {"fieldPath": "metadata.annotations"}}
    return [
        {"name": "home", **({"persistentVolumeClaim": {"claimName": cache}} if cache else {"emptyDir": {}})},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        {"name": "followed", "downwardAPI": {"items": [annotations]}},
    ]


def _variables(order: Order, profile: Profile) -> list[dict[str, Any]]:
    """Places that the pod learns of itself, then all others; `$(…)` in those is no reference."""
    told = variables(order.environment, profile) | {
        NODES: str(order.resources.nodes),
        FOLLOWED: f"{max(profile.orphan_s, SHORTEST_S):.0f} {NOTICES}",
    }
    fields = {
        "NODE_NAME": "spec.nodeName",
        NODE: f"metadata.annotations['{INDEX}']",
        HOST: "status.podIP",
    }
    return [
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()),
        {"name": "LUTHIER_HOME", "value": f"{HOME}/$(NODE_NAME)"},
        *({"name": name, "value": value.replace("$(", "$$(")} for name, value in sorted(told.items())),
    ]


def variables(environment: Mapping[str, str], profile: Profile) -> dict[str, str]:
    """What may be read by whoever may read Jobs: none that holds a credential; those come from the Secret."""
    all_of_them = elsewhere.environment(dict(environment), profile)
    told = {
        name: value
        for name, value in all_of_them.items()
        if name in profile.environment or name in elsewhere.OWN or (_OPEN.fullmatch(name) and name not in _CLOSED)
    }
    for name, value in told.items():
        if _WITH_PASSWORD.search(value):
            raise BadRecipe(
                "a password would stand in the Job for all to read",
                place=name,
                remedy=f"put {name} into the Secret that kubernetes.secret of the site's profile names, and unset it here",
            )
    return told


def _resources(asked: Resources) -> dict[str, Any]:
    """Whole devices and memory are limits; cores are a request only, as a limit would hold up threads that wait."""
    devices = {}
    if asked.gpus_per_node not in (None, "0"):
        devices["nvidia.com/gpu"] = _count(str(asked.gpus_per_node))
    for part in (asked.gres or "").split(","):
        name, _, count = part.rpartition(":")
        if part:
            devices[name or part] = _count(count)
    memory = {"memory": _memory(asked.mem)} if asked.mem else {}
    cores = {"cpu": str(asked.cpus_per_task)} if asked.cpus_per_task else {}
    return {"requests": cores | memory | devices, "limits": memory | devices}


def _count(told: str) -> str:
    if not told.isdigit():
        raise BadRecipe(
            "Kubernetes counts devices, and knows no kinds of them",
            place="resources.gpus_per_node or resources.gres",
            value=told,
            remedy="say how many, as `gpus_per_node: 4` or `gres: 'amd.com/gpu:4'`, and which by `constraint: 'label=value'`",
        )
    return told


def _memory(told: str) -> str:
    match = re.fullmatch(r"(\d+)([KMGT]?)", told)
    if match is None:
        raise BadRecipe(
            "this is no amount of memory", place="resources.mem", value=told, remedy="say it as sbatch does: `64G`"
        )
    return match[1] + _UNITS[match[2]]


def _selector(constraint: str | None) -> dict[str, str]:
    pairs = [part.partition("=") for part in constraint.split(",")] if constraint else []
    if any(not sign or not value for _, sign, value in pairs):
        raise BadRecipe(
            "nodes of Kubernetes have labels, and a feature alone is none",
            place="resources.constraint",
            value=constraint,
            remedy="say it as `label=value`; `kubectl get nodes --show-labels` has them",
        )
    return {name: value for name, _, value in pairs}


def _apart(name: str) -> dict[str, Any]:
    """Each pod of the Job on a machine of its own."""
    term = {"labelSelector": {"matchLabels": {NAME: name}}, "topologyKey": "kubernetes.io/hostname"}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def seconds(time: str) -> int:
    """A time limit in sbatch's words: `90` (minutes), `8:00:00`, `2-12` (days and hours)."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if match is None:
        raise BadRecipe(
            "this is no time limit", place="resources.time", value=time, remedy="as `'08:00:00'`, in quotes"
        )
    days, *rest = match.groups()
    first, second, third = (int(part or 0) for part in rest)
    if days is not None:
        return int(days) * 86400 + first * 3600 + second * 60 + third
    if rest[2] is not None:
        return first * 3600 + second * 60 + third
    return first * 60 + second


def _word(text: str) -> str:
    """A part of a name as DNS has it."""
    return re.sub(r"[^a-z0-9-]", "-", text.lower())
