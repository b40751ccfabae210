"""Stages on machines behind real sshds: outcome, machines that are taken, down or not who they were, broken connections,
cancel, a flow that dies."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra import settings
from infra.doctor.hosts import hosts as doctor
from infra.errors import BadRecipe, Crashed, Refused, Unreachable
from infra.launch import hosts, watching
from infra.launch import machines as reached
from tests import toy
from tests.e2e.toys import flow, in_background, launches, started
from tests.slurm import until
from tests.sshd import Machines, machines, needs_sshd
from tests.toy import Toy

pytestmark = [pytest.mark.slow, needs_sshd]


@pytest.fixture(scope="module")
def two() -> Iterator[Machines]:
    with machines() as running:
        yield running


@pytest.fixture
def here(two: Machines, luthier_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for notes; the home with its store lies in what all machines share."""
    monkeypatch.setenv("LUTHIER_SHARED_ROOT", str(tmp_path))
    monkeypatch.setenv("LUTHIER_PROFILE", str(tmp_path / "profile.yaml"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-canary")
    monkeypatch.setattr(watching, "AGAIN_S", 0.5)
    profile(two, tmp_path)
    (tmp_path / "notes").mkdir()
    return tmp_path


def profile(two: Machines, root: Path, of_toy: str = "{}") -> None:
    more = f'stages: {{toy: {of_toy}}}\nenvironment: {{WHO: "it\'s the site"}}\nsetup: ["echo set up", cat]\n'
    (root / "profile.yaml").write_text(two.profile(more))


def jobs(two: Machines) -> list[Path]:
    """The folders of jobs on all machines."""
    return [path for machine in two.all for path in machine.folder.glob(".luthier/hosts/*/luthier.*")]


def nothing_is_left(two: Machines) -> None:
    until(lambda: two.processes() == [])
    assert jobs(two) == []


def test_a_stage_runs_on_a_machine_and_its_outcome_and_log_come_back(two: Machines, here: Path) -> None:
    receipt = toy.run(Toy(notes=str(here / "notes")))
    assert receipt.summary["launches"] == 1
    (launch,) = launches(here)
    assert launch["outcome"] == "committed"
    assert launch["notes"] == {"hosts": two.all[0].name}
    (log,) = (here / "home/logs").glob("toy-*.log")
    with pytest.raises(Crashed, match="nobody foresaw this"):
        toy.run(Toy(act="bug"))
    assert "nobody foresaw this" in next(path.read_text() for path in log.parent.glob("toy-*.log") if path != log)
    nothing_is_left(two)


@pytest.mark.s3
def test_machines_need_no_folder_in_common_where_the_store_is_a_bucket(
    two: Machines, here: Path, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LUTHIER_SHARED_ROOT")
    with pytest.raises(BadRecipe, match="cannot see this folder"):
        toy.run(Toy())
    monkeypatch.setenv("LUTHIER_STORE", s3_root)
    with pytest.raises(BadRecipe, match="cannot see this folder") as caught:
        toy.run(Toy())
    assert caught.value.place == "MLFLOW_TRACKING_URI", "what a machine registered there would be found by nobody"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    assert toy.run(Toy(value=7)).stage == "toy"
    nothing_is_left(two)


def test_a_worker_that_is_killed_is_told_and_the_next_one_finishes(two: Machines, here: Path) -> None:
    done, _ = in_background(Toy(act="stay once", notes=str(here / "notes")))
    started(here)
    (worker,) = two.workers()
    worker.kill()
    with pytest.raises(Crashed, match="exit status -9"):
        done.result(60)
    assert toy.run(Toy(act="stay once", notes=str(here / "notes"))).summary["launches"] == 2
    nothing_is_left(two)


def test_a_machine_that_went_down_with_its_worker_is_left_and_the_work_goes_on(two: Machines, here: Path) -> None:
    done, _ = in_background(Toy(act="stay once", notes=str(here / "notes")))
    started(here)
    for process in sorted(two.processes(), key=lambda process: process in two.workers()):  # its keeper could tell of it
        process.kill()
    assert done.result(60).summary["launches"] == 2  # type: ignore[attr-defined]
    assert [launch["outcome"] for launch in launches(here)] == ["Preempted", "committed"]
    nothing_is_left(two)


def test_a_machine_that_goes_out_of_reach_holds_nobody_up_and_is_named(
    two: Machines, here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hosts, "LOST_S", 2.0)
    monkeypatch.setattr(reached, "STOP_S", 2.0)
    profile(two, here, "{nodes: 2}")
    done, _ = in_background(Toy(act="until", notes=str(here / "notes")))
    started(here, 2)
    two.all[1].cut()
    try:
        for process in two.all[1].processes():
            process.kill()
        (here / "notes/go").touch()
        done.result(60)
        assert f"was not ended on {two.all[1].name}" in caplog.text
    finally:
        two.all[1].up()
        for path in jobs(two):
            shutil.rmtree(path)


def test_a_machine_is_not_taken_twice(two: Machines, here: Path) -> None:
    profile(two, here, "{nodes: 2}")
    first, _ = in_background(Toy(act="until", notes=str(here / "notes")))
    started(here, 2)
    second, beats = in_background(Toy(act="until", notes=str(here / "notes"), value=1))
    until(
        lambda: any(
            "waiting for 2 free hosts" in beat.phase and "is taken by luthier.toy." in beat.phase for beat in beats
        )
    )
    assert len(two.workers()) == 2
    (here / "notes/go").touch()
    assert first.result(60) != second.result(60)
    assert len(list((here / "notes").glob("launch-*"))) == 4
    assert len(list((here / "notes").glob("launch-*"))) == 4
    nothing_is_left(two)


def test_a_broken_connection_is_made_anew_and_the_worker_does_not_notice(two: Machines, here: Path) -> None:
    done, _ = in_background(Toy(act="until", notes=str(here / "notes")))
    started(here)
    until(lambda: list(two.all[0].folder.glob(".luthier/hosts/*/luthier.*/followed-*")))
    two.all[0].cut()
    until(lambda: len(two.processes()) == 2)  # the worker and its keeper; nothing of ssh's
    (here / "notes/go").touch()
    until(lambda: two.processes() == [])
    two.all[0].up()
    assert done.result(60).summary["launches"] == 1  # type: ignore[attr-defined]
    nothing_is_left(two)


def test_a_flow_that_died_finds_its_workers_again(two: Machines, here: Path) -> None:
    profile(two, here, "{nodes: 2}")
    parent = flow(here, "until")
    started(here, 2)
    parent.kill()
    parent.wait()
    done, _ = in_background(Toy(act="until", notes=str(here / "notes")))
    until(lambda: len(list(two.all[1].folder.glob(".luthier/hosts/*/luthier.*/followed-*"))) == 2)
    (here / "notes/go").touch()
    done.result(60)
    assert len(list((here / "notes").glob("launch-*"))) == 2, "no worker was begun twice"
    nothing_is_left(two)


def test_a_cancelled_flow_leaves_no_process_on_any_machine(two: Machines, here: Path) -> None:
    parent = flow(here, "family")
    until((here / "notes/pids").exists, 60)
    pids = json.loads((here / "notes/pids").read_text())
    parent.send_signal(signal.SIGINT)
    parent.wait(60)
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
    nothing_is_left(two)


def test_no_secret_is_in_a_command_line_or_a_file(two: Machines, here: Path) -> None:
    done, _ = in_background(Toy(act="until", notes=str(here / "notes")))
    started(here)
    shown = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    kept = [path for path in two.folder.rglob("*") if path.is_file() and b"a-canary" in path.read_bytes()]
    assert not [line for line in shown if "a-canary" in line]
    assert kept == []
    (worker,) = two.workers()
    assert worker.environ()["AWS_SECRET_ACCESS_KEY"] == "a-canary"
    assert worker.environ()["WHO"] == "it's the site"
    assert worker.environ()["LUTHIER_FOLLOWED"].startswith(f"1800 {two.all[0].folder}/.luthier/hosts/")
    assert worker.environ()["LUTHIER_HOME"] == f"{two.all[0].folder}/.luthier/{os.uname().nodename}"
    (here / "notes/go").touch()
    done.result(60)


@pytest.mark.parametrize(("act", "what"), [("unknown", "is not known"), ("changed", "another key than the known")])
def test_a_machine_whose_key_is_not_the_known_one_is_refused(two: Machines, here: Path, act: str, what: str) -> None:
    known = two.folder / "known_hosts"
    other = (two.all[1].folder / "key.pub").read_text()
    lines = [two.all[1].known(), *([f"[127.0.0.1]:{two.all[0].port} {other}"] if act == "changed" else [])]
    known.write_text("".join(lines))
    try:
        with pytest.raises(Refused, match=what) as caught:
            toy.run(Toy())
        assert two.all[0].name in caught.value.place
        assert str(known) in caught.value.place
        assert "ssh-keygen -lf" in caught.value.remedy
        (told,) = [finding for finding in doctor(settings.load()) if finding.state == "bad"]
        assert what in told.said
        assert known.read_text() == "".join(lines), "no key was taken on trust"
    finally:
        two.trust()


def test_a_machine_that_is_down_is_left_out_and_named_where_too_few_remain(two: Machines, here: Path) -> None:
    two.all[0].cut()
    try:
        receipt = toy.run(Toy(notes=str(here / "notes")))
        assert receipt.summary["launches"] == 1
        assert launches(here)[0]["notes"] == {"hosts": two.all[1].name}
        profile(two, here, "{nodes: 2}")
        with pytest.raises(Unreachable, match="2 hosts are asked for, and 1 answer") as caught:
            toy.run(Toy(value=1))
        assert f"{two.all[0].name}: " in caught.value.value
        assert "refused" in caught.value.value
        assert f"{two.all[1].name}: free" in caught.value.value
    finally:
        two.all[0].up()


def test_doctor_looks_at_every_machine(two: Machines, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {finding.check: finding for finding in doctor(settings.load())}
    assert {finding.state for finding in found.values()} == {"ok"}, found
    assert found.keys() == {f"hosts {machine.name}" for machine in two.all}
    (here / "profile.yaml").write_text(two.profile("environment: {LUTHIER_STORE: file:///nowhere/else}\n"))
    elsewhere = [finding.said for finding in doctor(settings.load())]
    assert ["does not see the store" in said for said in elsewhere] == [True, True]
    nothing_is_left(two)
