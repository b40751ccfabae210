"""The Prefect face of the base stage."""

from prefect import task

from infra import settings
from infra.storage.receipt import Receipt
from tasks.base import stage
from tasks.base.config import BaseConfig
from tasks.face import RETRIES, shown, worth_retrying


@task(name="base", retry_condition_fn=worth_retrying, **RETRIES)
def import_base(config: BaseConfig) -> tuple[Receipt, Receipt]:
    """Pin tokenizer and weights of the base model."""
    platform = settings.load().platform()
    return stage.tokenizer(config, platform, shown("tokenizer")), stage.weights(config, platform, shown("weights"))
