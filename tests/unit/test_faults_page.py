"""What docs/faults.md quotes is what is printed: every message stands in the code that prints it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
HOLE = "\0"


def rows() -> list[list[str]]:
    """The cells of every row of the page's tables."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| what happens")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def quoted() -> list[str]:
    """The messages in the column of what is seen; names of variables and fields are no messages."""
    return [text for row in rows() for text in re.findall(r"`([^`]+)`", row[1]) if " " in text]


@cache
def printed() -> list[re.Pattern[str]]:
    """Every string of the code as an expression, in which what differs may be anything."""
    found = set[str]()
    for top in ("pipelines", "tasks", "infra"):
        for path in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    found.add("".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                    found.add(re.sub(r"%[sd]", HOLE, node.value))
    return [re.compile(re.escape(text).replace(HOLE, ".+"), re.DOTALL) for text in found if re.search(r"\w", text)]


def is_printed(message: str) -> bool:
    """Whether some string of the code can come out so; of one that is nearly all hole anything would do."""
    said = message.replace("…", "x")
    return any(len(one.pattern.replace(".+", "")) > len(said) / 2 and one.fullmatch(said) for one in printed())


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_one_that_is_printed(message: str) -> None:
    assert is_printed(message)


def test_every_row_says_what_to_do_and_which_test_shows_it() -> None:
    assert len(rows()) >= 20
    for row in rows():
        assert len(row) == 4, row
        assert all(row), row
        assert re.search(r"\]\(\.\./tests/[^)]+\)", row[3]), row


def test_a_message_that_nobody_prints_is_found_out() -> None:
    assert not is_printed("the moon was in the way of the store")
