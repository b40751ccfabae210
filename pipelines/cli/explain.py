"""`luthier explain`: how a version came to be, from rows and base to its alias, in words and as a picture."""

import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from infra import settings
from infra.drawing import Box
from infra.errors import Refused
from infra.printable import line
from infra.storage.receipt import Manifest
from pipelines.cli import screen, versions
from tasks.registry.story import Story, picture, story

if TYPE_CHECKING:
    from infra.tracking.lookup import Version


def explain(
    version: versions.Spec,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="write the picture there; it needs nothing else")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="show the picture in the browser")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON: boxes, and which came from which")] = False,
) -> None:
    """Tell how a version came to be: alias, verdict, scores, model, training, dataset, files of rows, base and licence.

    With hashes, sizes, when each was made and how long it took, and the versions of the libraries. The picture is the same
    as a graph; one without dates lies beside the version's card in the store (lineage.svg).
    """
    platform = settings.load().platform()
    one = versions.lookup(platform).version(version)
    record = versions.registration(platform.store, one)
    if record is None:
        raise Refused(
            "there is no record of this version's registration, so it cannot be told what it came from",
            place=platform.store.uri,
            value=f"{one}",
            remedy="set LUTHIER_STORE to the store it was made in; `luthier show` tells what MLflow knows",
        )
    told = story(platform.store, record.inputs, _end(one, record))
    if svg is not None or open_:
        path = svg or platform.home / "pictures" / f"{one.name}-{one.number}.svg"
        _draw(picture(told, str(one)), path, open_)
    if json:
        boxes = [
            {"id": box.id, "title": box.title, "kind": box.kind, "lines": dict(box.lines)}
            for box in told.boxes.values()
        ]
        screen.as_json({"version": str(one), "boxes": boxes, "from": [[made, of] for of, made in told.edges]})
    else:
        _tell(told)


def _end(one: "Version", record: Manifest) -> Box:
    """The version, with each alias that points to it now with what is known of how that came about."""
    told = [
        ("verdict", one.tags.get("luthier.verdict", "–")),
        ("registered", screen.when(one.created_ms)),
        ("luthier", record.versions.get("luthier", "–")),
        ("code", record.code or "not recorded"),
    ]
    return Box("version", f"{one.name} version {one.number}", [*told, *_aliases(one, record)], "result")


def _aliases(one: "Version", record: Manifest) -> Iterator[tuple[str, str]]:
    by_run, when = record.summary.get("alias"), record.created.replace("T", " ")[:16]
    for alias in one.aliases:
        yield "alias", f"@{alias}, set by {f'its run, {when}' if alias == by_run else _who(one, alias)}"
    if by_run and by_run not in one.aliases:
        yield "alias", f"@{by_run} was set, and points elsewhere now"
    if not by_run and not one.aliases:
        yield "alias", "none"


def _who(one: "Version", alias: str) -> str:
    """By whom an alias was set that a run does not set."""
    by, at = one.tags.get("luthier.promoted_by"), one.tags.get("luthier.promoted_at", "")
    return f"{by}, {at.replace('T', ' ')[:16]}" if by and alias in ("champion", "previous") else "hand"


def _draw(drawn: str, path: Path, show: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(drawn, encoding="utf-8")
    screen.note(f"the picture is {path}")
    if show and not webbrowser.open(path.absolute().as_uri()):
        screen.note("no browser could be started")


def _tell(told: Story) -> None:
    made_of: dict[str, list[str]] = {}
    for origin, made in told.edges:
        made_of.setdefault(made, []).append(origin)
    last = [*told.boxes][-1]
    tree = Tree(_words(told.boxes[last]))
    _grow(tree, last, told.boxes, _nearest(made_of), set())
    screen.drawn(tree)


def _nearest(made_of: dict[str, list[str]]) -> dict[str, list[str]]:
    """What each was made of directly, without what that was made of: a box is told where it is first needed."""

    def above(box: str) -> set[str]:
        return {further for one in made_of.get(box, ()) for further in (one, *above(one))}

    return {made: [one for one in of if not any(one in above(other) for other in of)] for made, of in made_of.items()}


def _grow(tree: Tree, at: str, known: dict[str, Box], made_of: dict[str, list[str]], told: set[str]) -> None:
    for name in made_of.get(at, ()):
        if name in told:
            tree.add(Text(f"{known[name].title} (told above)", style="dim"))
            continue
        told.add(name)
        _grow(tree.add(_words(known[name])), name, known, made_of, told)


def _words(box: Box) -> Text:
    """A box on the lines of a tree: its title, then names and values, some to a line."""
    text = Text(line(box.title), style="bold red" if box.kind == "gone" else "bold")
    pieces: list[Any] = [f"{line(name)} {line(value)}" for name, value in box.lines]
    for start in range(0, len(pieces), 3):
        text.append("\n" + " · ".join(pieces[start : start + 3]), style="not bold")
    return text
