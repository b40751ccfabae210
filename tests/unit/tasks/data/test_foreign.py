"""Data sets of Axolotl and LLaMA-Factory are read as they are, and what cannot be carried over is told."""

from pathlib import Path
from typing import Any

import pytest

from tasks.data.config import DataConfig
from tasks.data.foreign import Source, axolotl, llamafactory
from tasks.data.layouts import Shape
from tasks.data.rows import Chat, Judged, Labelled, Plain, Preference, Row, Text

HERE = Path("/nowhere")
Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
TALK = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


def read(source: Source, row: dict[str, Any]) -> Row | Judged:
    """A row as the recipe that the settings make would read it."""
    settings = dict(source.settings)
    config = DataConfig(train_files=settings.pop("files"), **{k: v for k, v in settings.items() if k != "max_rows"})
    return Shape(config.format, config.columns, config.roles, config.row_templates).parse(row)


@pytest.mark.parametrize(
    ("entry", "row", "wanted"),
    [
        ({"type": "alpaca"}, {"instruction": "q", "output": "a"}, Chat([Q, A])),
        ({"type": "alpaca_chat.load_qa"}, {"question": "q", "answer": "a"}, Chat([Q, A])),
        (
            {"type": "alpaca_w_system.load_open_orca"},
            {"system_prompt": "s", "question": "q", "response": "a"},
            Chat([{"role": "system", "content": "s"}, Q, A]),
        ),
        ({"type": "completion"}, {"text": "t"}, Text("t")),
        ({"type": "completion", "field": "content"}, {"content": "t"}, Text("t")),
        ({"type": "metharme"}, {"prompt": "q", "generation": "a"}, Plain("q", "a")),
        ({"type": "sharegpt"}, {"conversations": TALK}, Chat([Q, A])),
        ({"type": "chat_template"}, {"messages": [Q, A]}, Chat([Q, A])),
        (
            {
                "type": "chat_template",
                "field_messages": "talk",
                "message_property_mappings": {"role": "who", "content": "said"},
                "roles": {"assistant": ["Agent", "gpt"], "user": ["Kunde"]},
                "message_field_training": "learn",
            },
            {"talk": [{"who": "Kunde", "said": "q"}, {"who": "Agent", "said": "a", "learn": True}]},
            Chat([Q, A], weights=(1, 1)),
        ),
        (
            {
                "type": {
                    "field_instruction": "frage",
                    "field_output": "antwort",
                    "format": "[INST] {instruction} [/INST]",
                }
            },
            {"frage": "q", "antwort": "a"},
            Plain("[INST] q [/INST]", "a"),
        ),
        (
            {
                "type": {
                    "system_prompt": "S {{x}}\n",
                    "format": "{instruction}|{input}>",
                    "no_input_format": "{instruction}>",
                }
            },
            {"instruction": "q", "input": "", "output": "a"},
            Plain("S {{x}}\nq>", "a"),
        ),
        (
            {"type": {"field_input": "input", "format": "{instruction}|{input}>", "no_input_format": "{instruction}>"}},
            {"instruction": "q", "input": "i", "output": "a"},
            Plain("q|i>", "a"),
        ),
        (
            {"type": {"field_system": "s", "system_format": "<<{system}>>", "format": "{instruction}{input}>"}},
            {"instruction": "q", "input": "not asked for", "output": "a", "s": "be"},
            Plain("<<be>>q>", "a"),
        ),
        (
            {"type": "chatml.intel"},
            {"question": "q", "chosen": "a", "rejected": "b"},
            Preference(Plain("q", "a"), Plain("q", "b")),
        ),
    ],
)
def test_what_axolotl_reads_is_read(entry: dict[str, Any], row: dict[str, Any], wanted: Row | Judged) -> None:
    source = axolotl({"path": "rows.jsonl", **entry}, HERE)
    assert source.settings["files"] == ["rows.jsonl"]
    assert not source.unmapped
    assert read(source, row) == wanted


