"""The graph: who gets whose receipt, what is tried again and what is not. The stages' work is faked, the flow is real."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from infra.errors import BadData, Crashed
from infra.storage.receipt import Receipt
from infra.storage.store import Store
from pipelines.finetune import finetune
from tasks.base import stage as base
from tasks.data import stage as data
from tasks.evaluation import stage as evaluation
from tasks.gate import stage as gate
from tasks.merging import stage as merging
from tasks.registry import stage as registry
from tasks.registry.rivals import Rival, Rivals
from tasks.training import stage as training
from tests.e2e import recipes

SUMMARIES: dict[str, dict[str, Any]] = {
    "evaluation": {"scores": {"echo": {"exact_match": 0.5}}, "n": {"echo": 6}, "num_fewshot": 0},
    "gate": {"promote": True, "outcome": "promote", "failed": []},
    "registry": {"name": "tiny-tickets", "version": "1", "promoted": True},
}


class Fakes:
    """Stands in for every stage's run: remembers what it was given and hands out a receipt."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.fail: dict[str, list[Exception]] = {}

    def stage(self, name: str) -> Callable[..., Receipt]:
        def run(_config: object, *inputs: object, **named: object) -> Receipt:
            receipts = [item.uri for item in [*inputs, *named.values()] if isinstance(item, Receipt)]
            self.calls.append((name, receipts))
            if self.fail.get(name):
                raise self.fail[name].pop()
            made = sum(called == name for called, _ in self.calls)
            return Receipt(
                stage=name,
                key=name,
                attempt="a",
                uri=f"{name}{made}",
                content_sha256=name,
                summary=SUMMARIES.get(name, {}),
            )

        return run


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fakes:
    fakes = Fakes()
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(base, "tokenizer", fakes.stage("tokenizer"))
    monkeypatch.setattr(base, "weights", fakes.stage("weights"))
    for name, module in {
        "data": data,
        "training": training,
        "merging": merging,
        "evaluation": evaluation,
        "gate": gate,
        "registry": registry,
    }.items():
        monkeypatch.setattr(module, "run", fakes.stage(name))
    monkeypatch.setattr(evaluation, "questions", fakes.stage("questions"))
    monkeypatch.setattr(data, "overlap", fakes.stage("overlap"))
    monkeypatch.setattr(Store, "read", lambda _store, _receipt, name: f"{name}".encode())
    return fakes


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    return str(recipes.write(tmp_path / "project", evaluate={"baseline_num_fewshot": 5}))


def test_every_stage_gets_the_receipts_it_needs_in_the_order_of_the_flow(fakes: Fakes, recipe: str) -> None:
    version = finetune(recipe)
    assert version.uri == "registry1"
    assert fakes.calls == [
        ("tokenizer", []),
        ("weights", []),
        ("questions", []),
        ("overlap", ["questions1"]),
        ("data", ["tokenizer1", "overlap1"]),
        ("training", ["weights1", "data1"]),
        ("merging", ["weights1", "tokenizer1", "training1", "data1"]),
        ("evaluation", ["weights1", "tokenizer1"]),
        ("evaluation", ["weights1", "tokenizer1"]),
        ("evaluation", ["merging1", "tokenizer1"]),
        ("gate", ["evaluation1", "evaluation3", "evaluation2"]),
        ("registry", ["merging1", "gate1", "evaluation3", "evaluation1", "training1", "data1"]),
    ]


def test_a_version_in_production_is_asked_the_same_and_stands_beside_the_new_one(
    fakes: Fakes, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {
        role: Receipt(stage=role, key="k", attempt="a", uri=f"old {role}", content_sha256=role)
        for role in ("model", "tokenizer")
    }
    asked: list[str | None] = []

    def found(_config: object, version: str | None, *_others: object) -> Rivals:
        asked.append(version)
        return Rivals(champion=Rival(version="tiny-tickets/3", **held))

    monkeypatch.setattr(registry, "incumbent", found)
    finetune(recipe)
    assert asked == [None]
    assert ("evaluation", ["old model", "old tokenizer"]) in fakes.calls
    assert ("gate", ["evaluation1", "evaluation3", "evaluation2", "evaluation4"]) in fakes.calls


def test_without_a_few_shot_baseline_the_base_is_judged_once(fakes: Fakes, recipe: str) -> None:
    finetune(recipe, {"evaluate.baseline_num_fewshot": None})
    assert [name for name, _ in fakes.calls].count("evaluation") == 2


def test_without_decontamination_nothing_is_looked_for(fakes: Fakes, recipe: str) -> None:
    finetune(recipe, {"data.decontamination": "off"})
    assert {name for name, _ in fakes.calls}.isdisjoint({"questions", "overlap"})
    assert ("data", ["tokenizer1"]) in fakes.calls


def test_what_was_lost_is_tried_again(fakes: Fakes, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.training.task import train  # noqa: PLC0415

    monkeypatch.setattr(train, "retry_delay_seconds", 0)
    fakes.fail["training"] = [Crashed("the worker died")]
    finetune(recipe)
    assert [name for name, _ in fakes.calls].count("training") == 2


def test_what_was_refused_is_not_tried_again_and_nothing_after_it_runs(fakes: Fakes, recipe: str) -> None:
    fakes.fail["data"] = [BadData("row 3 has no answer", place="rows.jsonl:3")]
    with pytest.raises(BadData, match="row 3"):
        finetune(recipe)
    assert [name for name, _ in fakes.calls] == ["tokenizer", "weights", "questions", "overlap", "data"]


def test_the_run_shows_its_pages(fakes: Fakes, recipe: str) -> None:
    finetune(recipe)
    with get_client(sync_client=True) as client:
        for key in (
            "overlap-report",
            "data-report",
            "training-report",
            "verdict",
            "model-card",
            "links",
            "before-after",
        ):
            assert client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))), key
