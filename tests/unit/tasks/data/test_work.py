"""The artifact, read back as training reads it: layout, weights, splits, counts, and every refusal of whole sets."""

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from infra.errors import BadData, BadRecipe, BadTemplate, Lost
from tasks.data import worker
from tests import tiny
from tests.unit.tasks.data.conftest import Made, Make

pytestmark = pytest.mark.heavy

Write = Callable[..., Path]
ROWS = tiny.rows(60)


def texts(made: Made, tokenizer: Any, split: str) -> list[str]:
    return [tokenizer.decode(row.tolist()) for row in made.split(split)[0]]


def test_what_is_written_is_what_went_in(make: Make, write: Write, tokenizer: Any) -> None:
    made = make(write(ROWS), validation_split=0.2)
    train, held = texts(made, tokenizer, "train"), texts(made, tokenizer, "validation")
    went_in = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in ROWS]
    assert sorted(train + held) == sorted(went_in)
    assert [text for text in went_in if text in set(train)] == train
    assert made.summary["train_rows"] == len(train)
    assert made.summary["validation_rows"] == len(held) > 0
    assert made.summary["train_tokens"] == sum(map(len, made.split("train")[0]))
    assert (made.summary["eos_token_id"], made.summary["pad_token_id"]) == (2, 0)
    assert (made.folder / "chat_template.jinja").read_text() == tiny.TEMPLATE


