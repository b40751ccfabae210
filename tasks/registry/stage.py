"""Register a merged model in MLflow: a version whose source is the artifact itself, nothing copied.

And what is in production, and what is decided about that."""

from dataclasses import replace

from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.settings import Platform
from infra.storage.receipt import Receipt
from infra.storage.store import Store
from infra.tracking import database
from tasks.registry.config import DecisionConfig, ProductionConfig, RegisterConfig
from tasks.registry.rivals import Rivals
from tasks.registry.standing import Standing

CHAMPION = "champion"
NOBODY = "none"


def step(
    config: RegisterConfig,
    model: Receipt,
    verdict: Receipt,
    scores: Receipt,
    baseline: Receipt,
    adapter: Receipt,
    dataset: Receipt,
    diff: Receipt | None = None,
) -> Step:
    """Runs unless MLflow is seen to have it: the server may have been wiped or changed since the last time. `diff` tells how
    the data differs from that of the version in production."""
    inputs = {"model": model, "verdict": verdict, "scores": scores, "baseline": baseline}
    told = {"diff": diff} if diff else {}
    return Step("registry", 1, config, {**inputs, "adapter": adapter, "dataset": dataset, **told}, always=True)


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
    diff: Receipt | None = None,
) -> Receipt:
    """The registration as it is now; Unreachable where MLflow does not answer."""
    wanted = step(config, model, verdict, scores, baseline, adapter, dataset, diff)
    return produce(replace(wanted, always=not _is_there(wanted, platform)), platform, on_beat)


def _is_there(wanted: Step, platform: Platform) -> bool:
    """Whether MLflow, where it is a file of this machine, has what was registered last: a worker takes seconds to see it."""
    found = platform.store.find(wanted.stage, wanted.key)
    if found is None:
        return False
    name, version, alias = (found.summary.get(field) for field in ("name", "version", "alias"))
    tags = {database.REGISTRATION: wanted.key}
    return database.holds(platform.tracking_uri, str(name), int(str(version)), tags, str(alias) if alias else None)


def incumbent_step(config: RegisterConfig, version: str | None = None) -> Step:
    """The step that looks up what is in production; what it last found is committed under one key a model."""
    asked = ProductionConfig(name=config.name, version=version)
    return Step("incumbent", 1, asked, always=True, module="tasks.registry.incumbent")


def incumbent(config: RegisterConfig, version: str | None, platform: Platform, on_beat: OnBeat | None = None) -> Rivals:
    """What is in production now, or the version that is named; `none` is nobody.

    Refused or Corrupt where a champion is or was there and cannot be had. A worker is started only where there may be one.
    """
    if version == NOBODY:
        return Rivals()
    known = last_known(config, version, platform.store).champion
    if version is None and known is None and database.lacks_alias(platform.tracking_uri, config.name, CHAMPION):
        return Rivals()
    return Rivals.model_validate(produce(incumbent_step(config, version), platform, on_beat).summary)


def last_known(config: RegisterConfig, version: str | None, store: Store) -> Rivals:
    """What `incumbent` found when it last looked from this store."""
    if version == NOBODY:
        return Rivals()
    step = incumbent_step(config, version)
    found = store.find(step.stage, step.key)
    return Rivals.model_validate(found.summary) if found else Rivals()


def decision(config: DecisionConfig, platform: Platform, on_beat: OnBeat | None = None) -> Standing:
    """What is left to decide about a version, or what came of carrying a decision out; Unreachable where MLflow is away,
    and then no alias has moved."""
    step = Step("decision", 1, config, always=True, module="tasks.registry.deciding")
    return Standing.model_validate(produce(step, platform, on_beat).summary)
