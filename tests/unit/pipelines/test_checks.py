"""What a recipe is refused for in a moment."""

import json
from pathlib import Path

import pytest

from infra.errors import BadRecipe
from pipelines import recipe as recipes
from pipelines.checks import checked


def test_rows_of_another_kind_than_the_objectives_are_refused_by_their_first_line(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"}) + "\n")
    told = {"data.train_files": [str(pairs)]}
    with pytest.raises(BadRecipe, match=r"pairs.jsonl are pairs \(chosen and rejected\)") as refused:
        checked(recipes.load("quickstart", told))
    assert "{method: dpo}" in refused.value.remedy
    for objective in ({"method": "dpo"}, {"method": "dpo", "loss_type": "ipo"}):
        assert checked(recipes.load("quickstart", told | {"train.objective": objective}))
    with pytest.raises(BadRecipe, match="dpo trains on pairs"):
        checked(recipes.load("quickstart", {"train.objective.method": "dpo"}))
