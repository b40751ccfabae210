"""Runs a worker's work in this process, with a real store, and commits what it made."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.frozen import Frozen
from infra.launch.local import LocalLauncher
from infra.launch.step import Spec
from infra.launch.work import Summary, Work
from infra.settings import Platform
from infra.storage import layout
from infra.storage.cache import Cache
from infra.storage.objects import LocalObjects
from infra.storage.receipt import Manifest, Receipt, content_sha256
from infra.storage.store import Store


def platform(home: Path) -> Platform:
    """A store, a cache and an MLflow database below `home`."""
    store = Store(LocalObjects(home / "store"))
    return Platform(store, LocalLauncher(), Cache(home / "cache", 2**30), home, f"sqlite:///{home}/mlflow.db", 60)


def keep(
    on: Platform,
    stage: str,
    folder: Path,
    summary: Summary | None = None,
    inputs: dict[str, Receipt] | None = None,
    config: dict[str, Any] | None = None,
    key: str = "",
    parts: dict[str, Receipt] | None = None,
) -> Receipt:
    """Commit a folder as a stage's artifact, under a key of its own where none is given."""
    key, attempt = key or uuid.uuid4().hex * 2, uuid.uuid4().hex
    files = on.store.upload(folder, layout.attempt(stage, key, attempt))
    manifest = Manifest(
        stage=stage,
        version=1,
        key=key,
        attempt=attempt,
        files=files,
        content_sha256=content_sha256(stage, files, parts),
        config=config or {},
        inputs=inputs or {},
        parts=parts or {},
        summary=summary or {},
        versions={},
        created="2026-01-01T00:00:00+00:00",
    )
    return on.store.receipt(on.store.commit(manifest))


def job(on: Platform, stage: str, config: Frozen, inputs: dict[str, Receipt], key: str = "0" * 64) -> Work[Any]:
    """What a worker is handed: inputs materialised, an empty `out`."""
    room = on.home / "work" / uuid.uuid4().hex
    spec = Spec(stage=stage, version=1, key=key, attempt="a", config=config.model_dump(mode="json"), inputs=inputs)
    folders = {name: on.cache.materialise(on.store, receipt, room / name) for name, receipt in inputs.items()}
    (room / "out").mkdir(parents=True)
    return Work(config, folders, spec, on, room / "out", room)


def made(
    on: Platform, stage: str, config: Frozen, inputs: dict[str, Receipt], work: Callable[[Work[Any]], Summary]
) -> Receipt:
    """The receipt of work that was done here."""
    given = job(on, stage, config, inputs)
    summary = work(given)
    return keep(on, stage, given.out, summary, inputs, given.spec.config, parts=given.parts)
