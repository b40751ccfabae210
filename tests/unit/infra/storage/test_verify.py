"""What is read again, and in which words it is told what is wrong. That flips are found: tests/faults/test_flips.py."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import constants

from infra.errors import BadModel
from infra.frozen import sealed
from infra.storage import layout, reference, trajectory
from infra.storage.objects import LocalObjects
from infra.storage.receipt import FileEntry
from infra.storage.reference import Reference
from infra.storage.repository import Repository
from infra.storage.s3 import S3Objects
from infra.storage.store import Store
from infra.storage.verify import Survey, check, condemn
from tests.artifacts import KEY, committed, place, stored, whole
from tests.hub import hub


def faults(store: Store) -> list[tuple[str, str]]:
    survey = Survey(store)
    survey.all()
    return [(fault.place, fault.actual) for fault in [*survey.faults, *check(survey, lambda _: None)]]


def test_what_is_as_it_was_has_no_faults_and_every_byte_was_read(store: Store) -> None:
    whole(store, committed(store, {"tokens.bin": b"12345"}, "shard"))
    survey, read = Survey(store), list[int]()
    survey.all()
    assert [*survey.faults, *check(survey, read.append)] == []
    assert sum(read) == survey.bytes == 5 + len("{}")
    assert len(survey.artifacts) == 2


def test_files_that_are_gone_or_another_length_are_told(store: Store) -> None:
    receipt = committed(store, {"one": b"1", "two": b"2"})
    store.objects.delete(place(store, receipt, "one"))
    store.objects.put(place(store, receipt, "two"), b"")
    assert faults(store) == [
        (place(store, receipt, "one"), "missing"),
        (place(store, receipt, "two"), hashlib.sha256(b"").hexdigest()),
    ]


def test_a_record_of_another_artifact_and_one_that_was_marked_before_are_told(store: Store) -> None:
    other = committed(store, {"file": b"1"}, key="1" * 64)
    data = store.objects.get(layout.manifest("toy", "1" * 64, 1))
    assert data is not None
    store.objects.put(layout.manifest("toy", KEY, 1), data)
    store.condemn(store.manifest(other))
    assert [actual for _, actual in faults(store)] == ["the record of toy " + "1" * 64, "marked as corrupt before"]


def test_a_record_without_a_seal_is_believed_and_one_of_a_newer_luthier_is_not_read(store: Store) -> None:
    manifest = stored(store, {"file": b"1"})
    at = layout.manifest("toy", KEY, 1)
    store.objects.put(at, manifest.model_dump_json(exclude={"origins", "code", "seconds"}).encode())
    assert faults(store) == []
    assert store.find("toy", KEY) == manifest
    store.objects.put(at, sealed(manifest.model_dump(mode="json") | {"unheard_of": 1}))
    survey = Survey(store)
    survey.all()
    assert [fault.actual for fault in survey.faults] == ["written by a newer Luthier"]
    assert condemn(store, survey.faults) == 0


def test_a_marked_record_is_replaced_by_the_next_generation(store: Store) -> None:
    committed(store, {"file": b"1"})
    store.objects.put(layout.manifest("toy", KEY, 1), b"{")
    survey = Survey(store)
    survey.all()
    assert condemn(store, survey.faults) == 1
    assert store.find("toy", KEY) is None
    committed(store, {"file": b"1"})
    assert store.newest("toy", KEY).generation == 2  # type: ignore[union-attr]
    assert faults(store) == []


def test_the_adapters_of_a_trainings_checkpoints_are_read_too(store: Store) -> None:
    adapter = committed(store, {"adapter_model.safetensors": b"1"}, trajectory.STAGE)
    trajectory.note(store, KEY, 10, adapter)
    survey = Survey(store)
    survey.training(KEY, lambda _: [])
    assert place(store, adapter, "adapter_model.safetensors") in survey.targets
    store.objects.put(f"stages/training/{KEY}/trajectory/00000010.json", b"{")
    survey = Survey(store)
    survey.training(KEY, lambda _: [])
    assert [fault.expected for fault in survey.faults] == ["a receipt"]


@pytest.mark.s3
def test_weights_in_a_bucket_are_read_where_they_are_and_never_marked(s3_root: str, s3_client: S3Objects) -> None:
    bucket = S3Objects(s3_root + "/base")
    for name in ("a.safetensors", "b.safetensors", "c.safetensors"):
        bucket.put(name, name.encode())
    files = [
        FileEntry(path=name, size=13, sha256=hashlib.sha256(name.encode()).hexdigest())
        for name in ("a.safetensors", "b.safetensors", "c.safetensors")
    ]
    held = Reference(bucket=bucket.uri, revision="r", files=files)
    store = Store(S3Objects(s3_root + "/store"))
    committed(store, {reference.NAME: held.model_dump_json().encode()}, "weights")
    assert faults(store) == []
    bucket.put("b.safetensors", b"B.safetensors")
    bucket.delete("c.safetensors")
    survey = Survey(store)
    survey.all()
    found = [*check(survey, lambda _: None)]
    assert [(fault.place, fault.actual == "missing") for fault in found] == [
        (f"{bucket.uri}/b.safetensors", False),
        (f"{bucket.uri}/c.safetensors", True),
    ]
    assert condemn(store, found) == 0


def test_weights_on_a_hub_are_asked_for_there_and_read_where_they_were_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    weights = b"weights"
    with hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        at = server.add("makers/tiny", {"model.safetensors": weights})
        entry = FileEntry(path="model.safetensors", size=7, sha256=hashlib.sha256(weights).hexdigest())
        held = Reference(hub="makers/tiny", revision=at, files=[entry])
        assert [*reference.differing(held)] == []
        fetched = Repository("model", "makers/tiny", BadModel, "base").download(at, "model.safetensors").resolve()
        assert [*reference.differing(held)] == []
        fetched.write_bytes(b"Weights")
        assert [*reference.differing(held)] == [(entry, hashlib.sha256(b"Weights").hexdigest())]
        other = entry.model_copy(update={"path": "model-2.safetensors"})
        assert [*reference.differing(held.model_copy(update={"files": [other]}))] == [(other, "missing")]
        gone = held.model_copy(update={"hub": "makers/gone"})
        store = Store(LocalObjects(tmp_path / "store"))
        committed(store, {reference.NAME: gone.model_dump_json().encode()}, "weights")
        assert [actual for _, actual in faults(store)] == ["not looked at: there is no such model, or it is private"]
