"""The Prefect face of the training stage."""

from prefect import task

from infra import settings
from infra.storage.receipt import Receipt
from tasks.face import RETRIES, publish, shown, worth_retrying
from tasks.training import stage
from tasks.training.config import TrainConfig


@task(name="train", retry_condition_fn=worth_retrying, **RETRIES)
def train(config: TrainConfig, weights: Receipt, dataset: Receipt) -> Receipt:
    """Tune the base model; a retry resumes from the newest committed checkpoint."""
    platform = settings.load().platform()
    adapter = stage.run(config, weights, dataset, platform, shown("training"))
    figures = "\n".join(
        f"| {name} | {f'{value:.4g}' if isinstance(value, float) else value} |"
        for name, value in adapter.summary.items()
        if value is not None
    )
    publish(
        "training-report",
        "Loss curve and figures",
        f"# Training\n\n| figure | value |\n|---|---|\n{figures}",
        {"loss": platform.store.read(adapter, "loss.png")},
    )
    return adapter
