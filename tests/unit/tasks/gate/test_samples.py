"""Outcomes are paired by document; what is no mean of documents is refused with a remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import BadTask
from tasks.gate.config import Comparison
from tasks.gate.samples import paired


def stored(folder: Path, values: list[Any], score: float, metric: str = "acc", chosen: str = "none") -> Path:
    """An evaluation's artifact of one task, its documents in the reverse order."""
    (folder / "samples").mkdir(parents=True)
    name = metric if chosen == "none" else f"{metric}.{chosen}"
    (folder / "results.json").write_text(json.dumps({"t": {name: {"value": score}}}))
    lines = [
        {"doc_id": number, "doc_hash": f"d{number}", "target_hash": "t", "filter": chosen, "metrics": {metric: value}}
        for number, value in enumerate(values)
    ]
    (folder / "samples" / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    return folder


def test_documents_are_paired_by_what_they_are_and_less_may_be_better(tmp_path: Path) -> None:
    ours, theirs = stored(tmp_path / "a", [1.0, 0.0, True], 2 / 3), stored(tmp_path / "b", [0.0, 0.0, 1], 1 / 3)
    assert paired(Comparison(task="t", metric="acc"), ours, theirs).candidate == (1.0, 0.0, 1.0)
    assert paired(Comparison(task="t", metric="acc"), ours, theirs).incumbent == (0.0, 0.0, 1.0)
    assert paired(Comparison(task="t", metric="acc", higher_is_better=False), ours, theirs).candidate == (
        -1.0,
        0.0,
        -1.0,
    )


def test_a_filter_is_part_of_a_metrics_name(tmp_path: Path) -> None:
    ours = stored(tmp_path / "a", [1.0, 0.0], 0.5, chosen="strict-match")
    assert paired(Comparison(task="t", metric="acc.strict-match"), ours, ours).candidate == (1.0, 0.0)


@pytest.mark.parametrize(
    ("values", "score", "why"),
    [
        ([1.0, 0.0], 0.9, "not the mean"),
        ([[1.0, 2], [0.5, 3]], 0.5, "not a number"),
        ([1.0, None], 0.5, "not a number"),
        ([], 0.5, "not a number"),
    ],
)
def test_what_is_no_mean_over_documents_is_refused(tmp_path: Path, values: list[Any], score: float, why: str) -> None:
    made = stored(tmp_path / "a", values, score)
    with pytest.raises(BadTask, match=why):
        paired(Comparison(task="t", metric="acc"), made, made)


@pytest.mark.parametrize("fields", [{"task": "group"}, {"task": "t", "metric": "other"}])
def test_a_group_and_a_metric_that_is_not_there_are_refused(tmp_path: Path, fields: dict[str, str]) -> None:
    made = stored(tmp_path / "a", [1.0], 1.0)
    with pytest.raises(BadTask, match="single documents"):
        paired(Comparison(**({"metric": "acc"} | fields)), made, made)
