"""Register a merged model in MLflow: a version whose source is the artifact itself, nothing copied."""

from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.registry.config import RegisterConfig


def step(
    config: RegisterConfig,
    model: Receipt,
    verdict: Receipt,
    scores: Receipt,
    baseline: Receipt,
    adapter: Receipt,
    dataset: Receipt,
) -> Step:
    """Runs every time: the server may have been wiped or changed since the last one."""
    inputs = {"model": model, "verdict": verdict, "scores": scores, "baseline": baseline}
    return Step("registry", 1, config, inputs | {"adapter": adapter, "dataset": dataset}, always=True)


def run(  # noqa: PLR0913, PLR0917 - a registration names everything that the model came from
    config: RegisterConfig,
    model: Receipt,
    verdict: Receipt,
    scores: Receipt,
    baseline: Receipt,
    adapter: Receipt,
    dataset: Receipt,
    platform: Platform,
    on_beat: OnBeat | None = None,
) -> Receipt:
    """The registration as it is now; Unreachable where MLflow does not answer."""
    return produce(step(config, model, verdict, scores, baseline, adapter, dataset), platform, on_beat)
