"""The graph: who gets whose receipt, what is tried again and what is not. The stages' work is faked, the flow is real."""

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from infra.errors import BadData, Crashed
from infra.storage.receipt import Receipt
from pipelines.finetune import finetune
from tasks.registry import stage as registry
from tasks.registry.rivals import Rival, Rivals
from tests.flows.fakes import Fakes


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
        ("gate", ["evaluation1", "evaluation3", "evaluation2", "questions1"]),
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
    assert ("gate", ["evaluation1", "evaluation3", "evaluation2", "evaluation4", "questions1"]) in fakes.calls


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
