"""Data sets as Axolotl and LLaMA-Factory describe them → the settings of a source here.

Axolotl: an entry of `datasets:` (axolotl/utils/schemas/datasets.py and its page of dataset formats). LLaMA-Factory: an
entry of dataset_info.json (its data/README.md). What has no counterpart is listed, never left out in silence.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from infra.storage import hub
from tasks.data import prompters
from tasks.data.config import Role
from tasks.data.messages import CALL, KEYS, SPEAKERS

_SUFFIXES = re.compile(r"\.(jsonl?|csv|parquet|txt)(\.gz)?$")
_LOADERS = ("json", "csv", "parquet", "text", "arrow")  # of the datasets library: the files are in data_files

# Axolotl's types: the layout, and the columns by the layout's fields.
_TYPES: dict[str, tuple[str, dict[str, str]]] = {
    "alpaca": ("alpaca", {}),
    "alpaca_chat": ("alpaca", {}),
    "alpaca_chat.load_qa": ("alpaca", {"instruction": "question", "output": "answer"}),
    "alpaca_w_system": ("alpaca", {}),
    "alpaca_w_system.load_open_orca": (
        "alpaca",
        {"system": "system_prompt", "instruction": "question", "output": "response"},
    ),
    "gpteacher": ("alpaca", {"output": "response"}),
    "alpaca_chat.load_camel_ai": ("alpaca", {"instruction": "message_1", "output": "message_2"}),
    "jeopardy": ("alpaca", {"instruction": "question", "input": "category", "output": "answer"}),
    "oasst": ("alpaca", {"instruction": "INSTRUCTION", "output": "RESPONSE"}),
    "summarizetldr": ("alpaca", {"instruction": "article", "output": "summary"}),
    "metharme": ("prompt_completion", {"completion": "generation"}),
    "completion": ("text", {}),
    "pretrain": ("text", {}),
    "chat_template": ("messages", {}),
    "sharegpt": ("sharegpt", {}),
    "intel": ("preference", {"prompt": "question"}),
    "argilla": ("preference", {"prompt": "instruction", "chosen": "chosen_response", "rejected": "rejected_response"}),
    "icr": ("preference", {"prompt": "input"}),
    "prompt_pairs": ("preference", {}),
    "ultra": ("preference", {}),
}
# Keys of an entry that name a column, by the field that it holds.
_FIELDS = {
    "field": "text",
    "text_column": "text",
    "field_tools": "tools",
    "field_thinking": "reasoning_content",
    "message_field_role": "role",
    "message_field_content": "content",
    "message_field_training": "weight",
    "field_system": "system",
    "field_prompt": "prompt",
    "field_chosen": "chosen",
    "field_rejected": "rejected",
    "field_completion": "completion",
    "field_label": "label",
}
_READ = {
    "path",
    "data_files",
    "type",
    "split",
    "name",
    "field_messages",
    "message_property_mappings",
    "roles",
    *_FIELDS,
}
_IDLE: dict[str, Any] = {  # keys that ask for what is done here anyway
    "ds_type": None,
    "trust_remote_code": None,
    "preprocess_shards": None,
    "chat_template": None,
    "roles_to_train": ["assistant"],
    "train_on_eos": "turn",
    "train_on_eot": "turn",
}
_TAGS = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": CALL,
    "system_tag": "system",
}
_COLUMNS = {
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output"},
    "sharegpt": {"messages": "conversations"},
    "openai": {"messages": "conversations"},
}
_SAME = ("history", "system", "tools", "chosen", "rejected")


@dataclass
class Source:
    """A data set in the recipe's words: `settings` as an entry of data.train_files has them, the keys that have no
    counterpart with the reason, and what else to know."""

    settings: dict[str, Any] = field(default_factory=dict)
    unmapped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def axolotl(entry: Mapping[str, Any], folder: Path) -> Source:
    """An entry of Axolotl's `datasets:`; relative paths are relative to `folder`."""
    source = Source()
    _axolotl_files(source, entry, folder)
    kind = entry.get("type") or "alpaca"
    if isinstance(kind, Mapping):
        _own_format(source, kind)
    else:
        _axolotl_type(source, str(kind), entry)
    if str(entry.get("chat_template") or "tokenizer_default") != "tokenizer_default":
        source.notes.append(f"chat_template {entry['chat_template']}: one template is for all rows, data.chat_template")
    for key, value in entry.items():
        if value is None or key in _READ or (key in _IDLE and _IDLE[key] in (None, value)):
            continue
        source.unmapped.append(f"{key}: {short(value)}")
    return _pruned(source)


