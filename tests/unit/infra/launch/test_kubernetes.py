"""Jobs as the API tells of them: how each end reads, what a wait says, who deletes, and an API that is away."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.errors import BadRecipe, Cancelled, Refused, Unreachable
from infra.launch import kubernetes, kubernetes_calls
from infra.launch.kubernetes import KubernetesJob, KubernetesLauncher
from infra.launch.profile import Kubernetes, Profile
from infra.launch.resources import Resources
from tests.kube import Kube, Pod
from tests.kube_api import kube

KEY = "ab" * 32
SPEC = f"jobs/toy/{KEY}/a1/spec.json"
NAME = "luthier-toy-abababab-a1"
ENVIRONMENT = {"LUTHIER_STORE": "s3://bucket/luthier", "MLFLOW_TRACKING_URI": "http://mlflow:5000"}
SITE = Profile(kubernetes=Kubernetes(image="luthier-train"))


@pytest.fixture(scope="module")
def running() -> Iterator[Kube]:
    with kube() as made:
        yield made


@pytest.fixture
def cluster(running: Kube, monkeypatch: pytest.MonkeyPatch) -> Kube:
    """An empty cluster whose pods do nothing but what the test says."""
    running.clear()
    running.kubelet = False
    monkeypatch.setenv("KUBECONFIG", str(running.folder / "config"))
    monkeypatch.setattr(kubernetes, "LOOK_S", 0.0)
    monkeypatch.setattr(kubernetes, "RENEW_S", -1.0)
    monkeypatch.setattr(kubernetes, "LOST_S", 0.0)
    monkeypatch.setattr(kubernetes_calls, "_PAUSE_S", 0.01)
    return running


def begin(tmp_path: Path, nodes: int = 1, profile: Profile = SITE) -> KubernetesJob:
    launcher = KubernetesLauncher(profile)
    return launcher.start("tests.toy", SPEC, ENVIRONMENT, tmp_path / "logs" / "toy.log", Resources(nodes=nodes))


def only(cluster: Kube) -> Pod:
    (pod,) = cluster.of(NAME)
    return pod


def test_a_job_that_is_done_is_told_with_place_and_wait_and_is_deleted(cluster: Kube, tmp_path: Path) -> None:
    job = begin(tmp_path, nodes=2)
    assert job.poll() is None
    for pod in cluster.of(NAME):
        pod.runs(f"gpu-{pod.told['metadata']['annotations']['batch.kubernetes.io/job-completion-index']}")
    assert job.poll() is None
    assert job.state().waiting == ""
    notes = job.state().notes
    assert notes.pop("queued").endswith(" s")
    assert notes == {"job": f"work/{NAME}", "hosts": "gpu-0, gpu-1"}
    for pod in cluster.of(NAME):
        pod.ends(0)
    assert job.poll() == 0
    job.stop()
    assert cluster.jobs == {}
    assert cluster.pods == {}


@pytest.mark.parametrize(
    ("code", "more", "status"),
    [
        (3, {}, 3),
        (137, {"why": "OOMKilled"}, -9),
        (137, {}, -9),
        (1, {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}, 143),
        (137, {"reason": "Evicted", "message": "The node was low on resource: memory."}, 143),
        (143, {"reason": "DeadlineExceeded"}, 143),
    ],
)
def test_an_end_is_the_pods_own_or_the_clusters(
    cluster: Kube, tmp_path: Path, code: int, more: dict[str, Any], status: int
) -> None:
    job = begin(tmp_path)
    only(cluster).runs()
    only(cluster).ends(code, **more)
    assert job.poll() == status
    assert job.state().notes["ended"].startswith("pod 0: ")


def test_a_pod_that_was_evicted_and_is_gone_left_its_reason_with_the_job(cluster: Kube, tmp_path: Path) -> None:
    job = begin(tmp_path, nodes=2)
    for pod in cluster.of(NAME):
        pod.runs()
    assert job.poll() is None
    cluster.evict(cluster.of(NAME)[1])
    assert job.poll() == 143
    assert cluster.pods == {}, "the rest of it was ended too"


def test_a_pod_that_is_deleted_by_somebody_is_a_lost_place(cluster: Kube, tmp_path: Path) -> None:
    job = begin(tmp_path)
    only(cluster).runs()
    assert job.poll() is None
    cluster.remove(only(cluster))
    assert job.poll() == 143


def test_the_fault_of_one_of_two_pods_is_the_jobs(cluster: Kube, tmp_path: Path) -> None:
    job = begin(tmp_path, nodes=2)
    for pod in cluster.of(NAME):
        pod.runs()
    cluster.of(NAME)[1].ends(5)
    assert job.poll() == 5


def test_a_first_node_that_is_done_does_not_wait_for_ever_for_one_that_is_cut_off(
    cluster: Kube, tmp_path: Path
) -> None:
    job = begin(tmp_path, nodes=2)
    for pod in cluster.of(NAME):
        pod.runs()
    cluster.of(NAME)[0].ends(0)
    assert job.poll() == 0
    job.stop()
    assert cluster.pods == {}


def test_a_job_that_somebody_deletes_is_cancelled(cluster: Kube, tmp_path: Path) -> None:
    job = begin(tmp_path)
    only(cluster).runs()
    assert job.poll() is None
    cluster.jobs[NAME]["metadata"]["deletionTimestamp"] = "now"
    assert job.poll() is None, "its pod may still save"
    cluster.remove(only(cluster))
    with pytest.raises(Cancelled, match="was deleted from outside"):
        job.poll()
    job.stop()


def test_a_job_that_is_put_away_for_another_is_left(cluster: Kube, tmp_path: Path) -> None:
    job = begin(tmp_path)
    assert job.poll() is None
    cluster.jobs[NAME]["spec"]["suspend"] = True
    assert job.poll() is None
    assert "the Job is suspended" in job.state().waiting
    cluster.jobs[NAME]["spec"]["suspend"] = False
    only(cluster).runs()
    assert job.poll() is None
    cluster.jobs[NAME]["spec"]["suspend"] = True
    cluster.pods.clear()
    assert job.poll() == 143


def test_a_wait_says_why(cluster: Kube, tmp_path: Path) -> None:
    job = begin(tmp_path)
    only(cluster).unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    assert job.poll() is None
    assert job.state().waiting == (
        f"job {NAME} waits for 0 min: Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    )


def test_what_only_events_say_is_told_too(cluster: Kube, tmp_path: Path) -> None:
    job = begin(tmp_path)
    only(cluster).waits("ContainerCreating")
    volume = {"reason": "FailedMount", "message": "no such volume", "lastTimestamp": "2026-01-01T00:00:00Z"}
    cluster.events = [volume | {"involvedObject": {"name": only(cluster).told["metadata"]["name"]}}]
    assert job.poll() is None
    assert "FailedMount: no such volume" in job.state().waiting
    cluster.pods.clear()
    quota = {"reason": "FailedCreate", "message": "exceeded quota", "lastTimestamp": "2026-01-01T00:00:00Z"}
    cluster.events = [quota | {"involvedObject": {"name": NAME}}]
    assert job.poll() is None
    assert "FailedCreate: exceeded quota" in job.state().waiting


def test_a_wait_has_an_end(cluster: Kube, tmp_path: Path) -> None:
    job = begin(tmp_path, profile=SITE.model_copy(update={"queue_s": 1e-9}))
    only(cluster).unschedulable("0/3 nodes are available")
    with pytest.raises(Unreachable, match="has waited for its turn") as caught:
        job.poll()
    assert "0/3 nodes are available" in caught.value.value


@pytest.mark.parametrize(
    ("reason", "what", "place"),
    [
        ("ImagePullBackOff", "the image cannot be pulled", "kubernetes.image"),
        ("InvalidImageName", "the image has no name that can be", "kubernetes.image"),
        ("CreateContainerConfigError", "the pod's container cannot be set up", "kubernetes.secret"),
    ],
)
def test_what_has_to_be_mended_is_named(
    cluster: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, what: str, place: str
) -> None:
    job = begin(tmp_path)
    only(cluster).waits(reason, "the cluster's own words")
    if reason != "InvalidImageName":
        assert job.poll() is None, "it may still come"
        monkeypatch.setattr(kubernetes, "MEND_S", -1.0)
    with pytest.raises(BadRecipe, match=what) as caught:
        job.poll()
    assert place in caught.value.place
    assert "the cluster's own words" in caught.value.value
    assert caught.value.remedy
    job.stop()
    assert cluster.jobs == {}


def test_lines_come_once_and_in_order_each_to_its_nodes_log(cluster: Kube, tmp_path: Path) -> None:
    job = begin(tmp_path, nodes=2)
    first, second = cluster.of(NAME)
    for pod in (first, second):
        pod.runs()
    first.write(b"one\n")
    assert job.poll() is None
    first.write(b"two\n")
    second.write(b"other\n")
    assert job.poll() is None
    first.write(b"10 %\r\xff 20 %\n")
    first.write(b"three")
    for pod in (first, second):
        pod.ends(0)
    assert job.poll() == 0
    assert (tmp_path / "logs/toy.log").read_bytes() == b"one\ntwo\n10 %\r\xff 20 %\nthree"
    assert (tmp_path / "logs/toy-1.log").read_bytes() == b"other\n"


def test_a_flow_that_died_finds_its_job_and_the_last_who_follows_deletes_it(cluster: Kube, tmp_path: Path) -> None:
    begin(tmp_path)
    only(cluster).runs()
    launcher = KubernetesLauncher(SITE)
    assert launcher.find("toy", KEY, Resources()) == ["a1"]
    assert launcher.find("toy", "cd" * 32, Resources()) == []
    first, second = begin(tmp_path), begin(tmp_path)
    assert len(cluster.jobs) == 1, "409 is the one that there is"
    assert first.poll() is None
    assert second.poll() is None
    assert first.poll() is None
    first.stop()
    assert NAME in cluster.jobs, "the other follows it"
    second.stop()
    assert cluster.jobs == {}
    assert launcher.find("toy", KEY, Resources()) == []


def test_the_note_of_a_flow_that_died_holds_nothing_up(cluster: Kube, tmp_path: Path) -> None:
    dead = begin(tmp_path)
    only(cluster).runs()
    assert dead.poll() is None
    job = begin(tmp_path)
    assert job.poll() is None
    job.stop()
    assert cluster.jobs == {}


def test_an_answer_that_was_lost_makes_no_second_job(cluster: Kube, tmp_path: Path) -> None:
    answers: Iterator[int | str | None] = iter([503, "lost", 429, "reset"])
    cluster.weather = lambda method, _path: next(answers, None) if method == "POST" else None
    begin(tmp_path)
    assert len(cluster.jobs) == 1
    assert cluster.asked.count("POST /apis/batch/v1/namespaces/work/jobs") == 5


@pytest.mark.parametrize("weather", [429, 500, "reset", 401])
def test_a_job_goes_on_where_the_api_is_away(cluster: Kube, tmp_path: Path, weather: int | str) -> None:
    job = begin(tmp_path)
    only(cluster).runs()
    assert job.poll() is None
    cluster.weather = lambda _method, _path: weather
    assert [job.poll() for _ in range(3)] == [None, None, None]
    cluster.weather = lambda _method, _path: None
    only(cluster).ends(0)
    assert job.poll() == 0


@pytest.mark.parametrize("status", [401, 403])
def test_an_account_that_may_not_is_told_at_once(cluster: Kube, tmp_path: Path, status: int) -> None:
    cluster.weather = lambda _method, _path: status
    with pytest.raises(Refused, match="does not let this account") as caught:
        begin(tmp_path)
    assert "create jobs in namespace work" in caught.value.place
    assert "luthier doctor --launcher kubernetes" in caught.value.remedy


def test_a_right_that_is_missing_for_logs_or_notes_is_said_and_ends_nothing(
    cluster: Kube, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = begin(tmp_path)
    only(cluster).runs()
    cluster.weather = lambda method, path: 403 if method == "PATCH" or path.endswith(("log", "events")) else None
    with caplog.at_level(logging.WARNING):
        assert job.poll() is None
    assert "patch pods" in caplog.text
    assert "get pods/log" in caplog.text
    only(cluster).ends(0)
    assert job.poll() == 0


def test_a_typo_in_the_profile_is_found_by_the_server(cluster: Kube, tmp_path: Path) -> None:
    site = Kubernetes(image="luthier-train", pod={"tolerationz": []})
    with pytest.raises(BadRecipe, match="Kubernetes refused the job") as caught:
        begin(tmp_path, profile=Profile(kubernetes=site))
    assert "tolerationz" in caught.value.value


@pytest.mark.parametrize("name", ["LUTHIER_STORE", "MLFLOW_TRACKING_URI"])
def test_what_pods_cannot_see_is_refused_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    address = {"LUTHIER_STORE": "file:///home/me/store", "MLFLOW_TRACKING_URI": "sqlite:////home/me/mlflow.db"}[name]
    with pytest.raises(BadRecipe, match="cannot see this folder") as caught:
        KubernetesLauncher(SITE).start("tests.toy", SPEC, ENVIRONMENT | {name: address}, tmp_path / "log")
    assert (caught.value.place, caught.value.value) == (name, address)


def test_without_a_way_to_a_cluster_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(BadRecipe, match="no way to a cluster is known"):
        begin(tmp_path)
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(BadRecipe, match="no way to a cluster is known") as caught:
        begin(tmp_path)
    assert "token" in caught.value.value, "in a pod it is the pod's own account"
