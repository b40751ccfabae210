"""The evaluation stage: one model under one pinned spec becomes scores and samples."""

from pathlib import Path

from pydantic import JsonValue

from infra.errors import BadTask
from infra.frozen import digest
from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.settings import Platform
from infra.storage import sources
from infra.storage.receipt import Receipt
from tasks.evaluation.config import EvaluateConfig


def step(config: EvaluateConfig, model: Receipt, tokenizer: Receipt, num_fewshot: int | None = None) -> Step:
    """The step that scores `model`; BadTask for a task folder that nobody vouched for, BadRecipe for a missing one.

    `num_fewshot` replaces the config's, for a baseline with examples beside the one without.
    """
    if num_fewshot is not None:
        config = config.model_copy(update={"num_fewshot": num_fewshot})
    inputs = {"model": model, "tokenizer": tokenizer}
    return Step("evaluation", 1, config, inputs, {"include_path": _pinned(config)}, resources=config.resources)


def questions_step(config: EvaluateConfig) -> Step:
    """The step that lists what will be asked, of any model; it raises what `step` does."""
    material: dict[str, JsonValue] = {"include_path": _pinned(config)}
    return Step("questions", 1, config.questions(), material=material, module="tasks.evaluation.questions")


def run(
    config: EvaluateConfig,
    model: Receipt,
    tokenizer: Receipt,
    platform: Platform,
    num_fewshot: int | None = None,
    on_beat: OnBeat | None = None,
) -> Receipt:
    """The committed scores; the model is asked now where it was not before."""
    return produce(step(config, model, tokenizer, num_fewshot), platform, on_beat)


def questions(config: EvaluateConfig, platform: Platform, on_beat: OnBeat | None = None) -> Receipt:
    """The committed questions.jsonl: task, doc_id, doc_hash, text without examples, targets, choices of each document."""
    return produce(questions_step(config), platform, on_beat)


def _pinned(config: EvaluateConfig) -> str:
    return "" if config.include_path is None else _pin(_trusted(config))


def _trusted(config: EvaluateConfig) -> Path:
    folder = sources.local_path(config.include_path or "", "evaluate.include_path")
    if not folder.is_dir():
        raise BadTask("tasks of one's own come as a folder", place="evaluate.include_path", value=folder)
    if not config.trust_tasks:
        raise BadTask(
            "a folder of evaluation tasks is code, and nobody said that it can be trusted",
            place="evaluate.include_path",
            value=folder,
            remedy="read its YAMLs and .py files, then set evaluate.trust_tasks: true",
        )
    return folder


def _pin(folder: Path) -> str:
    """One hash over names and content of what a task could read; caches of Python are no content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return digest([[path.relative_to(folder).as_posix(), sources.sha256(str(path))] for path in files])
