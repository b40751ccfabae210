"""Has one model asked by a process of its own, which sees no secret, and watches it."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TypeVar

from infra.errors import Crashed, Lost, revive
from infra.launch.work import Summary, Work, main
from infra.models import adapted
from infra.storage import sources
from tasks.evaluation.config import EvaluateConfig, QuestionsConfig
from tasks.evaluation.question import Answer, Listing, Progress, Question, read, write

C = TypeVar("C", EvaluateConfig, QuestionsConfig)

# Task YAMLs and their utils.py are code. Everything else that is in the environment stays here.
# fmt: off
ALLOWED = (
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "PYTHONPATH", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES",
    "HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "XDG_CACHE_HOME",
)
# fmt: on
POLL_S = 0.2


def work(job: Work[EvaluateConfig]) -> Summary:
    """Fill results.json, samples/ and spec.json."""
    return apart(job, _question(job))


def apart(job: Work[C], question: Question | Listing) -> Summary:
    """Have the question answered by a process without secrets; its summary, or the error that it reports."""
    write(question.exchange, question)
    job.beat("starting")
    child = subprocess.Popen(
        [sys.executable, "-m", "tasks.evaluation.rank", str(question.exchange)],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        cwd=question.tasks or question.exchange,  # a task's relative data_files are relative to its folder
    )
    try:
        watch(job, child, question.exchange)
    finally:
        child.kill()
        child.wait()
    return outcome(question.exchange, child.returncode)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ALLOWED if name in os.environ} | {
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "DISABLE_MULTIPROC": "1",  # lm-eval's bootstrap would start processes that outlive a kill
    }


def _question(job: Work[EvaluateConfig]) -> Question:
    """What is asked of whom, with everything laid out."""
    model, adapter = _model(job)
    tuned = job.inputs["model"] / "model" if job.receipt("model").stage == "merging" else None
    return Question(
        parent=os.getpid(),
        config=job.config,
        model=model,
        adapter=adapter,
        tokenizer=tuned or job.inputs["tokenizer"],
        tasks=task_folder(job),
        out=job.out,
        exchange=exchange(job),
    )


def _model(job: Work[EvaluateConfig]) -> tuple[Path, Path | None]:
    """The folder of the weights, and of the adapter that belongs on them.

    A tuned model lies in `model/`, because its artifact is a folder that MLflow can load; with it lies the tokenizer with
    the chat template that it was trained on. Where it was not merged, its weights are those that the merge was given.
    """
    given = job.inputs["model"]
    if job.receipt("model").stage != "merging":
        return given, None
    if adapted.read(given) is None:
        return given / "model", None
    store = job.platform.store
    weights = store.manifest(job.receipt("model")).inputs["weights"]
    job.beat("fetching the base")
    return job.platform.cache.materialise(store, weights, job.scratch / "base"), given / "model"


def exchange(job: Work[C]) -> Path:
    """An empty folder for what the worker and the process without secrets have to say to each other."""
    folder = job.scratch / "exchange"
    folder.mkdir()
    return folder


def task_folder(job: Work[C]) -> Path | None:
    """The task folder of the recipe as a copy, so that what is run is what lies inside it; None where there is none."""
    if job.config.include_path is None:
        return None
    folder = sources.local_path(job.config.include_path, "evaluate.include_path")
    return Path(shutil.copytree(folder, job.scratch / "tasks", ignore=shutil.ignore_patterns("__pycache__")))


def watch(job: Work[C], child: subprocess.Popen[bytes], exchange: Path) -> None:
    """Pass its progress on until it ends; Lost where it makes none for as long as a worker may be silent."""
    last, heard = None, time.monotonic()
    while child.poll() is None:
        progress = read(exchange, Progress)
        if progress is not None and progress != last:
            last, heard = progress, time.monotonic()
            _beat(job, progress)
        if time.monotonic() - heard > job.platform.silence_s:
            raise Lost(
                f"evaluation: no progress for {job.platform.silence_s:.0f} s",
                place=last.phase if last else "starting",
                remedy="a smaller evaluate.batch_size, or a larger LUTHIER_SILENCE_S for a slow machine",
            )
        time.sleep(POLL_S)


def _beat(job: Work[C], progress: Progress) -> None:
    rate = progress.done / progress.elapsed_s if progress.elapsed_s else 0.0
    eta_s = (progress.total - progress.done) / rate if rate else None
    job.beat(progress.phase, progress.done, progress.total, eta_s, per_s=rate)


def outcome(exchange: Path, status: int) -> Summary:
    """The summary that the process left, whatever its exit status; its error is raised, Crashed if it left none."""
    answer = read(exchange, Answer)
    if answer is not None and answer.error is not None:
        raise revive(answer.error)
    if answer is None or answer.summary is None:
        raise Crashed(
            f"evaluation: the asking process ended without an answer (exit status {status})",
            remedy="its output is in this stage's log; -9 is often the kernel out of memory: lower batch_size",
        )
    return dict(answer.summary)


if __name__ == "__main__":
    main(EvaluateConfig, work)
