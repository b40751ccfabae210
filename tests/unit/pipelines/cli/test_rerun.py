"""`luthier rerun`: what it refuses before anything runs. That it makes the same: tests/e2e/test_run.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.registered import NAME, Registered

pytestmark = pytest.mark.heavy

Luthier = Callable[..., int]
Use = Callable[[Registered], None]
Said = pytest.CaptureFixture[str]


def test_the_recipe_alone_is_written_where_it_is_wanted(luthier: Luthier, capsys: Said, tmp_path: Path) -> None:
    assert luthier("rerun", f"{NAME}/1", "--save", str(tmp_path / "deep" / "it.yaml")) == 0
    assert "it.yaml" in capsys.readouterr().out
    found = yaml.safe_load((tmp_path / "deep" / "it.yaml").read_text())
    assert list(found) == ["base", "data", "train", "merge", "evaluate", "gate", "register"]
    assert found["train"] == {"max_steps": 6, "seed": 42}
    assert found["register"]["name"] == NAME


@pytest.mark.parametrize("arguments", [["--from", "training"], ["--from", "nowhere", "--check"]])
def test_a_stage_to_begin_at_needs_a_place_of_its_own(luthier: Luthier, capsys: Said, arguments: list[str]) -> None:
    assert luthier("rerun", NAME, *arguments) == 2
    assert "tokenizer, weights, data, training" in capsys.readouterr().err


def test_a_version_without_its_record_is_refused(own: Registered, luthier: Luthier, use: Use, capsys: Said) -> None:
    use(own)
    own.client.set_model_version_tag(NAME, "1", "luthier.registration", "f" * 64)
    assert luthier("rerun", NAME) == 2
    assert "LUTHIER_STORE" in capsys.readouterr().err
