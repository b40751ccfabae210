"""Workers as pods of Kubernetes: one Indexed Job a launch, one pod a node; what they share is the store alone."""

import logging
import math
import re
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from infra.errors import Cancelled, LuthierError, Refused, Unreachable
from infra.launch import elsewhere
from infra.launch.base import State
from infra.launch.kubernetes_calls import OUTAGE_S, Cluster, patiently
from infra.launch.kubernetes_manifest import Order, labels, manifest
from infra.launch.kubernetes_pods import FOLLOWED, LEFT, Pod, queued_s
from infra.launch.nodes import beside
from infra.launch.profile import Profile
from infra.launch.resources import Resources

log = logging.getLogger(__name__)

LOOK_S = 5.0
RENEW_S, FRESH_S = 10.0, 30.0  # a flow says that often that it is there; another's word counts for so long
LOST_S = 60.0  # how long others may go on after a worker whose end decides for all
MEND_S = 120.0  # for an image, a Secret or a volume that is not there (yet)
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")  # a bar of progress has its own ends of line in it
SPARE_S = 30.0  # over the pods' own grace, until they are gone


class KubernetesJob:
    """A Job by its name. It outlives its flow; whoever follows it last deletes it."""

    def __init__(self, cluster: Cluster, order: Order, profile: Profile, log_file: Path) -> None:
        self._cluster, self._order, self._profile, self._log = cluster, order, profile, log_file
        self._who = uuid.uuid4().hex[:8]
        self._status: int | None = None
        self._job: dict[str, Any] = {}
        self._pods: list[Pod] = []
        self._looked = self._renewed = -math.inf
        self._answered = self._idle = time.monotonic()
        self._since: dict[str, float] = {}  # when something was first seen
        self._others: dict[tuple[str, str], tuple[str, float]] = {}
        self._read: dict[str, tuple[bytes, float]] = {}  # the time of its last line, and when it was asked for
        self._read_all: set[str] = set()
        self._began, self._complaint = False, ""
        self._refused: set[str] = set()
        log_file.parent.mkdir(parents=True, exist_ok=True)

    def poll(self) -> int | None:
        """None while it waits or runs. Cancelled where somebody deleted it; BadRecipe where what it waits for has to be
        mended; Unreachable where it waited for too long."""
        if self._status is not None or time.monotonic() - self._looked < LOOK_S:
            return self._status
        self._looked = time.monotonic()
        try:
            self._look()
        except (
            LuthierError
        ) as error:  # a healthy run is not ended because the API is away: the store still has its beats
            if isinstance(error, Refused) and not self._job:
                raise
            away_s = time.monotonic() - self._answered
            log.warning("job %s: the API has not answered for %.0f s: %s", self._order.name, away_s, error.value)
            return None
        self._answered = time.monotonic()
        self._status = self._ended()
        if self._status is None and self._waits:
            self._require_hope()
        return self._status

    def state(self) -> State:
        """Whether it waits and why, and what people want to know of the job."""
        notes = {"job": f"{self._cluster.namespace}/{self._order.name}"}
        hosts = [pod.host for pod in self._pods if pod.host]
        if hosts and not self._waits:
            notes["hosts"] = ", ".join(hosts)
        queued = queued_s(self._job, self._pods) if self._job and not self._waits else None
        if queued is not None:
            notes["queued"] = f"{max(0.0, queued):.0f} s"
        ends = [f"pod {pod.index}: {pod.reason}" for pod in self._pods if pod.status and pod.reason]
        if ends:
            notes["ended"] = "; ".join(ends)
        minutes = (time.monotonic() - self._idle) / 60
        minutes -= minutes % (10 if minutes >= 10 else 1)
        waits = self._status is None and self._waits and time.monotonic() - self._answered < OUTAGE_S
        waiting = f"job {self._order.name} waits for {minutes:.0f} min: {self._why() or 'no pod yet'}"
        return State(waiting=waiting if waits else "", notes=notes)

    def stop(self) -> None:
        """Delete it, unless another flow follows it, and wait until its pods are gone, as long as they are given."""
        if self._status is None and self._shared():
            log.info("job %s is left to the other flow that follows it", self._order.name)
            return
        name, end = self._order.name, time.monotonic() + self._profile.grace_s + SPARE_S
        try:
            patiently(lambda: self._cluster.delete(name), OUTAGE_S)
            while patiently(lambda: self._cluster.job(name), OUTAGE_S) is not None:
                if time.monotonic() > end:
                    raise Unreachable("it is not gone", value="its pods still are")
                self._copy_logs_quietly()
                time.sleep(min(LOOK_S, 1.0))
        except LuthierError as error:
            log.error(
                "job %s could not be deleted: %s; `kubectl -n %s delete job %s` does it",
                *(name, error, self._cluster.namespace, name),
            )
            return
        self._status = LEFT if self._status is None else self._status

    @property
    def _waits(self) -> bool:
        """Whether not all workers have begun."""
        return len(self._pods) < self._order.resources.nodes or any(pod.waits for pod in self._pods)

    def _look(self) -> None:
        """Ask for the Job and its pods, say that this flow is there, and fetch what the workers have written."""
        name = self._order.name
        found = self._cluster.job(name)
        self._pods = sorted(map(Pod, self._cluster.pods(name)), key=lambda pod: pod.index)
        self._notice_others()
        self._job = found or {"metadata": {"deletionTimestamp": "gone"}}
        if time.monotonic() - self._renewed > RENEW_S:
            self._renewed = time.monotonic()
            for pod in self._pods:
                if not pod.over:
                    note = {FOLLOWED + self._who: f"{time.time():.3f}"}
                    self._unless_refused(partial(self._cluster.annotate, pod.name, note))
        self._began = self._began or any(not pod.waits for pod in self._pods)
        if self._waits:
            reason = next((pod.reason for pod in self._pods if pod.waits and pod.reason), "")
            told = reason if reason not in ("", "ContainerCreating", "PodInitializing") else ""
            self._complaint = told or self._said_of(self._pods[0].name if self._pods else name) or reason
        else:
            self._idle = time.monotonic()
        self._copy_logs()

    def _said_of(self, name: str) -> str:
        """The cluster's last complaint; an account that may not read events hears none."""
        told: list[str] | None = self._unless_refused(partial(self._cluster.warnings, name))
        return told[-1] if told else ""

    def _unless_refused(self, call: Callable[[], Any]) -> Any:
        """What the account may do; a right that it lacks is told once, and ends no run."""
        try:
            return call()
        except Refused as error:
            if error.place not in self._refused:
                log.warning("job %s: %s", self._order.name, error)
            self._refused.add(error.place)
            return None

    def _why(self) -> str:
        return "the Job is suspended" if self._job.get("spec", {}).get("suspend") else self._complaint

    def _ended(self) -> int | None:
        """Its status once its pods have ended, or one has in a way that decides for all and the rest has had LOST_S."""
        going = [pod for pod in self._pods if not pod.over]
        if "deletionTimestamp" in self._job["metadata"]:
            if going:
                return None
            self._status = LEFT
            raise Cancelled(
                f"job {self._order.name} was deleted from outside",
                place=f"{self._cluster.namespace}, {self._log}",
                remedy="run it again, and it goes on from what it has stored",
            )
        conditions = [one for one in self._job.get("status", {}).get("conditions") or [] if one["status"] == "True"]
        kinds = {one["type"]: one for one in conditions}
        if "Complete" in kinds and not going:
            return 0
        put_away = self._job.get("spec", {}).get("suspend") and self._began  # by Kueue, for another
        failed = [pod.status for pod in self._pods if pod.status]
        done = any(pod.index == 0 and pod.status == 0 for pod in self._pods) and "Failed" not in kinds
        decided = "Failed" in kinds or put_away or failed or done
        patience_s = self._profile.grace_s + SPARE_S if "Failed" in kinds else LOST_S  # then all are told to leave
        if not decided or (going and self._for_s("decided") < patience_s):
            return None
        if kinds.get("Failed", {}).get("reason") == "PodFailurePolicy" or put_away:
            return LEFT
        faults = [status for status in failed if status != LEFT]
        return faults[0] if faults else 0 if done and not failed else LEFT

    def _require_hope(self) -> None:
        wrong = [found for pod in self._pods if (found := pod.wrong(self._profile.kubernetes.image))]
        if wrong:
            error, certain = wrong[0]
            if certain or self._for_s("wrong") > MEND_S:
                raise error
        else:
            self._since.pop("wrong", None)
        waited = time.monotonic() - self._idle
        if waited > self._profile.queue_s:
            raise Unreachable(
                f"job {self._order.name} has waited for its turn for {waited / 3600:.1f} h",
                place="queue_s of the site's profile",
                value=self._why(),
                remedy="ask for less, or see what the cluster lacks: `luthier doctor --launcher kubernetes`",
            )

    def _for_s(self, what: str) -> float:
        """How long ago something was first seen."""
        now = time.monotonic()
        return now - self._since.setdefault(what, now)

    def _notice_others(self) -> None:
        """Remember when another flow's note last changed, by this clock; at first sight it may be of one that died."""
        for pod in self._pods:
            for who, note in pod.followers.items():
                known, now = self._others.get((pod.name, who)), time.monotonic()
                if known is None:
                    self._others[pod.name, who] = (note, now if self._job else -math.inf)
                elif known[0] != note:
                    self._others[pod.name, who] = (note, now)

    def _shared(self) -> bool:
        now = time.monotonic()
        return any(now - at < FRESH_S for (_, who), (_, at) in self._others.items() if who != self._who)

    def _copy_logs_quietly(self) -> None:
        try:
            self._copy_logs()
        except LuthierError as error:
            log.warning("job %s: its last words cannot be read: %s", self._order.name, error.value)

    def _copy_logs(self) -> None:
        """What workers have written since the last time. The API counts by seconds, so lines that are known come again."""
        for pod in self._pods:
            if pod.waits or (pod.over and pod.name in self._read_all):
                continue
            last, at = self._read.get(pod.name, (b"", 0.0))
            now = time.monotonic()
            since_s = math.ceil(now - at) + 2 if last else None
            text = self._unless_refused(partial(self._cluster.log, pod.name, since_s)) or b""
            lines = [line.partition(b" ") for line in _LINE.findall(text)]
            new = [(stamp, line) for stamp, _, line in lines if stamp > last]
            with beside(self._log, pod.index).open("ab") as file:
                file.write(b"".join(line for _, line in new))
            self._read[pod.name] = (new[-1][0] if new else last, now)
            if pod.over:
                self._read_all.add(pod.name)


