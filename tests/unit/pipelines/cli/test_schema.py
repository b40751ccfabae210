"""The JSON schema of a recipe: it takes what Luthier takes, refuses what Luthier refuses, and explains every field."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra.errors import BadRecipe
from pipelines import recipe
from pipelines.cli import schema
from pipelines.cli.init import TEMPLATE

ROOT = Path(__file__).parents[4]
RECIPES = sorted([*(ROOT / "configs").glob("*.yaml"), *(TEMPLATE / "recipes").glob("*.yaml")])
MADE = schema.build()
CHECK = jsonschema.Draft202012Validator(MADE)


def parsed(path: Path = ROOT / "configs" / "quickstart.yaml", **sections: Any) -> dict[str, Any]:
    """A recipe as an editor sees it, with fields of some sections changed."""
    raw: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return raw | {name: raw.get(name, {}) | fields for name, fields in sections.items()}


def test_it_is_a_schema_without_references() -> None:
    jsonschema.Draft202012Validator.check_schema(MADE)
    assert MADE["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert not [word for word in ('"$ref"', '"$defs"', '"$id"', '"discriminator"') if word in schema.text()]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path: Path) -> None:
    CHECK.validate(parsed(path))


GOOD: list[dict[str, Any]] = [
    {"train": {"tuning": {"method": "full"}}},
    {"train": {"tuning": {"method": "lora", "target_modules": ["q_proj"]}}},
    {"train": {"deepspeed": "zero3.json"}},
    {"train": {"deepspeed": {"zero_optimization": {"stage": 1}}}},
    {"train": {"max_steps": None, "training_args": {"group_by_length": True}}},
    {"evaluate": {"limit": 10}},
]
BAD: list[dict[str, Any]] = [
    {"train": {"max_step": 3}},
    {"trian": {}},
    {"train": {"tuning": {}}},
    {"train": {"tuning": {"lora_r": 8}}},
    {"train": {"tuning": {"method": "lora", "lora_rank": 8}}},
    {"train": {"tuning": {"method": "full", "lora_r": 8}}},
    {"train": {"tuning": {"method": "dora"}}},
    {"train": {"deepspeed": "zero4"}},
    {"train": {"learning_rate": 2}},
    {"gate": {"bars": []}},
    {"gate": {"bars": [{"task": "tickets", "metric": "exact_match", "min": 0.5, "gain": 0.1}]}},
    {"register": {"name": "no spaces"}},
    {"data": {"train_files": "rows.jsonl"}},
]


@pytest.mark.parametrize("sections", GOOD, ids=json.dumps)
def test_what_luthier_takes_is_valid(sections: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "zero3.json").write_text("{}")
    loaded(parsed(**sections), tmp_path)
    CHECK.validate(parsed(**sections))


@pytest.mark.parametrize("sections", BAD, ids=json.dumps)
def test_what_luthier_refuses_is_not(sections: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadRecipe):
        loaded(parsed(**sections), tmp_path)
    assert not CHECK.is_valid(parsed(**sections))


def loaded(raw: dict[str, Any], folder: Path) -> recipe.Recipe:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(raw))
    return recipe.load(str(path))


def objects(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the schema that has fields, with its place."""
    if isinstance(node, dict):
        if "properties" in node:
            yield place, node
        for name, value in node.items():
            yield from objects(value, f"{place}/{name}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from objects(value, f"{place}/{number}")


def test_every_field_is_explained_and_no_section_takes_others() -> None:
    found = dict(objects(MADE))
    assert len(found) >= 10
    silent = [
        f"{at}.{name}"
        for at, one in found.items()
        for name, field in one["properties"].items()
        if not field.get("description")
    ]
    assert not silent
    assert not [at for at, one in found.items() if one.get("additionalProperties") is not False]


def test_every_choice_has_its_tag() -> None:
    kinds = MADE["properties"]["train"]["properties"]["tuning"]["oneOf"]
    assert all(kind["required"] == ["method"] for kind in kinds)


def test_the_command_prints_it_and_nothing_else() -> None:
    luthier = [str(Path(sys.executable).parent / "luthier"), "schema"]
    done = subprocess.run(luthier, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == MADE
