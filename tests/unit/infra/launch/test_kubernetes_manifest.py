"""The Job of a stage: one golden file, Kubernetes' own schemas, and nothing secret in it."""

import json
import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from infra.errors import BadRecipe
from infra.launch.kubernetes_manifest import Order, manifest, seconds
from infra.launch.profile import Kubernetes, Profile
from infra.launch.resources import Resources
from pipelines import recipe

ROOT = Path(__file__).parents[4]
GOLDEN = ROOT / "tests" / "golden" / "kubernetes.yaml"
VERSIONS = ["1.31.0", "1.34.0", "1.37.0"]
ATTEMPT = "0123456789abcdef0123456789abcdef"
SPEC = f"jobs/training/{'ab' * 32}/{ATTEMPT}/spec.json"
SITE = Profile(
    kubernetes=Kubernetes(
        image="registry.example/luthier-train:1",
        secret="luthier",
        cache="luthier-cache",
        labels={"kueue.x-k8s.io/queue-name": "gpu"},
        pod={
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "serviceAccountName": "trainer",
            "imagePullSecrets": [{"name": "registry"}],
            "nodeSelector": {"pool": "gpu"},
        },
    ),
    environment={"NCCL_SOCKET_IFNAME": "eth0"},
)
ASKED = Resources(nodes=2, gpus_per_node="8", cpus_per_task=32, mem="200G", time="08:00:00", constraint="gpu=h100")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's variables are not the golden file's."""
    for name in list(os.environ):
        if name not in ("PATH", "HOME"):
            monkeypatch.delenv(name)


def made(resources: Resources = ASKED, profile: Profile = SITE, spec: str = SPEC, **environment: str) -> dict[str, Any]:
    told = {"LUTHIER_STORE": "s3://models/luthier", "LUTHIER_HOME": "/home/me/.luthier"} | environment
    return manifest(Order("tasks.training.worker", spec, resources, told), profile)


def test_a_job_is_the_golden_one() -> None:
    assert made() == yaml.safe_load(GOLDEN.read_text())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["quickstart", "32b-full-2x8x80gb", "70b-qlora-48gb"])
def test_jobs_of_recipes_keep_to_the_published_schemas(name: str, version: str) -> None:
    asked = recipe.load(name).train.resources
    for profile in (SITE, Profile(kubernetes=Kubernetes(image="luthier-train"))):
        kubernetes_validate.validate(made(profile.asked("training", asked), profile), version, strict=True)


def test_a_job_says_who_it_is_of_in_names_that_kubernetes_takes() -> None:
    for stage in ("training", "a_stage_of_a_very_long_name_indeed"):
        job = made(spec=f"jobs/{stage}/{'ab' * 32}/{ATTEMPT}/spec.json")
        labels = job["metadata"]["labels"]
        assert len(job["metadata"]["name"]) <= 52
        assert job["metadata"]["name"].replace("-", "").isalnum()
        assert labels["luthier/attempt"] == ATTEMPT
        assert all(len(value) <= 63 for value in labels.values())
        assert labels == job["spec"]["template"]["metadata"]["labels"] | SITE.kubernetes.labels


def test_no_credential_is_in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD"),
        *("MLFLOW_TRACKING_TOKEN", "LUTHIER_NOTIFY_URL", "LUTHIER_DATABASE", "https_proxy", "OTHER"),
    ):
        monkeypatch.setenv(name, "a-canary")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example")
    monkeypatch.setenv("LUTHIER_SILENCE_S", "99")
    job = made(MLFLOW_TRACKING_URI="https://mlflow.example")
    assert "a-canary" not in json.dumps(job)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    told = {one["name"]: one.get("value") for one in container["env"]}
    assert told["AWS_ENDPOINT_URL"] == "https://s3.example"
    assert told["LUTHIER_SILENCE_S"] == "99"
    assert container["envFrom"] == [{"secretRef": {"name": "luthier"}}]


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL"])
def test_a_password_in_an_address_is_refused_and_not_repeated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "https://me:a-canary@example")
    with pytest.raises(BadRecipe, match="password") as caught:
        made()
    assert name in caught.value.place
    assert "a-canary" not in str(caught.value)


def test_what_looks_like_a_reference_stays_what_it_is() -> None:
    job = made(profile=SITE.model_copy(update={"environment": {"OMP_PLACES": "$(HOME)"}}))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {"name": "OMP_PLACES", "value": "$$(HOME)"} in container["env"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"gpus_per_node": "0"}, {"requests": {}, "limits": {}}),
        ({"mem": "1500"}, {"requests": {"memory": "1500Mi"}, "limits": {"memory": "1500Mi"}}),
        ({"gres": "amd.com/gpu:4"}, {"requests": {"amd.com/gpu": "4"}, "limits": {"amd.com/gpu": "4"}}),
    ],
)
def test_amounts_are_sbatchs(asked: dict[str, str], expected: dict[str, dict[str, str]]) -> None:
    (container,) = made(Resources.model_validate(asked))["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == expected


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"gpus_per_node": "a100:4"}, "gpus_per_node"),
        ({"gres": "gpu"}, "gres"),
        ({"mem": "64GB"}, "mem"),
        ({"constraint": "infiniband"}, "constraint"),
        ({"time": "soon"}, "time"),
    ],
)
def test_what_only_slurm_understands_is_named(asked: dict[str, str], place: str) -> None:
    with pytest.raises(BadRecipe) as caught:
        made(Resources.model_validate(asked))
    assert place in caught.value.place
    assert caught.value.remedy


def test_without_an_image_nothing_begins() -> None:
    with pytest.raises(BadRecipe, match="no image") as caught:
        made(profile=Profile())
    assert "kubernetes.image" in caught.value.place


@pytest.mark.parametrize(
    ("time", "expected"), [("90", 5400), ("10:30", 630), ("08:00:00", 28800), ("1-12", 129600), ("2-00:30:00", 174600)]
)
def test_a_limit_is_told_as_to_sbatch(time: str, expected: int) -> None:
    assert seconds(time) == expected


def test_a_profile_says_nothing_that_the_launcher_says() -> None:
    with pytest.raises(ValueError, match="volumes is what the launcher says itself"):
        Kubernetes(pod={"volumes": []})
