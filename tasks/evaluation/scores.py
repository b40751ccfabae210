"""From lm-eval's results to the artifact's files: clean metric names, no clock, no path, no host."""

import json
import math
from pathlib import Path
from typing import Any

from infra.errors import BadTask
from infra.frozen import canonical, digest
from infra.storage.layout import file_name
from tasks.evaluation.config import EvaluateConfig

Scores = dict[str, dict[str, dict[str, Any]]]


def store(results: dict[str, Any], config: EvaluateConfig, out: Path, seconds: float) -> dict[str, Any]:
    """Write results.json, samples/<task>.jsonl and spec.json; the stage's summary.

    BadTask for a task that gave no score, or one that is not a number.
    """
    scores = table(results)
    samples = {task: sorted(map(sample, found), key=_order) for task, found in results["samples"].items()}
    _write_json(out / "results.json", scores)
    _write_json(out / "spec.json", spec(results, samples, config))
    (out / "samples").mkdir()
    for task, found in samples.items():
        lines = b"".join(canonical(one) + b"\n" for one in found)
        (out / "samples" / f"{file_name(task)}.jsonl").write_bytes(lines)
    count = {task: results["n-samples"][task]["effective"] for task in samples}
    return {
        "scores": {task: {name: entry["value"] for name, entry in found.items()} for task, found in scores.items()},
        "n": count,
        "num_fewshot": config.num_fewshot,
        "samples_per_s": round(sum(count.values()) / seconds, 2),
    }


def table(results: dict[str, Any]) -> Scores:
    """task (or group) → metric → value, stderr (None where lm-eval knows none), n, higher_is_better."""
    found = {task: _metrics(task, entries, results) for task, entries in results["results"].items()}
    for task in results["samples"]:
        if not found.get(task):
            raise BadTask("an evaluation task gave no score", place="evaluate.tasks", value=task)
    return {task: metrics for task, metrics in found.items() if metrics}


def _metrics(task: str, entries: dict[str, Any], results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for key, value in entries.items():
        metric, comma, chosen = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        stderr = entries.get(f"{metric}_stderr,{chosen}")
        found[metric_name(metric, chosen)] = {
            "value": _finite(task, metric, value),
            "stderr": float(stderr) if isinstance(stderr, int | float) and math.isfinite(stderr) else None,
            "n": entries.get("sample_len", entries.get("sample_count")),
            "higher_is_better": results["higher_is_better"].get(task, {}).get(metric),
        }
    return found


def metric_name(metric: str, chosen: str) -> str:
    """lm-eval's `exact_match,none` as `exact_match`, and `exact_match,strict-match` as `exact_match.strict-match`."""
    return metric if chosen == "none" else f"{metric}.{chosen}"


def _finite(task: str, metric: str, value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise BadTask("a score is not a number", place=f"{task}: {metric}", value=value)
    return float(value)


def sample(found: dict[str, Any]) -> dict[str, Any]:
    """One document's outcome: hashes of what was asked and wanted, what came back, and its metrics."""
    hashes = {name: found[name] for name in ("doc_id", "doc_hash", "prompt_hash", "target_hash", "filter")}
    metrics = {name: plain(found[name]) for name in found["metrics"]}
    return hashes | {"response": plain(found["filtered_resps"]), "metrics": metrics}


def _order(found: dict[str, Any]) -> tuple[int, str]:
    return found["doc_id"], found["filter"]


def spec(results: dict[str, Any], samples: dict[str, list[dict[str, Any]]], config: EvaluateConfig) -> dict[str, Any]:
    """What the scores are scores of: the config, and each task's version, documents, prompts and generation."""
    tasks = {
        task: {
            "version": str(results["versions"].get(task)),
            "num_fewshot": results["n-shot"].get(task),
            "output_type": results["configs"][task].get("output_type"),
            "generation_kwargs": plain(results["configs"][task].get("generation_kwargs")),
            "documents": len({one["doc_id"] for one in found}),
            "documents_sha256": digest([one["doc_hash"] for one in found]),
            "prompts_sha256": digest([one["prompt_hash"] for one in found]),
            "targets_sha256": digest([one["target_hash"] for one in found]),
        }
        for task, found in samples.items()
    }
    return config.material() | {"tasks": tasks}


def plain(value: Any) -> Any:
    """A form that JSON has: numpy's numbers as Python's, what is not finite as None, anything else as its text."""
    if hasattr(value, "item") and callable(value.item):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
