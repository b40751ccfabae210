"""What users name in a recipe is found, or refused by name."""

from pathlib import Path

import pytest

from infra.errors import BadRecipe
from infra.storage import sources
from infra.storage.s3 import S3Objects
from tests.s3 import Server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a.jsonl", "deep/c.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_relative_names_are_relative_to_the_recipe(folder: Path) -> None:
    assert sources.resolve("a.jsonl", folder) == str(folder / "a.jsonl")
    assert sources.resolve("../x", folder / "deep") == str(folder / "x")
    assert sources.resolve("s3://bucket/x", folder) == "s3://bucket/x"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("", ["a.jsonl", "b.jsonl", "deep/c.jsonl"]),
        ("a.jsonl", ["a.jsonl"]),
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("*", ["a.jsonl", "b.jsonl"]),
        ("**/*.jsonl", ["a.jsonl", "b.jsonl", "deep/c.jsonl"]),
    ],
)
def test_files_folders_and_globs_become_sorted_files(folder: Path, name: str, found: list[str]) -> None:
    assert sources.expand(str(folder / name), "data.sources") == [str(folder / file) for file in found]


@pytest.mark.parametrize(
    "name", ["missing.jsonl", "*.parquet", "package://no_such_package/x", "package://pytest/no_such_file"]
)
def test_what_is_not_there_is_refused_with_field_and_remedy(folder: Path, name: str) -> None:
    with pytest.raises(BadRecipe) as caught:
        sources.expand(name if "://" in name else str(folder / name), "data.sources")
    assert caught.value.place == "data.sources"
    assert caught.value.remedy


def test_a_file_inside_a_package_is_found() -> None:
    (name,) = sources.expand("package://pytest/py.typed", "base.model")
    assert Path(name).name == "py.typed"


def test_the_pin_is_the_content_whatever_the_name(folder: Path) -> None:
    before = sources.pin([str(folder / "a.jsonl")])
    (folder / "a.jsonl").rename(folder / "z.jsonl")
    assert sources.pin([str(folder / "z.jsonl")]) == before
    (folder / "z.jsonl").write_text("changed")
    assert sources.pin([str(folder / "z.jsonl")]) != before


@pytest.mark.s3
def test_an_s3_prefix_becomes_sorted_files_that_can_be_read(s3: Server, s3_client: S3Objects) -> None:
    for name in ("b", "a"):
        s3_client.put(f"sources/{name}", name.encode())
    found = sources.expand(f"s3://{s3.bucket}/sources/", "data.sources")
    assert found == [f"s3://{s3.bucket}/sources/a", f"s3://{s3.bucket}/sources/b"]
    assert [b"".join(sources.blocks(name)) for name in found] == [b"a", b"b"]
    with pytest.raises(BadRecipe):
        sources.expand(f"s3://{s3.bucket}/nothing/", "data.sources")
