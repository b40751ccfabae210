"""What `luthier doctor` finds of a cluster: rights, what the profile names, and GPUs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import settings
from infra.doctor.finding import Finding
from infra.doctor.kubernetes import kubernetes
from tests.kube import Kube
from tests.kube_api import kube

PROFILE = """
kubernetes: {image: luthier-train, secret: credentials, cache: luthier-cache}
resources: {nodes: 2, gpus_per_node: 8}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Kube]:
    with kube() as made:
        yield made


@pytest.fixture
def cluster(running: Kube, luthier_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kube:
    """A cluster with everything that the profile names."""
    running.clear()
    running.kubelet = False
    running.secrets["credentials"] = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "a-canary"}
    running.claims["luthier-cache"] = {"spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Bound"}}
    running.nodes = [{"status": {"allocatable": {"nvidia.com/gpu": "8"}}} for _ in range(2)]
    monkeypatch.setenv("KUBECONFIG", str(running.folder / "config"))
    monkeypatch.setenv("LUTHIER_PROFILE", str(tmp_path / "profile.yaml"))
    (tmp_path / "profile.yaml").write_text(PROFILE)
    return running


def found() -> dict[str, Finding]:
    return {finding.check: finding for finding in kubernetes(settings.load())}


def test_a_cluster_that_is_as_it_should_be(cluster: Kube) -> None:
    told = found()
    assert {finding.state for finding in told.values()} == {"ok"}, told
    assert told["kubernetes gpus"].said == "16 on 2 of 2 nodes; training asks for 8 on 2"
    assert "a-canary" not in str(told)
    assert cluster.jobs == {}, "it was a dry run"


def test_rights_that_are_missing_are_named(cluster: Kube) -> None:
    cluster.forbidden = {"create jobs", "get pods/log"}
    (told,) = found().values()
    assert told.state == "bad"
    assert "may not create jobs, get pods/log" in told.said
    cluster.forbidden = {"get secrets", "get persistentvolumeclaims", "list nodes"}
    assert {finding.state for finding in found().values()} == {"ok", "note"}, "a run needs none of these"


def test_what_is_named_and_missing_is_bad(cluster: Kube) -> None:
    cluster.secrets.clear()
    cluster.claims.clear()
    cluster.nodes.pop()
    told = {check.removeprefix("kubernetes "): finding.state for check, finding in found().items()}
    assert (told["secret"], told["cache"], told["gpus"]) == ("bad", "bad", "warn")
    cluster.secrets["credentials"] = {"OTHER": "a"}
    cluster.claims["luthier-cache"] = {"spec": {"accessModes": ["ReadWriteOnce"]}}
    told = {check.removeprefix("kubernetes "): finding.state for check, finding in found().items()}
    assert (told["secret"], told["cache"]) == ("warn", "warn")


def test_a_profile_without_an_image_and_an_api_that_is_away_are_told(cluster: Kube, tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text("{}")
    assert "no image is named" in found()["kubernetes job"].said
    cluster.weather = lambda _method, _path: "reset"
    (told,) = found().values()
    assert (told.state, told.said.partition(";")[0]) == ("bad", "Kubernetes' API does not answer")
