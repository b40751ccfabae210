"""The process that is asked how two datasets differ: `python -m tasks.data.diffing`, a Question on its input."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from infra import settings
from infra.errors import LuthierError, Refused
from infra.settings import Platform
from infra.storage.receipt import Manifest, Receipt
from tasks.data import diff
from tasks.data.changes import Answer, Changes, Example, Question
from tasks.data.packing import Ints
from tasks.data.preview import Shown
from tasks.data.reading import place
from tasks.data.samples import Looked, divided, parts
from tasks.data.tokens import Encoder, load, without_torch


class Dataset:
    """A committed dataset: its rows, and what single ones say."""

    def __init__(self, platform: Platform, receipt: Receipt, room: Path) -> None:
        store = platform.store
        self.manifest: Manifest = store.manifest(receipt)
        index: dict[str, Any] = json.loads(store.read(receipt, "index.json"))
        if "shards" not in index:
            raise Refused(
                "this dataset does not tell where its rows stood",
                place=receipt.uri,
                remedy="it was made by an earlier version: run its recipe again",
            )
        shards = [self.manifest.parts[name] for name in sorted(self.manifest.parts)]
        known = (np.load(io.BytesIO(store.read(shard, "rows.npy"))) for shard in shards)
        taken = np.load(io.BytesIO(store.read(receipt, "taken.npy")))
        self.rows = diff.table(index["shards"], known, taken, self._cut())
        self._prompt = float(index["prompt_loss_weight"])
        self._looked = Looked(platform, shards, room / "shards")
        self._platform, self._room = platform, room
        self.encoder: Encoder | None = None

    def _cut(self) -> int | None:
        config = self.manifest.config
        return int(str(config["max_length"])) if config.get("overlong") == "truncate" else None

    def shown(self, row: int) -> Shown:
        """One row, decoded by the tokenizer of this dataset."""
        if self.encoder is None:
            folder = self._room / "tokenizer"
            folder.mkdir(parents=True)
            tokenizer = self.manifest.inputs["tokenizer"]
            self.encoder = Encoder(load(self._platform.cache.materialise(self._platform.store, tokenizer, folder)))
        known = self.rows.rows[row]
        shard, begin, length = (int(known[name]) for name in ("shard", "begin", "length"))
        verdict, chosen = self._looked.judged(shard, begin)
        texts = divided(*self._looked.tokens(shard, begin, length), chosen)
        name, kind = self.rows.files[int(known["file"])]
        return Shown(
            place=place(name, kind, int(known["line"])),
            tokens=length,
            learned=int(known["learned"]),
            parts=tuple(parts(texts, verdict, self.encoder, self._prompt)),
        )


def look(question: Question, platform: Platform) -> Changes:
    """All changes, and the first so many of each kind as examples."""
    before = Dataset(platform, question.before, question.scratch / "before")
    after = Dataset(platform, question.after, question.scratch / "after")
    found = diff.compare(before.rows, after.rows)
    now_held_out, now_trained_on = diff.moved(before.rows, after.rows, found.same)
    far, chance = diff.distance(before.rows, after.rows)
    some = question.rows
    examples = {
        "added": tuple(Example(after=after.shown(row)) for row in found.added[:some].tolist()),
        "removed": tuple(Example(before=before.shown(row)) for row in found.removed[:some].tolist()),
        "changed": tuple(
            Example(before=before.shown(old), after=after.shown(new)) for old, new in _some(found.changed, some)
        ),
    }
    one = before.manifest.inputs["tokenizer"].content_sha256 == after.manifest.inputs["tokenizer"].content_sha256
    return Changes(
        before=diff.amounts(before.rows),
        after=diff.amounts(after.rows),
        same=len(found.same[0]),
        added=len(found.added),
        removed=len(found.removed),
        changed=len(found.changed[0]),
        now_held_out=now_held_out,
        now_trained_on=now_trained_on,
        distance=far,
        by_chance=chance,
        sources=tuple(diff.drift(before.rows, after.rows)),
        settings=_settings(before.manifest, after.manifest),
        one_tokenizer=one,
        examples=examples,
        special=tuple(sorted({token for side in (before, after) if side.encoder for token in side.encoder.special})),
    )


def _some(pairs: tuple[Ints, Ints], count: int) -> Iterator[tuple[int, int]]:
    old, new = (side[:count].tolist() for side in pairs)
    return zip(old, new, strict=True)


def _settings(before: Manifest, after: Manifest) -> dict[str, Any]:
    """The fields of the data section that differ, but for those of files and of how they are read."""
    aside = {"train_files", "validation_files", "chat_template", "num_proc"}
    names = sorted((set(before.config) | set(after.config)) - aside)
    pairs = {name: (before.config.get(name), after.config.get(name)) for name in names}
    pairs["chat_template"] = (before.summary.get("template_sha256"), after.summary.get("template_sha256"))
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def main() -> None:
    """One answer, as a line of JSON."""
    question = Question.model_validate_json(sys.stdin.read())
    try:
        answer = Answer(changes=look(question, settings.load().platform()))
    except LuthierError as error:
        answer = Answer(error=error.report())
    sys.stdout.write(answer.model_dump_json() + "\n")


if __name__ == "__main__":
    without_torch()
    main()
