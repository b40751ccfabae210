"""A version's recipe out of the commit records, and which of its inputs are not what they were."""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.errors import Corrupt
from infra.launch.step import Step, spec
from infra.launch.work import commit
from infra.settings import Platform
from infra.storage import layout
from infra.storage.copying import copy
from infra.storage.objects import LocalObjects
from infra.storage.receipt import Manifest, Receipt
from infra.storage.store import Store
from pipelines import recipe as recipes
from pipelines.again import ROLES, Compared, Made, before, compare
from pipelines.recipe import Recipe
from tasks.base import stage as base
from tasks.data import sources
from tasks.data import stage as data
from tasks.evaluation import stage as evaluation
from tasks.gate import stage as gate
from tasks.merging import stage as merging
from tasks.registry import stage as registry
from tasks.training import stage as training
from tests import jobs
from tests.e2e import recipes as tiny

pytestmark = pytest.mark.heavy  # writes a model


@dataclass
class Run:
    """A run whose stages made a line of text each, under their real keys."""

    path: Path
    on: Platform
    made: Made

    @property
    def recipe(self) -> Recipe:
        return recipes.load(str(self.path))


def stored(on: Platform, step: Step, text: str = "", **told: Any) -> Receipt:
    room = on.home / "rooms" / uuid.uuid4().hex
    room.mkdir(parents=True)
    (room / "made.txt").write_text(text or step.stage)
    return commit(on, spec(step, uuid.uuid4().hex), room, told.pop("summary", {}), **told)


def walked(path: Path, on: Platform, scores: float = 0.5) -> Made:
    plan = recipes.load(str(path))
    tokenizer, weights = stored(on, base.tokenizer_step(plan.base)), stored(on, base.weights_step(plan.base))
    dataset = stored(on, data.step(plan.data, tokenizer), origins=sources.origins(plan.data))
    trained = training.step(plan.train, weights, dataset)
    adapter = stored(on, trained, f"trained {trained.key}")
    model = stored(on, merging.step(plan.merge, weights, tokenizer, adapter, dataset))
    told = {"summary": {"scores": {"echo": {"exact_match": scores}}}}
    baseline = stored(on, evaluation.step(plan.evaluate, weights, tokenizer), **told)
    asked = stored(on, evaluation.step(plan.evaluate, model, tokenizer), f"took {scores} s", **told)
    verdict = stored(on, gate.step(plan.gate, baseline, asked))
    record = stored(on, registry.step(plan.register_as, model, verdict, asked, baseline, adapter, dataset))
    return Made.of(on.store, on.store.manifest(record))


@pytest.fixture
def run(tmp_path: Path, luthier_home: Path) -> Run:
    path, on = tiny.write(tmp_path / "project"), jobs.platform(tmp_path / "on")
    return Run(path, on, walked(path, on))


def test_the_recipe_comes_back_whole_and_nothing_of_it_has_changed(run: Run, tmp_path: Path) -> None:
    again = run.made.write(tmp_path / "again.yaml", "it")
    assert again.read_text().startswith("# When to use it")
    assert recipes.load(str(again)) == run.recipe
    assert yaml.safe_load(again.read_text())["train"]["seed"] == run.recipe.train.seed
    assert [*run.made.changed(run.recipe)] == []
    assert run.made.upgraded() == []


def test_each_file_of_rows_that_is_not_what_it_was_is_named(run: Run) -> None:
    rows = run.path.parent / "rows.jsonl"
    whole = rows.read_text()
    rows.write_text(whole.replace("a", "b"))
    (told,) = run.made.changed(run.recipe)
    assert f"{rows}: changed (sha256 was" in told
    rows.write_text(whole)
    assert [*run.made.changed(run.recipe)] == []
    rows.unlink()
    (told,) = run.made.changed(run.recipe)
    assert str(rows) in told
    assert "no such file" in told


def test_a_file_that_was_not_there_and_one_that_has_moved(run: Run, tmp_path: Path) -> None:
    more = run.path.parent / "more.jsonl"
    more.write_text((run.path.parent / "rows.jsonl").read_text())
    both = recipes.load(str(run.path), {"data.train_files": [str(run.path.parent / "*.jsonl")]})
    assert [*run.made.changed(both)] == [f"{more}: was not there"]
    (run.path.parent / "rows.jsonl").rename(tmp_path / "moved.jsonl")
    moved = recipes.load(str(run.path), {"data.train_files": [str(tmp_path / "moved.jsonl")]})
    assert [*run.made.changed(moved)] == [], "only the name is another"


def test_base_tasks_and_rules_that_are_others_are_named(run: Run) -> None:
    (run.path.parent / "tasks" / "echo.yaml").write_text("task: another\n")
    (told,) = run.made.changed(run.recipe)
    assert "tasks: not what it was" in told
    (run.path.parent / "model" / "config.json").unlink()
    assert any(line.startswith("the base model") for line in run.made.changed(run.recipe))
    shorter = recipes.load(str(run.path), {"data.max_length": 64})
    assert any(line.startswith("the data, its template or its rules") for line in run.made.changed(shorter))


def test_other_code_and_libraries_are_told(run: Run) -> None:
    older = {role: manifest.model_copy(update={"code": "0" * 16}) for role, manifest in run.made.records.items()}
    older["adapter"] = older["adapter"].model_copy(update={"versions": {"torch": "1.0", "gone": "1"}})
    first, second = Made(older).upgraded()
    assert first == "Luthier's own code has changed since"
    assert second.startswith("torch 1.0 → ")


def test_a_record_that_is_gone_is_told_by_its_role(run: Run) -> None:
    adapter = run.made.records["adapter"]
    run.on.store.objects.delete(layout.manifest("training", adapter.key, 1))
    with pytest.raises(Corrupt, match="adapter"):
        Made.of(run.on.store, run.made.records["version"])


def test_two_runs_are_compared_artifact_by_artifact_and_scores_by_figures(run: Run, tmp_path: Path) -> None:
    other = walked(run.path, jobs.platform(tmp_path / "other"))
    assert [one.role for one in compare(run.made, other)] == [*ROLES]
    assert all(one.equal for one in compare(run.made, other))
    third = compare(run.made, walked(run.path, jobs.platform(tmp_path / "third"), scores=0.25))
    assert [(one.role, one.figures) for one in third if not one.equal] == [("scores", False)]
    assert Compared("scores", "1", "2", True).equal is False


def test_what_comes_before_a_stage_is_copied_as_it_is_and_only_once(run: Run, tmp_path: Path) -> None:
    target = Store(LocalObjects(tmp_path / "fresh"))
    receipts = before(run.made, "training", run.on.store)
    assert [receipt.stage for receipt in receipts] == ["tokenizer", "weights", "data"]
    for receipt in [*receipts, *receipts]:
        copy(run.on.store, target, receipt, tmp_path / "room")
    for receipt in receipts:
        found: Manifest | None = target.find(receipt.stage, receipt.key)
        assert found == run.on.store.manifest(receipt)
    assert len(target.objects.list("")) == 2 * len(receipts)
    spoilt = receipts[0]
    run.on.store.objects.put(f"{layout.attempt('tokenizer', spoilt.key, spoilt.attempt)}/made.txt", b"tokenizes")
    with pytest.raises(Corrupt):
        copy(run.on.store, Store(LocalObjects(tmp_path / "second")), spoilt, tmp_path / "room")