def role(name: str) -> str | None:
    """The role here of a speaker there; None where there is none that can be learned."""
    found = SPEAKERS.get(name, name)
    return found if found in get_args(Role) else None


def llamafactory(entry: Mapping[str, Any], folder: Path, stage: str = "sft") -> Source:
    """An entry of LLaMA-Factory's dataset_info.json, for a stage of training; `folder` is the one the file lies in."""
    source, formatting = Source(), str(entry.get("formatting") or "alpaca")
    if formatting not in _COLUMNS:
        source.unmapped.append(f"formatting: {formatting} (known are {', '.join(_COLUMNS)}); read as sharegpt")
        formatting = "sharegpt"
    _llamafactory_files(source, entry, folder)
    told = _object(source, entry, "columns")
    columns = {
        _COLUMNS[formatting].get(key, key): column for key, column in told.items() if key in _COLUMNS[formatting]
    }
    columns |= {key: told[key] for key in _SAME if told.get(key)}
    if "kto_tag" in told:
        columns["label"] = told["kto_tag"]
    layout = "alpaca" if formatting == "alpaca" else "sharegpt"
    if "label" in columns or entry.get("ranking"):
        layout = "unpaired_preference" if "label" in columns else "preference"
    if stage == "pt":
        layout, columns = "text", {"text": told.get("prompt", "instruction")}
    elif layout == "sharegpt" and columns.get("conversations") == "messages":
        layout, columns = "messages", {at: held for at, held in columns.items() if at != "conversations"}
    source.settings |= {"format": layout, "columns": columns}
    _tags(source, _object(source, entry, "tags"))
    if entry.get("num_samples"):
        source.settings["max_rows"] = entry["num_samples"]
    known = {*_COLUMNS[formatting], *_SAME, "kto_tag"}
    source.unmapped += [f"columns.{key}: {column}" for key, column in told.items() if key not in known and column]
    read = {"file_name", "hf_hub_url", "formatting", "ranking", "columns", "tags", "num_samples", "subset", "split"}
    source.unmapped += [f"{key}: {short(value)}" for key, value in entry.items() if key not in read and value]
    return _pruned(source)


def _axolotl_files(source: Source, entry: Mapping[str, Any], folder: Path) -> None:
    path, given = str(entry.get("path") or ""), entry.get("data_files") or []
    files = [str(item) for item in (given if isinstance(given, list) else [given])]
    if path in _LOADERS:
        source.settings["files"] = files
    elif _is_hub(path, folder):
        _from_hub(source, path, files, entry)
    else:
        source.settings["files"] = [f"{path.rstrip('/')}/{file}" for file in files] or [path]
        if str(entry.get("split") or "train") != "train":
            source.unmapped.append(f"split: {entry['split']} (a file is read whole; max_rows limits it)")


def _llamafactory_files(source: Source, entry: Mapping[str, Any], folder: Path) -> None:
    if entry.get("hf_hub_url"):
        _from_hub(source, str(entry["hf_hub_url"]), [], {**entry, "name": entry.get("subset")})
    elif entry.get("file_name"):
        source.settings["files"] = [str(folder / str(entry["file_name"]))]
    else:
        source.settings["files"] = []
        source.unmapped.append("file_name: there is none, so where the rows lie is not known")


def _is_hub(path: str, folder: Path) -> bool:
    return (
        bool(hub.ID.fullmatch(path))
        and not _SUFFIXES.search(path)
        and not any(at.exists() for at in (Path(path), folder / path))
    )


