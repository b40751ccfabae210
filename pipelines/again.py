"""A version's own recipe, by the commit records of what it was made of: is all of it still there, and does it come out equal?"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from infra.errors import Corrupt, LuthierError
from infra.launch.step import Step
from infra.launch.work import code, versions
from infra.storage import snapshots
from infra.storage import sources as files
from infra.storage.receipt import Manifest, Origin, Receipt
from infra.storage.store import Store
from pipelines.recipe import Recipe
from tasks.base import stage as base
from tasks.data import sources
from tasks.data import stage as data
from tasks.evaluation import stage as evaluation

# The section of a recipe, by the role of the artifact that keeps it.
SECTIONS = {
    "weights": "base",
    "dataset": "data",
    "adapter": "train",
    "model": "merge",
    "scores": "evaluate",
    "verdict": "gate",
    "version": "register",
}
# What a version is made of, in the order of a run; `evaluation` makes two of them.
ROLES = ("tokenizer", "weights", "dataset", "adapter", "model", "baseline", "scores", "verdict")
# How many of them are there before a stage begins.
STAGES = {"tokenizer": 0, "weights": 0, "data": 2, "training": 3, "merging": 4, "evaluation": 5, "gate": 7}


@dataclass(frozen=True)
class Made:
    """The commit records behind a version, by role; `version` is that of its registration."""

    records: Mapping[str, Manifest]

    @classmethod
    def of(cls, store: Store, registration: Manifest) -> "Made":
        """Follow the records up; their files need not be there any more. Corrupt where a record is gone."""
        found = {"version": registration}
        for role in ("model", "verdict", "scores", "baseline", "adapter", "dataset"):
            found[role] = _record(store, role, registration.inputs[role])
        for role in ("weights", "tokenizer"):
            found[role] = _record(store, role, found["model"].inputs[role])
        return cls(found)

    def recipe(self) -> dict[str, Any]:
        """Everything that decides what is made: base and data sets on a hub at their commits, all seeds, all defaults."""
        return {section: dict(self.records[role].config) for role, section in SECTIONS.items()}

    def write(self, path: Path, title: str) -> Path:
        """The recipe as a file that `luthier run` takes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(self.recipe(), sort_keys=False, allow_unicode=True)
        path.write_text(f"# When to use it: to make {title} again.\n{text}", encoding="utf-8")
        return path

    def changed(self, recipe: Recipe, store: Store | None = None) -> Iterator[str]:
        """In words, each input that is not there any more or is not what it was; nothing where a run would be the same.

        One of which `store` knows that the same came out of it is not told.
        """
        weights, tokenizer = self.records["weights"], self.records["tokenizer"]
        place = recipe.base.model_name_or_path
        yield from _differs(weights, lambda: base.weights_step(recipe.base), f"the base model {place}")
        yield from _differs(tokenizer, lambda: base.tokenizer_step(recipe.base), f"the tokenizer of {place}")
        dataset = self.records["dataset"]
        overlap, own = dataset.inputs.get("overlap"), dataset.inputs["tokenizer"]
        step = partial(data.step, recipe.data, own, overlap)
        if differs := [*_differs(dataset, step, "the data, its template or its rules", store)]:
            yield from [*_rows(dataset.origins, recipe)] or differs
        scores = self.records["scores"]
        asked = scores.inputs["model"], scores.inputs["tokenizer"]
        yield from _differs(
            scores, lambda: evaluation.step(recipe.evaluate, *asked), f"the tasks in {recipe.evaluate.include_path}"
        )

    def upgraded(self) -> list[str]:
        """What was made by other code or other libraries than are here: the bits may come out otherwise."""
        here = versions()
        found: dict[str, str] = {}
        for manifest in self.records.values():
            for name, was in manifest.versions.items():
                if name in here and here[name] != was:
                    found[name] = f"{name} {was} → {here[name]}"
        if any(manifest.code not in ("", code()) for manifest in self.records.values()):
            found["code"] = "Luthier's own code has changed since"
        return sorted(found.values())


@dataclass(frozen=True)
class Compared:
    """One artifact then and now, by content; of scores it is also said whether the figures are equal."""

    role: str
    then: str
    now: str
    figures: bool | None = None

    @property
    def equal(self) -> bool:
        """Whether every byte is the same."""
        return self.then == self.now


def compare(then: Made, now: Made) -> list[Compared]:
    """Every artifact of a version beside the same one of another."""
    found = []
    for role in ROLES:
        one, other = then.records[role], now.records[role]
        scores = one.summary.get("scores")
        figures = None if scores is None else scores == other.summary.get("scores")
        found.append(Compared(role, one.content_sha256, other.content_sha256, figures))
    return found


def before(made: Made, stage: str, store: Store) -> list[Receipt]:
    """The artifacts of a version that come before a stage in a run."""
    return [store.receipt(made.records[role]) for role in ROLES[: STAGES[stage]]]


def _record(store: Store, role: str, receipt: Receipt) -> Manifest:
    manifest = store.newest(receipt.stage, receipt.key)
    if manifest is None or manifest.content_sha256 != receipt.content_sha256:
        raise Corrupt(
            f"the record of this version's {role} is not in the store any more, so its recipe is not known",
            place=receipt.uri,
            remedy="set LUTHIER_STORE to the store it was made in",
        )
    return manifest


def came_out_equal(store: Store | None, step: Step, then: Manifest) -> bool:
    """Whether a step has the key of an artifact, or its result is committed under another one and has the same content."""
    if step.key == then.key:
        return True
    made = store.newest(step.stage, step.key) if store is not None else None
    return made is not None and made.content_sha256 == then.content_sha256


def _differs(then: Manifest, step: Callable[[], Step], what: str, store: Store | None = None) -> Iterator[str]:
    try:
        now = step()
    except LuthierError as error:
        yield f"{what}: {error.what}" + (f" ({error.value})" if error.value else "")
        return
    if now.version != then.version:
        yield f"{then.stage}: this Luthier makes something else of the same (version {then.version} → {now.version})"
    elif not came_out_equal(store, now, then):
        yield f"{what}: not what it was"


def _rows(origins: list[Origin], recipe: Recipe) -> Iterator[str]:
    """Each file of rows that is gone, holds something else, or was not there then."""
    for origin in origins:
        try:
            (listed,) = files.listed(origin.uri, "data.train_files")
            (found,) = snapshots.sha256([listed])
        except LuthierError as error:
            yield f"{origin.uri}: {error.what}"
            continue
        if found != origin.sha256:
            yield f"{origin.uri}: changed (sha256 was {origin.sha256[:12]}, is {found[:12]})"
    try:
        there = [origin.uri for origin in sources.origins(recipe.data)]
    except LuthierError:
        return  # a file that is gone, and is told above
    known = {origin.uri for origin in origins}
    yield from (f"{uri}: was not there" for uri in there if origins and uri not in known)
