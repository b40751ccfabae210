"""What a site says once, and what a stage gets of it."""

from pathlib import Path

import pytest

from infra.errors import BadRecipe
from infra.launch.profile import Profile, load, passed
from infra.launch.resources import Resources

TEXT = """
launcher: slurm
resources: {partition: gpu, gpus_per_node: 4, time: '08:00:00'}
stages:
  gate: {launcher: local}
  data: {partition: cpu, gpus_per_node: 0}
"""


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    (tmp_path / "profile.yaml").write_text(TEXT)
    return load(str(tmp_path / "profile.yaml"))


def test_a_recipe_says_more_than_the_stage_and_that_more_than_the_site(profile: Profile) -> None:
    training = profile.asked("training", Resources(nodes=2, time="24:00:00"))
    assert training == Resources(launcher="slurm", nodes=2, partition="gpu", gpus_per_node="4", time="24:00:00")
    data = profile.asked("data", Resources())
    assert (data.partition, data.gpus_per_node, data.time) == ("cpu", "0", "08:00:00")
    assert profile.asked("gate", Resources()).launcher == "local"


def test_a_recipe_may_choose_the_launcher_without_a_profile() -> None:
    assert Profile().asked("training", Resources(launcher="slurm")).launcher == "slurm"
    assert Profile().asked("training", Resources()).launcher == "local"


def test_a_host_is_its_name_or_more(tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text("hosts: [me@gpu1, 'b:2222', '[fe80::1]:22', {ssh: c, address: 10.0.0.3}]")
    hosts = load(str(tmp_path / "profile.yaml")).hosts
    assert [(host.ssh, host.address) for host in hosts] == [
        ("me@gpu1", ""),
        ("b:2222", ""),
        ("[fe80::1]:22", ""),
        ("c", "10.0.0.3"),
    ]


def test_all_launchers_of_a_site_are_known(profile: Profile) -> None:
    assert profile.launchers() == {"slurm", "local"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("launcher: pbs", "launcher"),
        ("resources: {partiton: x}", "resources.partiton"),
        ("resources: {time: 10:00:00}", "resources.time"),
        ('resources: {partition: "gpu\\n#SBATCH --uid=0"}', "resources.partition"),
        ("stages: {data: {mem: '$(id)'}}", "stages.data.mem"),
        ("hosts: ['-oProxyCommand=id']", "hosts.0.ssh"),
        ("hosts: ['a b']", "hosts.0.ssh"),
        ("hosts: [{ssh: a, port: 2222}]", "hosts.0.port"),
        ("kubernetes: {namespace: 'Not A Name'}", "kubernetes.namespace"),
        ("kubernetes: {pod: {volumes: []}}", "kubernetes.pod"),
        ("kubernetes: {container: {image: x}}", "kubernetes.container"),
        ("- nothing", ""),
        ("{", ""),
    ],
)
def test_a_fault_is_named(tmp_path: Path, text: str, place: str) -> None:
    (tmp_path / "profile.yaml").write_text(text)
    with pytest.raises(BadRecipe) as caught:
        load(str(tmp_path / "profile.yaml"))
    assert str(tmp_path / "profile.yaml") in caught.value.place
    assert caught.value.place.endswith(place)


def test_a_profile_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="cannot be read"):
        load(str(tmp_path / "none.yaml"))


def test_a_job_gets_what_our_libraries_read_and_nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("LUTHIER_NODE", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("NCCL_DEBUG", "WARN")
    told = passed({"LUTHIER_STORE": "s3://b"}, Profile(environment={"NCCL_DEBUG": "INFO"}))
    assert (told["AWS_SECRET_ACCESS_KEY"], told["NCCL_DEBUG"], told["LUTHIER_STORE"]) == ("s", "INFO", "s3://b")
    assert not {"LUTHIER_NODE", "CUDA_VISIBLE_DEVICES", "PATH", "HOME"} & told.keys()
