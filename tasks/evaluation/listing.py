"""Lists what lm-eval would ask, without a model. Runs the code of tasks, so only rank.py may import it."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from lm_eval.api.task import Task
from lm_eval.utils import handle_non_serializable

from infra.frozen import canonical
from tasks.evaluation.finding import manager
from tasks.evaluation.question import Listing, Progress, write


def listed(listing: Listing) -> dict[str, Any]:
    """Write questions.jsonl, sorted by task and document; the stage's summary. BadTask where a task is not usable."""
    config = listing.config
    write(listing.exchange, Progress(phase="reading tasks"))
    tasks: dict[str, Task] = manager(config.tasks, listing.tasks).load(list(config.tasks))["tasks"]
    count = {}
    with (listing.out / "questions.jsonl").open("wb") as file:
        for number, name in enumerate(sorted(tasks)):
            write(listing.exchange, Progress(phase="listing questions", done=number, total=len(tasks)))
            lines = [canonical(question) + b"\n" for question in _questions(name, tasks[name])]
            file.writelines(lines)
            count[name] = len(lines)
    return {"n": count}


def _questions(name: str, task: Task) -> Iterator[dict[str, Any]]:
    for doc_id, doc in task.doc_iterator():
        choices = _choices(task, doc)
        yield {
            "task": name,
            "doc_id": doc_id,
            "doc_hash": _hash(doc),
            "text": _text(task, doc, choices),
            "targets": _targets(task.doc_to_target(doc), choices),
            "choices": choices,
        }


def _choices(task: Task, doc: Any) -> list[str]:
    asked = task.get_config("doc_to_choice") is not None
    return [str(choice) for choice in task.doc_to_choice(doc)] if asked else []


def _text(task: Task, doc: Any, choices: list[str]) -> str:
    """What stands before the answer, without examples. Where a whole text is scored (perplexity), that text."""
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return str(task.doc_to_target(doc))
    text = task.doc_to_text(doc)
    # Tasks that try several beginnings with one end (winogrande) give the number of the right one.
    return choices[text] if isinstance(text, int) and choices else str(text)


def _targets(target: Any, choices: list[str]) -> list[str]:
    """All answers that count as right, as texts."""
    targets = target if isinstance(target, list | tuple) else [target]
    numbered = [choices[one] if isinstance(one, int) and 0 <= one < len(choices) else one for one in targets]
    return [str(one).strip() for one in numbered]


def _hash(doc: Any) -> str:
    """As lm-eval hashes documents in its samples (lm_eval/evaluator.py), so that the two can be joined."""
    text = json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
