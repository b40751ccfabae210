"""The documents that the version in production answers better: what people look at first when a model is held."""

import json
from pathlib import Path
from typing import Any

from infra.frozen import Frozen
from infra.printable import line
from infra.storage.layout import file_name
from tasks.gate.config import Comparison
from tasks.gate.samples import Document, outcomes

SHOWN = 5  # documents of a comparison
LONG = 300  # characters of each text


class Worse(Frozen):
    """A document of a task with both answers and their scores. `asked` and `wanted` are empty where the questions were not
    listed (data.decontamination: off)."""

    task: str
    metric: str
    doc_id: int
    asked: str = ""
    wanted: str = ""
    incumbent: str
    candidate: str
    scores: tuple[float, float]

    def block(self, against: str) -> list[str]:
        """It as lines of Markdown. In a block, and without backticks: texts are anybody's."""
        texts = {"asked": self.asked, "wanted": self.wanted, against: self.incumbent, "this one": self.candidate}
        rows = [f"{name:<{max(map(len, texts))}}  {text}" for name, text in texts.items() if text or name == "this one"]
        before, now = self.scores
        head = f"{self.task} {self.doc_id}: {self.metric} {before:g} → {now:g}"
        return [head, "", "```text", *rows, "```"]


def worse(asked: Comparison, candidate: Path, incumbent: Path, questions: Path | None) -> tuple[Worse, ...]:
    """Of the documents below two artifacts those on which the candidate loses most; of equal ones the first."""
    ours, theirs = (dict(outcomes(asked, folder)) for folder in (candidate, incumbent))
    sign = 1 if asked.higher_is_better else -1
    lost = sorted((sign * (ours[one] - theirs[one]), one) for one in ours.keys() & theirs.keys())
    chosen = [one for difference, one in lost if difference < 0][:SHOWN]
    answers = [_answers(asked, folder, chosen) for folder in (incumbent, candidate)]
    known = _questions(asked.task, questions, chosen)
    return tuple(
        Worse(
            task=asked.task,
            metric=asked.metric,
            doc_id=one[0],
            asked=_short(str(known.get(one[0], {}).get("text", ""))),
            wanted=_short(" / ".join(known.get(one[0], {}).get("targets", []))),
            incumbent=answers[0][one],
            candidate=answers[1][one],
            scores=(theirs[one], ours[one]),
        )
        for one in chosen
    )


def _answers(asked: Comparison, folder: Path, chosen: list[Document]) -> dict[Document, str]:
    told = {}
    for one in _lines(folder / "samples" / f"{file_name(asked.task)}.jsonl"):
        document = (one["doc_id"], one["doc_hash"], one["target_hash"])
        if document in chosen:
            told[document] = _said(one.get("response"))
    return told


def _said(response: Any) -> str:
    """A text as it is; the likelihoods of choices as JSON."""
    first = response[0] if isinstance(response, list) and len(response) == 1 else response
    return _short(first if isinstance(first, str) else json.dumps(first, ensure_ascii=False))


def _questions(task: str, folder: Path | None, chosen: list[Document]) -> dict[int, dict[str, Any]]:
    if folder is None or not chosen:
        return {}
    wanted = {(number, known) for number, known, _ in chosen}
    found = (one for one in _lines(folder / "questions.jsonl") if one["task"] == task)
    return {one["doc_id"]: one for one in found if (one["doc_id"], one["doc_hash"]) in wanted}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


def _short(text: str) -> str:
    flat = line(text).replace("`", "'")
    return flat if len(flat) <= LONG else f"{flat[: LONG // 2]} … {flat[-LONG // 2 :]}"
