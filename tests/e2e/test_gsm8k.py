"""The shipped recipe for GSM8K on made-up problems of its form: templates, masks, and no test question among the rows."""

import json
import random
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from infra.settings import Platform, Settings
from infra.storage.receipt import Receipt
from pipelines.recipe import Recipe, load
from tasks.base import stage as base
from tasks.data import stage as data
from tasks.data.tokens import load as load_tokenizer
from tasks.evaluation import stage as evaluation
from tasks.evaluation.finding import manager
from tests.unit.tasks.data.conftest import Made

pytestmark = [pytest.mark.heavy, pytest.mark.slow]

CONFIGS = Path(__file__).parents[2] / "configs"
WORDS = (
    *("acorn", "basket", "candle", "drawer", "engine", "feather", "garden", "hammer", "island", "jacket", "kettle"),
    *("ladder", "marble", "needle", "orchard", "pencil", "quilt", "ribbon", "saddle", "teapot", "umbrella", "violin"),
    *("wagon", "yarn", "zipper", "blanket", "cushion", "lantern", "barrel", "magnet"),
)


def problems(n: int, seed: int) -> list[dict[str, str]]:
    """Rows with GSM8K's columns, its notes for a calculator and its last line; no two share many words in a row."""
    chance = random.Random(seed)
    return [_problem(chance) for _ in range(n)]


def _problem(chance: random.Random) -> dict[str, str]:
    who, what, where, more, less = chance.sample(WORDS, 5)
    each, boxes = chance.randint(3, 90), chance.randint(3, 90)
    total = each * boxes
    question = (
        f"A {who} maker puts {each} {what}s into every {where} and fills {boxes} of them, with a {more} on top "
        f"and no {less} below. How many {what}s does the {who} maker need?"
    )
    answer = f"Every {where} takes {each}.\nSo it is {each}*{boxes} = <<{each}*{boxes}={total}>>{total}.\n#### {total}"
    return {"question": question, "answer": answer}


def project(folder: Path, train: Iterable[dict[str, str]], test: Iterable[dict[str, str]]) -> Recipe:
    """The shipped recipe over a copy of its folder in which the two files lie."""
    tasks = Path(shutil.copytree(CONFIGS / "gsm8k" / "tasks", folder / "tasks"))
    _write(folder / "train.jsonl", train)
    _write(tasks / "test.jsonl", test)
    overrides = {"data.train_files": [str(folder / "train.jsonl")], "evaluate.include_path": str(tasks)}
    return load("gsm8k", overrides)


def _write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def trained_on(platform: Platform, tokenizer: Receipt, dataset: Receipt, room: Path) -> list[tuple[str, str]]:
    """Every row of both sides as text, and the part of it that is learned."""
    store, cache = platform.store, platform.cache
    parts = store.manifest(dataset).parts
    shards = [cache.materialise(store, part, room / name) for name, part in parts.items()]
    made = Made(cache.materialise(store, dataset, room / "dataset"), shards, dict(dataset.summary))
    decode = load_tokenizer(cache.materialise(store, tokenizer, room / "tokenizer")).decode
    sides = [made.split(side) for side in ("train", "validation")]
    rows = [row for tokens, weights in sides for row in zip(tokens, weights, strict=True)]
    assert {float(weight) for _, weights in rows for weight in weights} == {0.0, 1.0}
    return [(decode(tokens), decode(tokens[weights > 0])) for tokens, weights in rows]


def test_rows_are_written_by_the_template_and_none_that_holds_a_question_is_trained_on(tmp_path: Path) -> None:
    clean, test = problems(40, seed=1), problems(4, seed=2)
    again = {"question": test[1]["question"].upper(), "answer": test[1]["answer"]}
    inside = {"question": f"Ann asked Ben this. {test[2]['question']} He knew.", "answer": "It took him long.\n#### 3"}
    recipe = project(tmp_path, [*clean[:10], test[0], *clean[10:20], again, *clean[20:], inside], test)
    platform = Settings(home=tmp_path / "home", store="").platform()
    store = platform.store

    tokenizer = base.tokenizer(recipe.base, platform)
    questions = evaluation.questions(recipe.evaluate, platform)
    overlap = data.overlap(recipe.data, questions, platform)
    dataset = data.run(recipe.data, tokenizer, platform, overlap)

    asked = [json.loads(line)["text"] for line in store.read(questions, "questions.jsonl").splitlines()]
    assert asked == [f"Question: {row['question']}\nAnswer:" for row in test]
    found = json.loads(store.read(overlap, "overlap.json"))
    assert (found["rows"], found["rows_hit"]) == (43, 3)
    hits = [(hit["place"], hit["doc_id"], hit["answered"]) for hit in found["hits"]]
    assert hits == [("train.jsonl:11", 0, True), ("train.jsonl:22", 1, True), ("train.jsonl:43", 2, False)]
    report = json.loads(store.read(dataset, "report.json"))
    assert report["dropped_why"] == {"in the evaluation": 3}

    learned = trained_on(platform, tokenizer, dataset, tmp_path / "room")
    wanted = [(row["question"], re.sub("<<.*?>>", "", row["answer"])) for row in clean]
    rows = [
        (f"Question: {question}\nAnswer: {answer}<|im_end|>", f" {answer}<|im_end|>") for question, answer in wanted
    ]
    assert sorted(learned) == sorted(rows)


@pytest.mark.parametrize(
    ("said", "score"),
    [
        (" 3*4 = 12\n#### 1200", 1.0),
        (" #### $1,200.", 1.0),
        (" So it is 7.\n#### 1,200\n\nThe next one.\n#### 8", 1.0),
        (" The answer is 1200.", 0.0),
        (" #### 120", 0.0),
        (" 1200\n#### 12000", 0.0),
    ],
)
def test_an_answer_is_right_where_the_number_behind_the_first_mark_is(
    said: str, score: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = {"question": "How many?", "answer": "3*400 = <<3*400=1200>>1,200\n#### 1,200"}
    project(tmp_path, [], [problem])
    monkeypatch.chdir(tmp_path / "tasks")  # where the evaluation's process stands too
    task = manager(["grade_school_math"], tmp_path / "tasks").load(["grade_school_math"])["tasks"]["grade_school_math"]
    task.build_all_requests()
    (asked,) = task.instances
    asked.resps.append(said)
    task.apply_filters()
    assert task.process_results(asked.doc, [asked.filtered_resps["none"]]) == {"exact_match": score}
