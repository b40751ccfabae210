"""The node's cache: checked, shared, bounded, and never at the cost of who uses it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import Corrupt, Lost
from infra.storage.cache import Cache, verify
from infra.storage.objects import LocalObjects
from infra.storage.receipt import Receipt
from infra.storage.store import Store
from tests.artifacts import KEY, committed, place, whole

FILES = {"model.safetensors": b"weights", "tokenizer/vocab.json": b"{}"}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 10**6)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def blobs(cache: Cache) -> list[Path]:
    return [path for path in cache.root.glob("??/*") if len(path.name) == 64]


def test_files_arrive_read_only_under_their_names_and_once_per_node(store: Store, cache: Cache, tmp_path: Path) -> None:
    receipt = committed(store, FILES)
    for name in ("one", "two"):
        assert contents(cache.materialise(store, receipt, tmp_path / name)) == FILES
    one, two = tmp_path / "one/model.safetensors", tmp_path / "two/model.safetensors"
    assert one.samefile(two)
    assert one.stat().st_mode & 0o222 == 0
    assert len(blobs(cache)) == 2


def test_what_is_cached_needs_the_store_only_for_its_record(store: Store, cache: Cache, tmp_path: Path) -> None:
    receipt = committed(store, FILES)
    cache.materialise(store, receipt, tmp_path / "one")
    store.objects.put(place(store, receipt, "model.safetensors"), b"flipped")
    assert contents(cache.materialise(store, receipt, tmp_path / "two")) == FILES


def test_a_flipped_byte_is_found_condemned_and_made_again(store: Store, cache: Cache, tmp_path: Path) -> None:
    receipt = committed(store, FILES)
    key = place(store, receipt, "model.safetensors")
    store.objects.put(key, b"weightz")
    assert verify(store, receipt) == [key]
    with pytest.raises(Corrupt) as caught:
        cache.materialise(store, receipt, tmp_path / "one")
    assert key in caught.value.place
    assert "expected" in caught.value.value
    assert not list(cache.root.rglob("*.part"))
    assert store.find("toy", KEY) is None
    again = committed(store, FILES)
    manifest = store.find("toy", KEY)
    assert manifest is not None
    assert manifest.generation == 2
    assert contents(cache.materialise(store, again, tmp_path / "two")) == FILES
    assert verify(store, again) == []


def test_a_file_that_is_gone_is_corrupt_too(store: Store, cache: Cache, tmp_path: Path) -> None:
    receipt = committed(store, FILES | {"empty": b""})
    store.objects.delete(place(store, receipt, "empty"))
    assert verify(store, receipt) == [place(store, receipt, "empty")]
    with pytest.raises(Corrupt, match="not what was committed"):
        cache.materialise(store, receipt, tmp_path / "one")


def test_who_writes_into_an_input_spoils_it_for_nobody_else(store: Store, cache: Cache, tmp_path: Path) -> None:
    receipt = committed(store, FILES)
    file = cache.materialise(store, receipt, tmp_path / "one") / "model.safetensors"
    file.chmod(0o644)
    with file.open("r+b") as out:
        out.write(b"W")
    assert contents(cache.materialise(store, receipt, tmp_path / "two")) == FILES


def test_eviction_drops_the_least_recently_used_and_nothing_in_use(store: Store, cache: Cache, tmp_path: Path) -> None:
    cache.max_bytes = 250
    receipts = [committed(store, {"file": bytes([number]) * 100}, key=f"{number}") for number in range(4)]
    for number, receipt in enumerate(receipts[:3]):
        cache.materialise(store, receipt, tmp_path / str(number))
        if number != 0:
            shutil.rmtree(tmp_path / str(number))
    cache.materialise(store, receipts[3], tmp_path / "3")
    kept = {path.read_bytes()[0] for path in blobs(cache)}
    assert kept == {0, 3}, "0 and 3 lie in working folders; 1 and 2 had to go"
    assert contents(tmp_path / "0") == {"file": bytes([0]) * 100}


def test_use_keeps_a_file_from_eviction(store: Store, cache: Cache, tmp_path: Path) -> None:
    cache.max_bytes = 250
    receipts = [committed(store, {"file": bytes([number]) * 100}, key=f"{number}") for number in range(3)]

    def use(receipt: Receipt, at: float) -> None:
        shutil.rmtree(cache.materialise(store, receipt, tmp_path / "work"))
        blob = max(blobs(cache), key=lambda path: path.stat().st_atime)
        os.utime(blob, (at, blob.stat().st_mtime))

    for at, number in enumerate((0, 1, 0)):
        use(receipts[number], at=at)
    use(receipts[2], at=9)
    assert {path.read_bytes()[0] for path in blobs(cache)} == {0, 2}


def test_a_disk_too_small_is_said_before_anything_is_read(store: Store, cache: Cache, tmp_path: Path) -> None:
    receipt = committed(store, {"file": b"x"})
    manifest = store.manifest(receipt)
    huge = manifest.model_copy(
        update={"files": [manifest.files[0].model_copy(update={"size": 2**60, "sha256": "1" * 64})]}
    )
    with pytest.raises(Lost) as caught:
        cache.require_space(huge.files)
    assert f"{2**60:,} bytes needed" in caught.value.value


def test_two_processes_at_once_both_get_all(cache: Cache, tmp_path: Path) -> None:
    store = Store(LocalObjects(tmp_path / "store"))
    files = {f"part-{number}": bytes([number]) * 2_000_000 for number in range(8)}
    cache.max_bytes = 2_000_000  # each evicts under the other's hands
    receipt = committed(store, files)
    code = """
import sys; from pathlib import Path
from infra.storage.cache import Cache; from infra.storage.receipt import Receipt
from infra.storage.store import Store, open_objects
root, cache, receipt, folder = sys.argv[1:]
Cache(Path(cache), 2_000_000).materialise(Store(open_objects(root)), Receipt.model_validate_json(receipt), Path(folder))
"""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, store.uri, str(cache.root), receipt.model_dump_json(), str(tmp_path / name)]
        )
        for name in ("one", "two")
    ]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert contents(tmp_path / "one") == files
    assert contents(tmp_path / "two") == files


def test_verify_reads_the_parts_too(store: Store) -> None:
    part = committed(store, {"tokens.bin": b"1"}, "shard")
    made = whole(store, part)
    assert verify(store, made) == []
    store.objects.put(place(store, part, "tokens.bin"), b"2")
    assert verify(store, made) == [place(store, part, "tokens.bin")]
