"""The Prefect face of the data stage."""

from prefect import task

from infra import settings
from infra.storage.receipt import Receipt
from tasks.data import stage
from tasks.data.config import DataConfig
from tasks.face import RETRIES, publish, shown, worth_retrying


@task(name="data", retry_condition_fn=worth_retrying, **RETRIES)
def prepare(config: DataConfig, tokenizer: Receipt, overlap: Receipt | None = None) -> Receipt:
    """Turn rows into weighted tokens, without those of `overlap` where the recipe says so, and show the report with the row lengths on the run."""
    platform = settings.load().platform()
    dataset = stage.run(config, tokenizer, platform, overlap, shown("data"))
    report = platform.store.read(dataset, "report.md").decode()
    report += f"\nRows with what is learned of them, sources and lengths are on a page of its own:\n\n```text\n{dataset.uri}/report.html\n```\n"
    publish("data-report", "What the rows became", report, {"row lengths": platform.store.read(dataset, "lengths.png")})
    return dataset


@task(name="overlap", retry_condition_fn=worth_retrying, **RETRIES)
def find_overlap(config: DataConfig, questions: Receipt) -> Receipt:
    """Find the rows that hold a question of the evaluation, and show on the run which."""
    platform = settings.load().platform()
    overlap = stage.overlap(config, questions, platform, shown("overlap"))
    publish("overlap-report", "Questions in the rows", platform.store.read(overlap, "overlap.md").decode())
    return overlap
