"""Asks one model with lm-eval. Imports torch and runs the code of tasks, so only rank.py may import it."""

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lm_eval import simple_evaluate
from lm_eval.api.group import Group
from lm_eval.api.task import Task
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks.manager import TaskDict

from infra.errors import BadTask
from infra.models import nf4
from infra.models.bounded import applied, require_bounded
from infra.models.load import load
from tasks.evaluation import scores
from tasks.evaluation.finding import manager
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
    index = manager(config.tasks, question.tasks)
    loaded = index.load(list(config.tasks))
    write(question.exchange, Progress(phase="loading the model"))
    lm = _model(question)
    lm.set_cache_hook(Counter(question.exchange, loaded["tasks"]))
    begun = time.monotonic()
    results = simple_evaluate(
        model=lm,
        tasks=_outermost(loaded),
        task_manager=index,
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


def _outermost(loaded: TaskDict) -> list[Task | Group]:
    """What was asked for by name: groups with all that is in them, and the tasks outside of groups."""
    groups = loaded.get("groups", {})
    inner = {group.name for one in groups.values() for group in one.get_all_groups()}
    inner |= {task.task_name for one in groups.values() for task in one.get_all_tasks()}
    return [item for name, item in [*groups.items(), *loaded["tasks"].items()] if name not in inner]


def _model(question: Question) -> HFLM:
    config = question.config
    lm = HFLM(
        pretrained=_loaded(question),
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
    if config.apply_chat_template:
        require_bounded(str(lm.tokenizer.get_chat_template()))
        lm.tokenizer.apply_chat_template = partial(applied, lm.tokenizer.apply_chat_template)
    return lm


def _loaded(question: Question) -> Any:
    """The folder for lm-eval to load, or a model that it would load wrongly: its load_in_4bit is nothing that
    transformers 5 knows, and its peft cuts the embeddings to the tokenizer's length, under the tuned model alone."""
    config = question.config
    if question.adapter is None and not config.load_in_4bit:
        return str(question.model)
    dtype = config.dtype
    if dtype == "auto":
        dtype = json.loads((question.model / "config.json").read_bytes())["dtype"]
    return load(question.model, dtype, nf4.settings(dtype) if config.load_in_4bit else None, question.adapter)


def _use_all_cores() -> None:
    """Torch's own default is one thread a physical core, which is half of what a small virtual machine has."""
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)
