"""`luthier init`: a project that is whole and says its own name; never over what is there."""

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra.errors import Refused
from pipelines import automations, recipe
from pipelines.cli import init

FILES = {
    *("README.md", ".gitignore", "prefect.yaml", "constraints.txt", ".github/workflows/recipes.yml"),
    *("recipes/spare-parts.yaml", "recipes/recipe.schema.json", "data/train.jsonl"),
    *("exam/spare-parts.yaml", "exam/questions.jsonl"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("team") / "Spare Parts"
    init.init(folder)
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def lines(path: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def test_every_file_is_there_under_the_projects_name(project: Path) -> None:
    assert files(project) == FILES
    assert not [name for name in FILES if init.NAME in (project / name).read_text(encoding="utf-8")]


def test_the_readme_tells_every_file(project: Path) -> None:
    told = (project / "README.md").read_text(encoding="utf-8")
    assert not [name for name in ("recipes/", "data/", "exam/", "prefect.yaml", "constraints.txt") if name not in told]


def test_the_recipe_loads_and_says_when_to_use_it(project: Path) -> None:
    path = project / "recipes" / "spare-parts.yaml"
    assert path.read_text(encoding="utf-8").startswith("# When to use it: ")
    made = recipe.load(str(path))
    assert made.register_as.name == "spare-parts"
    assert made.data.train_files == [str(project / "data" / "train.jsonl")]
    assert made.evaluate.include_path == str(project / "exam")


def test_the_schema_beside_the_recipe_is_the_one_that_it_names_and_takes_it(project: Path) -> None:
    path = project / "recipes" / "spare-parts.yaml"
    text = path.read_text(encoding="utf-8")
    assert "# yaml-language-server: $schema=recipe.schema.json\n" in text
    made = json.loads((path.parent / "recipe.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(made).validate(yaml.safe_load(text))


def test_no_question_of_the_exam_is_among_the_rows(project: Path) -> None:
    trained = [row["messages"] for row in lines(project / "data" / "train.jsonl")]
    assert len(trained) == 30
    assert all([message["role"] for message in row] == ["user", "assistant"] for row in trained)
    asked = {row[0]["content"] for row in trained}
    questions = [question["prompt"] for question in lines(project / "exam" / "questions.jsonl")]
    assert len(asked | set(questions)) == 30 + 12


def test_the_deployments_are_the_installed_flows_with_this_recipe(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stanzas = automations.stanzas(project)
    assert [(one.name, one.entrypoint, one.pool) for one in stanzas] == [
        ("finetune/spare-parts", "pipelines.finetune.finetune", "luthier"),
        ("retrain/spare-parts", "pipelines.retrain.retrain", "luthier"),
    ]
    monkeypatch.chdir(project)
    for one in stanzas:
        assert recipe.load(one.parameters["recipe"], one.parameters["overrides"])


def test_the_versions_are_those_that_luthier_is_tested_with(project: Path) -> None:
    pinned = (project / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"luthier=={importlib.metadata.version('luthier')}" in pinned
    tested = (Path(__file__).parents[4] / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert pinned[2:] == [line for line in tested if not line.startswith("#")]


@pytest.mark.parametrize(
    ("folder", "name"),
    [("parts", "parts"), ("My_Parts 2", "my-parts-2"), ("零件", "my-project"), ("x" * 200, "x" * 80)],
)
def test_a_folders_name_becomes_one_that_models_may_have(folder: str, name: str, tmp_path: Path) -> None:
    init.init(tmp_path / folder)
    assert (tmp_path / folder / "recipes" / f"{name}.yaml").exists()
    recipe.load(str(tmp_path / folder / "recipes" / f"{name}.yaml"))


def test_it_ends_with_the_next_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    init.init(Path("parts"))
    told = capsys.readouterr().out
    assert [line.split("  ")[1] for line in told.splitlines()[2:]] == [
        "cd parts",
        "luthier plan recipes/parts.yaml",
        "luthier run recipes/parts.yaml",
        "luthier up",
    ]


def test_a_repository_that_was_only_just_made_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "parts" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "parts")
    init.init(Path())
    assert "cd " not in capsys.readouterr().out
    assert recipe.load("recipes/parts.yaml").register_as.name == "parts"


def test_a_folder_with_anything_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(Refused, match="not empty") as refused:
        init.init(tmp_path)
    assert "luthier init" in refused.value.remedy
    assert files(tmp_path) == {"notes.txt"}


def test_a_file_or_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(Refused):
            init.init(folder)
    assert (tmp_path / "file").read_text() == "mine"
