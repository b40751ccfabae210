"""The quickstart's data: support tickets and the JSON they should become. `python generate.py` makes it again.

Held-out tickets are written in other words about other products, people and orders, so that a good score means the
task was learned and not the rows. Deterministic: only `Random.random()`, whose sequence Python promises to keep.
"""

import json
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar

HERE = Path(__file__).parent
INSTRUCTION = "Triage this ticket as JSON."
CATEGORIES = ("defect", "delivery", "billing", "return")
URGENCIES = ("later", "soon", "urgent")

T = TypeVar("T")


class Wording(NamedTuple):
    """Everything one half of the data is written with; `issues` by category, `cues` by urgency."""

    products: list[str]
    names: list[str]
    greetings: list[str]
    orders: list[str]
    issues: dict[str, list[str]]
    cues: dict[str, list[str]]


def wordings() -> tuple[Wording, Wording]:
    """How training and held-out tickets are written."""
    halves = json.loads((HERE / "wording.json").read_text(encoding="utf-8"))
    return Wording(**halves["train"]), Wording(**halves["heldout"])


def pick(rng: Random, items: list[T]) -> T:
    """One item, by `random()` alone."""
    return items[int(rng.random() * len(items))]


def ticket(rng: Random, wording: Wording, labels: dict[str, str]) -> str:
    """A ticket's text: greeting, issue and order in either order, urgency cue, signed."""
    issue = pick(rng, wording.issues[labels["category"]]).format(product=labels["product"])
    order = pick(rng, wording.orders).format(order=labels["order"])
    cue = pick(rng, wording.cues[labels["urgency"]])
    greeting = pick(rng, wording.greetings)
    layout = pick(rng, [[greeting, issue, order, cue], [greeting, order, issue, cue]])
    parts = [part for part in layout if part] + [pick(rng, wording.names)]
    starts = [i == 0 or not parts[i - 1].endswith(",") for i in range(len(parts))]
    return " ".join(p[0].upper() + p[1:] if first else p for p, first in zip(parts, starts, strict=True))


def rows(rng: Random, count: int, wording: Wording, taken: set[str]) -> list[dict[str, str]]:
    """Tickets with their answers, under orders that are not `taken`, which they are afterwards.

    Categories and urgencies take turns, so that any five rows show all of them.
    """
    made: list[dict[str, str]] = []
    while len(made) < count:
        labels = {
            "product": pick(rng, wording.products),
            "category": CATEGORIES[len(made) % len(CATEGORIES)],
            "urgency": URGENCIES[len(made) % len(URGENCIES)],
            "order": str(10000 + int(rng.random() * 90000)),
        }
        text = ticket(rng, wording, labels)
        if labels["order"] not in taken:
            taken.add(labels["order"])
            expected = json.dumps(labels, separators=(",", ":"))
            made.append({"prompt": f"{INSTRUCTION}\n{text}", "ticket": text, "expected": expected})
    return made


def conversation(row: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """A row as one question and its answer."""
    return {
        "messages": [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["expected"]},
        ]
    }


def lines(items: list[dict[str, T]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(item) + "\n" for item in items)


def write(folder: Path) -> None:
    """train.jsonl, 400 rows, and heldout.jsonl, 60 rows: the same bytes every time."""
    rng, taken = Random(1), set[str]()
    train, heldout = wordings()
    (folder / "train.jsonl").write_text(lines([conversation(row) for row in rows(rng, 400, train, taken)]))
    (folder / "heldout.jsonl").write_text(lines(rows(rng, 60, heldout, taken)))


if __name__ == "__main__":
    write(HERE)
