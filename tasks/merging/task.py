"""The Prefect face of the merging stage."""

from prefect import task

from infra import settings
from infra.storage.receipt import Receipt
from tasks.face import RETRIES, shown, worth_retrying
from tasks.merging import stage
from tasks.merging.config import MergeConfig


@task(name="merge", retry_condition_fn=worth_retrying, **RETRIES)
def merge(config: MergeConfig, weights: Receipt, tokenizer: Receipt, adapter: Receipt, dataset: Receipt) -> Receipt:
    """Make one model of base and adapter."""
    platform = settings.load().platform()
    return stage.run(config, weights, tokenizer, adapter, dataset, platform, shown("merging"))
