"""One shard: parts of source files → tokens, weights, and what the index must know of every row.

A shard is an artifact of its own, named by the bytes that it was made of. So a run that was killed makes only what is
missing, a file that is added costs only itself, and another split, length or packing costs no tokenising at all.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from infra.frozen import Frozen, canonical
from tasks.data.config import TextConfig
from tasks.data.judged import JUDGED, PAIR, verdict
from tasks.data.quality import Quality, shown
from tasks.data.reading import Reading
from tasks.data.rows import BadRow, Chat, Found, Row, Text, asked, fingerprint, sample, sequences
from tasks.data.similar import signatures
from tasks.data.templates import Rendered, Template
from tasks.data.texts import compared
from tasks.data.tokens import Batch, Encoder

BATCH_ROWS = 512
BATCH_CHARACTERS = 2**20  # encodings take some hundred bytes a token until they are written
NOTES = 1000  # rows of a kind that a shard tells of one by one

TOKEN, WEIGHT, SIGNATURE = np.dtype("<u4"), np.dtype("<f2"), np.dtype("<u4")
PLAIN, CHAT, TEXT = range(3)  # kinds of rows
# What is known of a row: the hash of its content, and of what comes before its last answer; the line of its segment, its
# tokens, how many of them are learned, where the first of these stands, how many straddle the start of an answer, and of
# which segment and kind it is.
ROW = np.dtype(
    [
        ("print", "<u8"),
        ("asked", "<u8"),
        ("line", "<u4"),
        ("length", "<u4"),
        ("learned", "<u4"),
        ("first", "<u4"),
        ("straddling", "<u2"),
        ("segment", "<u2"),
        ("kind", "u1"),
    ]
)


class Note(Frozen):
    """A row that became no tokens: where it stands, and why; `sample` is the beginning of what stands there."""

    segment: int
    line: int
    text: str
    sample: str = ""


class Told(Frozen):
    """What a shard says of itself besides its rows. `lines` and `rows` are by segment; rows = kept + dropped + bad.
    `judged` tells that there is a judged.npy (JUDGED) with a line for each of rows.npy."""

    lines: list[int]
    rows: list[int]
    bad: int
    dropped: dict[str, int]
    notes: dict[str, list[Note]]
    unused_columns: list[str]
    sensitive: dict[str, int]
    judged: bool = False


class Shard:
    """The files of a shard while they are written: tokens.bin, weights.bin, rows.npy and shard.json below `folder`,
    and signatures.bin where near copies are looked for."""

    def __init__(self, folder: Path, config: TextConfig, template: Template, encoder: Encoder) -> None:
        self._folder, self._config, self._template, self._encoder = folder, config, template, encoder
        self._tokens, self._weights = ((folder / f"{name}.bin").open("wb") for name in ("tokens", "weights"))
        self._known, self._judged = [np.zeros(0, ROW)], [np.zeros(0, JUDGED)]
        self._place = ""
        self._lines: list[int] = []
        self._rows: list[int] = []
        self._bad, self._dropped = 0, Counter[str]()
        self._notes: dict[str, list[Note]] = {"bad": [], "dropped": [], "sensitive": []}
        self._quality = Quality(config)
        self._signatures = (folder / "signatures.bin").open("wb") if config.signatures else None

    def __enter__(self) -> "Shard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more is written."""
        for file in (self._tokens, self._weights, self._signatures):
            if file is not None:
                file.close()

    def feed(self, reading: Reading, place: str) -> Iterator[int]:
        """Take in one segment, where `place` and a line say where a row stands; yields the rows of each batch."""
        self._rows.append(0)
        self._place = place
        for batch in _batches(reading):
            self._rows[-1] += len(batch)
            self._write([row for item in batch if (row := self._usable(item)) is not None])
            yield len(batch)
        self._lines.append(reading.lines)

    def finish(self, unused_columns: Iterable[str]) -> Told:
        """Write what is known, and close."""
        self.close()
        np.save(self._folder / "rows.npy", np.concatenate(self._known))
        told = Told(
            lines=self._lines,
            rows=self._rows,
            bad=self._bad,
            dropped=dict(self._dropped),
            notes=self._notes,
            unused_columns=sorted(unused_columns),
            sensitive=dict(self._quality.sensitive),
            judged=bool((judged := np.concatenate(self._judged))["verdict"].any()),
        )
        if told.judged:
            np.save(self._folder / "judged.npy", judged)
        # Shards without judged rows keep the bytes that they always had.
        said = told.model_dump(mode="json", exclude=None if told.judged else {"judged"})
        (self._folder / "shard.json").write_bytes(canonical(said))
        return told

    def _usable(self, item: Found) -> tuple[int, Row, int] | None:
        if item.row is None:
            self._refuse(item.line, item.reason, item.sample)
            return None
        try:
            hashed = fingerprint(item.row)  # of what the file holds, also where it is not learned as it stands
        except BadRow as error:
            self._refuse(item.line, str(error), item.row.content())
            return None
        row, reason, masked = self._quality.checked(item.row)
        if masked:
            self._note("sensitive", item.line, masked, "")
        if reason:
            self._dropped[reason] += 1
            self._note("dropped", item.line, reason, "" if masked else item.row.content())
            return None
        return item.line, row, hashed

    def _write(self, rows: list[tuple[int, Row, int]]) -> None:
        single = [(f"{self._place}{line}", text) for line, row, _ in rows for text in sequences(row)]
        rendered = iter(self._template.render(single))
        good = []
        for line, row, hashed in rows:
            found = together([next(rendered) for _ in sequences(row)])
            if isinstance(found, BadRow):
                self._refuse(line, str(found), row.content())
            else:
                good.append((line, row, hashed, found))
        if good:
            self._add(good, self._encoder.together([text for *_, texts in good for text in texts]))

    def _add(self, rows: list[tuple[int, Row, int, list[Rendered]]], batch: Batch) -> None:
        self._tokens.write(batch.ids.astype(TOKEN, copy=False).data)
        self._weights.write(batch.weights.astype(WEIGHT, copy=False).data)
        known = np.zeros(len(rows), ROW)
        known["line"], known["print"] = [line for line, *_ in rows], [hashed for _, _, hashed, _ in rows]
        known["asked"] = [asked(row) for _, row, *_ in rows]
        known["kind"] = [
            CHAT if isinstance(text := sequences(row)[0], Chat) else TEXT if isinstance(text, Text) else PLAIN
            for _, row, *_ in rows
        ]
        # A row is one text, or two where it is a pair.
        starts = np.cumsum([0, *(len(texts) for *_, texts in rows)])[:-1]
        learned, first = batch.learned()
        known["length"], known["straddling"] = (np.add.reduceat(of, starts) for of in (batch.counts, batch.straddling))
        known["learned"], known["first"], known["segment"] = (
            np.add.reduceat(learned, starts),
            first[starts],
            len(self._rows) - 1,
        )
        self._known.append(known)
        judged = np.zeros(len(rows), JUDGED)
        judged["verdict"] = [verdict(row) for _, row, *_ in rows]
        pairs = judged["verdict"] == PAIR
        at = starts[pairs]
        judged["chosen"][pairs], judged["learned"][pairs], judged["first"][pairs] = (
            batch.counts[at],
            learned[at],
            first[at + 1],
        )
        self._judged.append(judged)
        if self._signatures is not None:
            made = signatures([compared(row) for _, row, *_ in rows])
            self._signatures.write(made.astype(SIGNATURE, copy=False).data)

    def _refuse(self, line: int, reason: str, there: object) -> None:
        self._bad += 1
        self._note("bad", line, reason, there)

    def _note(self, kind: str, line: int, text: str, there: object = "") -> None:
        if len(self._notes[kind]) < NOTES:
            there = shown(sample(there), self._config.sensitive)
            self._notes[kind].append(Note(segment=len(self._rows) - 1, line=line, text=text, sample=there))


def together(texts: list[Rendered | BadRow]) -> list[Rendered] | BadRow:
    """All texts of a row, or why it cannot be used; a judged one must have something to judge."""
    good: list[Rendered] = []
    for text in texts:
        if isinstance(text, BadRow):
            return text
        good.append(text)
    if len(good) > 1:
        if good[0] == good[1]:
            return BadRow("the chat template writes chosen and rejected alike")
        if not all(any(span.weight for span in text.spans) for text in good):
            return BadRow("no message of chosen or of rejected has a weight above 0")
    return good


def _batches(found: Iterable[Found]) -> Iterator[list[Found]]:
    batch: list[Found] = []
    size = 0
    for item in found:
        batch.append(item)
        size += 0 if item.row is None else item.row.size()
        if len(batch) == BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
