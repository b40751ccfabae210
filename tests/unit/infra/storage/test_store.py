"""The commit protocol, the same on a folder and on S3."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.errors import Corrupt, Refused
from infra.storage import layout
from infra.storage.receipt import Manifest
from infra.storage.store import Store
from tests.artifacts import KEY, committed, place, stored, whole

FILES = {"model.safetensors": b"weights", "tokenizer/vocab.json": b"{}"}


def test_nothing_is_visible_before_the_commit(store: Store) -> None:
    manifest = stored(store, FILES)
    assert store.find("toy", KEY) is None
    store.commit(manifest)
    assert store.find("toy", KEY) == manifest


def test_an_artifact_lies_under_its_real_names(store: Store) -> None:
    receipt = committed(store, FILES)
    prefix = receipt.uri.removeprefix(store.uri + "/")
    assert set(store.objects.list(prefix + "/")) == {f"{prefix}/{name}" for name in FILES}
    assert store.read(receipt, "tokenizer/vocab.json") == b"{}"


def test_twenty_racers_have_one_winner_and_leave_no_other_files(store: Store, another: Callable[[], Store]) -> None:
    start = threading.Barrier(20)

    def race(number: int) -> tuple[str, Manifest]:
        own = another()
        mine = stored(own, {"file": f"by {number}".encode()})
        start.wait(60)
        return mine.attempt, own.commit(mine)

    with ThreadPoolExecutor(20) as racers:
        results = list(racers.map(race, range(20)))
    winners = {winner.attempt for _, winner in results}
    assert len(winners) == 1
    assert winners < {attempt for attempt, _ in results}
    home = layout.home("toy", KEY)
    assert set(store.objects.list(home + "/")) == {f"{home}/MANIFEST.json", f"{home}/{winners.pop()}/file"}


def test_the_second_to_commit_gets_the_firsts_artifact(store: Store) -> None:
    first = committed(store, FILES)
    second = committed(store, FILES | {"more": b"1"})
    assert second == first


def test_a_missing_file_means_making_it_again_as_the_next_generation(store: Store) -> None:
    first = committed(store, FILES)
    store.objects.delete(place(store, first, "model.safetensors"))
    assert store.find("toy", KEY) is None
    second = committed(store, FILES)
    manifest = store.find("toy", KEY)
    assert manifest is not None
    assert (manifest.generation, manifest.replaces, manifest.attempt) == (2, first.attempt, second.attempt)
    assert second.content_sha256 == first.content_sha256, "made again, and proved equal"


def test_a_file_of_another_size_counts_as_missing(store: Store) -> None:
    receipt = committed(store, FILES)
    store.objects.put(place(store, receipt, "model.safetensors"), b"weight")
    assert store.find("toy", KEY) is None


def test_an_old_receipt_leads_to_the_artifact_made_again_if_it_is_equal(store: Store) -> None:
    old = committed(store, FILES)
    store.condemn(store.manifest(old))
    new = committed(store, FILES)
    assert store.manifest(old).attempt == new.attempt
    assert store.read(old, "model.safetensors") == b"weights"


def test_a_receipt_of_something_else_is_refused(store: Store) -> None:
    old = committed(store, FILES)
    store.condemn(store.manifest(old))
    committed(store, {"model.safetensors": b"other"})
    with pytest.raises(Corrupt, match="not committed"):
        store.manifest(old)


def test_a_file_that_was_never_part_of_an_artifact_condemns_nothing(store: Store) -> None:
    receipt = committed(store, FILES)
    with pytest.raises(Corrupt, match="no such file"):
        store.read(receipt, "lineage.svg")
    assert store.find("toy", KEY) is not None


def test_reading_a_flipped_byte_raises_and_condemns(store: Store) -> None:
    receipt = committed(store, FILES)
    store.objects.put(place(store, receipt, "model.safetensors"), b"weightz")
    with pytest.raises(Corrupt) as caught:
        store.read(receipt, "model.safetensors")
    assert "model.safetensors" in caught.value.place
    assert store.find("toy", KEY) is None


def test_a_stage_that_reconciles_may_supersede_what_is_whole(store: Store) -> None:
    first = store.commit(stored(store, {"version.json": b"1"}))
    same = store.commit(stored(store, {"version.json": b"1"}), supersede=True)
    other = store.commit(stored(store, {"version.json": b"2"}), supersede=True)
    assert same == first
    assert (other.generation, other.replaces) == (2, first.attempt)


def test_an_artifact_is_whole_where_its_parts_are(store: Store) -> None:
    part = committed(store, {"tokens.bin": b"1"}, "shard")
    made = whole(store, part)
    assert store.find("toy", KEY) is not None
    assert store.manifest(made).parts == {"part-0": part}
    store.objects.delete(place(store, part, "tokens.bin"))
    assert store.find("toy", KEY) is None
    committed(store, {"tokens.bin": b"1"}, "shard")
    assert store.find("toy", KEY) is not None, "the part was made anew and is equal"


def test_other_parts_are_another_content(store: Store) -> None:
    one = whole(store, committed(store, {"tokens.bin": b"1"}, "shard"))
    two = whole(store, committed(store, {"tokens.bin": b"2"}, "shard", "1" * 64), key="1" * 64)
    assert one.content_sha256 != two.content_sha256


def test_a_damaged_commit_record_is_reported_by_name(store: Store) -> None:
    store.commit(stored(store, FILES))
    store.objects.put(layout.manifest("toy", KEY, 1), b"{")
    with pytest.raises(Corrupt) as caught:
        store.find("toy", KEY)
    assert caught.value.place.endswith("MANIFEST.json")


def test_a_file_whose_name_is_no_key_is_refused_before_the_commit(store: Store) -> None:
    with pytest.raises(Refused, match="cannot become a key"):
        stored(store, {"a name with spaces": b""})


def test_the_probe_passes_and_leaves_nothing(store: Store) -> None:
    store.probe()
    assert store.objects.list("") == {}
