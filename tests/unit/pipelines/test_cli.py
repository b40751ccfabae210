"""The command line: a plan before a run, and every refusal on one screen without a traceback."""

import sys
from pathlib import Path

import pytest

from pipelines import cli
from tests.e2e import recipes as tiny_recipes
from tests.unit.pipelines.test_recipe import changed


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))


def luthier(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["luthier", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_plan_shows_the_whole_recipe_and_what_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipes.write(tmp_path / "project")
    assert luthier(monkeypatch, "plan", str(recipe), "--set", "train.max_steps=9") == 0
    shown = capsys.readouterr().out
    assert "max_steps: 9" in shown
    for stage in ("tokenizer", "weights", "questions", "overlap", "data", "training", "merging", "gate", "registry"):
        assert stage in shown
    assert "committed" not in shown
    assert luthier(monkeypatch, "plan", str(recipe), "--set", "data.decontamination=off") == 0
    assert "overlap" not in (shown := capsys.readouterr().out)
    assert "│ reference" not in shown
    judged = ("--set", "data.format=preference", "--set", "train.objective={method: dpo}")
    assert luthier(monkeypatch, "plan", str(recipe), *judged) == 0
    assert "│ reference" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [verb.name for verb in cli.app.registered_commands])
def test_every_verb_has_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert luthier(monkeypatch, verb, "--help") == 0
    assert f"luthier {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "nowhere.yaml"], "no such recipe"),
        (["run", "quickstart", "--set", "train.max_steps"], "key=value"),
        (["run", "quickstart", "--set", "train.max_step=3"], "did you mean max_steps"),
        (["run", "quickstart", "--set", "train.max_steps=0"], "greater than or equal to 1"),
        (["plan", "quickstart", "--set", "base.model_name_or_path=/nowhere"], "/nowhere"),
        (["plan", "quickstart", "--set", "train.train_batch_size=3"], "2 processes"),
        (["plan", "quickstart", "--set", "train.training_args={adam_beta_1: 0.8}"], "did you mean adam_beta1"),
        (["plan", "quickstart", "--set", "base.sha256=" + "0" * 64], "sha256"),
    ],
)
def test_a_refusal_is_one_screen_and_exit_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert luthier(monkeypatch, *arguments) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown
    assert "where:" in shown
    assert len(shown.splitlines()) <= 14


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("LUTHIER_STORE", "ftp://somewhere", "file:///folder or s3://bucket"),
        ("LUTHIER_LAUNCHER", "cloud", "LUTHIER_LAUNCHER"),
        ("LUTHIER_CACHE_BYTES", "much", "LUTHIER_CACHE_BYTES"),
    ],
)
def test_a_wrong_environment_is_refused_by_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    words: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert luthier(monkeypatch, "plan", str(changed(tmp_path, "train"))) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


def test_help_says_what_a_verb_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier(monkeypatch, "--help") == 0
    assert "run" in capsys.readouterr().out