class KubernetesLauncher:
    """Makes Jobs, and finds those of flows that died by their labels."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._cluster = Cluster(profile.kubernetes)

    def find(self, stage: str, key: str, _resources: Resources, /) -> list[str]:
        """The attempts at a key that have a Job now which is not over."""
        found = patiently(lambda: self._cluster.jobs(labels(stage, key)))
        return [job["metadata"]["labels"]["luthier/attempt"] for job in found if not _over(job)]

    def start(
        self, module: str, spec: str, environment: dict[str, str], log: Path, resources: Resources | None = None
    ) -> KubernetesJob:
        """Make a Job, or follow the one that there is by that name. Output goes to `log` and beside it."""
        asked = resources or Resources()
        elsewhere.require_visible(environment, None, mounts=False)
        order = Order(module, spec, asked, environment)
        made = manifest(order, self._profile)
        patiently(lambda: self._cluster.create(made))
        for node in range(asked.nodes):
            beside(log, node).unlink(missing_ok=True)  # of a flow that died: all is read again
        return KubernetesJob(self._cluster, order, self._profile, log)


def _over(job: dict[str, Any]) -> bool:
    conditions = job.get("status", {}).get("conditions") or []
    ended = any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)
    return ended or "deletionTimestamp" in job["metadata"]
