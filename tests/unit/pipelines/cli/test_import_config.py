"""`luthier import-config` writes a recipe that loads and reads the rows that are there."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines import cli, recipe
from tests.unit.pipelines.foreign.test_convert import AXOLOTL


@pytest.fixture
def luthier(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command in this process, without the models that other verbs need; its exit status."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["luthier", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "rows.jsonl").write_text(json.dumps({"instruction": "q", "output": "a"}) + "\n")
    (tmp_path / "old" / "axolotl.yaml").write_text(AXOLOTL)
    return tmp_path / "old" / "axolotl.yaml"


def test_the_recipe_loads_and_finds_the_rows(
    config: Path, tmp_path: Path, luthier: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "recipe.yaml"
    assert luthier("import-config", str(config), "-o", str(target), "--gpus", "2") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "not carried over: relora: True" in said.err
    text = target.read_text()
    assert text.startswith("# When to use it: instead of Axolotl's axolotl.yaml")
    assert "#   relora: True" in text
    assert "An example; write your own." in text
    made = recipe.load(str(target))
    assert made.data.train_files == [str(config.parent / "rows.jsonl")]
    assert (made.train.train_batch_size, made.train.num_processes) == (16, 2)


def test_it_is_printed_and_nothing_is_overwritten(
    config: Path, tmp_path: Path, luthier: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert luthier("import-config", str(config)) == 0
    assert yaml.safe_load(capsys.readouterr().out)["train"]["tuning"]["method"] == "qlora"
    assert luthier("import-config", str(config), "-o", str(config)) == 2
    assert config.read_text() == AXOLOTL


def test_a_config_of_another_tool_is_refused_on_one_screen(
    tmp_path: Path, luthier: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.yaml").write_text("model: x")
    assert luthier("import-config", str(tmp_path / "x.yaml")) == 2
    assert "a config of neither Axolotl nor LLaMA-Factory" in capsys.readouterr().err
