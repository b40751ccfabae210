"""No orphans: a child ends itself, and everything it started, when its parent is gone.

Killing a process group is not enough (torchrun's ranks have sessions of their own), and a SIGKILLed parent kills
nobody. So a worker holds the read end of a pipe whose write end only its parent has, what it starts can be told by a
mark in its environment even where the worker itself is gone, and may ask the kernel to be killed with its parent.
"""

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

import psutil

from infra.launch.following import FOLLOWED, hold_on

MARK = "LUTHIER_WORKER"  # a variable that a worker and all that it starts have, with a value of their own
GRACE_S = 20.0  # below Prefect's 30 s, so that our children go before we do
UPLOAD_S = 300.0  # for a worker that saves and stores before it ends
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36


def hold_on_to_parent() -> None:
    """End this process and all it started when its parent lets go of standard input; or, in a job of a cluster, when
    nobody follows that: call first thing in a worker."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # so that a grandchild whose parent died is ours, and is found
    if FOLLOWED in os.environ:
        hold_on(os.environ[FOLLOWED], _save_and_end)
        return

    def watch() -> None:
        while os.read(0, 1024):
            continue
        end(started_by(os.getpid(), os.environ.get(MARK, "")), GRACE_S)
        os._exit(75)

    threading.Thread(target=watch, daemon=True, name="lifeline").start()


def _save_and_end() -> None:
    """As after SIGTERM; where that is not heard, all of it is ended."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(UPLOAD_S)  # a worker that ends by itself ends this thread
    end(started_by(os.getpid()), grace_s=0)
    os._exit(75)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies: for children of a worker's main thread."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_descendants(pid: int | None = None, grace_s: float = GRACE_S) -> None:
    """SIGTERM to everything below a process (this one by default), and SIGKILL to what is left after the grace."""
    end(started_by(os.getpid() if pid is None else pid), grace_s)


def started_by(pid: int, mark: str = "") -> list[psutil.Process]:
    """All processes below `pid`, and all others that have the mark, wherever they hang now."""
    try:
        found = set(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        found = set()
    if mark:
        found |= set(marked(mark))
    return [process for process in found if process.pid not in (pid, os.getpid())]


def marked(mark: str) -> list[psutil.Process]:
    """All processes that have the mark, wherever they hang now."""
    return [process for process in psutil.process_iter() if _mark(process) == mark]


def end(processes: list[psutil.Process], grace_s: float) -> None:
    """SIGTERM, and SIGKILL to what is left after the grace."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def _mark(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK, "")
    except (psutil.Error, OSError):  # gone by now, a zombie, or another user's
        return ""


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def main() -> None:
    """`python -m infra.launch.lifeline MODULE ARGS`: run a module of others' so that it dies with its parent."""
    die_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
