"""Looks up which version is in production, with its model in the store; a champion that cannot be had is never passed over."""

import json
import logging
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.errors import Corrupt, LuthierError, Refused
from infra.launch.scratch import scratch
from infra.launch.step import spec
from infra.launch.work import Summary, Work, commit, main
from infra.settings import Platform
from infra.storage.lineage import locate
from infra.storage.receipt import Manifest
from infra.storage.store import Store
from infra.tracking.lookup import Lookup, Version
from infra.tracking.production import Production, production
from infra.tracking.versions import INCUMBENT
from tasks.registry.config import ProductionConfig, RegisterConfig
from tasks.registry.promotion import BACK_AT, REFUSED_AT, VERDICT
from tasks.registry.rivals import Judged, Rival, Rivals
from tasks.registry.stage import incumbent_step

log = logging.getLogger(__name__)

REMEMBERED = 20  # versions that were turned down; one more is looked at anew, which costs seconds
OUTCOMES = {"hold": "held", "undecided": "undecided"}
INSTEAD = "`luthier promote NAME/VERSION --override REASON` names another; --set gate.incumbent.version=none compares with none"


def work(job: Work[ProductionConfig]) -> Summary:
    """Fill incumbent.json; Refused or Corrupt where there should be a champion and it cannot be compared with."""
    config, look = job.config, Lookup(job.platform.tracking_uri)
    job.beat("looking up the version in production")
    now = production(look, config.name)
    if config.version is not None:
        rivals = _beside(job.platform.store, look.version(config.version), None, now.known)
    elif now.champion is None:
        _require_that_there_was_none(now, job.platform.store.find(job.spec.stage, job.spec.key), look.uri)
        rivals = Rivals()
    else:
        if now.by_hand:
            log.warning("champion of %s: %s, set by hand, which is respected", now.name, now.champion)
        rivals = _rivals(job.platform.store, now)
    return _written(rivals, job.out)


def remember(platform: Platform, now: Production) -> None:
    """Commit what is in production as if it had just been looked up, so that the store knows it if MLflow is wiped."""
    step = incumbent_step(RegisterConfig(name=now.name))
    attempt = uuid.uuid4().hex
    with scratch(platform.home / "work", f"incumbent-{attempt}") as room:
        commit(platform, spec(step, attempt), room, _written(_rivals(platform.store, now), room))


def _written(rivals: Rivals, folder: Path) -> Summary:
    told: Summary = rivals.model_dump(mode="json")
    (folder / "incumbent.json").write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return told


def _rivals(store: Store, now: Production) -> Rivals:
    if now.champion is None:
        return Rivals(previous=None if now.previous is None else _or_nothing(store, now.previous))
    return _beside(store, now.champion, now.previous, now.known)


def _beside(store: Store, champion: Version, previous: Version | None, known: tuple[Version, ...]) -> Rivals:
    return Rivals(
        champion=_rival(store, champion),
        previous=None if previous is None else _or_nothing(store, previous),
        turned_down=tuple(_turned_down(champion, known))[:REMEMBERED],
    )


def _turned_down(champion: Version, known: tuple[Version, ...]) -> Iterator[Judged]:
    """The versions that stood beside this champion and may not follow it, newest first."""
    for one in sorted(known, key=lambda one: -one.number):
        outcome = _how(one.tags)
        if outcome and one.tags.get(INCUMBENT) == champion.content and one.number != champion.number:
            yield Judged(version=f"{one.name}/{one.number}", registration=one.registration, outcome=outcome)


def _how(tags: Mapping[str, str]) -> str:
    """How a version was turned down, by people or by its gate; empty where it was not."""
    if BACK_AT in tags:
        return "taken back"
    return "refused" if REFUSED_AT in tags else OUTCOMES.get(tags.get(VERDICT, ""), "")


def _rival(store: Store, version: Version) -> Rival:
    try:
        model = locate(store, version.source, version.content)
    except LuthierError as error:
        kind = Corrupt if isinstance(error, Corrupt) else Refused
        raise kind(
            f"the version in production cannot be compared with: {error.what}",
            place=error.place,
            value=f"{version.name}/{version.number}",
            remedy=f"{error.remedy}. {INSTEAD}",
        ) from error
    name = f"{version.name}/{version.number}"
    tokenizer = model.inputs["tokenizer"]
    return Rival(version=name, registration=version.registration, model=store.receipt(model), tokenizer=tokenizer)


def _or_nothing(store: Store, version: Version) -> Rival | None:
    try:
        return _rival(store, version)
    except LuthierError as error:
        log.warning("the version before it is not there: %s", error.what)
        return None


def _require_that_there_was_none(now: Production, last: Manifest | None, place: str) -> None:
    """Refused where MLflow has no champion, although it, or an earlier run, knew one."""
    earlier = Rivals.model_validate(last.summary).champion if last else None
    was = f"{now.name}/{now.moved}" if now.moved is not None else earlier.version if earlier else None
    if was is not None:
        raise Refused(
            "there was a version in production, and MLflow knows of none any more",
            place=place,
            value=was,
            remedy="is this another MLflow, set MLFLOW_TRACKING_URI; was only the alias removed, set it again; was it wiped, "
            f"run that version's recipe with none to compare with, which registers it anew, and promote it. {INSTEAD}",
        )


if __name__ == "__main__":
    main(ProductionConfig, work)
