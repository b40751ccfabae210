"""The Prefect face of the data stage."""

from prefect import task

from infra import settings
from infra.storage.receipt import Receipt
from tasks.data import stage
from tasks.data.config import DataConfig
from tasks.face import RETRIES, publish, shown, worth_retrying


@task(name="data", retry_condition_fn=worth_retrying, **RETRIES)
def prepare(config: DataConfig, tokenizer: Receipt) -> Receipt:
    """Turn rows into weighted tokens, and show the report with the row lengths on the run."""
    platform = settings.load().platform()
    dataset = stage.run(config, tokenizer, platform, shown("data"))
    report = platform.store.read(dataset, "report.md").decode()
    publish("data-report", "What the rows became", report, {"row lengths": platform.store.read(dataset, "lengths.png")})
    return dataset
