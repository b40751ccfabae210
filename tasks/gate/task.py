"""The Prefect face of the gate stage."""

from prefect import task

from infra import settings
from infra.storage.receipt import Receipt
from tasks.face import RETRIES, publish, shown, worth_retrying
from tasks.gate import stage
from tasks.gate.config import GateConfig


@task(name="judge", retry_condition_fn=worth_retrying, **RETRIES)
def judge(
    config: GateConfig,
    baseline: Receipt,
    scores: Receipt,
    fewshot: Receipt | None = None,
    incumbent: Receipt | None = None,
    questions: Receipt | None = None,
) -> Receipt:
    """Promote, hold or undecided; the comparison and the table of scores are put on the run's page."""
    platform = settings.load().platform()
    verdict = stage.run(config, baseline, scores, platform, fewshot, incumbent, questions, shown("gate"))
    picture = {} if incumbent is None else {"Differences": platform.store.read(verdict, "verdict.svg")}
    page = platform.store.read(verdict, "verdict.md").decode()
    publish("verdict", "Scores against the bars, and beside the version in production", page, picture)
    return verdict
