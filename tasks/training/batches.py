"""Which sequences make up which step: decided by the recipe alone, then split over whatever devices there are."""

from collections.abc import Iterator
from dataclasses import dataclass

from infra.errors import BadRecipe


@dataclass(frozen=True)
class Split:
    """How a global batch is worked off: every rank does `accumulation` micro-batches of `micro` sequences."""

    micro: int
    accumulation: int
    world_size: int


def split(train_batch_size: int, per_device: int, world_size: int) -> Split:
    """The largest micro-batch within `per_device` that divides the global batch evenly over the ranks."""
    if train_batch_size % world_size:
        raise BadRecipe(
            f"a global batch cannot be shared evenly by {world_size} processes",
            place="train.train_batch_size",
            value=train_batch_size,
            remedy=f"make it a multiple of {world_size}, or set train.num_processes to a divisor of it",
        )
    share = train_batch_size // world_size
    micro = max(size for size in range(1, min(per_device, share) + 1) if share % size == 0)
    return Split(micro, share // micro, world_size)


def steps(sequences: int, train_batch_size: int, epochs: float, max_steps: int | None) -> int:
    """Optimizer steps of a run; epochs are counted in sequences seen, so the last step may begin another epoch."""
    return max_steps or max(1, round(sequences * epochs / train_batch_size))


def stream(sequences: int, seed: int) -> Iterator[int]:
    """Sequence indices without end: every epoch all of them, in an order of its own."""
    import numpy as np  # noqa: PLC0415 - a flow that only asks for the split is loaded without it

    epoch = 0
    while True:
        yield from np.random.default_rng([seed, epoch]).permutation(sequences).tolist()
        epoch += 1


def sequence_at(sequences: int, seed: int, place: int) -> int:
    """The item of `stream` at a place, counted from 0."""
    import numpy as np  # noqa: PLC0415

    order = np.random.default_rng([seed, place // sequences]).permutation(sequences)
    return int(order[place % sequences])


def position(step: int, part: int, rank: int, line: int, shape: Split) -> int:
    """Where in `stream` a sequence comes from: a line of a rank's micro-batch, steps counted from 1, all else from 0."""
    return (((step - 1) * shape.accumulation + part) * shape.world_size + rank) * shape.micro + line


class MicroBatches:
    """The micro-batches of one rank over the whole run, as a torch batch sampler; sized in micro-batches."""

    def __init__(self, sequences: int, seed: int, total_steps: int, shape: Split, rank: int) -> None:
        self.sequences, self.seed, self.total_steps, self.shape, self.rank = sequences, seed, total_steps, shape, rank

    def __len__(self) -> int:
        return self.total_steps * self.shape.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        source = stream(self.sequences, self.seed)
        for _ in range(len(self)):
            across = [next(source) for _ in range(self.shape.micro * self.shape.world_size)]
            yield across[self.rank * self.shape.micro : (self.rank + 1) * self.shape.micro]