@pytest.mark.parametrize("prompt_loss_weight", [0.0, 0.1, 1.0])
def test_answers_weigh_one_the_rest_as_told_and_the_first_token_nothing(
    make: Make, write: Write, tokenizer: Any, prompt_loss_weight: float
) -> None:
    row = {"messages": ROWS[0]["messages"][-2:]}
    made = make(write([row, *ROWS[1:20]]), prompt_loss_weight=prompt_loss_weight, validation_split=0)
    tokens, weights = (part[0].tolist() for part in made.split("train"))
    answer = tokenizer(row["messages"][1]["content"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
    prompt = np.float32(prompt_loss_weight)
    behind = len(tokens) - 1
    assert tokens[-len(answer) - 1 : behind] == answer
    assert weights == [0.0] + [prompt] * (behind - len(answer) - 1) + [1.0] * len(answer) + [prompt]


def test_packing_places_every_row_once_and_its_absence_alone(make: Make, write: Write) -> None:
    packed, alone = (make(write(ROWS), packing=packing, max_length=256) for packing in (True, False))
    for split in ("train", "validation"):
        lengths = [len(row) for row in packed.split(split)[0]]
        bins = packed.bins(split)
        assert sorted(row for rows in bins for row in rows) == list(range(len(lengths)))
        assert max(sum(lengths[row] for row in rows) for rows in bins) <= 256
        assert alone.bins(split) == [[row] for row in range(len(lengths))]
    assert packed.summary["bins"] == len(packed.bins("train")) < alone.summary["bins"]
    assert packed.summary["fill"] == packed.summary["train_tokens"] / (256 * packed.summary["bins"])


def kept(made: Made) -> dict[str, str]:
    """All files but those that name the source files."""
    told = made.hashes()
    assert {"report.json", "report.html", "index.json"} <= set(told)
    return {name: sha for name, sha in told.items() if name not in ("report.json", "report.html", "index.json")}


def test_equal_rows_make_equal_bytes_whatever_the_format(make: Make, write: Write, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["messages"], *([json.dumps(row["messages"])] for row in ROWS)])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    told = kept(make(write(ROWS)))
    assert {"train/pieces.npy", "validation/bins.npz", "prompts.jsonl"} < set(told)
    for name in ("rows.json", "rows.csv", "rows.parquet"):
        assert kept(make(tmp_path / name)) == told, name


def test_the_packing_index_holds_no_clock(make: Make, write: Write) -> None:
    with zipfile.ZipFile(make(write(ROWS[:3])).folder / "train/bins.npz") as index:
        assert {entry.date_time for entry in index.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_split_does_not_depend_on_the_order_of_rows(make: Make, write: Write, tokenizer: Any) -> None:
    forth = make(write(ROWS), validation_split=0.2)
    back = make(write(ROWS[::-1], "back.jsonl"), validation_split=0.2)
    assert set(texts(forth, tokenizer, "validation")) == set(texts(back, tokenizer, "validation"))
    assert (forth.folder / "prompts.jsonl").read_bytes() == (back.folder / "prompts.jsonl").read_bytes()


def test_another_seed_holds_out_other_rows(make: Make, write: Write, tokenizer: Any) -> None:
    first, second = (make(write(ROWS), validation_split=0.2, seed=seed) for seed in (1, 2))
    assert set(texts(first, tokenizer, "validation")) != set(texts(second, tokenizer, "validation"))


def test_copies_of_a_row_stay_on_one_side(make: Make, write: Write, tokenizer: Any) -> None:
    made = make(write(ROWS[:20] * 5), validation_split=0.3)
    train, held = texts(made, tokenizer, "train"), texts(made, tokenizer, "validation")
    assert len(train) + len(held) == 100
    assert held
    assert not set(train) & set(held)


@pytest.mark.parametrize(
    ("count", "split", "sides"), [(2, 1e-9, (1, 1)), (2, 0.999999, (1, 1)), (1, 0.5, (1, 0)), (5, 0, (5, 0))]
)
def test_small_sets_leave_no_side_empty_where_that_can_be(
    make: Make, write: Write, count: int, split: float, sides: tuple[int, int]
) -> None:
    made = make(write(ROWS[:count]), validation_split=split)
    assert (made.summary["train_rows"], made.summary["validation_rows"]) == sides
    assert [len(made.split(side)[0]) for side in ("train", "validation")] == list(sides)
    assert len(made.bins("validation")) == sides[1]


def test_validation_files_are_held_out_and_kept_out_of_training(make: Make, write: Write, tokenizer: Any) -> None:
    held = write(ROWS[:5], "held.jsonl")
    made = make(write(ROWS), validation_files=[str(held)])
    assert (made.summary["rows"], made.summary["validation_rows"]) == (65, 5)
    assert (made.summary["train_rows"], made.summary["dropped"]) == (55, 5)
    assert made.report()["dropped_why"] == {"also in the validation files": 5}
    assert not set(texts(made, tokenizer, "train")) & set(texts(made, tokenizer, "validation"))
    assert len((made.folder / "prompts.jsonl").read_text().splitlines()) == 5


def test_prompts_are_held_out_rows_cut_before_their_answer(make: Make, write: Write, tokenizer: Any) -> None:
    made = make(write(tiny.rows(400)), validation_split=0.5)
    items = [json.loads(line) for line in (made.folder / "prompts.jsonl").read_text().splitlines()]
    held = texts(made, tokenizer, "validation")
    assert len(items) == 64
    assert all(item["prompt"].endswith("<|im_start|>assistant\n") for item in items)
    assert all(f"{item['prompt']}{item['answer']}<|im_end|>\n" in held for item in items)


def test_long_rows_are_dropped_and_named(make: Make, write: Write) -> None:
    lengths = [len(row) for row in make(write(ROWS), validation_split=0).split("train")[0]]
    limit = sorted(lengths)[len(lengths) // 2]
    made = make(write(ROWS), max_length=limit)
    over = [number for number, length in enumerate(lengths, 1) if length > limit]
    assert made.summary["dropped"] == len(over)
    assert made.report()["dropped_why"] == {"longer than max_length": len(over)}
    named = [problem["place"] for problem in made.report()["problems"]["dropped"]]
    assert named == [f"rows.jsonl:{number}" for number in over][:20]
    assert (
        f"`{named[0]}` longer than max_length ({lengths[over[0] - 1]} tokens)"
        in (made.folder / "report.md").read_text()
    )


def test_truncation_keeps_a_row_only_with_some_of_its_answer(make: Make, write: Write) -> None:
    def row(question: int, answer: int) -> dict[str, str]:
        return {"prompt": " printer" * question, "completion": " router" * answer}

    made = make(write([row(2, 2), row(10, 60), row(60, 2)]), overlong="truncate", max_length=32, validation_split=0)
    tokens, weights = made.split("train")
    assert made.summary["dropped"] == made.summary["truncated"] == 1
    assert len(tokens[1]) == 32
    assert weights[1][-1] == 1
    assert made.report()["problems"]["truncated"][0]["place"] == "rows.jsonl:2"
    lost = made.report()["problems"]["dropped"][0]
    assert lost["place"] == "rows.jsonl:3"
    assert lost["text"].startswith("its answer lies beyond max_length")


def test_documents_go_on_in_the_next_sequence(make: Make, write: Write, tokenizer: Any) -> None:
    documents = [" printer" * words for words in (3, 70, 32, 200)]
    made = make(
        write([{"text": text, "id": 1} for text in documents]), overlong="split", max_length=32, validation_split=0
    )
    tokens, weights = made.split("train")
    ends = [number for number, row in enumerate(tokens) if row[-1] == tokenizer.eos_token_id]
    whole = np.split(np.concatenate(tokens), np.cumsum([len(row) for row in tokens])[ends][:-1])
    assert [tokenizer.decode(ids.tolist()) for ids in whole] == [text + tiny.END for text in documents]
    assert min(map(len, tokens)) > 1
    assert max(map(len, tokens)) == 32
    assert all(row.tolist() == [0.0] + [1.0] * (len(row) - 1) for row in weights)
    told = made.summary
    assert (told["rows"], told["train_rows"], told["split"], told["dropped"]) == (4, 4, 3, 0)
    assert made.report()["unused_columns"] == ["id"]
    assert "documents that go on in the next sequence" in (made.folder / "report.md").read_text()


def test_a_document_is_held_out_whole_and_asked_by_its_beginning(make: Make, write: Write, tokenizer: Any) -> None:
    documents = [{"text": f"Chapter {number}." + " printer" * 90} for number in range(20)]
    made = make(write(documents), overlong="split", max_length=32, validation_split=0.3)
    held = "".join(texts(made, tokenizer, "validation")).split(tiny.END)[:-1]
    assert len(held) == made.summary["validation_rows"] > 0
    prompts = [json.loads(line) for line in (made.folder / "prompts.jsonl").read_text().splitlines()]
    assert len(prompts) == len(held)
    for prompt in prompts:
        (document,) = [text for text in held if text.startswith(prompt["prompt"])]
        assert document + tiny.END == prompt["prompt"] + prompt["answer"] or document.startswith(
            prompt["prompt"] + prompt["answer"]
        )
        assert prompt["prompt"]
        assert prompt["answer"]


def test_only_documents_are_split(make: Make, write: Write) -> None:
    rows = [{"prompt": " printer" * 60, "completion": "red"}, {"text": "short"}]
    made = make(write(rows), overlong="split", max_length=32, validation_split=0)
    assert made.summary["dropped"] == 1
    assert made.report()["problems"]["dropped"][0]["place"] == "rows.jsonl:1"


def test_copies_are_counted_and_left_out_where_that_is_wished(make: Make, write: Write) -> None:
    path = write([*ROWS[:20], *ROWS[:5], {"prompt": "q", "completion": "a"}, {"completion": "a", "prompt": "q"}])
    kept, dropped = (make(path, drop_duplicates=wish) for wish in (False, True))
    assert kept.report()["duplicates"] == 6
    assert kept.summary["dropped"] == 0
    assert "equal to an earlier one: 6; drop_duplicates: true leaves" in (kept.folder / "report.md").read_text()
    assert dropped.report()["duplicates"] == 0
    assert dropped.report()["dropped_why"] == {"equal to an earlier row": 6}
    assert dropped.report()["problems"]["dropped"][0]["place"] == "rows.jsonl:21"


def test_every_row_is_accounted_for(make: Make, write: Write) -> None:
    made = make(write([*ROWS, "{", ROWS[0]]), max_length=64, max_bad_rows=0.05)
    told = made.summary
    assert told["rows"] == 62
    assert told["bad"] == 1
    assert told["rows"] == told["train_rows"] + told["validation_rows"] + told["dropped"] + told["bad"]
    assert "`rows.jsonl:61` is not JSON" in (made.folder / "report.md").read_text()


def test_the_suggested_max_length_leaves_nearly_all_rows_whole(make: Make, write: Write) -> None:
    made = make(write(ROWS), validation_split=0)
    longest = max(len(row) for row in made.split("train")[0])
    assert made.summary["suggested_max_length"] == -(-longest // 64) * 64


def test_too_many_bad_rows_are_refused_with_the_first_places(make: Make, write: Write) -> None:
    with pytest.raises(BadData, match=r"3 of 63 rows cannot be used; at most 1\.00% may be bad") as caught:
        make(write([*ROWS, "{", '{"prompt": 1, "completion": "x"}', '{"prompt": "\\ud800", "completion": "x"}']))
    assert caught.value.place == "rows.jsonl:61"
    assert "rows.jsonl:61 is not JSON" in caught.value.value
    assert "rows.jsonl:62 prompt and completion must both be strings" in caught.value.value
    assert "rows.jsonl:63 holds half a character" in caught.value.value
    assert "data.max_bad_rows" in caught.value.remedy


def test_nothing_left_to_train_on_is_refused(make: Make, write: Write) -> None:
    with pytest.raises(BadData, match="no row is left to train on") as caught:
        make(write(ROWS), max_length=8)
    assert "60 dropped: {'longer than max_length': 60}" in caught.value.value


def test_conversations_without_a_template_are_refused(make: Make, write: Write, tmp_path: Path) -> None:
    bare = tiny.tokenizer(tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(BadTemplate, match="the tokenizer has no chat template") as caught:
        make(write(ROWS), tokenizer=bare)
    assert caught.value.place == "data.chat_template"
    made = make(write([{"prompt": "q", "completion": "a"}], "plain.jsonl"), tokenizer=bare)
    assert made.summary["template_sha256"] == ""


def test_a_template_file_replaces_the_tokenizers_own(make: Make, write: Write, tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "own.jinja").write_text(tiny.TEMPLATE.replace("\n{% endfor %}", "{% endfor %}"))
    made = make(write(ROWS), chat_template=str(tmp_path / "own.jinja"))
    assert all(text.endswith("<|im_end|>") for text in texts(made, tokenizer, "train"))
    assert (made.folder / "chat_template.jinja").read_text() == (tmp_path / "own.jinja").read_text()


def test_a_template_that_leaves_everything_to_the_answer_is_refused(make: Make, write: Write, tmp_path: Path) -> None:
    answers = "{% for m in messages if m['role'] == 'assistant' %}{{ m['content'] }}<|im_end|>{% endfor %}"
    (tmp_path / "own.jinja").write_text(answers)
    one_turn = [row for row in ROWS if sum(turn["role"] == "assistant" for turn in row["messages"]) == 1]
    with pytest.raises(BadTemplate, match="so the masks cannot be right") as caught:
        make(write(one_turn), chat_template=str(tmp_path / "own.jinja"))
    assert caught.value.value == "supervised share 100 %"


@pytest.mark.parametrize("data", [b"\xff", b"{% if %}"])
def test_a_template_file_that_is_none_is_refused(make: Make, write: Write, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "own.jinja").write_bytes(data)
    with pytest.raises((BadRecipe, BadTemplate)) as caught:
        make(write(ROWS), chat_template=str(tmp_path / "own.jinja"))
    assert caught.value.place == "data.chat_template"


def test_files_that_change_while_they_are_read_are_told_from_those_that_rest(
    make: Make, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(ROWS)
    load = worker.load

    def and_someone_writes(folder: Path) -> Any:
        write([*ROWS, ROWS[0]])
        return load(folder)

    monkeypatch.setattr(worker, "load", and_someone_writes)
    with pytest.raises(Lost, match="changed while they were read"):
        make(path)


def test_filters_leave_rows_out_and_say_why(make: Make, write: Write) -> None:
    rows = [*ROWS[:20], {"prompt": "q", "completion": "a"}, {"prompt": "long enough", "completion": "TODO later"}]
    made = make(write(rows), filters={"min_characters": 10, "exclude": ["^TODO"]}, validation_split=0)
    told = made.report()
    assert sum(told["dropped_why"].values()) == made.summary["dropped"] == 2
    assert [problem["place"] for problem in told["problems"]["dropped"]] == ["rows.jsonl:21", "rows.jsonl:22"]
    assert made.summary["train_rows"] == 20


@pytest.mark.parametrize(("mode", "kept", "said"), [("report", 3, True), ("redact", 3, False), ("drop", 2, False)])
def test_what_is_sensitive_is_counted_marked_or_left_out_and_never_told(
    make: Make, write: Write, tokenizer: Any, mode: str, kept: int, said: bool
) -> None:
    secret = "jo.doe@firm-of-mine.org"
    rows = [
        {"prompt": f"My address is {secret}", "completion": "Thanks."},
        *({"prompt": f"q{n}", "completion": "a"} for n in "12"),
    ]
    made = make(write(rows), sensitive=mode, validation_split=0)
    learned = "".join(texts(made, tokenizer, "train"))
    assert made.summary["train_rows"] == kept
    assert (secret in learned) is said
    assert ("[EMAIL]" in learned) is (mode == "redact")
    assert sum(made.report()["sensitive"].values()) == 1
    assert made.report()["problems"]["sensitive"][0]["place"] == "rows.jsonl:1"
    assert not [path for path in made.folder.iterdir() if path.is_file() and secret.encode() in path.read_bytes()]


def test_of_near_copies_the_first_stays_unless_it_has_left_already(make: Make, write: Write) -> None:
    words = [f"word{number}" for number in range(60)]
    text, near = " ".join(words), " ".join([*words[:-1], "other"])
    rows = [{"text": text}, {"text": near}, {"text": " ".join(words[::-1])}]
    made = make(write(rows), near_duplicates=0.7, validation_split=0)
    assert made.report()["dropped_why"] == {"near copy of an earlier row": 1}
    assert made.report()["problems"]["dropped"][0]["place"] == "rows.jsonl:2"
    held = write([{"text": text}], "held.jsonl")
    beside = make(write(rows), near_duplicates=0.7, validation_files=[str(held)])
    assert beside.report()["dropped_why"] == {"also in the validation files": 1, "near copy of an earlier row": 1}


def test_each_source_is_read_in_its_own_way(make: Make, write: Write, tokenizer: Any) -> None:
    questions = write([{"question": "2+2", "answer": "4"}, {"question": "2+3", "answer": "5"}], "sums.jsonl")
    talks = write(ROWS[:5], "talks.jsonl")
    templates = {"prompt": "Question: {{ question }}\nAnswer:", "completion": " {{ answer }}"}
    made = make(
        train_files=[str(talks), {"files": [str(questions)], "row_templates": templates, "weight": 3}],
        validation_split=0,
    )
    learned = texts(made, tokenizer, "train")
    assert learned.count(f"Question: 2+2\nAnswer: 4{tiny.END}") == 3
    assert (made.summary["train_rows"], len(learned)) == (7, 11)


def test_any_number_of_processes_makes_the_same_bytes(make: Make, write: Write) -> None:
    files = [write(tiny.rows(40, seed), f"rows-{seed}.jsonl") for seed in range(3)]
    alone, together = (make(*files, num_proc=count, validation_split=0.2) for count in (1, 2))
    assert alone.hashes() == together.hashes()
    assert [shard.name for shard in alone.shards] == [shard.name for shard in together.shards]


def test_only_what_decides_the_tokens_costs_tokenising(make: Make, write: Write, tmp_path: Path) -> None:
    home, path, more = tmp_path / "home", write(ROWS), write(tiny.rows(9, 5), "more.jsonl")
    big = "x" * (8 * 2**20)  # fills a shard, so that what stands behind it is another

    def shards(*files: Path, **fields: Any) -> int:
        make(*files, home=home, max_bad_rows=1, **fields)
        return len(list((home / "store" / "stages" / "shard").rglob("MANIFEST.json")))

    assert shards(path) == 1
    assert shards(path, max_length=512, seed=7, packing=False, prompt_loss_weight=0.5, validation_split=0.3) == 1
    assert shards(path, overlong="truncate", drop_duplicates=True, num_proc=2) == 1
    assert shards(train_files=[{"files": [str(path)], "weight": 2}]) == 1
    assert shards(path, sensitive="redact") == 2
    assert shards(path, train_on_last_turn=True) == 3
    large = write([*(json.dumps(row) for row in ROWS), big], "large.jsonl")
    assert shards(large) == 4
    with large.open("a") as file:
        file.write(more.read_text())
    assert shards(large) == 5, "the first shard of a file that grew is there"
