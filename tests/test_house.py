"""Holds what is written (README, docs, configs, the layout itself) to what is on disk and in the code."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import yaml

from infra import errors
from infra.launch import nodes
from infra.settings import Settings
from pipelines import cli, recipe
from tasks.training.config import TrainConfig
from tasks.training.methods import METHODS
from tasks.training.zero import STAGES, Preset
from tests.recipe_fields import Row, rows

ROOT = Path(__file__).parents[1]
CODE = sorted(path for top in ("pipelines", "tasks", "infra") for path in (ROOT / top).rglob("*.py"))
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
HEAVY = (
    "numpy",
    "torch",
    "transformers",
    "deepspeed",
    "peft",
    "trl",
    "lm_eval",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "mlflow",
)
STATES = ("has", "will have", "will not have")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def prose(path: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def table(path: Path, head: str) -> list[list[str]]:
    """The cells of every row of all tables on a page whose first column is called `head`."""
    found, inside = [], False
    for line in prose(path).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == head:
            inside = True
        elif inside and set(line) - set("|-: "):
            found.append(cells)
    return found


# The README


def readme_tree() -> set[str]:
    """The paths that the README's map names; folders end with a slash."""
    above: list[str] = []
    found = set()
    for line in blocks(ROOT / "README.md", "text")[0].splitlines():
        match = re.match(r"([│ ]*)[├└]── (\S+)", line)
        if match:
            depth = len(match[1]) // 4
            above = [*above[:depth], match[2]]
            found.add("".join(above))
    return found


def disk_tree() -> set[str]:
    """Files at the top, and folders of the first two levels that hold any file; hidden and built things left out."""
    tops = [path for path in ROOT.iterdir() if not path.name.startswith((".", "__")) and path.suffix != ".egg-info"]
    files = {path.name for path in tops if path.is_file()}
    folders = [path for path in tops if path.is_dir() and path.name != "dist"]
    below = [path for folder in folders for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._"]
    held = [path for path in [*folders, *below] if any(p.is_file() for p in path.rglob("*") if p.suffix != ".pyc")]
    return files | {name(path) + "/" for path in held}


def test_the_readmes_tree_is_the_disks() -> None:
    assert readme_tree() == disk_tree()


def test_the_readme_is_short_and_its_recipe_loads(tmp_path: Path) -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100  # pictures and the map included
    own = tmp_path / "mine.yaml"
    own.write_text(blocks(ROOT / "README.md", "yaml")[0])
    assert recipe.load(str(own)).register_as.name


def test_every_command_that_is_written_about_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    verbs = {verb.name for verb in (*cli.app.registered_commands, *cli.app.registered_groups)}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets, name(page)
        assert set(re.findall(r"(?:`|/|^)luthier ([a-z-]+)", text, re.MULTILINE)) <= verbs, name(page)


def test_ci_is_three_doors_of_the_makefile() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith("make")] == ["make check", "make test", "make slow"]


# Recipes


class AnyTag(yaml.SafeLoader):
    """lm-eval's task files have tags of their own, such as !function."""


