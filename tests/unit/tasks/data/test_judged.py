"""Pairs and labels, from rows to sequences: what is learned of each text, what stays together, and what is accounted for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.errors import BadData
from tasks.data.config import DataConfig
from tasks.data.judged import Texts, strangers
from tasks.data.layouts import Shape
from tasks.data.preview import Question, Shown
from tasks.data.previewing import look
from tasks.data.rows import BadRow, Chat, Preference, sequences
from tasks.data.templates import Rendered, Template
from tests import chats, tiny
from tests.chats import TOOLS, answer, call, result, user
from tests.unit.tasks.data.conftest import Made, Make

pytestmark = pytest.mark.heavy

TALK = [user("2 and 2?"), answer("Four."), user("And 3?")]
CALLED = [user("2 and 2?"), answer("", tool_calls=[call(to=2)]), result("4")]
PAIRS = {
    "turns": {"prompt": TALK, "chosen": [answer("Seven.")], "rejected": [answer("Eight, naïve 🦊.")]},
    "agents": {
        "chosen": [*CALLED, answer("Four.")],
        "rejected": [*CALLED, answer("", tool_calls=[call(to=9)]), result("13"), answer("Thirteen.")],
        "tools": list(TOOLS),
    },
    "reasoning": {
        "prompt": TALK,
        "chosen": [answer("Seven.", reasoning_content="Three more.")],
        "rejected": [answer("Six.")],
    },
}


@pytest.mark.parametrize("name", ["chatml", "trl/qwen3", "trl/gptoss"])
def test_what_is_learned_of_pairs_is_as_it_was_looked_at(name: str, golden: Callable[[str], Path]) -> None:
    template, told = chats.template(name), ""
    for kind, row in PAIRS.items():
        pair = Shape("preference").parse(row)
        assert isinstance(pair, Preference)
        made = Template(chats.tokenizer(template), template).render([("a:1", text) for text in sequences(pair)])
        shown = [chats.bracketed(text) if isinstance(text, Rendered) else str(text) for text in made]
        for side, text in zip(("chosen", "rejected"), shown, strict=True):
            told += f"=== {kind}, {side}\n{text}\n"
    path = golden(f"pairs-{name.replace('/', '-')}.txt")
    assert told == path.read_text(encoding="utf-8")


def pair(number: int, **more: Any) -> dict[str, Any]:
    """A pair that no other is equal to; the chosen answer is one word longer."""
    asked = [user(f"Ticket {number}: my red printer is broken.")]
    return {"prompt": asked, "chosen": [answer(f"printer number {number}")], "rejected": [answer("router")], **more}


def labelled(number: int, label: bool) -> dict[str, Any]:
    return {"messages": [user(f"Ticket {number}: my badge was lost."), answer(f"badge {number}")], "label": label}


def texts(made: Made, tokenizer: Any, side: str = "train") -> list[list[str]]:
    """The pieces of every sequence as text, what is learned in brackets."""
    ids, weights = made.split(side)

    def told(piece: int) -> str:
        return "".join(
            f"⟦{text}⟧" if weight else text
            for text, weight in zip(map(tokenizer.decode, ids[piece]), weights[piece], strict=True)
        ).replace("⟧⟦", "")

    return [[told(piece) for piece in held] for held in made.bins(side)]


def test_a_pair_is_two_texts_of_one_sequence(make: Make, write: Callable[..., Path], tokenizer: Any) -> None:
    made = make(write([pair(number) for number in range(20)]), max_length=64, validation_split=0.2)
    index = json.loads((made.folder / "index.json").read_text())
    assert (index["judged"], index["prompt_loss_weight"], made.summary["judged"]) == ("pairs", 0.0, "pairs")
    seen = []
    for held in texts(made, tokenizer):
        assert len(held) >= 2, "several pairs fit into 2 × max_length"
        for chosen, rejected in zip(held[::2], held[1::2], strict=True):
            number = chosen.partition("Ticket ")[2].partition(":")[0]
            assert chosen.endswith(f"⟦printer number {number}<|im_end|>⟧\n")
            assert rejected == chosen.replace(f"printer number {number}", "router")
            seen.append(int(number))
    assert len(set(seen)) == len(seen) == made.summary["train_rows"] < 20
    report = made.report()
    answers = [[f"printer number {number}" for number in range(20)], ["router"] * 20]
    said = [[len(tokenizer.encode(text)) + 1 for text in side] for side in answers]  # and the end of the turn
    assert report["judged"] == {
        "pairs": 20,
        "mean_chosen_tokens": pytest.approx(np.mean(said[0]), abs=0.05),
        "mean_rejected_tokens": pytest.approx(np.mean(said[1]), abs=0.05),
        "longer_chosen_share": 1.0,
    }
    assert report["rows"] == report["train_rows"] + report["validation_rows"] == 20
    assert report["train_tokens"] == sum(map(len, made.split("train")[0]))
    assert 0.3 < report["fill"] <= 1
    prompts = [json.loads(line) for line in (made.folder / "prompts.jsonl").read_text().splitlines()]
    assert {prompt["answer"].split()[0] for prompt in prompts} == {"printer"}, "held-out prompts come with the chosen"
    assert '<del class="rejected"' in (made.folder / "report.html").read_text()


def test_overlong_pairs_go_as_a_whole_and_cuts_are_by_text(make: Make, write: Callable[..., Path]) -> None:
    long = answer("router " * 40)
    rows = [*(pair(number) for number in range(6)), pair(6, rejected=[long]), pair(7, chosen=[long])]
    dropped = make(write(rows), max_length=40, validation_split=0)
    assert dropped.report()["dropped_why"] == {"longer than max_length": 2}
    assert dropped.summary["train_rows"] == 6
    cut = make(write(rows), max_length=40, validation_split=0, overlong="truncate", packing=False)
    assert (cut.summary["truncated"], cut.summary["dropped"]) == (2, 0)
    ids, weights = cut.split("train")
    assert max(map(len, ids)) == 40
    assert all((held > 0).any() for held in weights)
    report = cut.report()
    assert report["cost"]["learned_tokens"] == sum(int((held > 0).sum()) for held in weights)
    assert report["cost"]["tokens"] == sum(map(len, ids))
    assert report["longest"] > 60, "before anything was cut"


def test_quality_looks_at_both_answers_and_at_the_prompt_once(make: Make, write: Callable[..., Path]) -> None:
    rows = [
        *(pair(number) for number in range(5)),
        pair(5, rejected=[answer("as an AI language model")]),
        pair(6, chosen=[answer("write to ann@corp.org")], rejected=[answer("write to bob@corp.org")]),
        pair(0),
    ]
    made = make(
        write(rows),
        validation_split=0,
        sensitive="redact",
        drop_duplicates=True,
        filters={"exclude": ["AI language"]},
    )
    why = made.report()["dropped_why"]
    assert why == {
        "filters.exclude 'AI language' is in it": 1,
        "chosen and rejected are equal without personal data and secrets": 1,
        "equal to an earlier row": 1,
    }
    assert made.summary["train_rows"] == 5


def test_labels_come_with_strangers_within_the_limit(make: Make, write: Callable[..., Path], tokenizer: Any) -> None:
    rows = [labelled(number, number % 3 > 0) for number in range(12)]
    made = make(write(rows), format="unpaired_preference", max_length=64, validation_split=0)
    assert made.summary["judged"] == "labels"
    told = made.report()["judged"]
    assert (told.pop("desirable"), told.pop("undesirable")) == (8, 4)
    assert {name: value > 1 for name, value in told.items()} == {
        "mean_desirable_tokens": True,
        "mean_undesirable_tokens": True,
    }
    ids, _ = made.split("train")
    said = [tokenizer.decode(tokens) for tokens in ids]
    labels = np.load(made.folder / "train" / "labels.npy").tolist()
    assert [int(text.rpartition("badge ")[2].partition("<")[0]) % 3 > 0 for text in said] == [bool(at) for at in labels]
    tokens = np.memmap(made.shards[0] / "tokens.bin", "<u4", "r")
    answers = []
    for own, (prompt, other) in zip(said, np.load(made.folder / "train" / "strangers.npy").tolist(), strict=True):
        asked, answered = (tokenizer.decode(tokens[begin : begin + length]) for _, begin, length in (prompt, other))
        assert own.startswith(asked)
        assert not own.endswith(answered)
        assert answered.startswith("badge ")
        answers.append(answered)
    assert sorted(answers) == sorted("badge" + text.rpartition("badge")[2] for text in said), "each answer once"


def test_all_that_is_judged_of_a_prompt_is_held_out_or_none(make: Make, write: Callable[..., Path]) -> None:
    rows = [pair(at // 3, rejected=[answer(f"router {at}")]) for at in range(90)]
    made = make(write(rows), max_length=64, validation_split=0.3)
    taken = np.load(made.folder / "taken.npy").reshape(30, 3)
    assert (taken == taken[:, :1]).all()
    prompts = [json.loads(line)["prompt"] for line in (made.folder / "prompts.jsonl").read_text().splitlines()]
    assert len(set(prompts)) == len(prompts) == int((taken[:, 0] < 0).sum()) > 3, "each prompt is asked once"
    alone = make(write([pair(0, rejected=[answer(f"router {at}")]) for at in range(20)]), validation_split=0.3)
    assert alone.summary["validation_rows"] > 0, "one prompt is not all held out, nor all trained on"


def test_held_out_prompts_come_with_answers_that_were_liked(make: Make, write: Callable[..., Path]) -> None:
    rows = [labelled(number, number % 2 > 0) for number in range(40)]
    made = make(write(rows), format="unpaired_preference", max_length=64, validation_split=0.5)
    answers = [json.loads(line)["answer"] for line in (made.folder / "prompts.jsonl").read_text().splitlines()]
    assert len(answers) > 5
    assert {int(text.removeprefix("badge ")) % 2 for text in answers} == {1}


def test_a_label_on_a_conversation_is_of_its_last_answer() -> None:
    talk = [*TALK, answer("Seven.")]
    (whole,) = sequences(Shape("unpaired_preference").parse({"messages": talk, "label": True}))
    (given,) = sequences(
        Shape("unpaired_preference").parse({"prompt": TALK[:1], "completion": talk[1:], "label": False})
    )
    assert isinstance(whole, Chat)
    assert isinstance(given, Chat)
    assert (whole.given, given.given) == (3, 1)


def test_rows_of_several_kinds_are_refused(make: Make, write: Callable[..., Path]) -> None:
    with pytest.raises(BadData, match="several kinds") as caught:
        make(write([pair(0), *tiny.rows(3)]))
    assert caught.value.value == "1 pairs, 0 answers with a label, 3 other rows"


def test_a_preview_shows_the_prompt_once_and_tells_the_answers_apart(
    tokenizer_folder: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    config = DataConfig(train_files=[str(write([pair(0)]))])
    (shown,) = look(Question(config=config, tokenizer=tokenizer_folder, rows=1, scratch=tmp_path)).rows
    assert isinstance(shown, Shown)
    assert [
        (part.text, part.learned, part.rejected) for part in shown.parts if part.tokens > 1 or "rejected" in part.text
    ] == [
        ("user\nTicket 0: my red printer is broken.<|im_end|>\n<|im_start|>assistant\n", False, False),
        ("printer number 0<|im_end|>", True, False),
        ("\nrejected: ", False, False),
        ("router<|im_end|>", True, True),
    ]
    assert shown.learned == sum(part.tokens for part in shown.parts if part.learned) == sum(shown.answers)


def test_strangers_answer_another_prompt_where_there_is_one() -> None:
    chance = np.random.default_rng(0)
    order, asked = chance.integers(2**63, size=999, dtype=np.uint64), chance.integers(4, size=999, dtype=np.uint64)
    found = strangers(order, asked)
    assert sorted(found.tolist()) == list(range(999)), "each answer once"
    assert (asked[found] != asked).all()
    assert strangers(order[:0], asked[:0]).tolist() == []
    one = np.zeros(3, np.uint64)
    assert strangers(np.array([5, 1, 3], np.uint64), one).tolist() == [1, 2, 0], "the next one where all ask the same"
    assert strangers(order[:1], one[:1]).tolist() == [0]


def test_what_is_cut_of_a_pair_is_counted_by_text() -> None:
    whole = Texts(np.array([[10, 30]]), np.array([[4, 20]]), np.array([[6, 10]]))
    cut = whole.cut(16)
    assert (cut.length.tolist(), cut.learned.tolist()) == ([[10, 16]], [[4, 6]])


def test_a_shard_that_an_earlier_version_could_not_read_is_made_anew(
    make: Make, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, home = write([pair(number) for number in range(4)]), tmp_path / "home"

    def unreadable(_shape: Shape, _value: object) -> None:
        raise BadRow("holds judged answers; they cannot be trained on yet")

    with monkeypatch.context() as earlier:
        earlier.setattr(Shape, "parse", unreadable)
        with pytest.raises(BadData, match="4 of 4 rows cannot be used"):
            make(rows, home=home)
    assert make(rows, home=home, validation_split=0).summary["train_rows"] == 4
