"""A machine's side of it, without ssh: one job at a time, begun once, ended whole."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.launch.keeper import ANSWER
from infra.launch.lifeline import MARK
from tests.slurm import until

pytestmark = pytest.mark.slow

Ask = Callable[..., dict[str, Any]]
SLEEPER = "import subprocess, time; subprocess.Popen(['sleep', '600'], start_new_session=True); print('here', flush=True); time.sleep(600)"


DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask the keeper of a machine whose home this is."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)

    def asked(verb: str, *told: str, output: int = subprocess.PIPE) -> dict[str, Any]:
        done = subprocess.run(
            ["setsid", "--fork", sys.executable, "-m", "infra.launch.keeper", verb, *told],
            env=os.environ | {"HOME": str(tmp_path), "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            text=True,
            timeout=60,
            check=True,
        )
        answers = [line.removeprefix(ANSWER) for line in (done.stdout or "{}").splitlines()]
        made: dict[str, Any] = json.loads(answers[-1])
        return made

    return asked


@pytest.mark.proof
def test_a_worker_that_does_not_hear_is_gone_within_30_s(ask: Ask, tmp_path: Path) -> None:
    name = f"luthier.toy.e.{os.getpid()}"
    (tmp_path / "sleeper.py").write_text(DEAF)
    ask("begin", order(name))
    until(lambda: any(process.name() == "sleep" for process in of(name)))
    began = time.monotonic()
    assert ask("stop", name, "me") == {"left": []}
    assert time.monotonic() - began < 30
    assert of(name) == []


def order(name: str, node: int = 0) -> str:
    told = {"name": name, "module": "sleeper", "spec": "s", "node": node, "hosts": ["a"], "orphan_s": 600.0}
    return json.dumps(told)


def of(name: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").endswith(name):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_machine_has_one_job_which_is_begun_once_and_ended_whole(ask: Ask, tmp_path: Path) -> None:
    ours, another = f"luthier.toy.a.{os.getpid()}", f"luthier.toy.b.{os.getpid()}"
    try:
        assert ask("begin", order(ours)) == {"begun": True}
        assert ask("begin", order(ours)) == {"begun": True}, "an answer that was lost is asked for again"
        assert ask("begin", order(ours, node=1)) == {"begun": False}, "it is one machine under two names"
        assert ask("begin", order(another)) == {"busy": ours}
        (told,) = ask("jobs")["jobs"]
        assert told == {"name": ours, "hosts": ["a"], "running": True}
        assert len([process for process in of(ours) if "sleeper" in process.cmdline()]) == 1
    finally:
        assert ask("stop", ours, "me") == {"left": []}
    assert of(ours) == []
    assert ask("jobs") == {"busy": "", "jobs": []}


def test_an_answer_that_nobody_hears_ends_nothing(ask: Ask, tmp_path: Path) -> None:
    name = f"luthier.toy.d.{os.getpid()}"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ask("begin", order(name), output=writer)
        os.close(writer)
        until(lambda: ask("jobs")["busy"] == name and of(name))
        (worker,) = [process for process in of(name) if "sleeper" in process.cmdline()]
        worker.kill()
        until(lambda: ask("jobs")["busy"] == "")
        assert ask("watch", name, "0", "me") == {"ended": -9}, "its keeper was there to hear it"
        assert of(name) == []
    finally:
        ask("stop", name, "me")


def test_of_two_flows_the_last_one_ends_it(ask: Ask, tmp_path: Path) -> None:
    name = f"luthier.toy.c.{os.getpid()}"
    ask("begin", order(name))
    try:
        (place,) = tmp_path.glob(".luthier/hosts/*/luthier.*")
        (place / "followed-another").touch()
        assert ask("stop", name, "me") == {"followed": True}
        assert ask("jobs")["busy"] == name
        (place / "followed-another").unlink()
    finally:
        assert ask("stop", name, "me") == {"left": []}
