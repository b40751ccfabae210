"""Rows and a tokenizer → a dataset artifact; rows and questions → what of the evaluation stands in the rows."""

from pydantic import JsonValue

from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.data import sources
from tasks.data.changes import DiffConfig
from tasks.data.config import DataConfig, OverlapConfig

VERSION = 3


def check(config: DataConfig) -> None:
    """Refuse at once what a listing of the sources shows to be wrong."""
    sources.check(config)


def step(config: DataConfig, tokenizer: Receipt, overlap: Receipt | None = None) -> Step:
    """The work and its key, which holds the content of the source files and not their places.

    Rows that `overlap` found are left out where the recipe says so; the key has which rows, and not why. Raises BadRecipe for files that are missing or of an unknown kind.
    """
    config = sources.at_commit(config)
    material: dict[str, JsonValue] = {"sources": sources.material(config)}
    aside = {}
    if overlap is not None and config.decontamination == "drop" and overlap.summary["rows_hit"]:
        material["dropped"], aside = overlap.summary["rows_sha256"], {"overlap": overlap}
    return Step(
        stage="data",
        version=VERSION,
        config=config,
        inputs={"tokenizer": tokenizer},
        material=material,
        aside=aside,
        resources=config.resources,
    )


def overlap_step(config: DataConfig, questions: Receipt) -> Step:
    """The step that compares training rows with `questions`; BadRecipe for files that are missing or of an unknown kind."""
    return compared(sources.at_commit(config).overlap(), questions)


def compared(config: OverlapConfig, questions: Receipt) -> Step:
    """The same of the part of the config that it depends on."""
    material: dict[str, JsonValue] = {"sources": sources.contents(config.sources, validation=False)}
    return Step("overlap", 1, config, {"questions": questions}, material, module="tasks.data.overlap")


def diff_step(since: str, before: Receipt, after: Receipt, overlap: Receipt | None = None) -> Step:
    """The step that tells how a dataset differs from `before`, that of the version `since`; of `overlap` it repeats the counts."""
    inputs = {"before": before, "after": after} | ({"overlap": overlap} if overlap else {})
    return Step("diff", 1, DiffConfig(since=since), inputs, module="tasks.data.diff_worker")


def run(
    config: DataConfig,
    tokenizer: Receipt,
    platform: Platform,
    overlap: Receipt | None = None,
    on_beat: OnBeat | None = None,
) -> Receipt:
    """The dataset's receipt: an index over shards of tokens, held-out prompts and a report."""
    return produce(step(config, tokenizer, overlap), platform, on_beat)


def overlap(config: DataConfig, questions: Receipt, platform: Platform, on_beat: OnBeat | None = None) -> Receipt:
    """The receipt of overlap.json, overlap.md and rows.npy, the hashes of the rows that hold a question."""
    return produce(overlap_step(config, questions), platform, on_beat)


def diff(
    since: str,
    before: Receipt,
    after: Receipt,
    overlap: Receipt | None,
    platform: Platform,
    on_beat: OnBeat | None = None,
) -> Receipt:
    """The receipt of diff.json, diff.md and diff.html. Refused or Corrupt where the older dataset cannot be compared with."""
    return produce(diff_step(since, before, after, overlap), platform, on_beat)