def _from_hub(source: Source, name: str, files: Iterable[str], entry: Mapping[str, Any]) -> None:
    """Rows of a hub lie in a folder once they are fetched; every data set has a branch of Parquet files there."""
    home, split = name.rpartition("/")[2], str(entry.get("split") or "train")
    branch = "" if files else " --revision refs/convert/parquet"
    source.settings["files"] = [f"{home}/{file}" for file in files] or [
        f"{home}/{entry.get('name') or '*'}/{split}/*.parquet"
    ]
    source.notes.append(f"fetch it first: hf download --repo-type dataset{branch} {name} --local-dir {home}")
    if re.search(r"[\[:+]", split):
        source.unmapped.append(f"split: {split} (max_rows limits the rows of a source)")


def _axolotl_type(source: Source, kind: str, entry: Mapping[str, Any]) -> None:
    name = kind.partition(":")[0]
    found = _TYPES.get(name) or _TYPES.get(name.partition(".")[0]) or _TYPES.get(name.rpartition(".")[2])
    if found is None:
        source.unmapped.append(f"type: {kind} (name the layout in format, or write its fields with row_templates)")
        return
    layout, columns = found
    columns = columns | {field: str(entry[key]) for key, field in _FIELDS.items() if entry.get(key)}
    columns |= {at: str(key) for at, key in _object(source, entry, "message_property_mappings").items() if at in KEYS}
    if held := entry.get("field_messages"):
        columns["conversations" if layout == "sharegpt" else "messages"] = str(held)
    if layout in ("alpaca", "prompt_completion"):
        source.notes.append(f"type {kind}: here the rows {_GOES[layout]}")
    source.settings |= {"format": layout, "columns": columns, "roles": _roles(_object(source, entry, "roles"))}


_GOES = {
    "alpaca": "go through the tokenizer's chat template, not through Alpaca's own prompt",
    "prompt_completion": "are text that continues text, without any template",
}


def _roles(told: Mapping[str, Any]) -> dict[str, str]:
    """Axolotl's {role: [speakers]} as {speaker: role}."""
    pairs = ((role, names if isinstance(names, list) else [names]) for role, names in told.items())
    return {str(name): SPEAKERS.get(str(role), str(role)) for role, names in pairs for name in names}


def _own_format(source: Source, told: Mapping[str, Any]) -> None:
    """Columns of judged answers, or a format with {instruction} and {input}, as templates."""
    columns = {field: str(told[key]) for key, field in _FIELDS.items() if told.get(key)}
    if "chosen" in columns or "label" in columns:
        layout = "preference" if "chosen" in columns else "unpaired_preference"
        source.settings |= {"format": layout, "columns": columns}
        left = [key for key in told if key.endswith("_format")]
    elif wrong := [name for name in prompters.columns(told).values() if not name.isidentifier()]:
        source.unmapped.append(f"type: the columns {', '.join(wrong)} have names that a template cannot write")
        return
    else:
        source.settings["row_templates"] = prompters.templates(told)
        left = [key for key in told if key not in prompters.KEYS]
    source.unmapped += [f"type.{key}: {short(told[key])}" for key in left if told[key]]


def _object(source: Source, entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A key that holds an object; anything else is told."""
    value = entry.get(key) or {}
    if isinstance(value, Mapping):
        return dict(value)
    source.unmapped.append(f"{key}: {short(value)} (must be a mapping)")
    return {}


def _tags(source: Source, tags: Mapping[str, Any]) -> None:
    columns = source.settings["columns"]
    for tag, at in (("role_tag", "role"), ("content_tag", "content")):
        if tags.get(tag) and tags[tag] not in KEYS[at]:
            columns[at] = str(tags[tag])
    source.settings["roles"] = {str(tags[tag]): role for tag, role in _TAGS.items() if tags.get(tag)}


def _pruned(source: Source) -> Source:
    """Without what is so by itself."""
    settings = source.settings
    columns = {
        at: held for at, held in settings.pop("columns", {}).items() if at != held and held not in KEYS.get(at, ())
    }
    roles = {name: role for name, role in settings.pop("roles", {}).items() if SPEAKERS.get(name) != role}
    settings |= {name: value for name, value in (("columns", columns), ("roles", roles)) if value}
    return source


def short(value: object) -> str:
    """A value on one line, for a list of them."""
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}…"
