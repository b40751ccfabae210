"""No orphans: a child ends itself, and everything below it, when its parent is gone.

Killing a process group is not enough (torchrun's ranks have sessions of their own), and a SIGKILLed parent kills
nobody. So a worker holds the read end of a pipe whose write end only its parent has, and what the worker starts asks
the kernel to be killed with it.
"""

import ctypes
import os
import signal
import sys
import threading

import psutil

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
GRACE_S = 20.0  # below Prefect's 30 s, so that our children go before we do


def hold_on_to_parent() -> None:
    """End this process and its descendants when standard input closes: call first thing in a worker."""

    def watch() -> None:
        while os.read(0, 1024):
            continue
        end_descendants(grace_s=GRACE_S)
        os._exit(75)

    threading.Thread(target=watch, daemon=True, name="lifeline").start()


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies: for children of a worker's main thread."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_descendants(pid: int | None = None, grace_s: float = GRACE_S) -> None:
    """SIGTERM to everything below a process, and SIGKILL to what is left after the grace."""
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for process in below:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(below, timeout=grace_s)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