AnyTag.add_multi_constructor("!", lambda _loader, suffix, _node: suffix)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=name)
def test_every_yaml_parses(path: Path) -> None:
    assert isinstance(yaml.load(path.read_text(encoding="utf-8"), AnyTag), dict)


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_every_recipe_loads_and_says_first_when_to_use_it(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# When to use it")
    recipe.load(str(path))


def test_docs_tell_every_field_of_the_recipe_as_it_is() -> None:
    told = {cells[0]: Row(*cells) for cells in table(ROOT / "docs" / "recipes.md", "field")}
    expected = {row.field: row for row in rows()}
    wrong = [
        row.line()
        for row in expected.values()
        if not (found := told.get(row.field))
        or found[:4] != row[:4]
        or not found.meaning.startswith(row.meaning)
        or not found.meaning
    ]
    assert not wrong, "docs/recipes.md should have these rows:\n" + "\n".join(wrong)
    assert list(told) == list(expected), "fields that are gone, or in another order"


# Techniques


def techniques() -> list[list[str]]:
    return table(ROOT / "docs" / "techniques.md", "technique")


def test_a_technique_that_luthier_has_leads_to_code_and_test_and_another_to_nothing() -> None:
    for cells in techniques():
        assert len(cells) == 5, cells
        _, source, state, code, test = cells
        assert source, cells
        assert state.startswith(STATES), cells
        if state.startswith("has"):
            assert re.findall(r"\]\(\.\./[^)]+\)", code), f"no code: {cells}"
            assert re.findall(r"\]\(\.\./tests/[^)]+\)", test), f"no test: {cells}"
        else:
            assert (code, test) == ("–", "–"), cells
            assert state.partition(": ")[2], f"which part will bring it, or why not: {cells}"


def test_methods_are_the_table_the_union_and_the_docs() -> None:
    union = get_args(TrainConfig.model_fields["tuning"].annotation)
    tags = {tag for kind in union for tag in get_args(kind.model_fields["method"].annotation)}
    assert tags == set(METHODS)
    assert set(METHODS.values()) == set(union)
    assert told("method") == set(METHODS)


def test_engines_are_the_presets_and_the_docs() -> None:
    assert {"none", *STAGES} == set(get_args(Preset)) == told("deepspeed")


def told(field: str) -> set[str]:
    """The values of a recipe's field that the table of techniques claims."""
    claimed = [cells[2] for cells in techniques() if cells[2].startswith("has")]
    return {value for state in claimed for value in re.findall(rf"`{field}: (\w+)`", state)}


# Other pages


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_the_environment_is_told_as_it_is() -> None:
    told = {cells[0]: cells[1] for cells in table(ROOT / "docs" / "operations.md", "variable")}
    settings = {f"`LUTHIER_{field.upper()}`": str(info.get_default()) for field, info in Settings.model_fields.items()}
    assert told == {variable: f"`{default}`" if default else "–" for variable, default in settings.items()}
    known = {variable.strip("`") for variable in settings} | {nodes.NODE, nodes.NODES, nodes.HOST}
    for page in PAGES:
        assert set(re.findall(r"LUTHIER_[A-Z_]*[A-Z]", page.read_text())) <= known, name(page)


def test_the_classes_of_errors_are_told_as_they_are() -> None:
    told = {cells[0]: cells[1] for cells in table(ROOT / "docs" / "architecture.md", "class")}
    assert told == {f"`{kind.__name__}`": "yes" if kind.retry else "no" for kind in below(errors.LuthierError)}
    handled = [cells[0] for cells in table(ROOT / "docs" / "operations.md", "you see")]
    assert set(handled) == set(told), "docs/operations.md must say what to do about each"


def below(kind: type[errors.LuthierError]) -> Iterator[type[errors.LuthierError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from below(child)


def test_decisions_are_numbered_and_short() -> None:
    found = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [path.name[:4] for path in found] == [f"{number:04d}" for number in range(1, len(found) + 1)]
    assert not [path.name for path in found if len(path.read_text().splitlines()) > 20]


# Code


@pytest.mark.parametrize("path", CODE, ids=name)
def test_a_module_says_what_it_is_and_is_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "a module begins with what it is and why"
    lines = source.splitlines()
    assert len(lines) <= 300
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not {node.name: length for node in functions if (length := code_lines(node, lines)) > 60}


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Lines of a function that are neither empty, nor comment, nor docstring."""
    first = node.body[0]
    documented = ast.get_docstring(node) is not None
    begin = (first.end_lineno or first.lineno) if documented else first.lineno - 1
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines[begin : node.end_lineno])


def test_unit_tests_mirror_the_code() -> None:
    unit = ROOT / "tests" / "unit"
    folders = [path for path in unit.rglob("*") if path.is_dir() and path.name not in ("golden", "__pycache__")]
    assert not [name(path) for path in folders if not (ROOT / path.relative_to(unit)).is_dir()]


def test_docker_is_no_package_and_its_files_are_small() -> None:
    assert not list((ROOT / "docker").rglob("__init__.py")), "it would shadow the docker SDK"
    assert not [path.name for path in (ROOT / "docker").glob("*Dockerfile") if len(path.read_text().splitlines()) > 25]


@pytest.mark.parametrize(
    ("module", "unwanted"), [("pipelines.finetune", HEAVY), ("pipelines.cli", (*HEAVY, "prefect"))]
)
def test_flow_and_command_load_without_the_heavy_libraries(
    module: str, unwanted: tuple[str, ...], tmp_path: Path
) -> None:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}} & set({unwanted!r}))"
    environment = os.environ | {"PREFECT_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
