"""A job that is followed goes on; one that is not leaves by itself."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.launch import following
from infra.launch.following import Follower

CODE = """
import os, signal, sys, time
from infra.launch.lifeline import hold_on_to_parent
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
hold_on_to_parent()
time.sleep(60)
"""


@pytest.mark.parametrize("followed_s", [0.0, 1.5])
def test_a_job_leaves_once_nobody_has_followed_it_for_its_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, followed_s: float
) -> None:
    monkeypatch.setattr(following, "RENEW_S", 0.05)
    began, follower = time.monotonic(), Follower(tmp_path)
    job = subprocess.Popen([sys.executable, "-c", CODE], env=os.environ | {following.FOLLOWED: f"0.6 {tmp_path}"})
    while time.monotonic() - began < followed_s:
        follower.renew()
        assert job.poll() is None
        time.sleep(0.05)
    assert job.wait(30) == 7


def test_of_two_flows_the_last_one_calls_it_off(tmp_path: Path) -> None:
    first, second = Follower(tmp_path), Follower(tmp_path)
    first.renew()
    assert not first.others()
    second.renew()
    assert first.others()
    assert second.others()
    first.leave()
    assert not second.others()


def test_a_flow_that_died_does_not_count_for_long(tmp_path: Path) -> None:
    dead, living = Follower(tmp_path), Follower(tmp_path)
    dead.renew()
    (file,) = tmp_path.glob("followed-*")
    os.utime(file, (time.time() - 60, time.time() - 60))
    assert not living.others()
