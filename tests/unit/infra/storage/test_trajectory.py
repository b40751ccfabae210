"""The adapters of a training are found by their steps, in order."""

from infra.storage import trajectory
from infra.storage.receipt import Receipt
from infra.storage.store import Store


def adapter(step: int) -> Receipt:
    made = trajectory.key("a" * 64, step)
    return Receipt(stage=trajectory.STAGE, key=made, attempt="1", uri="", content_sha256=str(step))


def test_adapters_are_found_by_step_oldest_first(store: Store) -> None:
    for step in (100, 20, 3):
        trajectory.note(store, "a" * 64, step, adapter(step))
    found = trajectory.entries(store, "a" * 64)
    assert [*found.items()] == [(step, adapter(step)) for step in (3, 20, 100)]
    assert trajectory.entries(store, "b" * 64) == {}


def test_each_step_of_each_training_has_a_key_of_its_own() -> None:
    keys = {trajectory.key(training, step) for training in ("a" * 64, "b" * 64) for step in (10, 20)}
    assert len(keys) == 4
