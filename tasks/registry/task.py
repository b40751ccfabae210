"""The Prefect face of the registry stage."""

from prefect import task

from infra import settings
from infra.storage.receipt import Receipt
from tasks.face import RETRIES, publish, shown, worth_retrying
from tasks.registry import stage
from tasks.registry.config import DecisionConfig, RegisterConfig
from tasks.registry.rivals import Rivals
from tasks.registry.standing import Standing


@task(name="incumbent", retry_condition_fn=worth_retrying, **RETRIES)
def find_incumbent(config: RegisterConfig, version: str | None = None) -> Rivals:
    """Look up the version in production, before anything is made that would be compared with it."""
    return stage.incumbent(config, version, settings.load().platform(), shown("incumbent"))


@task(name="register", retry_condition_fn=worth_retrying, **RETRIES)
def register(
    config: RegisterConfig,
    model: Receipt,
    verdict: Receipt,
    scores: Receipt,
    baseline: Receipt,
    adapter: Receipt,
    dataset: Receipt,
    diff: Receipt | None = None,
) -> Receipt:
    """Make or find the model version; its card, and where everything lies, are put on the run's page."""
    platform = settings.load().platform()
    inputs = (model, verdict, scores, baseline, adapter, dataset)
    version = stage.run(config, *inputs, platform, shown("registry"), diff)
    publish("model-card", "The model, and how to use it", platform.store.read(version, "card.md").decode())
    places = {"model": model, "adapter": adapter, "dataset": dataset, "scores": scores, "verdict": verdict} | (
        {"diff": diff} if diff else {}
    )
    publish("links", "Its version, and all places", links(platform.tracking_uri, version, places))
    return version


@task(name="decision", retry_condition_fn=worth_retrying, **RETRIES)
def decision(config: DecisionConfig) -> Standing:
    """Look what is left to decide about a version, or carry out what was decided."""
    return stage.decision(config, settings.load().platform(), shown("decision"))


def links(tracking_uri: str, version: Receipt, places: dict[str, Receipt]) -> str:
    """Markdown: the version's page in MLflow, where that is a server, and a block with the place of every artifact."""
    registry = page(tracking_uri, version)
    # In a block: Prefect's page lets long inline code run across its side bar.
    rows = [f"{name:<8} {receipt.uri}" for name, receipt in places.items()]
    if report := version.summary.get("report"):
        rows.append(f"{'report':<8} {report}")
    return "\n".join([f"Version in MLflow: {registry}", "", "```text", *rows, "```"])


def page(tracking_uri: str, version: Receipt) -> str:
    """Markdown: a link to the version's page in MLflow, or where MLflow is, if that has no pages."""
    at = f"{tracking_uri}/#/models/{version.summary.get('name')}/versions/{version.summary.get('version')}"
    return f"[{at}]({at})" if tracking_uri.startswith("http") else f"`{tracking_uri}`"
