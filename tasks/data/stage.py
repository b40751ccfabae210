"""Rows and a tokenizer → a dataset artifact."""

from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.data import sources
from tasks.data.config import DataConfig

VERSION = 1


def step(config: DataConfig, tokenizer: Receipt) -> Step:
    """The work and its key, which holds the content of the source files and not their places.

    Raises BadRecipe for files that are missing or of an unknown kind.
    """
    return Step(
        stage="data",
        version=VERSION,
        config=config,
        inputs={"tokenizer": tokenizer},
        material={"sources": sources.material(config)},
    )


def run(config: DataConfig, tokenizer: Receipt, platform: Platform, on_beat: OnBeat | None = None) -> Receipt:
    """The dataset's receipt: flat token files, packing index, held-out prompts and a report."""
    return produce(step(config, tokenizer), platform, on_beat)
