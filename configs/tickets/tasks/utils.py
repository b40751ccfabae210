"""What tickets.yaml calls: where the tickets are, and how an answer is scored."""

import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent  # beside this folder, from whatever directory lm-eval is started


def load(**_: Any) -> Any:
    """`test`: the held-out tickets; `train`: the training tickets in the same form, for few-shot examples."""
    from datasets import Dataset, DatasetDict  # noqa: PLC0415 - scoring alone needs no torch

    return DatasetDict(
        test=Dataset.from_list(_lines("heldout.jsonl")),
        train=Dataset.from_list([_question(row["messages"]) for row in _lines("train.jsonl")]),
    )


def score(doc: dict[str, str], results: list[str]) -> dict[str, float]:
    """`exact_match`: 1 where the answer is the expected JSON and nothing else; `field_score`: share of fields right."""
    expected: dict[str, str] = json.loads(doc["expected"])
    answer = _parsed(results[0])
    right = sum(answer.get(field) == value for field, value in expected.items())
    return {"exact_match": float(answer == expected), "field_score": right / len(expected)}


def _parsed(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _question(messages: list[dict[str, str]]) -> dict[str, str]:
    question, answer = (message["content"] for message in messages)
    return {"prompt": question, "ticket": question.split("\n", 1)[1], "expected": answer}


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]
