"""Stages as jobs of a real Slurm: outcome, requeue, the end of a job's time, cancel, a flow that dies, slurmctld away."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra import settings
from infra.doctor.slurm import slurm as doctor
from infra.errors import BadRecipe, Cancelled, Crashed
from tests import toy
from tests.e2e.toys import flow, in_background, launches, started
from tests.slurm import Slurm, needs_slurm, slurm, until
from tests.toy import Toy

pytestmark = [pytest.mark.slow, needs_slurm]

PROFILE = """
launcher: slurm
resources: {{partition: work, cpus_per_task: 1, time: '00:10:00'}}
stages: {{toy: {toy}}}
environment: {{WHO: "it's the site"}}
setup: ["echo set up"]
grace_s: 60
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with slurm() as running:
        yield running


@pytest.fixture
def here(cluster: Slurm, luthier_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for notes; the home with its store lies in what all nodes share."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LUTHIER_SHARED_ROOT", str(tmp_path))
    monkeypatch.setenv("LUTHIER_PROFILE", str(tmp_path / "profile.yaml"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-canary")
    profile(tmp_path, "{}")
    (tmp_path / "notes").mkdir()
    return tmp_path


def profile(root: Path, of_toy: str) -> None:
    (root / "profile.yaml").write_text(PROFILE.format(toy=of_toy))


def toys(cluster: Slurm) -> list[psutil.Process]:
    return [process for process, line in cluster.lines().items() if "-m tests.toy" in line and "bash" not in line]


def test_a_stage_is_a_job_whose_outcome_and_log_come_back(cluster: Slurm, here: Path) -> None:
    receipt = toy.run(Toy(notes=str(here / "notes")))
    assert receipt.summary["launches"] == 1
    (launch,) = launches(here)
    assert launch["outcome"] == "committed"
    assert {"job", "queued"} <= dict(launch["notes"]).keys()  # type: ignore[call-overload]
    (log,) = (here / "home/logs").glob("toy-*.log")
    assert "set up" in log.read_text()
    assert list((here / ".luthier/jobs").iterdir()) == [], "nothing is left of it, its environment least of all"


def test_an_error_is_raised_as_itself(cluster: Slurm, here: Path) -> None:
    with pytest.raises(Crashed, match="nobody foresaw this"):
        toy.run(Toy(act="bug"))


def test_what_slurm_refuses_is_a_fault_of_the_recipe(cluster: Slurm, here: Path) -> None:
    profile(here, "{partition: nowhere}")
    with pytest.raises(BadRecipe, match="refused the job") as caught:
        toy.run(Toy())
    assert caught.value.place == "resources.partition"
    profile(here, "{time: '99:00:00'}")
    with pytest.raises(BadRecipe, match="wait for ever"):
        toy.run(Toy())
    assert cluster.jobs() == []


def test_no_secret_is_in_what_slurm_keeps_or_shows(cluster: Slurm, here: Path) -> None:
    done, _ = in_background(Toy(act="stay once", notes=str(here / "notes")))
    started(here)
    (number,) = cluster.jobs()
    shown = cluster.ask("scontrol", "show", "job", number) + cluster.ask(
        "scontrol", "write", "batch_script", number, "-"
    )
    kept = b"".join(path.read_bytes() for path in (cluster.folder / "state").rglob("*") if path.is_file())
    assert "a-canary" not in shown + " ".join(cluster.lines().values())
    assert b"a-canary" not in kept
    (worker,) = toys(cluster)
    assert worker.environ()["AWS_SECRET_ACCESS_KEY"] == "a-canary"
    assert worker.environ()["WHO"] == "it's the site"
    (secret,) = (here / ".luthier/jobs").glob("*/environment")
    assert secret.stat().st_mode & 0o777 == 0o600
    cluster.ask("scancel", number)
    with pytest.raises(Cancelled, match="called off from outside"):
        done.result(60)
    assert toys(cluster) == []


def test_a_requeued_job_goes_on_as_another_incarnation(cluster: Slurm, here: Path) -> None:
    done, _ = in_background(Toy(act="stay once", notes=str(here / "notes")))
    started(here)
    (number,) = cluster.jobs()
    cluster.ask("scontrol", "requeue", number)
    until(lambda: cluster.ask("squeue", "--noheader", "--format=%T", f"--jobs={number}").strip() == "PENDING")
    # It would wait for two minutes; but a credential of the second in which it was revoked is refused.
    cluster.ask("scontrol", "update", f"JobId={number}", "StartTime=now+3")
    assert done.result(90).summary["launches"] == 2  # type: ignore[attr-defined]
    (launch,) = launches(here)
    assert dict(launch["notes"])["requeued"] == "1"  # type: ignore[call-overload]


def test_before_the_end_of_its_time_a_job_leaves_and_the_next_goes_on(cluster: Slurm, here: Path) -> None:
    profile(here, "{time: '00:01:00'}")
    receipt = toy.run(Toy(act="stay once", notes=str(here / "notes")))
    assert receipt.summary["launches"] == 2
    assert [launch["outcome"] for launch in launches(here)] == ["Preempted", "committed"]


def test_slurmctld_may_go_away_while_a_job_runs(cluster: Slurm, here: Path) -> None:
    done, _ = in_background(Toy(act="until", notes=str(here / "notes")))
    started(here)
    cluster.without_controller()
    try:
        (here / "notes/go").touch()
        until(lambda: not toys(cluster))
    finally:
        cluster.controller()
    assert done.result(60).summary["launches"] == 1  # type: ignore[attr-defined]
    cluster.ready()


def test_a_cancelled_flow_leaves_no_job_and_no_process(cluster: Slurm, here: Path) -> None:
    parent = flow(here, "family")
    until((here / "notes/pids").exists, 60)
    pids = json.loads((here / "notes/pids").read_text())
    parent.send_signal(signal.SIGINT)
    parent.wait(60)
    assert cluster.jobs() == []
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


def test_a_flow_that_died_finds_its_job_again(cluster: Slurm, here: Path) -> None:
    parent = flow(here, "until")
    started(here)
    parent.kill()
    parent.wait()
    done, _ = in_background(Toy(act="until", notes=str(here / "notes")))
    until(lambda: len(list((here / ".luthier/jobs").glob("*/followed-*"))) == 2)
    assert len(cluster.jobs()) == 1
    (here / "notes/go").touch()
    assert done.result(60).summary["launches"] == 1  # type: ignore[attr-defined]
    assert os.listdir(here / ".luthier/jobs") == []


def test_doctor_looks_at_every_node(cluster: Slurm, here: Path) -> None:
    profile(here, "{}")
    text = (here / "profile.yaml").read_text().replace("time: '00:10:00'", "time: '00:10:00', nodes: 2")
    (here / "profile.yaml").write_text(text)
    found = {finding.check: finding for finding in doctor(settings.load())}
    assert {finding.state for finding in found.values()} == {"ok"}, found
    assert {"slurm", "slurm job", "slurm node1", "slurm node2"} == found.keys()
    assert not list((here / ".luthier").glob("doctor-*"))


def test_doctor_says_what_is_wrong(cluster: Slurm, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "profile.yaml").write_text("launcher: slurm\nresources: {partition: nowhere}\n")
    found = {finding.check: finding for finding in doctor(settings.load())}
    assert found["slurm job"].state == "bad"
    assert "sinfo" in found["slurm job"].remedy
    (here / "profile.yaml").write_text("launcher: slurm\nenvironment: {LUTHIER_STORE: file:///nowhere/else}\n")
    elsewhere = {finding.check: finding for finding in doctor(settings.load())}
    assert "does not see the store" in elsewhere["slurm node1"].said
