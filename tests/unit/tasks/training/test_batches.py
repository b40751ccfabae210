"""The recipe alone decides which sequences make up a step; devices only share them."""

from itertools import chain, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import BadRecipe
from tasks.training.batches import MicroBatches, Split, position, sequence_at, split, steps, stream


def global_batches(sequences: int, total: int, batch: int, per_device: int, world: int) -> list[list[int]]:
    shape = split(batch, per_device, world)
    ranks = [list(MicroBatches(sequences, 7, total, shape, rank)) for rank in range(world)]
    merged = [list(chain.from_iterable(micro)) for micro in zip(*ranks, strict=True)]
    return [
        list(chain.from_iterable(merged[i : i + shape.accumulation])) for i in range(0, len(merged), shape.accumulation)
    ]


@given(st.integers(1, 50), st.sampled_from([4, 8, 12, 24]), st.integers(1, 9), st.sampled_from([1, 2, 4]))
def test_every_split_of_a_batch_trains_on_the_same_sequences_in_every_step(
    sequences: int, batch: int, per_device: int, world: int
) -> None:
    assert global_batches(sequences, 5, batch, per_device, world) == global_batches(sequences, 5, batch, batch, 1)


@given(st.integers(1, 40), st.integers(0, 1000))
def test_every_epoch_sees_every_sequence_once(sequences: int, seed: int) -> None:
    seen = list(islice(stream(sequences, seed), 3 * sequences))
    for epoch in range(3):
        assert sorted(seen[epoch * sequences : (epoch + 1) * sequences]) == list(range(sequences))


@given(st.integers(1, 64), st.integers(1, 64), st.sampled_from([1, 2, 3, 4, 8]))
def test_a_split_never_exceeds_the_device_and_always_makes_the_whole_batch(
    batch: int, per_device: int, world: int
) -> None:
    if batch % world:
        with pytest.raises(BadRecipe, match="shared evenly"):
            split(batch, per_device, world)
        return
    shape = split(batch, per_device, world)
    assert shape.micro <= per_device
    assert shape.micro * shape.accumulation * world == batch


@pytest.mark.parametrize(
    ("sequences", "batch", "epochs", "max_steps", "expected"),
    [(100, 10, 1.0, None, 10), (100, 10, 2.5, None, 25), (3, 16, 1.0, None, 1), (100, 10, 1.0, 7, 7)],
)
def test_steps(sequences: int, batch: int, epochs: float, max_steps: int | None, expected: int) -> None:
    assert steps(sequences, batch, epochs, max_steps) == expected


@pytest.mark.parametrize("shape", [Split(1, 8, 1), Split(2, 2, 2), Split(4, 1, 2), Split(1, 2, 4)])
def test_a_sequence_is_found_again_by_step_part_rank_and_line(shape: Split) -> None:
    sequences, seed, total = 13, 5, 4
    for rank in range(shape.world_size):
        for number, batch in enumerate(MicroBatches(sequences, seed, total, shape, rank)):
            step, part = divmod(number, shape.accumulation)
            places = [position(step + 1, part, rank, line, shape) for line in range(shape.micro)]
            assert [sequence_at(sequences, seed, place) for place in places] == batch
