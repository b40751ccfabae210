"""Figures of a dataset beyond its counts: by source, by length, and what an epoch costs."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from infra.frozen import Frozen
from tasks.data.config import Source
from tasks.data.index import Flags, Index
from tasks.data.judged import DESIRABLE, PAIR, UNDESIRABLE
from tasks.data.packing import Ints
from tasks.data.sides import Side

BARS = 48


class SourceFigures(Frozen):
    """One source: rows = train_rows + validation_rows + dropped + bad; tokens and the share learned of them are those
    of an epoch of training, or of the held-out side where the source is one of it."""

    name: str
    validation: bool
    rows: int
    train_rows: int
    validation_rows: int
    dropped: int
    bad: int
    tokens: int
    supervised_share: float
    weight: float


class Lengths(Frozen):
    """Rows by length before anything was cut: bar n counts those of more than n × width tokens, up to (n + 1) × width;
    `above` those longer than all bars. `quantiles` are lengths by share of the rows."""

    width: int
    rows: list[int]
    above: int
    quantiles: dict[str, int]


class Cost(Frozen):
    """What an epoch takes: tokens that sequences have room for and do not use are padding (0 … 1); extra pieces are
    those of split documents beyond their first; tokens that truncation cut off; tokens of rows that were dropped."""

    tokens: int
    learned_tokens: int
    sequences: int
    padding_share: float
    extra_pieces: int
    truncated_tokens: int
    dropped_tokens: int


def by_source(found: Index, train: Side, validation: Side) -> list[SourceFigures]:
    """Every source of the recipe in order, those of validation_files last."""
    return [
        _source(found, train, validation, number, source, held)
        for held in (False, True)
        for number, source in enumerate(found.config.sources(held))
    ]


def _source(found: Index, train: Side, validation: Side, number: int, source: Source, held: bool) -> SourceFigures:
    mine: Flags = (found.source == number) & (found.validation == held)
    shards = [made for made in found.shards if (made.planned.source, made.planned.validation) == (number, held)]
    names = list(dict.fromkeys(segment.name for made in shards for segment in made.planned.segments))
    trained, kept_out = (int((side.times[mine] > 0).sum()) for side in (train, validation))
    bad, rows = sum(made.told.bad for made in shards), sum(sum(made.told.rows) for made in shards)
    times = (validation if held else train).times[mine]
    lengths = _cut(found, mine)
    tokens = int((lengths * times).sum())
    return SourceFigures(
        name=names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "") if names else "",
        validation=held,
        rows=rows,
        train_rows=trained,
        validation_rows=kept_out,
        dropped=rows - bad - trained - kept_out,
        bad=bad,
        tokens=tokens,
        supervised_share=_share(int((learned(found)[mine] * times).sum()), tokens),
        weight=source.weight,
    )


def lengths(found: Index) -> Lengths:
    """The rows by length; nearly all of them have a bar, and those of max_length."""
    rows = found.longest()
    nearly = int(np.quantile(rows, 0.999, method="inverted_cdf"))
    top = min(int(rows.max()), max(nearly, found.config.max_length) * 11 // 10)
    width = max(1, -(-top // BARS))
    bars = -(-top // width)
    counts = np.bincount(np.minimum((np.maximum(rows, 1) - 1) // width, bars), minlength=bars + 1)
    quantiles = {
        f"{share:g}": int(np.quantile(rows, share, method="inverted_cdf"))
        for share in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)
    }
    return Lengths(width=width, rows=counts[:bars].tolist(), above=int(counts[bars]), quantiles=quantiles)


def cost(found: Index, train: Side) -> Cost:
    """Of the training side."""
    rows = found.rows["length"].astype(np.int64)
    room = len(train.bins) * found.room
    return Cost(
        tokens=train.tokens,
        learned_tokens=int((learned(found) * train.times).sum()),
        sequences=len(train.bins),
        padding_share=1 - train.tokens / room,
        extra_pieces=0 if found.kind else len(train.pieces) - int(train.times.sum()),
        truncated_tokens=int(((rows - _cut(found, slice(None))) * train.times).sum()),
        dropped_tokens=int(rows[~found.kept].sum()),
    )


def learned(found: Index) -> Ints:
    """Tokens of each row that are learned. Of a row that is cut no more than lie between its first one and the cut: all
    of them, but for a conversation whose next question lies before it."""
    rows = found.rows
    whole = rows["learned"].astype(np.int64)
    if found.config.overlong != "truncate":
        return whole
    if found.kind:
        return np.asarray(found.texts.cut(found.config.max_length).learned.sum(axis=1))
    return np.minimum(whole, np.maximum(0, found.config.max_length - rows["first"].astype(np.int64)))


def taken(train: Side, validation: Side) -> NDArray[np.int16]:
    """What becomes of each row, −1 held out, else how often it is trained on in an epoch."""
    return np.asarray(np.where(validation.times > 0, -1, train.times), dtype="<i2")


def judged(found: Index) -> dict[str, int | float]:
    """How many judged rows there are of each kind, also those that were dropped, how many tokens their answers have on
    average, and of pairs the share whose chosen answer is the longer one; nothing where none is judged."""
    if found.judged is None:
        return {}
    verdicts, learned = found.judged["verdict"], found.texts.learned
    named = {"pairs": PAIR, "desirable": DESIRABLE, "undesirable": UNDESIRABLE}
    told: dict[str, int | float] = {
        name: int(count) for name, number in named.items() if (count := (verdicts == number).sum())
    }
    if "pairs" in told:
        chosen, rejected = learned[:, 0], learned[:, 1]
        means, longer = {"chosen": chosen.mean(), "rejected": rejected.mean()}, float((chosen > rejected).mean())
        return told | _means(means) | {"longer_chosen_share": round(longer, 3)}
    return told | _means({name: learned[verdicts == named[name], 0].mean() for name in told})


def _means(means: Mapping[str, float]) -> dict[str, float]:
    return {f"mean_{name}_tokens": round(float(mean), 1) for name, mean in means.items()}


def _cut(found: Index, some: Flags | slice) -> Ints:
    """The tokens of some rows as they are trained on."""
    rows, limit = found.rows["length"][some].astype(np.int64), found.config.max_length
    if found.config.overlong != "truncate":
        return rows
    return np.minimum(found.texts.length[some], limit).sum(axis=1) if found.kind else np.minimum(rows, limit)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
