"""The Prefect face of the gate stage."""

from prefect import task

from infra import settings
from infra.storage.receipt import Receipt
from tasks.face import RETRIES, publish, shown, worth_retrying
from tasks.gate import stage
from tasks.gate.config import GateConfig


@task(name="judge", retry_condition_fn=worth_retrying, **RETRIES)
def judge(config: GateConfig, baseline: Receipt, scores: Receipt, fewshot: Receipt | None = None) -> Receipt:
    """Promote or hold; the table of scores before and after is put on the run's page."""
    platform = settings.load().platform()
    verdict = stage.run(config, baseline, scores, platform, fewshot, shown("gate"))
    publish(
        "verdict",
        "Scores against the bars",
        platform.store.read(verdict, "verdict.md").decode(),
    )
    return verdict
