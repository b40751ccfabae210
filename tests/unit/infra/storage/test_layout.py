"""Names become keys safely or not at all."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import Refused
from infra.storage import layout
from infra.storage.receipt import FileEntry

NAMES = st.text(max_size=40) | st.text(alphabet="ab./\\ -_\n%?#~é", max_size=40)


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_a_key_stays_below_its_root_and_needs_no_quoting(parts: list[str]) -> None:
    try:
        key = layout.join(*parts)
    except Refused:
        return
    assert re.fullmatch(r"[A-Za-z0-9._=+/-]+", key)
    assert all(segment and not segment.startswith(".") for segment in key.split("/"))


@pytest.mark.parametrize(
    "name",
    ["", "..", "a/../b", "/etc/passwd", "a//b", "a/", ".git", "-rf", "a b", "a\n", "a?versionId=1", "é", "a" * 201],
)
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(Refused) as caught:
        layout.join("stages", name)
    assert caught.value.remedy


def test_a_key_too_long_for_s3_is_refused() -> None:
    with pytest.raises(Refused, match="too long"):
        layout.join(*["a" * 100] * 9)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "components/tokenizer/vocab.json",
        "MLmodel",
        "__init__.py",
    ],
)
def test_the_names_that_models_have_are_fine(name: str) -> None:
    assert layout.join(name) == name


@given(st.integers(min_value=1, max_value=10**6))
def test_a_generation_is_read_back_from_its_manifest(generation: int) -> None:
    assert layout.generation(layout.manifest("toy", "k", generation)) == generation


@pytest.mark.parametrize(
    "name", ["MANIFEST.0.json", "MANIFEST.1.json", "MANIFEST.corrupt.abc", "MANIFEST.json.bak", "model.json"]
)
def test_other_files_are_no_manifest(name: str) -> None:
    assert layout.generation(f"stages/toy/k/{name}") is None


@pytest.mark.parametrize("path", ["../../home/x", "/etc/cron.d/x", ".ssh/authorized_keys"])
def test_a_manifest_cannot_name_a_file_outside_its_artifact(path: str) -> None:
    with pytest.raises(Refused):
        FileEntry(path=path, size=1, sha256="0" * 64)


def test_a_tasks_name_becomes_a_safe_file_name() -> None:
    assert layout.file_name("mmlu/high school:math|0") == "mmlu_high_school_math_0"
