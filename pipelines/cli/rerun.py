"""`luthier rerun`: a version's own recipe once more, to have it again or to see that it comes out the same."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from infra import settings
from infra.errors import BadRecipe, Refused
from infra.launch.scratch import scratch
from infra.settings import Platform
from infra.storage.copying import copy
from infra.storage.receipt import Receipt
from pipelines import recipe as recipes
from pipelines.again import STAGES, Compared, Made, before, compare
from pipelines.cli import run, screen, versions
from pipelines.recipe import Recipe


def rerun(
    version: versions.Spec,
    check: Annotated[
        bool, typer.Option("--check", help="make everything anew elsewhere, and compare each artifact")
    ] = False,
    store: Annotated[
        str, typer.Option("--store", help="make it in this store: file:///folder or s3://bucket/prefix")
    ] = "",
    from_: Annotated[
        str,
        typer.Option(
            "--from", metavar="STAGE", help=f"with --check or --store: keep what comes before: {', '.join(STAGES)}"
        ),
    ] = "",
    save: Annotated[Path | None, typer.Option("--save", metavar="FILE", help="only write the recipe there")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="say where something is now, as `luthier run` takes it (repeatable)"),
    ] = None,
) -> None:
    """Run the recipe that made a version, as the commit records have it: base and data at their hashes, all seeds.

    In the store that it was made in this makes anew what is gone or corrupt, and skips the rest. --check makes everything
    once more, in a store of its own that is removed afterwards (or in --store, which stays), registers nothing in your
    MLflow, and compares the sha256 of every artifact: exit status 0 where all are equal, 1 where not.

    It is refused where an input is not what it was: each file of rows that is gone or changed is named, and so are base
    and tasks. One that has only moved is named by --set. Changed libraries are told, and no reason to refuse.
    """
    if from_ and (from_ not in STAGES or not (check or store)):
        raise BadRecipe(
            "--from needs --check or --store, and a stage", value=from_, remedy=f"one of {', '.join(STAGES)}"
        )
    platform = settings.load().platform()
    one = versions.lookup(platform).version(version)
    record = versions.registration(platform.store, one)
    if record is None:
        raise Refused(
            "there is no record of this version's registration, so its recipe is not known",
            place=platform.store.uri,
            value=f"{one}",
            remedy="set LUTHIER_STORE to the store it was made in",
        )
    made = Made.of(platform.store, record)
    if save is not None:
        screen.say(f"the recipe of {one} is {made.write(save, str(one))}")
        return
    path = made.write(platform.home / "reruns" / f"{one.name}-{one.number}.yaml", str(one))
    overrides = recipes.parse_assignments(set_ or [])
    _require_unchanged(made, recipes.load(str(path), overrides), path)
    with _elsewhere(platform, store, check) as there:
        for receipt in before(made, from_, platform.store) if from_ else ():
            screen.progress(f"copying {receipt.stage} {receipt.key[:12]} …")
            copy(platform.store, there.store, receipt, platform.home / "work")
        beside_another = there is not platform and "incumbent" in made.records["verdict"].inputs
        if beside_another:
            overrides["gate.incumbent.version"] = "none"
            screen.note("the version that it was compared with is not there, so the verdict is another")
        done = run.execute(path, overrides)
        if not check:
            screen.say(run.closing(done, str(path), there))
            return
        equal = _compared(made, done, there, without_verdict=beside_another)
    raise typer.Exit(0 if equal else 1)


def _require_unchanged(made: Made, recipe: Recipe, path: Path) -> None:
    for line in made.upgraded():
        screen.note(f"other than then: {line}")
    if changed := [*made.changed(recipe)]:
        raise Refused(
            "what the version was made of is not what it was, so this would be another run",
            place=str(path),
            value="\n          ".join(changed),
            remedy="put it back, or say where it is now with --set; `luthier run` of that file makes a new version of "
            "what is there",
        )


@contextlib.contextmanager
def _elsewhere(platform: Platform, store: str, check: bool) -> Iterator[Platform]:
    """The platform to run on. A check has an MLflow of its own, and unless one is named a store that goes afterwards."""
    if not check and not store:
        yield platform
        return
    with scratch(platform.home / "work", f"rerun-{uuid.uuid4().hex}") as room:
        os.environ["LUTHIER_STORE"] = store or f"file://{room}/store"
        if check:
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{room}/mlflow.db"
        yield settings.load().platform()


def _compared(made: Made, done: Receipt, there: Platform, without_verdict: bool) -> bool:
    found = compare(made, Made.of(there.store, there.store.manifest(done)))
    found = [one for one in found if not (without_verdict and one.role == "verdict")]
    screen.table(
        ["artifact", "then", "now", ""], ([one.role, one.then[:16], one.now[:16], _word(one)] for one in found)
    )
    equal = all(one.equal for one in found)
    every = "every artifact but the verdict" if without_verdict else "every artifact"
    screen.say(f"{every} came out equal" if equal else "NOT equal; --store FOLDER keeps what was made, to look at")
    return equal


def _word(one: Compared) -> str:
    if one.equal:
        return "equal"
    return "DIFFERENT" + ("" if one.figures is None else f", scores {'equal' if one.figures else 'DIFFERENT'}")
