"""A small Kubernetes of the tests' own: Jobs and their pods. Where it is told to, a pod's command really runs as a
process of this machine, as a kubelet would have it run. tests/kube_api.py is its API."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

INDEX = "batch.kubernetes.io/job-completion-index"
Found = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass
class Pod:
    """A pod of a Job; `told` is what the API shows of it."""

    told: Found
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    lines: list[bytes] = field(default_factory=list)  # each after its time

    @property
    def status(self) -> Found:
        status: Found = self.told["status"]
        return status

    @property
    def over(self) -> bool:
        return self.status["phase"] in ("Succeeded", "Failed")

    def write(self, line: bytes) -> None:
        """A line of its worker's."""
        self.lines.append(now().encode() + b" " + line)

    def waits(self, reason: str, message: str = "") -> None:
        """Its container cannot begin."""
        self.status["containerStatuses"] = [
            {"name": "worker", "state": {"waiting": {"reason": reason, "message": message}}}
        ]

    def unschedulable(self, message: str) -> None:
        """No node takes it."""
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self.status["conditions"] = [condition]

    def runs(self, host: str = "node-a") -> None:
        """Its container has begun."""
        self.told["spec"]["nodeName"] = host
        self.status.update(phase="Running", conditions=[])
        self.status["containerStatuses"] = [{"name": "worker", "state": {"running": {"startedAt": now()}}}]

    def ends(self, code: int, why: str = "Error", **more: Any) -> None:
        """Its container has ended; `more` are fields of the pod's status."""
        began = self.status["containerStatuses"][0]["state"].get("running", {}).get("startedAt", now())
        ended = {"exitCode": code, "reason": why if code else "Completed", "startedAt": began}
        self.status["containerStatuses"] = [{"name": "worker", "state": {"terminated": ended}}]
        self.status.update({"phase": "Failed" if code else "Succeeded"} | more)


