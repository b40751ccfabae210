"""`luthier import-config`: another tool's config as a recipe."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from infra.errors import Refused
from infra.printable import line
from pipelines.cli import screen
from pipelines.foreign.convert import convert
from pipelines.foreign.made import Imported

EXAMPLE = """\
# What no other tool's config says: how the result is judged, and where it goes. An example; write your own.
evaluate:
  tasks: [arc_easy]  # of lm-eval, or task files of yours: include_path and trust_tasks
  limit: 200
gate:
  bars: [{task: arc_easy, metric: acc, min_gain: -0.02}]
register: {name: my-model}
"""


def import_config(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="a YAML of Axolotl or LLaMA-Factory")],
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="the recipe's file; by default it is printed")
    ] = None,
    gpus: Annotated[
        int, typer.Option(min=1, help="GPUs that the config was used on; both tools count batches on each")
    ] = 1,
    dataset_info: Annotated[
        Path | None, typer.Option(help="LLaMA-Factory's dataset_info.json, where it is not in dataset_dir")
    ] = None,
) -> None:
    """Turn a config of Axolotl or LLaMA-Factory into a recipe, and tell every key that could not be carried over.

    Rows stay as they are: the recipe says how to read them. Judging and registering are written as an example.
    """
    made = convert(config, gpus, dataset_info)
    _place_files(made, config.parent, out.parent if out else Path())
    text = recipe_text(made, config.name)
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)
    for note in [*made.notes, *(f"not carried over: {item}" for item in made.unmapped)]:
        screen.note(line(note))


def recipe_text(made: Imported, name: str) -> str:
    """The recipe as YAML, with what is to know and what was not carried over as comments before it."""
    told = [
        *_comment("To know", made.notes),
        *_comment("Not carried over", made.unmapped),
        *_comment("Not needed here", [", ".join(made.idle)] if made.idle else []),
    ]
    head = [
        f"# When to use it: instead of {made.tool}'s {line(name)}, from which `luthier import-config` made it.",
        *told,
    ]
    body = yaml.safe_dump(json.loads(json.dumps(made.sections)), sort_keys=False, allow_unicode=True, width=120)
    return "\n".join(head) + "\n" + body + EXAMPLE


def _comment(title: str, items: list[str]) -> list[str]:
    return [f"# {title}:", *(f"#   {line(item)}" for item in items)] if items else []


def _write(out: Path, text: str) -> None:
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Refused(
            "the recipe cannot be written", place=str(out), value=error.strerror, remedy="name a file that is not there"
        ) from None


def _place_files(made: Imported, folder: Path, target: Path) -> None:
    """Files as the recipe's folder sees them; they were named as the config's folder, or this one, does."""
    data = made.sections["data"]

    def moved(names: list[Any]) -> list[Any]:
        return [_moved(name, folder, target) if isinstance(name, str) else name for name in names]

    base = made.sections["base"]
    model = Path(base["model_name_or_path"])
    if model.exists() or (folder / model).exists():
        base["model_name_or_path"] = _moved(str(model), folder, target)
    for source in [data, *(item for item in data["train_files"] if isinstance(item, dict))]:
        for key in {"files", "train_files", "validation_files"} & source.keys():
            source[key] = moved(source[key])


def _moved(name: str, folder: Path, target: Path) -> str:
    if "://" in name or Path(name).is_absolute():
        return name
    found = next((place for place in (Path(name), folder / name) if place.exists()), Path(name))
    return os.path.relpath(found, target)
