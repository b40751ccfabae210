"""Asks one model with lm-eval. Imports torch and runs the code of tasks, so only rank.py may import it."""

import os
import sys
import time
import traceback
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from lm_eval import simple_evaluate
from lm_eval.api.group import Group
from lm_eval.api.task import Task
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks.manager import TaskDict

from infra.errors import BadTask, Crashed, LuthierError, OutOfMemory
from tasks.evaluation import scores
from tasks.evaluation.config import EvaluateConfig
from tasks.evaluation.question import Progress, Question, write

TELLINGS = 500  # a request may take less time than saying that it was answered


class Counter:
    """Stands where lm-eval offers every finished request to a cache: the one place that sees all kinds of them.

    It counts and keeps nothing. A cache would be wrong besides: lm-eval's is not keyed on the weights.
    """

    def __init__(self, exchange: Path, tasks: dict[str, Task]) -> None:
        self.exchange, self.tasks, self.begun = exchange, tasks, time.monotonic()
        self.done, self.total = 0, 0

    def add_partial(self, *_request: Any) -> None:
        """Called by lm-eval with every request and its response; by then all requests of all tasks are built."""
        if not self.done:
            self.total = sum(request.repeats for task in self.tasks.values() for request in task.instances)
        self.done += 1
        if self.done % (1 + self.total // TELLINGS) == 0 or self.done == self.total:
            elapsed = time.monotonic() - self.begun
            write(self.exchange, Progress(phase="asking", done=self.done, total=self.total, elapsed_s=elapsed))


def ask(question: Question) -> dict[str, Any]:
    """Load, ask, and write the artifact's files; the stage's summary. BadTask where a task is not usable."""
    config = question.config
    _use_all_cores()
    write(question.exchange, Progress(phase="reading tasks"))
    manager = _manager(config, question.tasks)
    loaded = manager.load(list(config.tasks))
    write(question.exchange, Progress(phase="loading the model"))
    lm = _model(question)
    lm.set_cache_hook(Counter(question.exchange, loaded["tasks"]))
    begun = time.monotonic()
    results = simple_evaluate(
        model=lm,
        tasks=_outermost(loaded),
        task_manager=manager,
        num_fewshot=config.num_fewshot,
        limit=config.limit,
        apply_chat_template=config.apply_chat_template,
        fewshot_as_multiturn=config.apply_chat_template,
        random_seed=config.seed,
        numpy_random_seed=config.seed,
        torch_random_seed=config.seed,
        fewshot_random_seed=config.seed,
        log_samples=True,
    )
    return scores.store(results, config, question.out, seconds=time.monotonic() - begun)


def _manager(config: EvaluateConfig, folder: Path | None) -> TaskManager:
    """The index of tasks; lm-eval's own thousands of YAMLs are read only where a name is not in `folder`.

    BadTask for a name in neither, with the names that are near. A path is no name: its code was not vouched for.
    """
    include = None if folder is None else str(folder)
    manager = TaskManager(include_path=include, include_defaults=False)
    if not set(config.tasks) <= set(manager.all_tasks):
        manager = TaskManager(include_path=include)
    for name in config.tasks:
        if name not in manager.all_tasks:
            near = get_close_matches(name, manager.all_tasks, 5)
            raise BadTask(
                "there is no such evaluation task",
                place="evaluate.tasks",
                value=name,
                remedy=f"near it: {', '.join(near)}" if near else "`lm-eval ls tasks` lists lm-eval's own",
            )
    return manager


def _outermost(loaded: TaskDict) -> list[Task | Group]:
    """What was asked for by name: groups with all that is in them, and the tasks outside of groups."""
    groups = loaded.get("groups", {})
    inner = {group.name for one in groups.values() for group in one.get_all_groups()}
    inner |= {task.task_name for one in groups.values() for task in one.get_all_tasks()}
    return [item for name, item in [*groups.items(), *loaded["tasks"].items()] if name not in inner]


def _model(question: Question) -> HFLM:
    config = question.config
    lm = HFLM(
        pretrained=str(question.model),
        tokenizer=str(question.tokenizer),
        dtype=config.dtype,
        batch_size=config.batch_size,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    if config.apply_chat_template and not lm.tokenizer.chat_template:
        raise BadTask(
            "the tokenizer has no chat template to ask with",
            place="evaluate.apply_chat_template",
            value=True,
            remedy="set it to false for a model that was not tuned on conversations",
        )
    return lm


def _use_all_cores() -> None:
    """Torch's own default is one thread a physical core, which is half of what a small virtual machine has."""
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)


def explained(error: Exception, tasks: Path | None) -> LuthierError:
    """What an exception means: memory, a mistake in a task of the user's own, or nothing that was foreseen."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if tasks is not None and Path(frame.filename).is_relative_to(tasks)]
    text = f"{type(error).__name__}: {str(error)[:2000]}"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return OutOfMemory("evaluation ran out of memory", value=text, remedy="lower evaluate.batch_size")
    if own and tasks is not None:
        place = f"{Path(own[-1].filename).relative_to(tasks)}:{own[-1].lineno}"
        return BadTask(
            f"an evaluation task failed: {text}",
            place=place,
            remedy="it sees a copy of evaluate.include_path and nothing beside it",
        )
    return Crashed(f"evaluation: {text}", place=f"{frames[-1].filename}:{frames[-1].lineno}")
