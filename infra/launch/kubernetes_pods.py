"""What a pod's own status says of the worker in it: what it waits for, how it ended, and whether that was its fault."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.errors import BadRecipe, LuthierError
from infra.launch.kubernetes_manifest import CONTAINER, INDEX

LEFT = 143  # the place went away, and the work goes on elsewhere
FOLLOWED = "luthier/followed-"  # an annotation for each flow that follows
# kubelet's reasons for a pod that it ended itself, beside the condition DisruptionTarget
_PUT_OUT = {"Evicted", "Preempting", "Terminated", "NodeShutdown", "NodeLost", "Shutdown", "DeadlineExceeded"}
_NEVER = {"InvalidImageName", "ErrImageNeverPull"}
_WRONG = {  # what is wrong, the place of the setting, and what to do; these may mend themselves, so they get some time
    "ErrImagePull": ("the image cannot be pulled", "kubernetes.image"),
    "ImagePullBackOff": ("the image cannot be pulled", "kubernetes.image"),
    "InvalidImageName": ("the image has no name that can be", "kubernetes.image"),
    "ErrImageNeverPull": ("the image is not on the node, and may not be pulled", "kubernetes.image"),
    "CreateContainerConfigError": ("the pod's container cannot be set up", "kubernetes.secret"),
    "CreateContainerError": ("the pod's container cannot be made", "kubernetes.container"),
    "RunContainerError": ("the pod's container cannot be started", "kubernetes.container"),
}
_REMEDY = {
    "kubernetes.image": "see the image's name, and imagePullSecrets in kubernetes.pod where its registry wants a login",
    "kubernetes.secret": "`kubectl get secrets` lists those that there are",
    "kubernetes.container": "`kubectl describe pod` has the whole of it; the image needs Python and Luthier",
}


@dataclass(frozen=True)
class Pod:
    """One node's pod as the API tells of it."""

    told: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.told["metadata"]["name"])

    @property
    def index(self) -> int:
        """Which node it is."""
        return int(self.told["metadata"].get("annotations", {}).get(INDEX, 0))

    @property
    def host(self) -> str:
        """The machine that it is on; empty as long as there is none."""
        return str(self.told["spec"].get("nodeName") or "")

    @property
    def _status(self) -> dict[str, Any]:
        return dict(self.told.get("status") or {})

    @property
    def _state(self) -> dict[str, Any]:
        containers = self._status.get("containerStatuses") or []
        ours: dict[str, Any] = next(
            (one for one in containers if one["name"] == CONTAINER), {}
        )  # a mesh may have put its own beside
        return dict(ours.get("state") or {})

    @property
    def over(self) -> bool:
        """Whether it has ended for good."""
        return self._status.get("phase") in ("Succeeded", "Failed")

    @property
    def waits(self) -> bool:
        """Whether its worker has not begun."""
        return not self.over and not ({"running", "terminated"} & self._state.keys())

    @property
    def since(self) -> datetime | None:
        """When its worker began, by the cluster's clock."""
        began = self._state.get("running", {}).get("startedAt") or self._state.get("terminated", {}).get("startedAt")
        return _time(began) if began else None

    @property
    def disrupted(self) -> bool:
        """Whether the cluster took its place away: evicted, preempted by another, a node that goes, its time over."""
        target = any(one["type"] == "DisruptionTarget" and one["status"] == "True" for one in self._conditions)
        return target or self._status.get("reason") in _PUT_OUT

    @property
    def _conditions(self) -> list[dict[str, Any]]:
        return list(self._status.get("conditions") or [])

    @property
    def status(self) -> int | None:
        """As of a process: None while it may go on; LEFT where it was not its fault, -9 where it was killed for memory."""
        if not self.over:
            return None
        if self._status["phase"] == "Succeeded":
            return 0
        if self.disrupted:
            return LEFT
        ended = self._state.get("terminated", {})
        code = int(ended.get("exitCode", 1))
        killed = ended.get("reason") == "OOMKilled" or code == 128 + 9
        return -9 if killed else code or 1

    @property
    def reason(self) -> str:
        """Why it waits or how it ended, in the cluster's words."""
        waiting, ended = self._state.get("waiting", {}), self._state.get("terminated", {})
        scheduled = next((one for one in self._conditions if one["type"] == "PodScheduled"), {})
        unplaced = scheduled if scheduled.get("status") == "False" else {}
        for told in (self._status, waiting, unplaced, ended):
            if told.get("reason") and told["reason"] != "Completed":
                return ": ".join(filter(None, [told["reason"], told.get("message", "")]))
        return ""

    @property
    def followers(self) -> dict[str, str]:
        """What each flow has noted last, by the flow's own name."""
        notes = self.told["metadata"].get("annotations", {})
        return {name.removeprefix(FOLLOWED): told for name, told in notes.items() if name.startswith(FOLLOWED)}

    def wrong(self, image: str) -> tuple[LuthierError, bool] | None:
        """What keeps it from beginning that people have to mend, and whether it is certain already."""
        reason = str(self._state.get("waiting", {}).get("reason", ""))
        if reason not in _WRONG:
            return None
        what, field = _WRONG[reason]
        place = f"{field} of the site's profile, pod {self.name}"
        error = BadRecipe(what, place=place, value=f"{image}: {self.reason}", remedy=_REMEDY[field])
        return error, reason in _NEVER


def queued_s(job: dict[str, Any], pods: list[Pod]) -> float | None:
    """How long it took from the Job to the last worker's begin, all by the cluster's clock; None before that."""
    began = [pod.since for pod in pods]
    known = [at for at in began if at is not None]
    if len(known) < len(began) or not known:
        return None
    return (max(known) - _time(job["metadata"]["creationTimestamp"])).total_seconds()


def _time(told: str) -> datetime:
    return datetime.fromisoformat(told)
