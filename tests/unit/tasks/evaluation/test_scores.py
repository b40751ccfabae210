"""lm-eval's results on their way into the artifact."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from infra.errors import BadTask
from tasks.evaluation import scores
from tasks.evaluation.config import EvaluateConfig


def sample(doc: int, **metrics: Any) -> dict[str, Any]:
    hashes = {"doc_hash": f"d{doc}", "prompt_hash": f"p{doc}", "target_hash": f"t{doc}"}
    found = {"doc_id": doc, "filter": "none", "filtered_resps": ["yes"], "metrics": list(metrics)}
    return found | hashes | metrics


def results(**entries: Any) -> dict[str, Any]:
    return {
        "results": {"math": {"name": "math", "alias": "math", "sample_len": 2, **entries}},
        "samples": {"math": [sample(1, acc=0.0), sample(0, acc=1.0)]},
        "higher_is_better": {"math": {"acc": True}},
        "n-samples": {"math": {"original": 9, "effective": 2}},
        "versions": {"math": 3},
        "n-shot": {"math": 0},
        "configs": {"math": {"output_type": "generate_until", "generation_kwargs": {"until": ["\n"]}}},
    }


def test_metric_names_are_clean_and_filters_keep_apart() -> None:
    entries = {"acc,none": 0.5, "acc_stderr,none": 0.1, "acc,strict-match": 0.25, "acc_stderr,strict-match": "N/A"}
    table = scores.table(results(**entries))["math"]
    assert table["acc"] == {"value": 0.5, "stderr": 0.1, "n": 2, "higher_is_better": True}
    assert table["acc.strict-match"]["stderr"] is None
    assert set(table) == {"acc", "acc.strict-match"}


@pytest.mark.parametrize("value", [math.nan, math.inf, "N/A", None])
def test_a_score_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(BadTask, match="not a number"):
        scores.table(results(**{"acc,none": value}))


def test_a_task_without_a_score_is_refused() -> None:
    with pytest.raises(BadTask, match="no score"):
        scores.table(results())


def test_a_group_without_a_score_of_its_own_is_left_out() -> None:
    found = results(**{"acc,none": 0.5})
    found["results"]["group"] = {"alias": "group"}
    assert set(scores.table(found)) == {"math"}


def test_samples_are_sorted_and_say_nothing_of_time_or_place(tmp_path: Path) -> None:
    summary = scores.store(results(**{"acc,none": 0.5}), EvaluateConfig(tasks=["math"]), tmp_path, seconds=4.0)
    assert summary == {"scores": {"math": {"acc": 0.5}}, "n": {"math": 2}, "num_fewshot": 0, "samples_per_s": 0.5}
    lines = (tmp_path / "samples" / "math.jsonl").read_text().splitlines()
    assert [json.loads(line)["doc_id"] for line in lines] == [0, 1]
    first = (tmp_path / "spec.json").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    scores.store(results(**{"acc,none": 0.5}), EvaluateConfig(tasks=["math"], batch_size=2), other, seconds=9.0)
    assert (other / "spec.json").read_bytes() == first


@pytest.mark.parametrize(("value", "form"), [(math.inf, None), ((1, "a"), [1, "a"]), ({1: {2.5}}, {"1": "{2.5}"})])
def test_any_response_has_a_form_in_json(value: Any, form: Any) -> None:
    assert scores.plain(value) == form
