"""Stages as pods: the launcher talks to an API of the tests' own, whose pods really run, over a real S3 store."""

import dataclasses
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.errors import Cancelled, Crashed
from infra.launch import kubernetes
from infra.launch.kubernetes import KubernetesLauncher
from infra.launch.profile import load as load_profile
from infra.storage.store import Store, open_objects
from tests import toy
from tests.e2e.toys import flow, in_background, started
from tests.e2e.training import Bench, bench, losses
from tests.kube import Kube
from tests.kube_api import kube
from tests.s3 import Server
from tests.slurm import until
from tests.toy import Toy

pytestmark = [pytest.mark.slow, pytest.mark.s3, pytest.mark.heavy]

PROFILE = """
launcher: kubernetes
kubernetes: {{image: luthier-train, secret: credentials}}
stages: {{toy: {toy}}}
environment: {{PYTHONPATH: {root}, OMP_NUM_THREADS: '1'}}
grace_s: 30
"""
RUN = {"num_processes": 2, "deepspeed": "zero2", "save_steps": 2, "resources": {"nodes": 2}}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def running() -> Iterator[Kube]:
    with kube() as made:
        yield made


@pytest.fixture
def cluster(
    running: Kube, s3: Server, s3_root: str, luthier_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Kube]:
    """An empty cluster with a Secret; this process's environment leads to it and to the store."""
    running.clear()
    running.secrets["credentials"] = {name: value for name, value in s3.environment.items() if "KEY" in name}
    monkeypatch.setenv("KUBECONFIG", str(running.folder / "config"))
    monkeypatch.setenv("LUTHIER_STORE", s3_root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("LUTHIER_PROFILE", str(tmp_path / "profile.yaml"))
    monkeypatch.setattr(kubernetes, "LOOK_S", 0.2)
    monkeypatch.setattr(kubernetes, "RENEW_S", 0.5)
    profile(tmp_path)
    (tmp_path / "notes").mkdir()
    yield running
    assert running.workers() == []


def profile(folder: Path, of_toy: str = "{}") -> None:
    (folder / "profile.yaml").write_text(PROFILE.format(toy=of_toy, root=ROOT))


def launches(root: str) -> list[dict[str, object]]:
    """What the store has of all launches, oldest first."""
    objects = open_objects(root, 20)
    names = [name for name in objects.list("jobs/") if name.endswith("launch.json")]
    return sorted((json.loads(objects.get(name) or b"") for name in names), key=lambda one: str(one["started"]))


def test_a_stage_is_a_job_whose_outcome_and_log_come_back(cluster: Kube, s3_root: str, tmp_path: Path) -> None:
    receipt = toy.run(Toy(notes=str(tmp_path / "notes")))
    assert receipt.summary["launches"] == 1
    (launch,) = launches(s3_root)
    assert launch["outcome"] == "committed"
    notes = dict(launch["notes"])  # type: ignore[call-overload]
    assert notes["job"].startswith("work/luthier-toy-")
    assert notes["hosts"] == "node-0"
    with pytest.raises(Crashed, match="nobody foresaw this"):
        toy.run(Toy(act="bug"))
    logs = [path.read_text() for path in (tmp_path / "home/logs").glob("toy-*.log")]
    assert any("ZeroDivisionError" in log for log in logs)
    assert (cluster.jobs, cluster.pods) == ({}, {})


def test_credentials_are_in_the_worker_and_nowhere_else(cluster: Kube, tmp_path: Path, s3: Server) -> None:
    done, _ = in_background(Toy(act="until", notes=str(tmp_path / "notes")))
    started(tmp_path)
    (worker,) = cluster.workers()
    secret = s3.environment["AWS_SECRET_ACCESS_KEY"]
    assert psutil.Process(worker.pid).environ()["AWS_SECRET_ACCESS_KEY"] == secret
    shown = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert secret not in json.dumps(cluster.jobs) + "".join(shown)
    (tmp_path / "notes/go").touch()
    done.result(60)


def test_a_pod_that_is_evicted_is_followed_by_another_job(cluster: Kube, s3_root: str, tmp_path: Path) -> None:
    done, _ = in_background(Toy(act="stay once", notes=str(tmp_path / "notes")))
    started(tmp_path)
    (pod,) = cluster.pods.values()
    cluster.evict(pod, kill=True)
    assert done.result(60).summary["launches"] == 2  # type: ignore[attr-defined]
    assert [launch["outcome"] for launch in launches(s3_root)] == ["Preempted", "committed"]


def test_a_worker_that_dies_by_itself_is_a_crash(cluster: Kube, tmp_path: Path) -> None:
    with pytest.raises(Crashed, match="exit status -9") as caught:
        toy.run(Toy(act="killed"))
    assert "last words" in caught.value.value


def test_a_flow_that_died_finds_its_pods_again(cluster: Kube, tmp_path: Path) -> None:
    profile(tmp_path, "{nodes: 2}")
    parent = flow(tmp_path, "until")
    started(tmp_path, 2)
    parent.kill()
    parent.wait()
    followed = next(iter(cluster.pods.values())).folder / "followed" / "followed-pod"
    before = followed.read_text()
    done, _ = in_background(Toy(act="until", notes=str(tmp_path / "notes")))
    until(lambda: followed.read_text() != before)
    (tmp_path / "notes/go").touch()
    done.result(60)
    assert len(list((tmp_path / "notes").glob("launch-*"))) == 2, "no worker was begun twice"
    assert cluster.jobs == {}


def test_a_cancelled_flow_leaves_nothing(cluster: Kube, tmp_path: Path) -> None:
    parent = flow(tmp_path, "family")
    until((tmp_path / "notes/pids").exists, 60)
    pids = json.loads((tmp_path / "notes/pids").read_text())
    parent.send_signal(signal.SIGINT)
    parent.wait(60)
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
    assert (cluster.jobs, cluster.pods) == ({}, {})


def test_a_job_that_somebody_deletes_is_not_tried_again(cluster: Kube, tmp_path: Path) -> None:
    done, _ = in_background(Toy(act="forever", notes=str(tmp_path / "notes")))
    started(tmp_path)
    (job,) = cluster.jobs.values()
    with cluster.lock:
        job["metadata"]["deletionTimestamp"] = "now"
        for pod in list(cluster.pods.values()):
            cluster.remove(pod)
    with pytest.raises(Cancelled, match="was deleted from outside"):
        done.result(60)


def training(root: str, folder: Path) -> Bench:
    """What there is to train, from and into the bucket, on pods."""
    made = bench(folder / "bench", store=Store(open_objects(root, 60)))
    launcher = KubernetesLauncher(load_profile(str(folder / "profile.yaml")))
    platform = dataclasses.replace(made.platform, launcher=launcher, tracking_uri="http://127.0.0.1:9")
    return dataclasses.replace(made, platform=platform)


def test_two_pods_train_as_one_node(cluster: Kube, s3_root: str, tmp_path: Path) -> None:
    made = training(s3_root, tmp_path)
    there = made.train(**RUN | {"max_steps": 2})
    assert len(losses(made, there)) == 2
    (told,) = (name for name in made.platform.store.objects.list("jobs/training/") if name.endswith("address.json"))
    assert b'"host":"127.0.0.1"' in (made.platform.store.objects.get(told) or b""), "the pod's own address"
    assert {path.name.count("-") for path in (tmp_path / "bench/logs").glob("training-*.log")} == {1, 2}
    assert (cluster.jobs, cluster.pods) == ({}, {})


@pytest.mark.proof
def test_pods_go_on_from_the_newest_checkpoint_after_one_is_evicted(
    cluster: Kube, s3_root: str, tmp_path: Path
) -> None:
    made = training(s3_root, tmp_path)
    store = made.platform.store

    def strike() -> None:
        until(lambda: any(name.endswith("COMMIT.json") for name in store.objects.list("stages/training/")), 200)
        cluster.evict(next(pod for pod in cluster.pods.values() if "-1-" in pod.told["metadata"]["name"]), kill=True)

    striking = threading.Thread(target=strike, daemon=True)
    striking.start()
    there = made.train(**RUN | {"max_steps": 20})
    striking.join(30)
    assert str(there.summary["resumed_from"]).startswith("checkpoint-")
    assert (cluster.jobs, cluster.pods) == ({}, {})
