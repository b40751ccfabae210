"""Both kinds of store do the few things that they must, alike."""

from pathlib import Path

import pytest

from infra.storage.objects import BLOCK, Objects, sha256_of
from infra.storage.store import Store


@pytest.fixture
def objects(store: Store) -> Objects:
    return store.objects


def test_what_is_not_there_is_none_or_empty(objects: Objects) -> None:
    assert objects.get("a/b") is None
    assert objects.size("a/b") is None
    assert objects.list("a/") == {}
    assert objects.list("a/b/MANIFEST") == {}
    objects.delete("a/b")
    with pytest.raises(FileNotFoundError):
        list(objects.blocks("a/b"))


def test_put_overwrites_and_create_does_not(objects: Objects) -> None:
    objects.put("a/b", b"one")
    objects.put("a/b", b"two")
    assert objects.get("a/b") == b"two"
    assert objects.create("a/c", b"one") is True
    assert objects.create("a/c", b"two") is False
    assert objects.get("a/c") == b"one"


def test_a_listing_is_by_prefix_of_the_key_and_always_fresh(objects: Objects) -> None:
    for key in ("a/MANIFEST.json", "a/MANIFEST.2.json", "a/x/MANIFEST.json", "ab/c", "a/x/y/z"):
        objects.put(key, key.encode())
    assert set(objects.list("a/MANIFEST")) == {"a/MANIFEST.json", "a/MANIFEST.2.json"}
    assert set(objects.list("a/x")) == {"a/x/MANIFEST.json", "a/x/y/z"}
    assert objects.list("a/x/y/") == {"a/x/y/z": 7}
    objects.delete("a/x/y/z")
    assert objects.list("a/x/y/") == {}


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1])
def test_a_file_of_any_size_comes_back_as_it_was(objects: Objects, tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    assert objects.upload(file, "some/file") == sha256_of(file)
    assert objects.size("some/file") == size
    assert b"".join(objects.blocks("some/file")) == file.read_bytes()
    assert objects.list("") == {"some/file": size}


def test_a_file_that_cannot_be_read_to_its_end_leaves_nothing(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        objects.upload(tmp_path, "some/file")
    assert objects.list("") == {}
