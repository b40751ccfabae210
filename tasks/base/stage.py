"""Pin a base model: its tokenizer and its weights become two artifacts, so that data needs no weights."""

from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.base import bucket, hub, origin
from tasks.base.config import BaseConfig


def tokenizer_step(config: BaseConfig) -> Step:
    """The tokenizer with its chat template: depends on the model's text files, on the GGUF file, or on a commit."""
    return _step("tokenizer", config, origin.tokenizer_files)


def weights_step(config: BaseConfig) -> Step:
    """Weights as safetensors, config and licence; BadModel for what must not or cannot be loaded."""
    return _step("weights", config, origin.weight_files)


def _step(what: str, config: BaseConfig, files: Callable[[Path], list[Path]]) -> Step:
    if config.is_hub_id:
        # A commit is content, and its files need not be on the machine that plans.
        at = hub.commit(config.model_name_or_path, config.revision or "main")
        pinned: dict[str, JsonValue] = {"hub": [config.model_name_or_path, at]}
    elif config.is_in_bucket:
        at = bucket.revision(config.model_name_or_path, config.revision)
        pinned = {"bucket": at}
    else:
        return Step(what, 1, config, material={"files": origin.pin(files(origin.locate(config)))}, folder="base")
    if what == "weights" and not config.copy_weights:
        pinned["copy_weights"] = (
            False  # said only where it is so: the tokenizer, and all that is stored, keep their keys
        )
    return Step(what, 1, config.model_copy(update={"revision": at}), material=pinned, folder="base")


def tokenizer(config: BaseConfig, platform: Platform, on_beat: OnBeat | None = None) -> Receipt:
    """The committed tokenizer; made now where it is not there yet."""
    return produce(tokenizer_step(config), platform, on_beat)


def weights(config: BaseConfig, platform: Platform, on_beat: OnBeat | None = None) -> Receipt:
    """The committed weights; made now where they are not there yet."""
    return produce(weights_step(config), platform, on_beat)
