"""What a run would do, with and without a version in production."""

from pathlib import Path

import pytest

from infra.settings import Settings
from infra.storage.receipt import Receipt
from pipelines import recipe as recipes
from pipelines.plan import plan
from tasks.registry import stage as registry
from tasks.registry.rivals import Rival, Rivals
from tests import jobs
from tests.e2e import recipes as tiny


def receipt(stage: str) -> Receipt:
    return Receipt(stage=stage, key="k", attempt="a", uri=f"old {stage}", content_sha256=stage)


def test_what_was_in_production_when_it_was_last_looked_up_will_be_asked_too(
    luthier_home: Path, tmp_path: Path
) -> None:
    on, path = Settings().platform(), tiny.write(tmp_path / "project", evaluate={"baseline_num_fewshot": 5})
    recipe = recipes.load(str(path))
    before = [one.name for one in plan(recipe, on)]
    assert not any("in production" in name for name in before)
    rival = Rival(version="tiny-tickets/3", model=receipt("merging"), tokenizer=receipt("tokenizer"))
    told = Rivals(champion=rival).model_dump(mode="json")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "incumbent.json").write_text("{}")
    jobs.keep(on, "incumbent", tmp_path / "empty", told, key=registry.incumbent_step(recipe.register_as).key)
    names = [one.name for one in plan(recipe, on)]
    assert names == [*before[:-2], "evaluation of tiny-tickets/3, in production", *before[-2:]]
    assert [one.name for one in plan(recipes.load(str(path), {"gate.incumbent.version": "none"}), on)] == before


@pytest.mark.parametrize("wrong", ["tickets", "tickets@champion", "../3", "tickets/x"])
def test_a_version_to_compare_with_is_named_by_its_number(wrong: str, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "project")
    with pytest.raises(recipes.BadRecipe) as refused:
        recipes.load(str(path), {"gate.incumbent.version": wrong})
    assert refused.value.place == "gate.incumbent.version"
