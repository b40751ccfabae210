"""`luthier init`: a repository of one's own around recipes, which works at once and can be kept for years."""

import importlib.metadata
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import Refused
from pipelines.cli import schema

TEMPLATE = Path(__file__).parents[1] / "template"
NAME = "my-project"  # in the template's files and their names
# In a checkout they lie at its top; a wheel carries them in the package.
CONSTRAINTS = [Path(__file__).parents[2] / "constraints.txt", Path(__file__).parents[1] / "constraints.txt"]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a new folder, or an empty one; it names the model")],
) -> None:
    """Make a project of your own: a recipe that runs as it is, rows, an exam, deployments, CI.

    The recipe tunes a model of 135M parameters on 30 example rows, on two CPU cores and without a hub. Change it into yours: the base,
    the rows in data/, the questions in exam/. Its README says which file is for what.
    """
    target, name = folder.absolute(), _name(folder.resolve().name)
    _require_empty(target)
    try:
        for path, text in _files(name):
            made = target / path
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused("the project cannot be written", place=str(target), value=error.strerror) from None
    typer.echo(_closing(folder, name))


def _name(folder: str) -> str:
    """A folder's name as models, tasks and deployments may be called."""
    return re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:80] or NAME


def _require_empty(target: Path) -> None:
    # A repository that was only just made or cloned holds nothing but .git.
    if target.exists() and not (target.is_dir() and {path.name for path in target.iterdir()} <= {".git"}):
        raise Refused(
            "that folder is not empty" if target.is_dir() else "that is a file",
            place=str(target),
            remedy="name a new folder, and take from it what you want: luthier init my-project",
        )


def _files(name: str) -> Iterator[tuple[str, str]]:
    """Path and text of every file of a project."""
    for path in sorted(path for path in TEMPLATE.rglob("*") if path.is_file()):
        inside = path.relative_to(TEMPLATE).as_posix()
        yield inside.replace(NAME, name), path.read_text(encoding="utf-8").replace(NAME, name)
    yield "recipes/recipe.schema.json", schema.text() + "\n"
    yield "constraints.txt", _constraints()


def _constraints() -> str:
    """The versions that Luthier is tested with, and Luthier's own."""
    version = importlib.metadata.version("luthier")
    found = next(path for path in CONSTRAINTS if path.is_file())
    tested = [line for line in found.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    head = f"# The versions that Luthier {version} is tested with. To upgrade: see README.md."
    return "\n".join([head, f"luthier=={version}", *tested]) + "\n"


def _closing(folder: Path, name: str) -> str:
    commands = {
        f"luthier plan recipes/{name}.yaml": "what would happen; nothing is run",
        f"luthier run recipes/{name}.yaml": "base, data, train, merge, evaluate, gate, register",
        "luthier up": "servers on this machine; to servers of your own: luthier deploy",
    }
    width = max(map(len, commands))
    return "\n".join(
        [
            f"Made {folder}: a recipe, rows, an exam, deployments and CI. README.md says which file is for what.",
            "Next:",
            *([] if folder.resolve() == Path.cwd() else [f"  cd {shlex.quote(str(folder))}"]),
            *(f"  {command.ljust(width)}   {what}" for command, what in commands.items()),
        ]
    )
