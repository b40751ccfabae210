"""Two models' outcomes of the same documents, as the evaluation stage stored them, document beside document."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import BadTask
from infra.storage.layout import file_name
from tasks.gate.config import Comparison

Document = tuple[int, str, str]  # its number, the hashes of what is in it and of what is wanted
TOLERANCE = 1e-6  # means are of many numbers


@dataclass(frozen=True)
class Pairs:
    """Scores of candidate and incumbent on each document of a task, more being better in both."""

    candidate: tuple[float, ...]
    incumbent: tuple[float, ...]

    @property
    def swapped(self) -> "Pairs":
        """The same seen from the other side."""
        return Pairs(self.incumbent, self.candidate)


def paired(asked: Comparison, candidate: Path, incumbent: Path) -> Pairs:
    """The outcomes below two artifacts; BadTask where they are not of the same documents, or the score is not their mean."""
    found = beside(asked, candidate, incumbent)
    if found is None:
        ours, theirs = (dict(outcomes(asked, folder)) for folder in (candidate, incumbent))
        raise BadTask(
            "the model and the version in production were asked different documents, so they cannot be compared",
            place="gate.incumbent",
            value=f"{asked.task}: {len(ours)} and {len(theirs)} documents, {len(ours.keys() & theirs.keys())} in common",
            remedy="the task's data has changed since: pin its revision in the task's YAML, and set another "
            "evaluate.seed, so that all models are asked anew",
        )
    return found


def beside(asked: Comparison, candidate: Path, other: Path) -> Pairs | None:
    """The outcomes below two artifacts, or None where they are not of the same documents; BadTask where the score is not
    their mean."""
    ours, theirs = (dict(outcomes(asked, folder)) for folder in (candidate, other))
    if ours.keys() != theirs.keys():
        return None
    sign = 1 if asked.higher_is_better else -1
    return Pairs(*(tuple(sign * side[document] for document in sorted(ours)) for side in (ours, theirs)))


def outcomes(asked: Comparison, folder: Path) -> Iterator[tuple[Document, float]]:
    """Each document of a task below an artifact with its value; BadTask where the score is not their mean."""
    name, told = f"{asked.task}.{asked.metric}", _json(folder / "results.json").get(asked.task, {}).get(asked.metric)
    path = folder / "samples" / f"{file_name(asked.task)}.jsonl"
    if told is None or not path.exists():
        raise _unusable(name, "it was not measured on single documents")
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    found = [
        (one, value)
        for one in lines
        for metric, value in one["metrics"].items()
        if _called(metric, one) == asked.metric
    ]
    numbers = [float(value) for _, value in found if isinstance(value, int | float)]
    if not found or len(numbers) != len(found):
        raise _unusable(name, "what single documents have is not a number")
    if abs(sum(numbers) / len(numbers) - told["value"]) > TOLERANCE * max(1.0, abs(told["value"])):
        raise _unusable(name, "it is not the mean of what single documents have")
    for (one, _), number in zip(found, numbers, strict=True):
        yield (one["doc_id"], one["doc_hash"], one["target_hash"]), number


def _called(metric: str, sample: dict[str, Any]) -> str:
    """A sample's metric as results.json has it: with the filter of several that it comes from."""
    return metric if sample["filter"] == "none" else f"{metric}.{sample['filter']}"


def _unusable(name: str, why: str) -> BadTask:
    return BadTask(
        f"a score cannot be compared document by document: {why}",
        place="gate.incumbent.tasks",
        value=name,
        remedy="name there metrics that are means over the documents of one task, such as exact_match; the bars may stay",
    )


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
