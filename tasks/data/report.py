"""The page that says what the data became: counts that add up, lengths, and every kind of loss with its places."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infra.frozen import Frozen
from tasks.data import figures
from tasks.data.figures import Cost, Lengths, SourceFigures
from tasks.data.index import SHOWN, Index
from tasks.data.packing import Ints
from tasks.data.places import Problem as Noted
from tasks.data.sides import Side

WHOLE = 0.995  # share of rows that the suggested max_length leaves whole
STEP = 64  # tokens; GPU kernels like multiples of it


class Problem(Frozen):
    """One row that was not used as it is; `sample` is the beginning of what stands there."""

    place: str
    text: str
    sample: str = ""


class Report(Frozen):
    """All figures of a dataset; shares are 0 … 1. rows = train_rows + validation_rows + dropped + bad."""

    rows: int
    train_rows: int
    validation_rows: int
    dropped: int
    truncated: int
    split: int
    bad: int
    quarantined: int
    dropped_why: dict[str, int]
    duplicates: int
    unused_columns: list[str]
    sensitive: dict[str, int]
    train_tokens: int
    validation_tokens: int
    supervised_share: float
    straddling_tokens: int
    prompt_loss_weight: float
    packing: bool
    bins: int
    fill: float
    max_length: int
    suggested_max_length: int
    longest: int
    median_length: int
    lengths: Lengths
    cost: Cost
    sources: list[SourceFigures]
    problems: dict[str, list[Problem]]
    judged: dict[str, int | float]

    def told(self) -> dict[str, Any]:
        """The JSON form."""
        return self.model_dump(mode="json", exclude=None if self.judged else {"judged"})

    def markdown(self) -> str:
        """The page, for people."""
        parts = [
            self._counts(),
            self._lengths(),
            *(self._places(kind) for kind in ("bad", "dropped", "truncated", "sensitive")),
        ]
        return "# Data\n\n" + "\n".join(part for part in parts if part)

    def _counts(self) -> str:
        why = "".join(f"; {count} {reason}" for reason, count in sorted(self.dropped_why.items())).removeprefix("; ")
        rows = [
            ("rows read", self.rows, ""),
            ("to train on", self.train_rows, f"{self.train_tokens:,} tokens"),
            ("held out", self.validation_rows, f"{self.validation_tokens:,} tokens"),
            ("dropped", self.dropped, why),
            ("bad", self.bad, "could not be used"),
            ("truncated", self.truncated, "kept without their end"),
            ("split", self.split, "documents that go on in the next sequence"),
        ]
        table = "".join(f"| {name} | {count:,} | {note} |\n" for name, count, note in rows)
        return f"| rows | count | |\n|---|---:|---|\n{table}"

    def _lengths(self) -> str:
        where = "bins of packed rows" if self.packing else "bins of one row each"
        return (
            f"- Rows that are equal to an earlier one: {self.duplicates:,}"
            f"{'; drop_duplicates: true leaves them out' if self.duplicates else ''}.\n"
            f"- Personal data and secrets: {_kinds(self.sensitive)}.\n"
            f"- Columns that were not used: {', '.join(map(_inline, self.unused_columns)) or 'none'}.\n"
            f"- Supervised share: {self.supervised_share:.1%} of the tokens are answers, with weight 1; "
            f"the others have weight {self.prompt_loss_weight:g}.\n"
            f"- Straddling tokens: {self.straddling_tokens} hold the end of a prompt and the start of its answer, "
            "and count as prompt.\n"
            f"- Row lengths: median {self.median_length}, longest {self.longest} tokens.\n"
            f"- `max_length` is {self.max_length}; suggested: {self.suggested_max_length}, "
            f"the smallest multiple of {STEP} that leaves {WHOLE:.1%} of the rows whole.\n"
            f"- Fill: {self.fill:.1%} of the room in {self.bins:,} {where} is used.\n"
            + (f"- Judged answers: {_figures(self.judged)}.\n" if self.judged else "")
        )

    def _places(self, kind: str) -> str:
        found = self.problems[kind]
        count = len(found) if kind == "sensitive" else getattr(self, kind)
        if not count:
            return ""
        title = f"## {kind.capitalize()} rows" + (f" (first {SHOWN} of {count:,})" if count > SHOWN else "")
        return f"{title}\n\n" + "".join(f"- `{_inline(item.place)}` {_inline(item.text)}\n" for item in found)


def tell(found: Index, train: Side, validation: Side, problems: Mapping[str, list[Noted]]) -> Report:
    """The figures of an index and its two sides, with its problems."""
    rows, config, longest = found.rows, found.config, found.longest()
    return Report(
        rows=found.total,
        train_rows=int((train.times > 0).sum()),
        validation_rows=int((validation.times > 0).sum()),
        dropped=found.dropped.total(),
        truncated=found.truncated,
        split=found.split,
        bad=found.bad,
        quarantined=sum(len(made.told.notes["bad"]) for made in found.shards),
        dropped_why={reason: count for reason, count in found.dropped.items() if count},
        duplicates=found.duplicates(),
        unused_columns=found.unused_columns(),
        sensitive=dict(sorted(found.sensitive.items())),
        train_tokens=train.tokens,
        validation_tokens=validation.tokens,
        supervised_share=float((figures.learned(found) * train.times).sum() / train.tokens),
        straddling_tokens=int(rows["straddling"][found.kept].sum(dtype=np.int64)),
        prompt_loss_weight=found.prompt_loss_weight,
        packing=config.packing,
        bins=len(train.bins),
        fill=train.tokens / (len(train.bins) * found.room),
        max_length=config.max_length,
        suggested_max_length=suggest(longest),
        longest=int(longest.max()),
        median_length=int(np.median(longest)),
        lengths=figures.lengths(found),
        cost=figures.cost(found, train),
        sources=figures.by_source(found, train, validation),
        problems={
            kind: [Problem(place=at.place, text=at.text, sample=at.sample) for at in told]
            for kind, told in problems.items()
        },
        judged=figures.judged(found),
    )


def suggest(lengths: Ints) -> int:
    """The smallest multiple of STEP tokens that leaves a share WHOLE of the rows whole."""
    needed = int(np.quantile(lengths, WHOLE, method="inverted_cdf"))
    return -(-needed // STEP) * STEP


def save(folder: Path, report: Report) -> None:
    """report.json and report.md."""
    (folder / "report.json").write_text(
        json.dumps(report.told(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (folder / "report.md").write_text(report.markdown(), encoding="utf-8")


def _inline(text: str) -> str:
    return " ".join(text.replace("`", "'").replace("<", "&lt;").split())[:300]


def _kinds(found: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in found.items()) or "none"


def _figures(found: dict[str, int | float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in found.items())
