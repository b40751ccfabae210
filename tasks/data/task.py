"""The Prefect face of the data stage."""

import json

from prefect import task

from infra import settings
from infra.errors import Corrupt, Refused
from infra.printable import line
from infra.storage.receipt import Receipt
from tasks.data import picture, stage
from tasks.data.changes import Since
from tasks.data.config import DataConfig
from tasks.face import RETRIES, publish, shown, worth_retrying


@task(name="data", retry_condition_fn=worth_retrying, **RETRIES)
def prepare(config: DataConfig, tokenizer: Receipt, overlap: Receipt | None = None) -> Receipt:
    """Turn rows into weighted tokens, without those of `overlap` where the recipe says so, and show the report with the row lengths on the run."""
    platform = settings.load().platform()
    dataset = stage.run(config, tokenizer, platform, overlap, shown("data"))
    report = platform.store.read(dataset, "report.md").decode()
    report += f"\nRows with what is learned of them, sources and lengths are on a page of its own:\n\n```text\n{dataset.uri}/report.html\n```\n"
    lengths = picture.drawn(json.loads(platform.store.read(dataset, "report.json")))
    publish("data-report", "What the rows became", report, {"row lengths": lengths})
    return dataset


@task(name="overlap", retry_condition_fn=worth_retrying, **RETRIES)
def find_overlap(config: DataConfig, questions: Receipt) -> Receipt:
    """Find the rows that hold a question of the evaluation, and show on the run which."""
    platform = settings.load().platform()
    overlap = stage.overlap(config, questions, platform, shown("overlap"))
    publish("overlap-report", "Questions in the rows", platform.store.read(overlap, "overlap.md").decode())
    return overlap


@task(name="diff", retry_condition_fn=worth_retrying, **RETRIES)
def tell_changes(since: Since, dataset: Receipt, overlap: Receipt | None = None) -> Receipt | None:
    """Show on the run what changed in the rows since a version. Where its dataset is gone that is said, and costs nothing else."""
    if since.dataset.content_sha256 == dataset.content_sha256:
        return None
    platform = settings.load().platform()
    try:
        changes = stage.diff(since.version, since.dataset, dataset, overlap, platform, shown("diff"))
    except (Corrupt, Refused) as error:
        publish("data-diff", f"No comparison with the data of {since.version}", f"```text\n{line(str(error))}\n```")
        return None
    page = platform.store.read(changes, "diff.md").decode()
    publish(
        "data-diff",
        f"What changed in the rows since {since.version}",
        f"{page}\n```text\n{changes.uri}/diff.html\n```\n",
    )
    return changes
