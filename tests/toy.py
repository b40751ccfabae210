"""A stage that does what a test tells it: run as a real worker process, through the real contract."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra import errors, settings
from infra.frozen import Frozen
from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.launch.work import Summary, Work, main
from infra.storage.objects import BLOCK
from infra.storage.receipt import Receipt


class Toy(Frozen):
    """`act` names what the worker does; `notes` is a folder where it writes what a test wants to know."""

    act: str = "commit"
    notes: str = ""
    value: int = 0


def step(config: Toy, always: bool = False, **inputs: Receipt) -> Step:
    """The step whose worker is this file."""
    return Step("toy", 1, config, inputs, always=always, module="tests.toy")


def run(config: Toy, on_beat: OnBeat | None = None, **inputs: Receipt) -> Receipt:
    """As a stage's run(), on the platform of the environment."""
    return produce(step(config, **inputs), settings.load().platform(), on_beat)


def work(job: Work[Toy]) -> Summary:
    launches = _note_launch(Path(job.config.notes)) if job.config.notes else 1
    seen = {name: sorted(path.name for path in folder.rglob("*")) for name, folder in job.inputs.items()}
    job.beat("working", step=1, steps=2, loss=0.5)
    if job.config.act == "told to leave" and launches < 3:
        os.kill(os.getpid(), signal.SIGTERM)
    if job.config.act == "a node goes" and launches < 3:  # two workers a launch
        _lose_the_first(job)
    _act(job, launches)
    if job.config.act == "large":
        (job.out / "large").write_bytes(b"a" * (BLOCK + 1))
    (job.out / "made.txt").write_text(str(job.config.value))
    return {"launches": launches, "seen": seen}


def _note_launch(notes: Path) -> int:
    (notes / f"launch-{os.getpid()}").touch()
    return len(list(notes.glob("launch-*")))


ERRORS: dict[str, BaseException] = {
    "raise": errors.BadData("bad rows", place="rows.jsonl:3", value="{", remedy="mend the row"),
    "corrupt": errors.Corrupt("rotten", place="s3://bucket/key", value="sha", remedy="again"),
    "memory": MemoryError(),
    "bug": ZeroDivisionError("nobody foresaw this"),
    "full disk": OSError(28, "No space left on device", "/somewhere"),
    "exit": SystemExit(3),
    "a dark way": errors.LinkLost("nodes 0 (a) and 1 (b) do not reach each other any more"),
    "no room": errors.Adapted("no room", place="toy.act", value="8", remedy="8 → 4"),
}


def _act(job: Work[Toy], launches: int) -> None:
    act = job.config.act
    if act == "less" and launches < 3:
        job.note(goes_on_from=f"launch {launches - 1}")
        raise errors.Adapted("no room", value=8 >> launches, remedy=f"{16 >> launches} → {8 >> launches}")
    if act == "less, then lost" and launches < 3:
        raise errors.Adapted("no room", remedy="8 → 4") if launches == 1 else ERRORS["bug"]
    if act in ERRORS:
        raise ERRORS[act]
    if act == "huge":
        job.require_space(2**60, "the merged model")
    if act.startswith("family"):
        _family(Path(job.config.notes))
    if act == "silent":
        os.kill(os.getpid(), signal.SIGSTOP)
    if act.endswith("killed"):
        sys.stdout.write("last words\n")
        os.kill(os.getpid(), signal.SIGKILL)
    _stay(act, launches, Path(job.config.notes))


def _stay(act: str, launches: int, notes: Path) -> None:
    if act in ("family", "forever") or (act == "stay once" and launches == 1):
        time.sleep(600)
    while act == "until" and not (notes / "go").exists():
        time.sleep(0.05)


def _lose_the_first(job: Work[Toy]) -> None:
    if job.place.first:
        os.kill(os.getpid(), signal.SIGKILL)
    raise errors.Crashed("a rank died", value="rank 1: exit status 1")


def _family(notes: Path) -> None:
    """A child in a session of its own, and a grandchild whose parent is gone; all pids go into the notes."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    orphan = subprocess.check_output(["sh", "-c", "setsid sleep 600 >&2 & echo $!"])
    (notes / "pids.part").write_text(json.dumps([os.getpid(), child.pid, int(orphan)]))
    (notes / "pids.part").rename(notes / "pids")


if __name__ == "__main__":
    main(Toy, work)
