"""`luthier verify`: is everything in the store still what was committed?"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from infra import settings
from infra.errors import Refused
from infra.printable import size
from infra.settings import Platform
from infra.storage import lineage
from infra.storage import verify as reading
from infra.storage.listing import seen
from infra.storage.receipt import Manifest
from infra.storage.verify import Fault, Survey
from pipelines.cli import screen, versions
from tasks.training import checkpoints

if TYPE_CHECKING:
    from infra.tracking.lookup import Lookup, Version


def verify(
    what: Annotated[
        str, typer.Argument(metavar="[RUN|VERSION]", help="tickets/3, tickets@candidate, or train-1a2b3c4d")
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="all that is committed in the store, and all versions")] = False,
    condemn: Annotated[
        bool, typer.Option("--condemn", help="mark what is corrupt, so that the next run makes it anew")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Read every byte again: of a version or training and all that it was made of, or of the whole store.

    Compared are files and commit records with their hashes, checkpoints with their COMMIT, weights that are only
    referred to with the hub or bucket, and a version's source and tags with the records. The exit status is 0 where all
    is as it was committed, and 1 where not. Nothing is changed unless --condemn is given. Then

        luthier verify --all --condemn

    marks what is bad; the next `luthier run` of its recipe makes it anew, as the next generation. A bad checkpoint needs
    no mark: a training that resumes takes the one before.
    """
    if bool(what) == every:
        raise Refused("say what to verify", remedy="a version (tickets/3), a training (train-1a2b3c4d), or --all")
    platform = settings.load().platform()
    survey = _surveyed(platform, versions.lookup(platform), what)
    with _shown(survey.bytes) as progress:
        faults = [*survey.faults, *reading.check(survey, progress)]
    marked = reading.condemn(platform.store, faults) if condemn else 0
    _tell(survey, faults, marked, json)
    if faults:
        raise typer.Exit(1)


def _surveyed(platform: Platform, look: "Lookup", what: str) -> Survey:
    """What there is to read: of one thing, or of everything where none is named."""
    survey = Survey(platform.store)
    training = look.training(what) if what else None
    if training is not None:
        survey.wanted("training", training.key, training.name)
        survey.training(training.key, checkpoints.files)
        return survey
    for one in [look.version(what)] if what else look.every_version():
        _version(survey, one)
    if not what:
        survey.all()
    for key in _trained(platform) if not what else {key for stage, key in survey.artifacts if stage == "training"}:
        survey.training(key, checkpoints.files)
    return survey


def _trained(platform: Platform) -> set[str]:
    """The keys of all trainings, those that are not committed among them: their checkpoints are waited for."""
    return {item.key.split("/")[2] for item in seen(platform.store.objects, "stages/training/")}


def _version(survey: Survey, one: "Version") -> None:
    """A version's source and tags, and the chain below its model and its registration."""
    name, match = f"{one.name}/{one.number}", lineage.SOURCE.search(one.source)
    if not one.content:
        screen.note(f"{name} was not registered by Luthier, and is left out")
        return
    if match is None:
        survey.faults.append(Fault(f"{name} source", "a place in a store", one.source))
        return
    model = survey.wanted(match["stage"], match["key"], name)
    if model is None:
        return
    if model.attempt != match["attempt"]:  # MLflow loads from there, whatever was made since
        survey.elsewhere(model, match["attempt"])
    survey.faults += _differing(name, one, {"content_sha256": model.content_sha256})
    if re.fullmatch(r"[0-9a-f]{64}", one.registration):
        record = survey.wanted("registry", one.registration, name)
        survey.faults += _differing(name, one, _tags(model, record)) if record else []


def _tags(model: Manifest, record: Manifest) -> dict[str, str]:
    """What a version's tags must say, by the records."""
    made_of = {f"{role}_sha256": held.content_sha256 for role, held in record.inputs.items() if role != "model"}
    base = model.inputs.get("weights")
    return made_of | ({"base_sha256": base.content_sha256} if base else {})


def _differing(name: str, one: "Version", expected: dict[str, str]) -> Iterator[Fault]:
    for tag, content in expected.items():
        said = one.tags.get(f"luthier.{tag}")
        if said != content:
            yield Fault(f"{name} luthier.{tag}", content, said or "no such tag")


@contextmanager
def _shown(total: int) -> Iterator[Callable[[int], object]]:
    """A bar with rate and time left, on a terminal; called with bytes as they are read."""
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=total)
        yield lambda count: progress.advance(task, count)


def _tell(survey: Survey, faults: list[Fault], marked: int, json: bool) -> None:
    artifacts = sum(manifest is not None for manifest in survey.artifacts.values())
    read: dict[str, Any] = {
        "artifacts": artifacts,
        "checkpoints": survey.checkpoints,
        "files": len(survey.targets),
        "bytes": survey.bytes,
    }
    if json:
        told = [{"key": fault.place, "expected": fault.expected, "actual": fault.actual} for fault in faults]
        screen.as_json(read | {"bad": told, "marked": marked})
        return
    if faults:
        screen.table(["key", "expected", "actual"], ([one.place, one.expected, one.actual] for one in faults))
    said = f"{artifacts} artifacts and {survey.checkpoints} checkpoints, {len(survey.targets)} files"
    screen.say(f"{said}, {size(survey.bytes)}: {f'{len(faults)} BAD' if faults else 'all as committed'}")
    if marked:
        screen.say(f"{marked} marked as corrupt: the next `luthier run` of their recipe makes them anew")
    elif any(fault.manifest or fault.record for fault in faults):
        screen.note("nothing was marked; with --condemn the next run makes anew what is corrupt")
