"""The Prefect face of the registry stage."""

from prefect import task

from infra import settings
from infra.storage.receipt import Receipt
from tasks.face import RETRIES, publish, shown, worth_retrying
from tasks.registry import stage
from tasks.registry.config import RegisterConfig


@task(name="register", retry_condition_fn=worth_retrying, **RETRIES)
def register(
    config: RegisterConfig,
    model: Receipt,
    verdict: Receipt,
    scores: Receipt,
    baseline: Receipt,
    adapter: Receipt,
    dataset: Receipt,
) -> Receipt:
    """Make or find the model version; its card is put on the run's page."""
    platform = settings.load().platform()
    inputs = (model, verdict, scores, baseline, adapter, dataset)
    version = stage.run(config, *inputs, platform, shown("registry"))
    publish("model-card", platform.store.read(version, "card.md").decode())
    return version
