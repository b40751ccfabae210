"""What the worker hands to the process that asks the model, and what comes back besides the artifact's files."""

import json
import os
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from infra.errors import ErrorReport
from infra.frozen import Frozen
from tasks.evaluation.config import EvaluateConfig, QuestionsConfig

F = TypeVar("F", bound=Frozen)


class Question(Frozen):
    """Everything the asking process needs. `adapter` belongs on `model` where there is one. `exchange` is the folder where it says how far it is and how it ended;
    `parent` is the process id of the worker, without which there is nobody to ask for."""

    parent: int
    config: EvaluateConfig
    model: Path
    adapter: Path | None = None
    tokenizer: Path
    tasks: Path | None
    out: Path
    exchange: Path


class Listing(Frozen):
    """The same without a model: the questions are listed and not asked."""

    parent: int
    config: QuestionsConfig
    tasks: Path | None
    out: Path
    exchange: Path


class Progress(Frozen):
    """Requests answered since `phase` began, `elapsed_s` seconds ago."""

    phase: str
    done: int = 0
    total: int = 0
    elapsed_s: float = 0.0


class Answer(Frozen):
    """How it ended: a summary, or an error."""

    summary: dict[str, JsonValue] | None = None
    error: ErrorReport | None = None


def write(folder: Path, value: Frozen) -> None:
    """Put a value where `read` finds it, whole or not at all."""
    path = folder / f"{type(value).__name__}.json"
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value.model_dump(mode="json")), encoding="utf-8")
    os.replace(temporary, path)


def read(folder: Path, kind: type[F]) -> F | None:
    """The value of this kind that was written last, or None."""
    path = folder / f"{kind.__name__}.json"
    return kind.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None