@pytest.mark.parametrize(
    ("entry", "row", "wanted"),
    [
        ({}, {"instruction": "q", "input": "", "output": "a"}, Chat([Q, A])),
        (
            {"columns": {"prompt": "frage", "query": "dazu", "response": "antwort"}},
            {"frage": "q", "dazu": "", "antwort": "a"},
            Chat([Q, A]),
        ),
        ({"formatting": "sharegpt"}, {"conversations": TALK}, Chat([Q, A])),
        (
            {
                "formatting": "sharegpt",
                "columns": {"messages": "messages"},
                "tags": {
                    "role_tag": "role",
                    "content_tag": "content",
                    "user_tag": "user",
                    "assistant_tag": "assistant",
                },
            },
            {"messages": [Q, A]},
            Chat([Q, A]),
        ),
        (
            {
                "formatting": "sharegpt",
                "tags": {
                    "role_tag": "who",
                    "content_tag": "said",
                    "user_tag": "U",
                    "assistant_tag": "M",
                    "function_tag": "F",
                },
            },
            {"conversations": [{"who": "U", "said": "q"}, {"who": "F", "said": '{"name": "f"}'}]},
            Chat(
                [
                    Q,
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}],
                    },
                ]
            ),
        ),
        (
            {"ranking": True, "columns": {"prompt": "instruction", "chosen": "good", "rejected": "bad"}},
            {"instruction": "q", "good": "a", "bad": "b"},
            Preference(Chat([Q, A], given=1), Chat([Q, A | {"content": "b"}], given=1)),
        ),
        (
            {"columns": {"prompt": "instruction", "response": "output", "kto_tag": "liked"}},
            {"instruction": "q", "output": "a", "liked": True},
            Labelled(Chat([Q, A]), True),
        ),
    ],
)
def test_what_llama_factory_reads_is_read(entry: dict[str, Any], row: dict[str, Any], wanted: Row | Judged) -> None:
    source = llamafactory({"file_name": "rows.json", **entry}, Path("data"))
    assert source.settings["files"] == ["data/rows.json"]
    assert not source.unmapped
    assert read(source, row) == wanted


def test_pretraining_of_llama_factory_learns_the_prompt_column() -> None:
    source = llamafactory({"file_name": "c4.jsonl", "columns": {"prompt": "text"}}, Path("data"), "pt")
    assert read(source, {"text": "t"}) == Text("t")


def test_a_data_set_of_the_hub_says_how_it_is_fetched() -> None:
    entry = {"path": "org/name", "type": "alpaca", "name": "main"}
    source = axolotl(entry, HERE)
    assert source.settings["files"] == ["name/main/train/*.parquet"]
    assert (
        "hf download --repo-type dataset --revision refs/convert/parquet org/name --local-dir name" in source.notes[0]
    )
    some = axolotl(entry | {"data_files": ["a.jsonl"]}, HERE)
    assert some.settings["files"] == ["name/a.jsonl"]
    assert "--revision" not in some.notes[0]
    other = llamafactory({"hf_hub_url": "org/name", "subset": "b", "num_samples": 5}, HERE)
    assert other.settings["files"] == ["name/b/train/*.parquet"]
    assert other.settings["max_rows"] == 5


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"type": "input_output"}, "type: input_output"),
        ({"type": "alpaca", "shards": 4}, "shards: 4"),
        ({"type": "chat_template", "roles_to_train": ["user"]}, "roles_to_train: ['user']"),
        ({"type": "alpaca", "split": "test"}, "split: test"),
        ({"path": "org/name", "type": "alpaca", "split": "train[:10%]"}, "split: train[:10%]"),
        ({"type": {"field_instruction": "two words"}}, "type: the columns two words"),
        ({"type": {"field_instruction": "q", "prompter": "x"}}, "type.prompter: x"),
        ({"type": "chat_template", "roles": ["gpt"]}, "roles: ['gpt'] (must be a mapping)"),
    ],
)
def test_what_has_no_counterpart_is_told(entry: dict[str, Any], told: str) -> None:
    assert any(item.startswith(told) for item in axolotl({"path": "rows.jsonl", **entry}, HERE).unmapped)


@pytest.mark.parametrize("entry", [{"columns": 7}, {"tags": "x", "formatting": "sharegpt"}, {"formatting": "other"}])
def test_an_entry_of_no_known_form_is_told(entry: dict[str, Any]) -> None:
    assert llamafactory({"file_name": "x.json", **entry}, HERE).unmapped


def test_pictures_of_llama_factory_are_told() -> None:
    source = llamafactory({"file_name": "x.json", "columns": {"images": "pictures"}, "load_from": "y"}, HERE)
    assert source.unmapped == ["columns.images: pictures", "load_from: y"]
