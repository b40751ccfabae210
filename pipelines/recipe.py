"""The recipe: one section a stage, in run order; read from YAML, changed by overrides, refused before anything runs."""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from infra.errors import BadRecipe
from infra.frozen import Frozen
from infra.storage import hub
from infra.storage.sources import resolve
from tasks.base.config import BaseConfig
from tasks.data.config import DataConfig, Source
from tasks.data.filters import Filters
from tasks.data.named import NAMES
from tasks.evaluation.config import EvaluateConfig
from tasks.gate.config import Bar, Comparison, GateConfig, IncumbentConfig
from tasks.merging.config import MergeConfig
from tasks.registry.config import RegisterConfig
from tasks.training import stage as training
from tasks.training.config import TrainConfig
from tasks.training.methods import METHODS
from tasks.training.objectives import OBJECTIVES

SHIPPED = [Path(__file__).parent.parent / "configs", Path(__file__).parent / "configs"]
# Fields that name files; relative ones are relative to the recipe's folder.
FILES = [
    "base.model_name_or_path",
    "data.train_files",
    "data.validation_files",
    "data.chat_template",
    "evaluate.include_path",
]

# The kind of rows that a layout holds; of the first that fits, only their columns tell.
JUDGED = {"auto": None, "preference": "pairs", "unpaired_preference": "labels"}
TAGS = ("str", "Source")  # pydantic's names of what an entry of files may be


class Recipe(Frozen):
    """A complete run. Everything that decides what is made stands here; where it runs is in the environment."""

    base: BaseConfig
    data: DataConfig
    train: TrainConfig
    merge: MergeConfig = Field(default_factory=MergeConfig)
    evaluate: EvaluateConfig
    gate: GateConfig
    register_as: RegisterConfig = Field(alias="register", description="where the model version goes")

    @model_validator(mode="after")
    def _adapter_stays_on_its_base(self) -> "Recipe":
        if self.merge.method != "none":
            return self
        if not self.train.tuning.adapter:
            raise ValueError("merge.method: none registers an adapter, and train.tuning.method: full makes none")
        if self.evaluate.load_in_4bit != self.train.tuning.load_in_4bit:
            held = str(self.train.tuning.load_in_4bit).lower()
            raise ValueError(
                f"with merge.method: none set evaluate.load_in_4bit: {held}, so that base and adapter are asked as they were trained"
            )
        return self

    @model_validator(mode="after")
    def _rows_fit_the_objective(self) -> "Recipe":
        for source in (*self.data.sources(validation=False), *self.data.sources(validation=True)):
            kind = JUDGED.get(self.data.text(source).format, "")
            if kind is not None:
                training.require_kind(self.train, kind)
        return self


