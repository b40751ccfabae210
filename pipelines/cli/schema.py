"""`luthier schema`: the shape of a recipe as a JSON schema, from which editors complete, explain and check one."""

import json
from collections.abc import Mapping
from typing import Any

import typer

from pipelines.recipe import Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> None:
    """Print the JSON schema of a recipe.

    An editor with a YAML language server completes, explains and checks the fields of a recipe that names the file:
    `# yaml-language-server: $schema=recipe.schema.json`. After an upgrade: `luthier schema > recipe.schema.json`.
    """
    typer.echo(text())


def text() -> str:
    """The schema as it is printed and as `luthier init` writes it."""
    return json.dumps(build(), indent=1, ensure_ascii=False)


def build() -> dict[str, Any]:
    """The schema (draft 2020-12) in one piece: without references, which editors of older drafts follow only half."""
    made = Recipe.model_json_schema(by_alias=True)
    whole: dict[str, Any] = _inline(made, made.pop("$defs"))
    for section in whole["properties"].values():
        section.pop("title", None)  # the name of our class, which editors would offer as a word to write
    train = whole["properties"]["train"]["properties"]
    for kind in train["tuning"]["oneOf"]:
        kind["required"] = ["method"]  # pydantic leaves a tag with a default out, and asks for it all the same
    # A path is replaced by what the file holds before a recipe is validated.
    train["deepspeed"]["anyOf"].append({"type": "string", "pattern": r"\.json$"})
    return {"$schema": DIALECT, **whole, "title": "A recipe of Luthier"}


def _inline(node: Any, defined: Mapping[str, Any]) -> Any:
    """A schema with every reference replaced by what it leads to; what stands beside a reference wins."""
    if isinstance(node, list):
        return [_inline(item, defined) for item in node]
    if not isinstance(node, dict):
        return node
    beside = {name: _inline(value, defined) for name, value in node.items() if name not in ("$ref", "discriminator")}
    if "$ref" not in node:
        return beside
    return {**_inline(defined[node["$ref"].removeprefix("#/$defs/")], defined), **beside}