class Kube:
    """The cluster's state. `weather` is asked before each request: a status to answer with, "reset", or None."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, threading.RLock()
        self.clear()

    def clear(self) -> None:
        """Nothing is there, and all is well."""
        self.jobs: dict[str, Found] = {}
        self.pods: dict[str, Pod] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.claims: dict[str, Found] = {}
        self.nodes: list[Found] = []
        self.events: list[Found] = []
        self.forbidden: set[str] = set()  # as `create jobs`
        self.made: list[Found] = []  # every Job that there ever was
        self.asked: list[str] = []  # method and path of each request
        self.weather: Callable[[str, str], int | str | None] = lambda _method, _path: None
        self.kubelet = True  # whether pods are run, or only their state is told by the test

    # What a test does to it

    def of(self, job: str) -> list[Pod]:
        """The pods of a Job, in their order."""
        with self.lock:
            found = [
                pod
                for pod in self.pods.values()
                if pod.told["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job
            ]
            return sorted(found, key=lambda pod: int(pod.told["metadata"]["annotations"][INDEX]))

    def workers(self) -> list[subprocess.Popen[bytes]]:
        """The processes of pods that run now."""
        with self.lock:
            return [pod.process for pod in self.pods.values() if pod.process and pod.process.poll() is None]

    def evict(self, pod: Pod, kill: bool = False) -> None:
        """As the eviction API does: the pod is told to leave, and is gone when it has."""
        target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        with self.lock:
            pod.status.setdefault("conditions", []).append(target)
            if kill and pod.process:
                os.killpg(pod.process.pid, signal.SIGKILL)
            self.remove(pod)

    def remove(self, pod: Pod) -> None:
        """Delete a pod: SIGTERM to its first process, SIGKILL to all of it after its grace."""
        pod.told["metadata"]["deletionTimestamp"] = now()
        grace_s = pod.told["spec"]["terminationGracePeriodSeconds"]
        if pod.process and pod.process.poll() is None:
            pod.process.terminate()
            killer = threading.Timer(grace_s, os.killpg, (pod.process.pid, signal.SIGKILL))
            killer.daemon = True
            killer.start()
            threading.Thread(target=lambda: (pod.process.wait(), killer.cancel()), daemon=True).start()  # type: ignore[union-attr]

    # What controllers and kubelet do

    def settle(self) -> None:
        """Bring pods and Jobs to what follows from their processes; the API's every answer begins so."""
        with self.lock:
            for pod in list(self.pods.values()):
                code = pod.process.poll() if pod.process else None
                if code is not None and not pod.over:
                    pod.ends(code if code >= 0 else 128 - code)
                if "deletionTimestamp" in pod.told["metadata"] and (pod.over or pod.process is None):
                    del self.pods[pod.told["metadata"]["name"]]
                    self._count(pod)
            for job in list(self.jobs.values()):
                self._settle(job)

    def _count(self, pod: Pod) -> None:
        """What the Job remembers of a pod that is gone."""
        job = self.jobs.get(pod.told["metadata"]["labels"]["batch.kubernetes.io/job-name"])
        if job is None:
            return
        if pod.status["phase"] == "Succeeded":
            job["status"]["succeeded"] = job["status"].get("succeeded", 0) + 1
            return
        disrupted = any(one["type"] == "DisruptionTarget" for one in pod.status.get("conditions", []))
        self._fail(job, "PodFailurePolicy" if disrupted else "BackoffLimitExceeded")

    def _settle(self, job: Found) -> None:
        name, pods = job["metadata"]["name"], self.of(job["metadata"]["name"])
        if "deletionTimestamp" in job["metadata"]:
            if not pods:
                del self.jobs[name]
            return
        for pod in pods:
            if pod.status["phase"] == "Failed":
                disrupted = any(one["type"] == "DisruptionTarget" for one in pod.status.get("conditions", []))
                self._fail(job, "PodFailurePolicy" if disrupted else "BackoffLimitExceeded")
        done = job["status"].get("succeeded", 0) + sum(pod.status["phase"] == "Succeeded" for pod in pods)
        if done == job["spec"]["completions"] and not job["status"].get("conditions"):
            job["status"]["conditions"] = [{"type": "Complete", "status": "True"}]

    def _fail(self, job: Found, reason: str) -> None:
        if job["status"].get("conditions"):
            return
        job["status"]["conditions"] = [{"type": "Failed", "status": "True", "reason": reason}]
        for pod in self.of(job["metadata"]["name"]):
            if not pod.over:
                self.remove(pod)

    def create(self, job: Found) -> Found:
        """A Job and its pods."""
        name = job["metadata"]["name"]
        job["metadata"] |= {"creationTimestamp": now(), "uid": name}
        job["status"] = {}
        self.jobs[name] = job
        self.made.append(job)
        if not job["spec"].get("suspend"):
            for index in range(job["spec"]["completions"]):
                self._begin(job, index)
        return job

    def _begin(self, job: Found, index: int) -> None:
        template = json.loads(json.dumps(job["spec"]["template"]))
        name = f"{job['metadata']['name']}-{index}-abcde"
        labels = template["metadata"]["labels"] | {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
        metadata = {"name": name, "labels": labels, "annotations": {INDEX: str(index)}}
        pod = Pod(
            {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}},
            Path(tempfile.mkdtemp(prefix=name, dir=self.folder)),
        )
        self.pods[name] = pod
        if self.kubelet:
            self.run(pod)

    def run(self, pod: Pod) -> None:
        """Run its command, with the variables and volumes that it asks for; mounts are folders of its own."""
        (container,) = pod.told["spec"]["containers"]
        pod.runs(f"node-{pod.told['metadata']['annotations'][INDEX]}")
        mounts = {one["mountPath"]: pod.folder / one["name"] for one in container["volumeMounts"]}
        for folder in mounts.values():
            folder.mkdir()
        self.show_annotations(pod)
        told = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "OMP_NUM_THREADS") if name in os.environ}
        for source in container.get("envFrom", []):
            told |= self.secrets[source["secretRef"]["name"]]
        for variable in container["env"]:
            told[variable["name"]] = _value(variable, pod, told)
        for mount, folder in mounts.items():
            told = {name: value.replace(mount, str(folder)) for name, value in told.items()}
        command = [sys.executable if container["command"][0] == "python" else container["command"][0]]
        pod.process = subprocess.Popen(
            [*command, *container["command"][1:]],
            env=told,
            cwd=pod.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(pod,), daemon=True).start()

    def _read(self, pod: Pod) -> None:
        assert pod.process is not None
        assert pod.process.stdout is not None
        with pod.process.stdout as written:
            for line in written:
                pod.write(line)

    def show_annotations(self, pod: Pod) -> None:
        notes = pod.told["metadata"]["annotations"]
        for volume in pod.told["spec"]["volumes"]:
            for item in volume.get("downwardAPI", {}).get("items", []):
                file = pod.folder / volume["name"] / item["path"]
                file.parent.mkdir(exist_ok=True)
                file.with_name("half").write_text(
                    "".join(f"{name}={json.dumps(notes[name])}\n" for name in sorted(notes))
                )
                file.with_name("half").rename(file)


def _value(variable: Found, pod: Pod, known: dict[str, str]) -> str:
    if "value" in variable:
        text = re.sub(r"(?<!\$)\$\((\w+)\)", lambda match: known.get(match[1], match[0]), variable["value"])
        return text.replace("$$(", "$(")
    path = variable["valueFrom"]["fieldRef"]["fieldPath"]
    notes = pod.told["metadata"]["annotations"]
    if match := re.fullmatch(r"metadata\.annotations\['(.+)'\]", path):
        return str(notes[match[1]])
    return {"spec.nodeName": str(pod.told["spec"]["nodeName"]), "status.podIP": "127.0.0.1"}[path]