def load(recipe: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by path, or by the name of one that ships with Luthier (`quickstart`).

    Overrides are dotted (`{"train.max_steps": 3}`) or nested and win over the file. Raises BadRecipe naming every
    wrong field with its value and a remedy.
    """
    path = find(recipe)
    raw = _parse(path)
    for name, value in _dotted(overrides or {}):
        _put(raw, name, value)
    _resolve_files(raw, path.parent)
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise _refusal(path, error.errors()) from None


def find(recipe: str) -> Path:
    """Where a recipe lies; BadRecipe lists the shipped ones where it does not."""
    name = Path(recipe).name
    candidates = [
        Path(recipe),
        *(folder / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml") for folder in SHIPPED),
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    shipped = sorted({path.stem for folder in SHIPPED for path in folder.glob("*.yaml")})
    raise BadRecipe("there is no such recipe", place=recipe, remedy=f"give a path, or one of: {', '.join(shipped)}")


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """`["train.max_steps=3"]` → `{"train.max_steps": 3}`; values are YAML."""
    parsed = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise BadRecipe(
                "an override is not of the form key=value",
                place="--set",
                value=assignment,
                remedy="for example --set train.max_steps=3",
            )
        parsed[name.strip()] = yaml.safe_load(value)
    return parsed


def _parse(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadRecipe("the recipe is not YAML", place=str(path), value=error) from None
    if not isinstance(raw, dict):
        raise BadRecipe(
            "the recipe is not a mapping of sections", place=str(path), remedy=f"sections are {', '.join(_sections())}"
        )
    return raw


def _sections() -> list[str]:
    return [field.alias or name for name, field in Recipe.model_fields.items()]


def _dotted(overrides: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in overrides.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _put(raw: dict[str, Any], name: str, value: Any) -> None:
    *sections, last = name.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise BadRecipe("an override goes into a value that has no fields", place=name, value=value)
    raw[last] = value


def _resolve_files(raw: dict[str, Any], folder: Path) -> None:
    for name in FILES:
        section, field = name.split(".")
        values = raw.get(section)
        if not isinstance(values, dict):
            continue
        value = values.get(field)
        if field == "model_name_or_path" and hub.ID.fullmatch(str(value)) and not (folder / str(value)).exists():
            continue
        if field == "chat_template" and value in NAMES:
            continue
        if isinstance(value, str):
            values[field] = resolve(value, folder)
        elif isinstance(value, list):
            values[field] = [_resolved(item, folder) for item in value]
    train = raw.get("train")
    if isinstance(train, dict) and str(train.get("deepspeed", "")).endswith(".json"):
        train["deepspeed"] = _json(Path(resolve(train["deepspeed"], folder)))


def _resolved(item: Any, folder: Path) -> Any:
    """A file's name, or the names in an entry that has more to say of them."""
    if isinstance(item, dict) and isinstance(item.get("files"), list):
        return item | {"files": [_resolved(name, folder) for name in item["files"]]}
    return resolve(item, folder) if isinstance(item, str) else item


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRecipe(
            "the DeepSpeed JSON cannot be read", place="train.deepspeed", value=path, remedy=str(error)
        ) from None


def _refusal(path: Path, errors: list[ErrorDetails]) -> BadRecipe:
    first, *more = [_explain(error) for error in _meant(errors)[:6]]
    also = "".join(f"\n  also:   {place}: {text}" for place, _, text in more)
    place, value, remedy = first
    return BadRecipe(f"the recipe {path.name} cannot be used", place=place, value=value, remedy=remedy + also)


def _meant(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without what is said of an entry of files as the other of the two that it may be: a name, or fields."""
    return [
        error
        for error in errors
        if not (error["loc"][-1:] == ("str",) and isinstance(error["input"], dict))
        and not (error["loc"][-1:] == ("Source",) and error["type"] == "model_type")
    ] or errors


def _explain(error: ErrorDetails) -> tuple[str, Any, str]:
    """Field, value and remedy of one validation error."""
    # A union's tag is part of pydantic's path but not of the recipe.
    parts = [str(part) for part in error["loc"] if str(part) not in (*METHODS, *OBJECTIVES, "function-after[]")]
    parts = [part for before, part in zip(["", *parts], parts, strict=False) if not (before.isdigit() and part in TAGS)]
    place, value = ".".join(parts), error.get("input")
    if error["type"] == "extra_forbidden":
        near = get_close_matches(parts[-1], sorted(_known_names()), 1)
        return (
            place,
            value,
            "no such field" + (f"; did you mean {near[0]}?" if near else "; `luthier plan` shows all fields"),
        )
    if error["type"] == "missing":
        return place, None, "this field is required"
    # Not a whole section.
    shown = None if isinstance(value, Frozen) or (isinstance(value, dict) and len(str(value)) > 200) else value
    return place, shown, error["msg"].removeprefix("Value error, ")


def _known_names() -> set[str]:
    names = set(_sections())
    for model in (
        BaseConfig,
        DataConfig,
        Source,
        Filters,
        TrainConfig,
        MergeConfig,
        EvaluateConfig,
        GateConfig,
        Bar,
        IncumbentConfig,
        Comparison,
        RegisterConfig,
    ):
        names |= set(model.model_fields)
    for choice in (*METHODS.values(), *OBJECTIVES.values()):
        names |= set(choice.model_fields)
    return names
