"""The quickstart's data: support tickets and the JSON they should become. `python generate.py` writes both files again.

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


TRAIN = Wording(
    # fmt: off
    products=[
        "desk lamp",
        "kettle",
        "office chair",
        "toaster",
        "backpack",
        "bookshelf",
        "blender",
        "rain jacket",
        "alarm clock",
        "yoga mat",
        "coffee grinder",
        "garden hose",
        "keyboard",
        "picture frame",
        "sleeping bag",
        "bike helmet",
        "water bottle",
        "door lock",
        "pillow",
        "electric drill",
        "monitor",
        "suitcase",
        "frying pan",
        "doormat",
        "table fan",
        "hair dryer",
        "wine rack",
        "camera",
        "guitar",
        "ironing board",
        "laundry basket",
        "ladder",
        "printer",
        "carpet",
        "flower pot",
        "scarf",
    ],
    # fmt: on
    names=["Ada", "Bruno", "Clara", "Dario", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Katya", "Liam"],
    order_letters="ABCDEFGHJK",
    greetings=["", "Hi,", "Hello,", "Dear team,"],
    orders=[
        "Order {order}.",
        "My order is {order}.",
        "It was order {order}.",
        "Reference {order}.",
        "Order no. {order}.",
    ],
    issues={
        "defect": [
            "the {product} stopped working.",
            "the {product} is broken.",
            "my new {product} has a crack in it.",
            "the {product} will not switch on.",
            "my {product} broke after two days.",
            "there is a dent in the {product}.",
            "a part of the {product} is broken off.",
            "the {product} is faulty.",
            "my {product} is scratched and damaged.",
            "the {product} does not work any more.",
            "I think the {product} is defective.",
            "my {product} came damaged.",
        ],
        "delivery": [
            "the {product} has not arrived.",
            "where is my {product}? The parcel is late.",
            "my {product} went to the wrong address.",
            "the courier lost my {product}.",
            "the tracking of my {product} has not moved.",
            "the {product} never arrived.",
            "I am still waiting for the {product} to arrive.",
            "nobody delivered my {product}.",
            "when will the {product} be delivered?",
            "the delivery of the {product} is late.",
            "my parcel with the {product} is missing.",
            "the courier did not deliver the {product}.",
        ],
        "billing": [
            "I was charged twice for the {product}.",
            "the invoice for the {product} is wrong.",
            "I paid for the {product} but got no receipt.",
            "my discount on the {product} was not applied.",
            "the {product} costs more on my bill.",
            "my card was billed again for the {product}.",
            "the tax on the {product} invoice is wrong.",
            "I paid too much money for the {product}.",
            "my payment for the {product} went through two times.",
            "the amount you charged for the {product} is wrong.",
            "please send me a bill for the {product}.",
            "my bank shows two payments for the {product}.",
        ],
        "return": [
            "I want to send the {product} back.",
            "how do I return the {product}?",
            "I would like a refund for the {product}.",
            "please take back my {product}.",
            "I want to swap the {product} for another colour.",
            "the {product} is too small, I will return it.",
            "I changed my mind about the {product}.",
            "can I exchange the {product}?",
            "I do not want the {product}, please refund me.",
            "the {product} is not for me, may I give it back?",
            "I need a return label for the {product}.",
            "I do not need the {product} and want to return it.",
        ],
    },
    cues={
        "low": [
            "No rush.",
            "There is no rush at all.",
            "No hurry.",
            "I am in no hurry.",
            "Take your time.",
            "Please take your time with this.",
            "Whenever you have time.",
            "Low priority.",
            "This is low priority for me.",
        ],
        "normal": [
            "",
            "",
            "",
            "Thank you.",
            "Thanks for your help.",
            "Thanks a lot.",
        ],
        "high": [
            "This is urgent.",
            "Urgent!",
            "Very urgent, please help.",
            "I need this solved today.",
            "Please answer today.",
            "Please help right now.",
            "I need it immediately.",
            "Please reply immediately!",
            "It must be fixed today.",
        ],
    },
)

HELDOUT = Wording(
    # fmt: off
    products=[
        "vacuum cleaner",
        "camping tent",
        "wall mirror",
        "radio",
        "rice cooker",
        "sewing machine",
        "wool blanket",
        "tablet",
        "wallet",
        "paper shredder",
        "smoke detector",
        "piano stool",
    ],
    # fmt: on
    names=["Mila", "Noor", "Oskar", "Priya", "Quentin", "Rosa", "Stefan", "Tuva", "Umar", "Viola"],
    order_letters="LMNPQRSTUV",
    greetings=["Good morning.", "Greetings.", "To the support desk:"],
    orders=["Order number: {order}.", "This concerns {order}.", "We ordered under {order}."],
    issues={
        "defect": [
            "our {product} is broken in two.",
            "we got a faulty {product}.",
            "our {product} has cracks and does not work.",
            "we found our {product} damaged.",
            "our {product} stopped working yesterday.",
        ],
        "delivery": [
            "our {product} parcel has not been delivered.",
            "your courier never brought our {product}.",
            "our parcel with one {product} is late.",
            "our {product} did not arrive.",
            "we still wait for delivery of our {product}.",
        ],
        "billing": [
            "you charged us twice for our {product}.",
            "our {product} invoice shows a wrong price.",
            "we were billed too much for our {product}.",
            "we paid our {product} bill two times.",
            "your invoice for our {product} is too high.",
        ],
        "return": [
            "we want to return our {product}.",
            "please let us send our {product} back.",
            "we ask for a refund for our {product}.",
            "we would rather exchange our {product}.",
            "kindly take our {product} back and refund us.",
        ],
    },
    cues={
        "low": [
            "We are in no rush.",
            "We have no hurry here.",
            "Do take your time.",
            "It has low priority for us.",
        ],
        "normal": [
            "",
            "Many thanks.",
            "We thank you.",
        ],
        "high": [
            "Urgent for us!",
            "We need help today!",
            "Do act immediately.",
            "We need you right now.",
        ],
    },
)


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
    """`count` different tickets with their answers. Categories and urgencies take turns: none is rare, any five rows show all."""
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
        for row in rows(1, 400, TRAIN)
    ]


def heldout_rows() -> list[dict[str, str]]:
    """60 questions of the same kind, with the answer that is expected."""
    return [{"prompt": f"{INSTRUCTION}\n{row['ticket']}", **row} for row in rows(2, 60, HELDOUT)]


def lines(items: list[dict[str, T]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(item) + "\n" for item in items)


def write(folder: Path) -> None:
    """train.jsonl and heldout.jsonl, the same bytes every time."""
    (folder / "train.jsonl").write_text(lines(train_rows()))
    (folder / "heldout.jsonl").write_text(lines(heldout_rows()))


if __name__ == "__main__":
    write(HERE)
