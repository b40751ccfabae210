"""The watch over the asking process: its progress is passed on, and neither silence nor an orphan lasts."""

import dataclasses
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.errors import BadTask, Crashed, Lost
from infra.launch.step import Spec
from infra.launch.work import Work
from infra.settings import Platform
from tasks.evaluation.config import EvaluateConfig
from tasks.evaluation.question import Answer, Progress, Question, read, write
from tasks.evaluation.worker import outcome, watch

pytestmark = pytest.mark.heavy

CONFIG = EvaluateConfig(tasks=["t"])


@pytest.fixture
def job(platform: Platform, tmp_path: Path) -> Work[EvaluateConfig]:
    spec = Spec(stage="evaluation", version=1, key=uuid.uuid4().hex, attempt="a", config={}, inputs={})
    impatient = dataclasses.replace(platform, silence_s=0.3)
    return Work(CONFIG, {}, spec, impatient, tmp_path / "out", tmp_path)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


def test_a_process_that_makes_no_progress_is_given_up(
    job: Work[EvaluateConfig], sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    write(tmp_path, Progress(phase="asking", done=30, total=60, elapsed_s=15.0))
    with pytest.raises(Lost, match="no progress") as lost:
        watch(job, sleeper, tmp_path)
    assert lost.value.place == "asking"
    beat = job._beat
    assert (beat.phase, beat.step, beat.steps, beat.eta_s) == ("asking", 30, 60, 15.0)


def test_what_the_process_answered_is_what_counts(tmp_path: Path) -> None:
    with pytest.raises(Crashed, match="exit status -9"):
        outcome(tmp_path, -9)
    write(tmp_path, Answer(error=BadTask("no score", place="t").report()))
    with pytest.raises(BadTask, match="no score"):
        outcome(tmp_path, 0)
    write(tmp_path, Answer(summary={"scores": {}}))
    assert outcome(tmp_path, 1) == {"scores": {}}


def test_values_cross_whole(tmp_path: Path) -> None:
    assert read(tmp_path, Progress) is None
    write(tmp_path, Progress(phase="asking", done=1, total=2))
    assert read(tmp_path, Progress) == Progress(phase="asking", done=1, total=2)
    assert [path.name for path in tmp_path.iterdir()] == ["Progress.json"]


def test_the_asking_process_ends_when_its_worker_is_killed(tmp_path: Path) -> None:
    """The worker here is a process that asks and waits, killed while the asking process still imports torch."""
    folder = str(tmp_path)
    question = Question(
        parent=0, config=CONFIG, model=tmp_path, tokenizer=tmp_path, tasks=None, out=tmp_path, exchange=tmp_path
    )
    source = f"""
import os, subprocess, sys
from pathlib import Path
from tasks.evaluation.question import Question, write
question = Question.model_validate_json({question.model_dump_json()!r})
write(Path({folder!r}), question.model_copy(update={{"parent": os.getpid()}}))
child = subprocess.Popen([sys.executable, "-m", "tasks.evaluation.rank", {folder!r}], stdin=subprocess.DEVNULL)
print(child.pid, flush=True)
child.wait()
"""
    worker = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    asking = psutil.Process(int(worker.stdout.readline()))
    worker.kill()
    worker.wait()
    worker.stdout.close()
    psutil.wait_procs([asking], timeout=30)
    assert not asking.is_running() or asking.status() == psutil.STATUS_ZOMBIE
