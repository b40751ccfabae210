"""The overlap step: what its artifact tells of rows of every layout, and what becomes of the rows that it names."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.errors import Lost
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.data import overlap, stage
from tasks.data.config import DataConfig
from tasks.data.layouts import Shape
from tasks.data.rows import fingerprint
from tests import jobs, tiny
from tests.unit.tasks.data.conftest import Make

Write = Callable[..., Path]

ASKED = "Which of the seven rivers of this country flows from the highest lake to the sea?"
OTHER = "How many people live in the largest town that lies on the shore of the northern lake?"
QUESTIONS = [
    {"task": "rivers", "doc_id": 0, "doc_hash": "a", "text": ASKED, "targets": ["the Amber"], "choices": []},
    {
        "task": "rivers",
        "doc_id": 1,
        "doc_hash": "b",
        "text": OTHER,
        "targets": ["A", "northern"],
        "choices": ["A", "B"],
    },
    {"task": "towns", "doc_id": 0, "doc_hash": "c", "text": "Hm?", "targets": [""], "choices": []},
]
PLAIN = [{"prompt": f"Row {number}: say something.", "completion": "something"} for number in range(20)]


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return jobs.platform(tmp_path / "home")


@pytest.fixture
def questions(platform: Platform, tmp_path: Path) -> Receipt:
    folder = tmp_path / "questions"
    folder.mkdir()
    lines = [json.dumps(question) + "\n" for question in QUESTIONS]
    (folder / "questions.jsonl").write_text("".join(lines), encoding="utf-8")
    return jobs.keep(platform, "questions", folder)


@pytest.fixture
def compare(platform: Platform, questions: Receipt) -> Callable[..., Receipt]:
    """Runs the work on files of rows in this process; its receipt."""

    def run(*files: Path, **fields: Any) -> Receipt:
        step = stage.overlap_step(DataConfig(train_files=[str(path) for path in files], **fields), questions)
        given = jobs.job(platform, "overlap", step.config, step.inputs, step.key)
        return jobs.keep(platform, "overlap", given.out, overlap.work(given), step.inputs, key=step.key)

    return run


def told(platform: Platform, receipt: Receipt) -> dict[str, Any]:
    return json.loads(platform.store.read(receipt, "overlap.json"))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "The Amber."}]},
        {
            "prompt": "Which of the seven rivers of this country flows",
            "completion": ASKED.split("flows ")[1] + " (the amber)",
        },
        {"text": f"An exam. Question 1. {ASKED.upper()} It is the Amber, as all know."},
        {"instruction": "Answer.", "input": ASKED, "output": "the Amber"},
        {
            "messages": [
                {"role": "system", "content": ASKED},
                *tiny.rows(1)[0]["messages"][-2:],
                {"role": "user", "content": "the amber?"},
                {"role": "assistant", "content": "yes"},
            ]
        },
    ],
    ids=["chat", "over prompt and answer", "document", "alpaca", "system message"],
)
def test_a_question_in_a_row_of_any_layout_is_told_with_its_place(
    platform: Platform, compare: Callable[..., Receipt], write: Write, row: dict[str, Any]
) -> None:
    receipt = compare(write([*PLAIN, row]))
    figures = {
        name: receipt.summary[name] for name in ("rows", "rows_hit", "questions", "questions_hit", "answers_hit")
    }
    assert figures == {"rows": 21, "rows_hit": 1, "questions": 3, "questions_hit": 1, "answers_hit": 1}
    report = told(platform, receipt)
    rivers = {"task": "rivers", "questions": 2, "searched": 2, "hit": 1, "answered": 1, "rows": 1}
    towns = {"task": "towns", "questions": 1, "searched": 0, "hit": 0, "answered": 0, "rows": 0}
    assert report["tasks"] == [rivers, towns]
    (hit,) = report["hits"]
    assert (hit["place"], hit["task"], hit["doc_id"], hit["answered"]) == ("rows.jsonl:21", "rivers", 0, True)
    assert hit["text"].startswith("which of the seven rivers")
    assert "`rows.jsonl:21` holds rivers 0 and its answer" in platform.store.read(receipt, "overlap.md").decode()


def test_the_hashes_are_those_of_the_rows(platform: Platform, compare: Callable[..., Receipt], write: Write) -> None:
    rows = [*PLAIN, *({"prompt": asked, "completion": "?"} for asked in (ASKED, OTHER, f"{ASKED} {OTHER}", ASKED))]
    receipt = compare(write(rows))
    folder = platform.cache.materialise(platform.store, receipt, platform.home / "read")
    shape = Shape("auto", {})
    expected = sorted({fingerprint(shape.parse(row)) for row in rows[20:]})
    stored = np.load(folder / "rows.npy")
    assert stored.dtype == np.uint64
    assert stored.tolist() == expected
    assert receipt.summary["rows_hit"] == 3  # one of the four stands there twice
    assert told(platform, receipt)["tasks"][0]["rows"] == 4
    assert len(told(platform, receipt)["hits"]) == 5


def test_an_answer_that_the_question_holds_tells_nothing(
    platform: Platform, compare: Callable[..., Receipt], write: Write
) -> None:
    assert told(platform, compare(write([{"text": f"{OTHER} In the northern one."}])))["tasks"][0]["answered"] == 0
    assert told(platform, compare(write([{"text": f"{OTHER} A"}], "a.jsonl")))["tasks"][0]["answered"] == 1


def test_bad_rows_are_passed_over(platform: Platform, compare: Callable[..., Receipt], write: Write) -> None:
    half = json.dumps({"text": f"{ASKED} \ud800"})
    receipt = compare(write([PLAIN[0], "no JSON", half, {"text": ASKED}]))
    assert receipt.summary["rows_hit"] == 1
    assert [hit["place"] for hit in told(platform, receipt)["hits"]] == ["rows.jsonl:4"]


def test_sources_that_changed_meanwhile_are_refused(platform: Platform, questions: Receipt, write: Write) -> None:
    path = write(PLAIN)
    step = stage.overlap_step(DataConfig(train_files=[str(path)]), questions)
    write(PLAIN[:5])
    with pytest.raises(Lost, match="changed"):
        overlap.work(jobs.job(platform, "overlap", step.config, step.inputs, step.key))


def test_only_what_is_compared_is_in_its_key(questions: Receipt, write: Write) -> None:
    def key(**fields: Any) -> str:
        return stage.overlap_step(DataConfig(train_files=[str(write(PLAIN))], **fields), questions).key

    same = [key(), key(max_length=64), key(decontamination="drop"), key(packing=False), key(validation_split=0.5)]
    assert len(set(same)) == 1
    assert len({same[0], key(decontamination_ngram=8), key(format="prompt_completion")}) == 3


def found(rows_hit: int, sha256: str, content: str) -> Receipt:
    summary: Any = {"rows_hit": rows_hit, "rows_sha256": sha256}
    return Receipt(stage="overlap", key="0" * 64, attempt="a", uri="u", content_sha256=content, summary=summary)


def test_the_dataset_is_made_anew_only_where_other_rows_are_left_out(questions: Receipt, write: Write) -> None:
    path = str(write(PLAIN))

    def key(given: Receipt | None, decontamination: str = "drop") -> str:
        config = DataConfig.model_validate({"train_files": [path], "decontamination": decontamination})
        return stage.step(config, questions, given).key

    plain = key(None, "off")
    assert plain == key(None, "report") == key(found(3, "rows", "x"), "report") == key(found(0, "none", "x"))
    assert key(found(3, "rows", "x")) == key(found(3, "rows", "another report of them")) != plain
    assert key(found(3, "rows", "x")) != key(found(3, "others", "x"))


@pytest.mark.heavy
def test_rows_that_were_found_are_left_out_of_training_alone(
    make: Make, write: Write, compare: Callable[..., Receipt], platform: Platform
) -> None:
    asked = {"prompt": ASKED, "completion": "the Amber"}
    train, held = write([*PLAIN, asked]), write([{"prompt": OTHER, "completion": "?"}, PLAIN[3]], "held.jsonl")
    receipt = compare(train)
    folder = platform.cache.materialise(platform.store, receipt, platform.home / "found")
    made = make(train, validation_files=[str(held)], decontamination="drop", overlap=(receipt, folder))
    assert made.report()["dropped_why"] == {"in the evaluation": 1, "also in the validation files": 1}
    assert (made.summary["train_rows"], made.summary["validation_rows"]) == (19, 2)
    kept = make(train, validation_files=[str(held)], overlap=(receipt, folder))
    assert kept.summary["train_rows"] == 20
