"""`python -m infra.launch.keeper VERB …`, on a machine reached by ssh: starts a worker, outlives the connection, tells of it.

Secrets come in its environment, the rest as arguments. An answer is a line of JSON behind a mark, as login shells print too.
"""

import contextlib
import fcntl
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.launch.following import FOLLOWED, Follower
from infra.launch.lifeline import MARK, end, marked

ANSWER = "luthier: "
TAKE_S = 1.0  # whoever asks who has the machine holds its lock for a moment
LOOK_S = 0.5
ALIVE_S = 5.0
DEAF_S = 120.0  # a connection over which the flow says nothing for so long is dead, whatever the kernel thinks
TERM_S = 23.0  # a worker gives its children 20 s, and has 3 s for its last word
KILL_S = 3.0
OLD_S = 86400.0  # folders of jobs that nobody came back for
MOST = 1 << 16  # bytes of a log in one answer


@dataclass(frozen=True)
class Order:
    """What a machine is to run: as node `node` of those of a job, which lie on `hosts`."""

    name: str
    module: str
    spec: str
    node: int
    hosts: list[str]
    orphan_s: float


def answer(**told: Any) -> None:
    """Tell the flow."""
    sys.stdout.write(f"{ANSWER}{json.dumps(told)}\n")
    sys.stdout.flush()


def folder() -> Path:
    """This machine's own, also where machines share the homes of their users."""
    return Path.home() / ".luthier" / "hosts" / platform.node()


def begin(order: Order) -> None:
    """Take this machine and run a worker on it until that ends, or say who has it. Asked twice, it begins once."""
    place = folder() / order.name
    if record := _record(place):
        answer(begun=record["node"] == order.node)
        return
    lock = _take(order.name)
    if lock is None:
        answer(busy=holder() or "another job")
        return
    _sweep()
    place.mkdir(mode=0o700, exist_ok=True)
    # A machine that shuts down tells all of them, and the worker's end is told here.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGHUP, lambda *_: None)
    with (place / "log").open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", order.module, order.spec],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {MARK: str(place), FOLLOWED: f"{order.orphan_s} {place}"},
            cwd=place,
            start_new_session=True,
            pass_fds=[lock],  # while one of us lives, the machine is taken
        )
    _write(place / "job.json", json.dumps({"node": order.node, "hosts": order.hosts, "pid": worker.pid}))
    with contextlib.suppress(BrokenPipeError):  # nobody hears it: the flow asks again
        answer(begun=True)
    _let_go_of_ssh()
    status = worker.wait()
    end(marked(str(place)), grace_s=0)
    _write(place / "ended", str(status))


def jobs() -> None:
    """Who has this machine, and all jobs that it knows."""
    has = holder()
    found = []
    for place in folder().glob("luthier.*"):
        if told := _record(place):
            found.append({"name": place.name, "hosts": told["hosts"], "running": place.name == has})
    answer(busy=has, jobs=found)


def watch(name: str, at: int, who: str) -> None:
    """Tell what the worker writes from byte `at` on, and its end. Each byte read here says that the flow is there."""
    place = folder() / name
    follower, heard, told = Follower(place, who), time.monotonic(), 0.0
    while True:
        runs = holder() == name  # before its log, of which nothing may be missed
        at = _tell_log(place / "log", at)
        if not runs:
            answer(ended=_status(place))
            return
        if time.monotonic() - told > ALIVE_S:
            told = time.monotonic()
            answer()
        if select.select([sys.stdin], [], [], LOOK_S)[0]:
            if not os.read(sys.stdin.fileno(), 4096):
                return
            heard = time.monotonic()
            follower.renew()
        elif time.monotonic() - heard > DEAF_S:
            return


def stop(name: str, who: str) -> None:
    """End a job here with all that it started, unless another flow follows it; tells which processes are left."""
    place = folder() / name
    if holder() == name:
        follower = Follower(place, who)
        if follower.others():
            follower.leave()
            answer(followed=True)
            return
        _tell_to_leave(place)
    end(marked(str(place)), grace_s=0)
    left = [process.pid for process in marked(str(place))]
    if not left:
        _wait_while(lambda: holder() == name, KILL_S)
        shutil.rmtree(place, ignore_errors=True)
    answer(left=left)


def holder() -> str:
    """The job that has this machine; empty where none has."""
    try:
        lock = os.open(folder() / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(lock, 4096).decode() or "another job"
    finally:
        os.close(lock)
    return ""


def _take(name: str) -> int | None:
    """The lock of this machine, held for as long as its descriptor is open anywhere; None where another has it."""
    folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(folder() / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    if not _wait_while(lambda: not _locked(lock), TAKE_S):
        os.close(lock)
        return None
    os.truncate(lock, 0)
    os.pwrite(lock, name.encode(), 0)
    return lock


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _record(place: Path) -> dict[str, Any]:
    """What was begun there, if anything was."""
    try:
        told: dict[str, Any] = json.loads((place / "job.json").read_text())
    except FileNotFoundError:
        return {}
    return told


def _tell_to_leave(place: Path) -> None:
    worker = _record(place).get("pid")
    for process in marked(str(place)):
        if process.pid == worker:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
                process.send_signal(signal.SIGCONT)  # one that was stopped would not hear it
    _wait_while(lambda: bool(marked(str(place))), TERM_S)


def _tell_log(log: Path, at: int) -> int:
    while True:
        try:
            with log.open("rb") as file:
                file.seek(at)
                data = file.read(MOST)
        except FileNotFoundError:
            return at
        if not data:
            return at
        at += len(data)
        answer(log=data.decode("latin-1"), at=at)


def _status(place: Path) -> int | None:
    """How the worker ended; None where the machine went down with it, or nothing is known of it any more."""
    try:
        return int((place / "ended").read_text())
    except FileNotFoundError:
        return None


def _let_go_of_ssh() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)


def _sweep() -> None:
    for place in folder().glob("luthier.*"):
        if time.time() - place.stat().st_mtime > OLD_S:
            shutil.rmtree(place, ignore_errors=True)


def _wait_while(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition went away in time."""
    end_at = time.monotonic() + seconds
    while condition():
        if time.monotonic() > end_at:
            return False
        time.sleep(0.1)
    return True


def _write(path: Path, text: str) -> None:
    half = path.with_suffix(".half")
    half.write_text(text)
    half.rename(path)


def main() -> None:
    verb, *told = sys.argv[1:]
    if verb == "begin":
        begin(Order(**json.loads(told[0])))
    elif verb == "watch":
        watch(told[0], int(told[1]), told[2])
    elif verb == "stop":
        stop(told[0], told[1])
    else:
        jobs()


if __name__ == "__main__":
    main()
