"""Pin a base model: its tokenizer and its weights become two artifacts, so that data needs no weights."""

from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.base import origin
from tasks.base.config import BaseConfig


def tokenizer_step(config: BaseConfig) -> Step:
    """The tokenizer with its chat template: depends on the model's text files, or on the GGUF file."""
    pinned = origin.pin(origin.tokenizer_files(origin.locate(config)))
    return Step("tokenizer", 1, config, material={"files": pinned}, folder="base")


def weights_step(config: BaseConfig) -> Step:
    """Weights as safetensors, config and licence; BadModel for what must not or cannot be loaded."""
    pinned = origin.pin(origin.weight_files(origin.locate(config)))
    return Step("weights", 1, config, material={"files": pinned}, folder="base")


def tokenizer(config: BaseConfig, platform: Platform, on_beat: OnBeat | None = None) -> Receipt:
    """The committed tokenizer; made now where it is not there yet."""
    return produce(tokenizer_step(config), platform, on_beat)


def weights(config: BaseConfig, platform: Platform, on_beat: OnBeat | None = None) -> Receipt:
    """The committed weights; made now where they are not there yet."""
    return produce(weights_step(config), platform, on_beat)
