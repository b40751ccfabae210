import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import Corrupt, Lost, Refused
from infra.storage import export
from infra.storage.objects import sha256_of
from infra.storage.receipt import FileEntry


def fill(folder: Path) -> None:
    (folder / "a").write_text("a")


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model"
    with export.new_folder(target, 1) as folder:
        fill(folder)
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["a"]
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with export.new_folder(tmp_path / "model", 1) as folder:
        fill(folder)
    assert (tmp_path / "model" / "a").exists()


def test_nothing_is_left_of_a_block_that_fails(tmp_path: Path) -> None:
    def interrupted() -> None:
        with export.new_folder(tmp_path / "model", 1) as folder:
            fill(folder)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "full", "link", "dangling"])
def test_what_is_there_is_never_overwritten(tmp_path: Path, kind: str) -> None:
    target, other = tmp_path / "model", tmp_path / "other"
    if kind == "file":
        target.write_text("mine")
    elif kind == "full":
        target.mkdir()
        (target / "mine").write_text("mine")
    else:
        target.symlink_to(other)
        if kind == "link":
            other.mkdir()
    with pytest.raises(Refused, match="something at the target"), export.new_folder(target, 1):
        pytest.fail("it was entered")


def test_one_that_fills_up_meanwhile_is_not_overwritten_either(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def overtaken() -> None:
        with export.new_folder(target, 1) as folder:
            fill(folder)
            target.mkdir()
            (target / "mine").write_text("mine")

    with pytest.raises(Refused):
        overtaken()
    assert (target / "mine").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_disk_without_room_is_found_out_before(tmp_path: Path) -> None:
    with pytest.raises(Lost, match="too small"), export.new_folder(tmp_path / "model", 1 << 60):
        pytest.fail("it was entered")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Lost, match="cannot be written") as told, export.new_folder(tmp_path / "file" / "model", 1):
        pytest.fail("it was entered")
    assert told.value.place == str(tmp_path / "file" / "model")


VICTIM = """
import sys
from pathlib import Path
from infra.storage.export import new_folder
with new_folder(Path(sys.argv[1]), 1) as folder:
    (folder / "half").write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_kill_in_the_middle_leaves_nothing_there_and_the_next_call_sweeps(tmp_path: Path) -> None:
    target = tmp_path / "model"
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
    )
    assert victim.stdout is not None
    assert victim.stdin is not None
    assert victim.stdout.readline() == b"ready\n"
    with export.new_folder(tmp_path / "model", 1):
        assert len(list(tmp_path.iterdir())) == 2, "what is being filled by another is left alone"
    target.rmdir()
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    victim.stdin.close()
    victim.stdout.close()
    assert not target.exists()
    with export.new_folder(target, 1) as folder:
        fill(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_copy_is_checked_against_its_manifest(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("as committed")
    size, sha = sha256_of(source)
    entry = FileEntry(path="x", size=size, sha256=sha)
    export.copy(source, entry, tmp_path / "deep" / "x")
    assert (tmp_path / "deep" / "x").read_text() == "as committed"
    source.write_text("as commItted")
    with pytest.raises(Corrupt, match="cache"):
        export.copy(source, entry, tmp_path / "y")
