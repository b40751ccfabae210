"""The quickstart's tickets: made by the script beside them, and the held-out ones really held out."""

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TICKETS = Path(__file__).parents[2] / "configs" / "tickets"


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TICKETS / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def train() -> list[dict[str, str]]:
    return [
        {
            "ticket": row["messages"][0]["content"].split("\n", 1)[1],
            "expected": row["messages"][1]["content"],
            "prompt": row["messages"][0]["content"],
        }
        for row in rows("train.jsonl")
    ]


@pytest.fixture(scope="module")
def heldout() -> list[dict[str, str]]:
    return rows("heldout.jsonl")


def grams(text: str, size: int) -> Iterator[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return (tuple(words[at : at + size]) for at in range(len(words) - size + 1))


def values(tickets: list[dict[str, str]], field: str) -> set[str]:
    return {json.loads(row["expected"])[field] for row in tickets}


def test_the_script_makes_the_committed_bytes_again(tmp_path: Path) -> None:
    module(TICKETS / "generate.py").write(tmp_path)
    for name in ("train.jsonl", "heldout.jsonl"):
        assert (tmp_path / name).read_bytes() == (TICKETS / name).read_bytes()


@pytest.mark.parametrize("size", [4, 8])
def test_no_held_out_ticket_shares_a_run_of_words_with_training(
    train: list[dict[str, str]], heldout: list[dict[str, str]], size: int
) -> None:
    seen = {gram for row in train for gram in grams(row["ticket"], size)}
    assert seen
    assert not seen & {gram for row in heldout for gram in grams(row["ticket"], size)}


@pytest.mark.parametrize("field", ["product", "order"])
def test_products_and_orders_are_other_ones(
    train: list[dict[str, str]], heldout: list[dict[str, str]], field: str
) -> None:
    assert not values(train, field) & values(heldout, field)


def test_people_are_other_ones(train: list[dict[str, str]], heldout: list[dict[str, str]]) -> None:
    assert not {row["ticket"].split()[-1] for row in train} & {row["ticket"].split()[-1] for row in heldout}


@pytest.mark.parametrize("field", ["category", "urgency"])
def test_labels_are_the_same_and_none_is_rare(
    train: list[dict[str, str]], heldout: list[dict[str, str]], field: str
) -> None:
    assert values(train, field) == values(heldout, field)
    for tickets in (train, heldout, heldout[:12]):
        counts = Counter(json.loads(row["expected"])[field] for row in tickets)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_counts_and_forms(train: list[dict[str, str]], heldout: list[dict[str, str]]) -> None:
    assert (len(train), len(heldout)) == (400, 60)
    for row in train + heldout:
        answer = json.loads(row["expected"])
        assert list(answer) == ["product", "category", "urgency", "order"]
        assert row["expected"] == json.dumps(answer, separators=(",", ":"))
        assert answer["order"] in row["ticket"]
        assert answer["product"] in row["ticket"]
        assert row["prompt"].endswith("\n" + row["ticket"])


@pytest.mark.parametrize(
    ("answer", "exact", "share"),
    [
        ('{"product":"lamp","category":"defect","urgency":"low","order":"AB-1"}', 1, 1),
        ('{"order": "AB-1", "urgency": "low", "category": "defect", "product": "lamp"}', 1, 1),
        ('{"product":"lamp","category":"billing","urgency":"low","order":"AB-1"}', 0, 0.75),
        ('{"product":"lamp","category":"defect","urgency":"low","order":"AB-1","more":1}', 0, 1),
        ('{"product":"lamp"}', 0, 0.25),
        ('["product"]', 0, 0),
        ("a lamp", 0, 0),
        ("", 0, 0),
    ],
)
def test_an_answer_is_scored_as_a_whole_and_by_field(answer: str, exact: float, share: float) -> None:
    expected = '{"product":"lamp","category":"defect","urgency":"low","order":"AB-1"}'
    score = module(TICKETS / "tasks" / "utils.py").score({"expected": expected}, [answer])
    assert score == {"exact_match": exact, "field_score": share}
