"""A retrain ends at once where nothing is new, and is a run like any other where something is. The stages' work is faked."""

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from infra.errors import Corrupt
from infra.storage.receipt import Receipt
from pipelines import retrain as cadence
from pipelines.finetune import finetune
from pipelines.news import News
from pipelines.retrain import retrain
from tasks.data.changes import Since
from tests.flows.fakes import Fakes


def say(monkeypatch: pytest.MonkeyPatch, news: News) -> None:
    monkeypatch.setattr(cadence, "look", lambda *_: news)


def test_where_nothing_is_new_no_stage_runs_and_the_run_says_so(
    fakes: Fakes, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, News(False, "Nothing new since tiny-tickets/3, which is in production"))
    state = retrain(recipe, return_state=True)
    assert (state.type.value, state.name) == ("COMPLETED", "NothingNew")
    assert state.message == "Nothing new since tiny-tickets/3, which is in production"
    assert fakes.calls == []
    with get_client(sync_client=True) as client:
        (page, *_) = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["news"])))
    assert "Nothing new since tiny-tickets/3" in str(page.data)


def test_where_something_is_new_the_stages_are_those_of_finetune(
    fakes: Fakes, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(recipe)
    calls, fakes.calls = fakes.calls, []
    say(monkeypatch, News(True, "New since tiny-tickets/3: 1 differences", ("rows.jsonl: was not there",)))
    version = retrain(recipe)
    assert isinstance(version, Receipt)
    assert version.uri == "registry1"
    assert fakes.calls == calls


SINCE = Since(
    version="tiny-tickets/3",
    dataset=Receipt(stage="data", key="k", attempt="a", uri="old data", content_sha256="other rows"),
)


def test_what_changed_in_the_rows_is_told_and_goes_with_the_version(
    fakes: Fakes, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, News(True, "Something is new since tiny-tickets/3", ("rows.jsonl: was not there",), SINCE))
    retrain(recipe)
    assert ("diff", ["old data", "data1", "overlap1"]) in fakes.calls
    assert fakes.calls[-1] == (
        "registry",
        ["merging1", "gate1", "evaluation3", "evaluation1", "training1", "data1", "diff1"],
    )


def test_where_rows_are_the_same_nothing_is_compared(
    fakes: Fakes, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = SINCE.model_copy(update={"dataset": SINCE.dataset.model_copy(update={"content_sha256": "data"})})
    say(monkeypatch, News(True, "Something is new since tiny-tickets/3", ("train.max_steps: 6 → 9",), same))
    retrain(recipe)
    assert "diff" not in [name for name, _ in fakes.calls]


def test_data_that_cannot_be_compared_with_is_told_and_costs_nothing_else(
    fakes: Fakes, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, News(True, "Something is new since tiny-tickets/3", ("rows.jsonl: was not there",), SINCE))
    fakes.fail["diff"] = [Corrupt("the artifact is gone", place="old data")]
    assert isinstance(retrain(recipe), Receipt)
    with get_client(sync_client=True) as client:
        pages = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["data-diff"])))
    assert any("the artifact is gone" in str(page.data) for page in pages)


def test_without_a_version_in_production_all_is_new(fakes: Fakes, recipe: str, tmp_path: Path) -> None:
    assert isinstance(retrain(recipe), Receipt)
    assert not list((tmp_path / "home").rglob("jobs")), "nobody was asked"
