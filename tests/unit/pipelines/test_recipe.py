"""Recipes: found by name, changed by overrides, resolved beside their file, and refused with field, value and remedy."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.errors import BadRecipe
from infra.launch.step import Step
from infra.storage.receipt import Receipt
from pipelines import recipe as recipes
from tasks.data import stage as data
from tasks.evaluation import stage as evaluation
from tasks.merging import stage as merging

QUICKSTART = Path(__file__).parents[3] / "configs" / "quickstart.yaml"


def changed(tmp_path: Path, section: str, **fields: Any) -> Path:
    """The quickstart with some fields of a section changed, in a file of its own."""
    raw = yaml.safe_load(QUICKSTART.read_text())
    raw["data"]["train_files"] = [str(QUICKSTART.parent / "tickets" / "train.jsonl")]
    raw["evaluate"]["include_path"] = str(QUICKSTART.parent / "tickets")
    raw.setdefault(section, {}).update(fields)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.mark.parametrize("name", ["quickstart", "configs/quickstart.yaml", str(QUICKSTART)])
def test_a_shipped_recipe_is_found_by_name_and_by_path(name: str) -> None:
    assert recipes.find(name) == QUICKSTART


def test_files_are_relative_to_the_recipe_wherever_one_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipes.load("quickstart").data.train_files == [str(QUICKSTART.parent / "tickets" / "train.jsonl")]


def test_a_hub_id_stays_one_unless_such_a_folder_lies_beside_the_recipe(tmp_path: Path) -> None:
    path = str(changed(tmp_path, "base", model_name_or_path="makers/tiny", sha256=None, revision="main"))
    assert recipes.load(path).base.is_hub_id
    (tmp_path / "makers" / "tiny").mkdir(parents=True)
    assert recipes.load(path, {"base.revision": None}).base.model_name_or_path == str(tmp_path / "makers" / "tiny")


@pytest.mark.parametrize("base", [{"revision": "main"}, {"model_name_or_path": "makers/tiny"}])
def test_a_pin_that_does_not_fit_the_kind_of_base_is_refused(tmp_path: Path, base: dict[str, str]) -> None:
    with pytest.raises(BadRecipe, match=r"base\.(revision|sha256)"):
        recipes.load(str(changed(tmp_path, "base", **base)))


@pytest.mark.parametrize(
    "overrides", [{"train.tuning.lora_r": 4}, {"train": {"tuning": {"lora_r": 4}}}, {"train.tuning": {"lora_r": 4}}]
)
def test_dotted_and_nested_overrides_change_one_field_and_keep_the_rest(overrides: dict[str, Any]) -> None:
    plain, small = recipes.load("quickstart"), recipes.load("quickstart", overrides)
    assert small.train.tuning.model_dump() == plain.train.tuning.model_dump() | {"lora_r": 4}
    assert small.model_copy(update={"train": plain.train}) == plain


def test_values_on_the_command_line_are_yaml() -> None:
    assert recipes.parse_assignments(["train.max_steps=3", "evaluate.tasks=[a, b]", "data.packing=false"]) == {
        "train.max_steps": 3,
        "evaluate.tasks": ["a", "b"],
        "data.packing": False,
    }


def test_a_deepspeed_json_is_read_from_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"zero_optimization": {"stage": 1}}')
    loaded = recipes.load(str(changed(tmp_path, "train", deepspeed="own.json")))
    assert loaded.train.deepspeed == {"zero_optimization": {"stage": 1}}


@pytest.mark.parametrize(
    ("section", "fields", "place", "words"),
    [
        ("train", {"learning_rat": 1e-4}, "train.learning_rat", "did you mean learning_rate"),
        ("train", {"learning_rate": "fast"}, "train.learning_rate", "valid number"),
        ("train", {"train_batch_size": 0}, "train.train_batch_size", "greater than or equal to 1"),
        ("train", {"tuning": {"method": "dora"}}, "train.tuning", "'full', 'lora', 'qlora'"),
        ("train", {"tuning": {"method": "lora", "r": 8}}, "train.tuning.r", "no such field"),
        ("train", {"bf16": True, "fp16": True}, "train", "exclude each other"),
        ("train", {"deepspeed": "zero7"}, "train.deepspeed", "zero2"),
        ("train", {"deepspeed": "missing.json"}, "train.deepspeed", "No such file"),
        ("data", {"prompt_loss_weight": 2.0}, "data.prompt_loss_weight", "less than or equal to 1"),
        ("data", {"max_length": "long"}, "data.max_length", "valid integer"),
        ("gate", {"bars": []}, "gate.bars", "at least 1"),
        ("evalute", {"tasks": ["x"]}, "evalute", "did you mean evaluate"),
    ],
)
def test_a_wrong_field_is_refused_with_its_place_and_a_remedy(
    tmp_path: Path, section: str, fields: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(BadRecipe) as refused:
        recipes.load(str(changed(tmp_path, section, **fields)))
    assert refused.value.place.startswith(place)
    assert words in str(refused.value)
    assert len(str(refused.value).splitlines()) < 12


def test_an_adapter_that_is_not_merged_is_asked_on_the_base_that_it_was_trained_on() -> None:
    kept = {"merge.method": "none"}
    with pytest.raises(BadRecipe, match="quickstart") as refused:
        recipes.load("quickstart", kept)
    assert "evaluate.load_in_4bit: true" in str(refused.value)
    assert recipes.load("quickstart", kept | {"evaluate.load_in_4bit": True}).merge.method == "none"
    with pytest.raises(BadRecipe) as refused:
        recipes.load("quickstart", kept | {"train.tuning": {"method": "lora"}, "evaluate.load_in_4bit": True})
    assert "evaluate.load_in_4bit: false" in str(refused.value)
    with pytest.raises(BadRecipe) as refused:
        recipes.load("tickets-full", kept)
    assert "makes none" in str(refused.value)


def test_several_wrong_fields_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe) as refused:
        recipes.load(str(changed(tmp_path, "train", learning_rat=1, max_step=3)))
    assert "learning_rat" in str(refused.value)
    assert "max_step" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("train: [", "not YAML"), ("- a\n- b\n", "not a mapping"), ("", "not a mapping"), ("base: 3\n", "base")],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(BadRecipe, match=words):
        recipes.load(str(path))


def test_an_unknown_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(BadRecipe, match="quickstart"):
        recipes.load("quickstrat")


@pytest.mark.parametrize("assignment", ["train.max_steps", "=3"])
def test_an_override_without_a_value_is_refused(assignment: str) -> None:
    with pytest.raises(BadRecipe, match="key=value"):
        recipes.parse_assignments([assignment])


def test_an_override_into_a_plain_value_is_refused() -> None:
    with pytest.raises(BadRecipe, match="no fields"):
        recipes.load("quickstart", {"train.train_batch_size.deeper": 3})


@pytest.mark.parametrize(
    ("data", "objective", "words"),
    [
        ({"data.format": "preference"}, "sft", "{method: dpo}, or give the answers that were liked"),
        ({"data.format": "unpaired_preference"}, "dpo", "{method: kto}"),
        ({"data.format": "messages"}, "kto", "kto trains on answers with a label"),
        ({"data.train_files": [{"files": ["a.jsonl"], "format": "text"}]}, "dpo", "{method: sft}"),
    ],
)
def test_rows_that_an_objective_cannot_take_are_refused_where_the_recipe_says_what_they_are(
    data: dict[str, Any], objective: str, words: str
) -> None:
    with pytest.raises(BadRecipe) as refused:
        recipes.load("quickstart", data | {"train.objective.method": objective})
    assert refused.value.place == "train.objective"
    assert words in str(refused.value)


def test_a_field_of_another_objective_is_refused_by_name() -> None:
    with pytest.raises(BadRecipe) as refused:
        recipes.load("quickstart", {"train.objective": {"method": "dpo", "desirable_wait": 2}})
    assert refused.value.place == "train.objective.desirable_wait"
    assert "did you mean desirable_weight?" in str(refused.value)


@pytest.mark.parametrize("section", ["data", "merge", "evaluate"])
def test_what_a_stage_takes_of_a_cluster_reaches_its_launcher_and_changes_no_key(section: str) -> None:
    asked = {f"{section}.resources": {"mem": "500G", "launcher": "slurm"}}
    before, after = _steps(recipes.load("quickstart"))[section], _steps(recipes.load("quickstart", asked))[section]
    assert (after.resources.mem, after.resources.launcher) == ("500G", "slurm")
    assert after.key == before.key
    with pytest.raises(BadRecipe, match="only training goes on several nodes"):
        recipes.load("quickstart", {f"{section}.resources.nodes": 2})


def _steps(recipe: recipes.Recipe) -> dict[str, Step]:
    made = Receipt(stage="any", key="k", attempt="a", uri="s3://b", content_sha256="c")
    return {
        "data": data.step(recipe.data, made),
        "merge": merging.step(recipe.merge, made, made, made, made),
        "evaluate": evaluation.step(recipe.evaluate, made, made),
    }
