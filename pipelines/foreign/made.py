"""A recipe in the making: what was carried over from another tool's config, and what was not."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.errors import BadRecipe
from tasks.data.foreign import Source, short

# Keys of both tools that say where or how fast something is made, or what Luthier does in any case.
_IDLE = re.compile(
    r"output_dir|overwrite_\w+|dataset_prepared_path|(wandb|mlflow|comet|swanlab|hub|dataloader|save|eval|evals|saves|"
    r"logging|preprocessing|ddp|flash|sdp|xformers)_\w+|tf32|strict|debug|model_type|tokenizer_type|tokenizer_config|"
    r"is_\w+_derived_model|attn_implementation|pad_to_sequence_len|report_to|plot_loss|do_train|do_eval|local_rank|"
    r"include_\w+_seen|resume_from_checkpoint|auto_resume_from_checkpoints|dataset_processes"
)


@dataclass
class Imported:
    """A recipe's sections, in their order; what was carried over only in part, and the keys that were not."""

    tool: str
    sections: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"base": {}, "data": {}, "train": {"tuning": {}}}
    )
    notes: list[str] = field(default_factory=list)
    unmapped: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)

    def put(self, place: str, value: Any) -> None:
        """A value under a dotted name; None says nothing."""
        if value is None:
            return
        *above, last = place.split(".")
        at: dict[str, Any] = self.sections
        for name in above:
            at = at.setdefault(name, {})
        at[last] = value

    def finish(self, keys: "Keys") -> None:
        """Sort what is left of the keys into those that are not needed here and those that have no counterpart."""
        for key, value in keys.left():
            if _IDLE.fullmatch(key):
                self.idle.append(key)
            else:
                self.unmapped.append(f"{key}: {short(value)}")


class Keys:
    """A config whose keys are taken one after the other, so that what is left over is known."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._left = dict(raw)

    def take(self, *names: str) -> Any:
        """The value of the first key that is there; the others are taken too."""
        found = [self._left.pop(name) for name in names if name in self._left]
        return next((value for value in found if value is not None), None)

    def count(self, *names: str) -> int | None:
        """The same where it must be a whole number of 1 or more; BadRecipe where it is none."""
        value = number(self.take(*names))
        if value is not None and (type(value) is not int or value < 1):
            raise _of_another_kind(names, value, "a whole number of 1 or more")
        return value

    def text(self, *names: str) -> str | None:
        """The same where it must be text; BadRecipe where it is none."""
        value = self.take(*names)
        if value is not None and not isinstance(value, str):
            raise _of_another_kind(names, value, "text")
        return value

    def left(self) -> Iterator[tuple[str, Any]]:
        """What nobody took and asks for something."""
        return ((key, value) for key, value in self._left.items() if value not in (None, False, "", [], {}))


def number(value: Any) -> Any:
    """YAML reads 2e-4 as text, which both tools take as a number."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", value, re.IGNORECASE):
        return float(value) if re.search(r"[.eE]", value) else int(value)
    return value


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; BadRecipe where there is none."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRecipe("the JSON cannot be read", place=str(path), value=error) from None
    if not isinstance(read, dict):
        raise BadRecipe("the JSON is not an object", place=str(path))
    return read


def _of_another_kind(names: Sequence[str], value: object, wanted: str) -> BadRecipe:
    return BadRecipe(f"the config has a value that its tool would not take: {wanted}", place=names[0], value=value)


def put_sources(made: Imported, sources: Sequence[Source]) -> None:
    """One source, or several that are read alike, are settings of the section; others are objects in train_files."""
    alike = [{key: value for key, value in source.settings.items() if key != "files"} for source in sources]
    if all(settings == alike[0] and "max_rows" not in settings for settings in alike):
        made.sections["data"] |= {
            "train_files": [f for s in sources for f in s.settings["files"]],
            **(alike or [{}])[0],
        }
    else:
        made.sections["data"]["train_files"] = [source.settings for source in sources]
    made.notes += [note for source in sources for note in source.notes if note not in made.notes]
    made.unmapped += [
        f"{made.tool} data set {n}: {text}" for n, source in enumerate(sources, 1) for text in source.unmapped
    ]


def limit_rows(made: Imported, rows: int) -> None:
    data = made.sections["data"]
    held = ("files", "format", "columns", "roles", "row_templates")
    if data["train_files"] and isinstance(data["train_files"][0], str):
        beside = {key: data.pop(key) for key in held if key in data}
        data["train_files"] = [{"files": [file], **beside} for file in data["train_files"]]
    for source in data["train_files"]:
        source.setdefault("max_rows", rows)
