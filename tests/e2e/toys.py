"""Toy stages on a cluster: in a thread or in a process that may be killed, and what they leave."""

import json
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

from infra.launch.step import Beat
from tests import toy
from tests.slurm import until
from tests.toy import Toy


def in_background(config: Toy) -> "tuple[Future[object], list[Beat]]":
    """The stage, run in a thread of its own, and what it shows."""
    done: Future[object] = Future()
    beats: list[Beat] = []

    def work() -> None:
        try:
            done.set_result(toy.run(config, beats.append))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return done, beats


def flow(here: Path, act: str) -> subprocess.Popen[bytes]:
    """The same in a process of its own."""
    heed = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's background jobs ignore it
    )
    code = f"import sys; {heed}; from tests.toy import run, Toy; run(Toy(act=sys.argv[1], notes=sys.argv[2]))"
    return subprocess.Popen([sys.executable, "-c", code, act, str(here / "notes")], stderr=subprocess.DEVNULL)


def started(here: Path, count: int = 1) -> None:
    """Wait until so many workers have begun."""
    until(lambda: len(list((here / "notes").glob("launch-*"))) == count, 60)


def launches(here: Path) -> list[dict[str, object]]:
    """What the store has of all launches, oldest first."""
    found = [json.loads(path.read_text()) for path in (here / "home/store/jobs/toy").rglob("launch.json")]
    return sorted(found, key=lambda launch: str(launch["started"]))
