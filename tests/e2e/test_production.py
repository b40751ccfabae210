"""A version goes into production, and the next one is compared with it: a real MLflow, real workers, the commands as people type
them; and once with whole runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Refused
from infra.settings import Platform, Settings
from infra.storage.receipt import Receipt
from tasks.gate import stage as gate
from tasks.gate.config import Bar, GateConfig
from tasks.registry import stage as registry
from tasks.registry.config import RegisterConfig
from tests import jobs, registered
from tests.e2e import recipes
from tests.e2e.test_run import finish, luthier, say


def verdict(home: Path, number: int) -> dict[str, object]:
    """The verdict of the version with this number, as the store has it."""
    told = json.loads(say(home, "versions", "tiny-tickets", "--json"))
    (one,) = (version for version in told["versions"] if version["version"] == number)
    found: dict[str, object] = one
    return found


def scored(made: registered.Registered, right: int, model: Receipt) -> Receipt:
    """Scores of a model on a hundred documents, of which so many were answered right."""
    told = {"doc_hash": "d", "target_hash": "t", "filter": "none"}
    lines = [
        json.dumps(told | {"doc_id": number, "metrics": {"exact_match": float(number < right)}})
        for number in range(100)
    ]
    results = {"echo": {"exact_match": {"value": right / 100, "stderr": None, "n": 100, "higher_is_better": True}}}
    folder = made.room / f"scores-{len(list(made.room.iterdir()))}"
    (folder / "samples").mkdir(parents=True)
    (folder / "samples" / "echo.jsonl").write_text("\n".join(lines))
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "spec.json").write_text(json.dumps({"num_fewshot": 0}))
    summary: Any = {"scores": {"echo": {"exact_match": right / 100}}}
    return jobs.keep(made.on, "evaluation", folder, summary, {"model": model})


def follow(on: Platform, made: registered.Registered, right: int) -> tuple[str, Receipt]:
    """What a run does at its end with a new model that gets so many of a hundred documents right, where the one in production
    got 80: the verdict's outcome, and the registration."""
    config, made.inputs["model"] = RegisterConfig(name=registered.NAME), registered.again(made)
    rival = registry.incumbent(config, None, on).beside(made.inputs["model"])
    assert rival is not None
    asked = GateConfig(bars=[Bar(task="echo", metric="exact_match", min=0.1)]).against(rival.version)
    base, scores = scored(made, 0, rival.model), scored(made, right, made.inputs["model"])
    verdict = gate.run(asked, base, scores, on, incumbent=scored(made, 80, rival.model))
    others = (scores, base, made.inputs["adapter"], made.inputs["dataset"])
    return str(verdict.summary["outcome"]), registry.run(config, made.inputs["model"], verdict, *others, on)


@pytest.mark.slow
def test_what_follows_is_compared_with_what_is_in_production_as_mlflow_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, home = registered.held_and_promoted(tmp_path), tmp_path / "home"
    monkeypatch.setenv("LUTHIER_HOME", str(home))
    on = Settings().platform()
    say(home, "promote", "tiny-tickets/2")

    outcome, version = follow(on, made, 97)
    assert (outcome, version.summary["version"]) == ("promote", 3)
    assert made.client.get_model_version(registered.NAME, "3").tags["luthier.incumbent"] == "tiny-tickets/2"
    say(home, "promote", "tiny-tickets/3")
    assert "tiny-tickets/2 is in production again" in say(home, "rollback", "tiny-tickets")

    assert follow(on, made, 40)[0] == "hold"
    made.client.delete_registered_model_alias(registered.NAME, "champion")
    with pytest.raises(Refused, match="there was a version in production"):
        registry.incumbent(RegisterConfig(name=registered.NAME), None, on)


@pytest.mark.timeout(1800)
@pytest.mark.proof  # four runs that train; above are the same stages without
def test_a_version_is_promoted_and_the_next_is_compared_with_it_then_rolled_back(tmp_path: Path) -> None:
    recipe = recipes.write(tmp_path / "project", train={"num_processes": 1, "deepspeed": "none"})
    home = tmp_path / "home"
    finish(luthier(home, recipe), home)
    assert not (home / "store" / "jobs" / "incumbent").exists(), "nothing is looked up where nothing is in production"
    assert "in production" in say(home, "promote", "tiny-tickets/1")

    said = finish(luthier(home, recipe, "--set", "train.max_steps=8", "--set", "gate.incumbent.margin=0.6"), home)
    second = verdict(home, 2)
    assert second["against"] == "tiny-tickets/1"
    assert "tiny-tickets version 2: promoted to candidate" in said
    evaluated = len(list((home / "store" / "stages" / "evaluation").glob("*/MANIFEST.json")))
    assert evaluated == 3, "the version in production had been asked before"
    say(home, "promote", "tiny-tickets/2")

    said = finish(luthier(home, recipe, "--set", "train.max_steps=8", "--set", "gate.incumbent.margin=0.6"), home)
    assert "tiny-tickets version 2: promoted to candidate" in said, "made again, it is compared with the one before it"
    assert verdict(home, 2)["against"] == "tiny-tickets/1"
    assert "every artifact but the verdict came out equal" in say(
        home, "rerun", "tiny-tickets/2", "--check", "--from", "evaluation"
    )

    said = finish(luthier(home, recipe, "--set", "train.max_steps=10"), home)
    assert "tiny-tickets version 3: undecided" in said
    assert "documents more would show it" in said
    assert "tiny-tickets/1 is in production" in say(home, "rollback", "tiny-tickets")
