"""A folder for a stack, and processes that are gone after the test whatever it did."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL

import pytest

from infra.stack.processes import Record, family, send, spawn, wait_gone
from infra.stack.state import Folder

Start = Callable[..., Record]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "home")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a line of Python with a mark, as the stack starts its servers."""
    marks: set[str] = set()

    def python(code: str, mark: str = "tests/one") -> Record:
        marks.add(mark)
        return spawn([sys.executable, "-c", code], {"PATH": "/usr/bin:/bin"}, tmp_path / "log", tmp_path, mark)

    yield python
    for mark in marks:
        members = family(None, mark)
        send(members, SIGKILL)
        assert not wait_gone(members, 10)
