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
URGENCIES = ("low", "normal", "high")

T = TypeVar("T")


class Wording(NamedTuple):
    """Everything one half of the data is written with; `issues` by category, `cues` by urgency."""

    products: list[str]
    names: list[str]
    order_letters: str
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
    """A ticket's text: greeting, issue, order and urgency cue in one of three orders, signed."""
    issue = pick(rng, wording.issues[labels["category"]]).format(product=labels["product"])
    order = pick(rng, wording.orders).format(order=labels["order"])
    cue = pick(rng, wording.cues[labels["urgency"]])
    greeting = pick(rng, wording.greetings)
    layout = pick(rng, [[greeting, issue, order, cue], [greeting, order, issue, cue], [greeting, cue, issue, order]])
    parts = [part for part in layout if part] + [pick(rng, wording.names)]
    starts = [i == 0 or not parts[i - 1].endswith(",") for i in range(len(parts))]
    return " ".join(p[0].upper() + p[1:] if first else p for p, first in zip(parts, starts, strict=True))


def rows(seed: int, count: int, wording: Wording) -> list[dict[str, str]]:
    """`count` different tickets with their answers; categories and urgencies take turns, so that five rows show all."""
    rng, seen, made = Random(seed), set[str](), list[dict[str, str]]()
    while len(made) < count:
        letters = pick(rng, list(wording.order_letters)) + pick(rng, list(wording.order_letters))
        labels = {
            "product": pick(rng, wording.products),
            "category": CATEGORIES[len(made) % len(CATEGORIES)],
            "urgency": URGENCIES[len(made) % len(URGENCIES)],
            "order": f"{letters}-{1000 + int(rng.random() * 9000)}",
        }
        text = ticket(rng, wording, labels)
        if labels["order"] not in seen:
            seen.add(labels["order"])
            made.append({"ticket": text, "expected": json.dumps(labels, separators=(",", ":"))})
    return made


def train_rows() -> list[dict[str, list[dict[str, str]]]]:
    """400 conversations of one question and its answer."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"{INSTRUCTION}\n{row['ticket']}"},
                {"role": "assistant", "content": row["expected"]},
            ]
        }
        for row in rows(1, 400, wordings()[0])
    ]


def heldout_rows() -> list[dict[str, str]]:
    """60 questions of the same kind, with the answer that is expected."""
    return [{"prompt": f"{INSTRUCTION}\n{row['ticket']}", **row} for row in rows(2, 60, wordings()[1])]


def lines(items: list[dict[str, T]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(item) + "\n" for item in items)


def write(folder: Path) -> None:
    """train.jsonl and heldout.jsonl, the same bytes every time."""
    (folder / "train.jsonl").write_text(lines(train_rows()))
    (folder / "heldout.jsonl").write_text(lines(heldout_rows()))


if __name__ == "__main__":
    write(HERE)
