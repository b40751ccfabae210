"""What the verbs about a version share: finding it and what it came from, and laying files out."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import settings
from infra.errors import Corrupt, Refused
from infra.models import adapted
from infra.models.adapted import Base
from infra.settings import Platform
from infra.storage.lineage import locate, whole
from infra.storage.receipt import Manifest, Receipt
from infra.storage.store import Store
from pipelines.cli.screen import note
from tasks.registry.card import Card, readme

if TYPE_CHECKING:
    from infra.tracking.lookup import Lookup, Version

Spec = Annotated[
    str, typer.Argument(metavar="VERSION", help="tickets, tickets@candidate, tickets/3 or models:/tickets/3")
]


@dataclass(frozen=True)
class Found:
    """A registered version, its merged model or its adapter, and the record of its registration where the store still has it."""

    platform: Platform
    version: "Version"
    model: Manifest
    registration: Manifest | None

    @property
    def receipt(self) -> Receipt:
        """The merged model."""
        return self.platform.store.receipt(self.model)

    def input(self, role: str) -> Receipt | None:
        """What the model was merged from: weights, tokenizer, adapter or dataset; None where the store has it no more."""
        receipt = self.model.inputs.get(role)
        manifest = whole(self.platform.store, receipt) if receipt else None
        return self.platform.store.receipt(manifest) if manifest else None

    @cached_property
    def base(self) -> Base | None:
        """What the version belongs on where it is an adapter that was not merged; None where it is a whole model."""
        if not any(file.path == adapted.NAME for file in self.model.files):
            return None
        return Base.model_validate_json(self.platform.store.read(self.receipt, adapted.NAME))

    def origin(self) -> dict[str, Any]:
        """The recipe's `base:` section that the base was pinned with; empty where that is gone."""
        weights = self.model.inputs.get("weights")
        manifest = None if weights is None else self.platform.store.newest(weights.stage, weights.key)
        return dict(manifest.config) if manifest else {}

    def base_name(self) -> str:
        """What the base is called."""
        told = self.version.tags.get("luthier.base") or str(self.origin().get("model_name_or_path", "base"))
        return PurePosixPath(told).name

    def readme(self, at: str, adapter_of: str = "") -> str:
        """The model card of a copy; without the record of the registration it is the registry's text as it is."""
        if self.registration is None or not any(file.path == "card.json" for file in self.registration.files):
            return self.version.description
        record = self.platform.store.receipt(self.registration)
        return readme(Card.model_validate_json(self.platform.store.read(record, "card.json")), at, adapter_of)


def lookup(platform: Platform) -> "Lookup":
    """MLflow, to read from; Refused where its package is not installed."""
    try:
        from infra.tracking.lookup import Lookup  # noqa: PLC0415 - takes seconds that `luthier --help` should not
    except ModuleNotFoundError as error:
        raise Refused(
            "a package that reads the registry is not installed",
            value=error.name,
            remedy="pip install 'luthier[register]'",
        ) from error
    return Lookup(platform.tracking_uri)


def find(spec: str) -> Found:
    """The version that is meant, with its model whole in the store; Refused or Corrupt says what there is instead."""
    platform = settings.load().platform()
    version = lookup(platform).version(spec)
    if version.chosen:
        note(f"{version}: {version.chosen}")
    model = locate(platform.store, version.source, version.content)
    return Found(platform, version, model, registration(platform.store, version))


def registration(store: Store, version: "Version") -> Manifest | None:
    """The record of a version's registration, which names scores, verdict and data; None where there is none."""
    if not re.fullmatch(r"[0-9a-f]{64}", version.registration):
        return None
    found = store.find("registry", version.registration)
    model = found.inputs.get("model") if found else None
    return found if model is not None and model.content_sha256 == version.content else None


@dataclass(frozen=True)
class Loadable:
    """A model on this machine, as Dialogue.load takes it."""

    model: Path
    tokenizer: Path
    adapter: Path | None = None
    base: Base | None = None


def tuned(found: Found, room: Path) -> Loadable:
    """The version below `room`, with the weights of its base where it was not merged; Corrupt where those are gone."""
    model = fetch(found.platform, found.receipt, room / "tuned") / "model"
    if found.base is None:
        return Loadable(model, model)
    weights = found.input("weights")
    if weights is None:
        raise Corrupt(
            "the base of this adapter is not in the store any more",
            value=f"{found.version}, {found.base_name()}",
            remedy="run its recipe again: the base is pinned anew, and its adapter is there",
        )
    return Loadable(fetch(found.platform, weights, room / "base"), model, model, found.base)


def fetch(platform: Platform, receipt: Receipt, folder: Path) -> Path:
    """Lay an artifact into a new folder, read-only, every byte checked on its way through this machine's cache."""
    folder.mkdir(parents=True)
    return platform.cache.materialise(platform.store, receipt, folder)
