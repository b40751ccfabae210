"""Templates by name: found, in the key, and refused where the tokenizer does not know their tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.errors import BadTemplate
from pipelines import recipe
from tasks.data import named, sources, templates
from tasks.data.config import DataConfig
from tests import chats, tiny

pytestmark = pytest.mark.heavy


def test_every_name_has_a_file_and_every_file_a_name() -> None:
    folder = Path(named.path("chatml")).parent
    assert sorted(path.stem for path in folder.iterdir()) == sorted(named.NAMES)


def test_a_name_is_a_template_and_its_content_is_in_the_key(tmp_path: Path, write: Callable[..., Path]) -> None:
    rows = str(write(tiny.rows(1)))
    copy = tmp_path / "mine.jinja"
    copy.write_text(chats.template("chatml"), encoding="utf-8")
    by_name, by_file, other = (
        sources.material(DataConfig(train_files=[rows], chat_template=name)) for name in ("chatml", str(copy), "phi4")
    )
    assert by_name == by_file != other


def test_a_recipe_may_give_a_name(tmp_path: Path) -> None:
    raw = {"data": {"chat_template": "chatml", "train_files": ["rows.jsonl"]}}
    recipe._resolve_files(raw, tmp_path)
    assert raw["data"] == {"chat_template": "chatml", "train_files": [str(tmp_path / "rows.jsonl")]}


def test_a_template_whose_tokens_are_unknown_is_refused(tokenizer: Any, write: Callable[..., Path]) -> None:
    config = DataConfig(train_files=[str(write(tiny.rows(1)))], chat_template="llama3")
    with pytest.raises(BadTemplate, match="llama3 needs tokens") as caught:
        templates.override(config, lambda: tokenizer)
    assert caught.value.value == "<|start_header_id|>, <|end_header_id|>, <|eot_id|>"
    chatml = config.model_copy(update={"chat_template": "chatml"})
    assert templates.override(chatml, lambda: tokenizer) == chats.template("chatml")
