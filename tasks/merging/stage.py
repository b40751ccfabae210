"""Add the adapter to its base, tensor by tensor, and certify that nothing was lost on the way."""

from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.merging.config import MergeConfig


def step(config: MergeConfig, weights: Receipt, tokenizer: Receipt, adapter: Receipt, dataset: Receipt) -> Step:
    """The dataset lends its held-out prompts to the parity certificate."""
    inputs = {"weights": weights, "tokenizer": tokenizer, "adapter": adapter, "dataset": dataset}
    return Step("merging", 2, config, inputs, resources=config.resources)


def run(
    config: MergeConfig,
    weights: Receipt,
    tokenizer: Receipt,
    adapter: Receipt,
    dataset: Receipt,
    platform: Platform,
    on_beat: OnBeat | None = None,
) -> Receipt:
    """The committed model, loadable by transformers, vLLM and MLflow where it lies; BadMerge where parity fails."""
    return produce(step(config, weights, tokenizer, adapter, dataset), platform, on_beat)
