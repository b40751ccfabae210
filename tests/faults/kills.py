"""R1: a stage is killed at one named point after the other; what it leaves is whole, and the last rerun finishes."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient

from infra.errors import LuthierError
from infra.settings import Platform
from infra.storage import layout
from infra.storage.cache import verify
from infra.storage.receipt import Receipt
from tests.faults.points import CREATED, TOLD, Point, arm, points, struck
from tests.faults.stages import NAME, Chain, empty

Faults = list[str]


@dataclass
class Killed:
    """How often a stage was killed, and what was wrong after that."""

    stage: str
    kills: int = 0
    wrong: Faults = field(default_factory=list)


def kill(whole: Chain, stage: str, room: Path, names: tuple[str, ...] = (), s3_root: str = "") -> Killed:
    """Kill a stage at every point (or those named) up to the creation of its record, each time where the last kill left
    it; then rerun it. A rerun comes by later points only where nothing is committed, so these are struck in copies.
    """
    known = points(whole.made[stage].stage, "s3" if s3_root else "file")
    known = {name: point for name, point in known.items() if name in names or not names}
    order = list(known)
    cut = [*order, CREATED].index(CREATED) + 1
    told = Killed(stage)
    for number, chosen in enumerate([order[:cut], *([name] for name in order[cut:])]):
        here = room / f"{stage}-{number}"
        chain = whole.before(stage, empty(here / "home", s3_root and f"{s3_root}/{here.name}"))
        for name in chosen:
            told.kills += 1
            told.wrong += _killed(chain, stage, name, known[name], here / name.replace(" ", "-"))
        told.wrong += _rerun(chain, stage, whole.made[stage])
    return told


def _killed(chain: Chain, stage: str, name: str, point: Point, folder: Path) -> Faults:
    before, noticed = manifests(chain.on), name == TOLD  # a worker that has said how it ended may go as it likes
    with environment(arm(folder, point)):
        try:
            chain.run(stage)
        except LuthierError as error:
            noticed = error.retry
    faults = [] if noticed else ["the kill was not reported as something to be tried again"]
    faults += [] if struck(folder) else ["no process came by"]
    faults += _torn(chain.on) + (_half_registered(chain) if stage == "registry" else [])
    faults += [f"{place} was touched" for place, data in before.items() if manifests(chain.on).get(place) != data]
    return [f"{stage}, {name}: {fault}" for fault in faults]


def _rerun(chain: Chain, stage: str, wanted: Receipt) -> Faults:
    """Run it to the end, and hold that to what an undisturbed run made."""
    before, committed = len(_launches(chain.on)), chain.on.store.newest(wanted.stage, wanted.key)
    receipt = chain.run(stage)
    records = [place for place in manifests(chain.on) if place.startswith(layout.home(wanted.stage, receipt.key))]
    faults = [] if len(records) == 1 else [f"records: {records}"]
    if stage == "registry":
        return faults + _registered_once(chain)
    faults += [] if receipt.content_sha256 == wanted.content_sha256 else ["other bytes than an undisturbed run's"]
    if committed is not None and (receipt.attempt != committed.attempt or len(_launches(chain.on)) != before):
        faults.append("a committed stage was done twice")
    left = [path.name for path in (chain.on.home / "work").iterdir()]
    faults += [f"left in work/: {left}"] if left and committed is None else []
    return [f"{stage}, rerun: {fault}" for fault in faults]


def manifests(on: Platform) -> dict[str, bytes | None]:
    """Every commit record in a store."""
    return {key: on.store.objects.get(key) for key in on.store.objects.list("stages/") if "/MANIFEST" in key}


def _torn(on: Platform) -> Faults:
    found = []
    for stage, key in {(place.split("/")[1], place.split("/")[2]) for place in manifests(on)}:
        manifest = on.store.newest(stage, key)
        if manifest is not None:
            found += [f"{place} is torn" for place in verify(on.store, on.store.receipt(manifest))]
    return found


def _launches(on: Platform) -> list[str]:
    return [key for key in on.store.objects.list("jobs/") if key.endswith("spec.json")]


def _half_registered(chain: Chain) -> Faults:
    """An alias that leads to a version without its tags, or to none."""
    client = MlflowClient(chain.on.tracking_uri)
    for model in client.search_registered_models(f"name = '{NAME}'"):
        for alias, number in dict(model.aliases).items():
            version = client.get_model_version(NAME, number)
            if version.tags.get("luthier.content_sha256") != chain.made["merging"].content_sha256:
                return [f"alias {alias} leads to a version that is not whole"]
    return []


def _registered_once(chain: Chain) -> Faults:
    client = MlflowClient(chain.on.tracking_uri)
    found = [int(version.version) for version in client.search_model_versions(f"name = '{NAME}'")]
    aliases = dict(client.get_registered_model(NAME).aliases)
    return (
        []
        if found == [1] and [str(number) for number in aliases.values()] == ["1"]
        else [f"versions {found}, aliases {aliases}"]
    )


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables that processes started in the block have."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
