"""Found rows → spooled tokens: rendered, encoded and weighed a batch at a time, every row accounted for."""

from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadData, BadTemplate
from tasks.data.config import DataConfig
from tasks.data.rows import BadRow, Chat, Found, Row, Text, fingerprint
from tasks.data.spool import Spool, held_out
from tasks.data.tally import Prompts, Tally
from tasks.data.templates import Rendered, Template
from tasks.data.tokens import Encoder, Tokens

BATCH_ROWS = 512
ASKED = 256  # tokens of a document that become prompt and answer
BATCH_CHARACTERS = 2**20  # encodings take some hundred bytes a token until they are spooled


class Preparation:
    """One pass over all rows. `lengths` has every row's tokens before anything was cut or dropped."""

    def __init__(self, config: DataConfig, tokenizer: Any, template: Template, spool: Spool) -> None:
        self.config, self.encoder, self.template, self.spool = config, Encoder(tokenizer), template, spool
        self.tally, self.prompts, self.lengths = Tally(), Prompts(), array("I")
        self._held: set[int] = set()
        self._seen: set[int] = set()  # only filled where duplicates are dropped: 60 bytes a row

    def feed(self, found: Iterable[Found], validation: bool) -> Iterator[float]:
        """Take in one file; yields the share of it that is done, after each batch.

        Files of the validation side come first, so that their rows can be kept out of the training side.
        """
        for batch in _batches(found):
            self._spool([row for item in batch if (row := self._checked(item, validation))], validation)
            yield batch[-1].share

    def chosen(self) -> NDArray[np.bool_]:
        """Which spooled rows are held out."""
        prints = self.spool.fingerprints
        if self.config.validation_files is None:
            return held_out(prints, self.config.validation_split)
        return np.isin(prints, np.fromiter(self._held, dtype=np.uint64, count=len(self._held)))

    def finish(self) -> None:
        """Close the spool; BadData where too many rows were bad, or where the masks cannot be right."""
        self.spool.close()
        self.tally.require_few_bad(self.config.max_bad_rows)
        chats = self.spool.chats
        learned = int(self.spool.learned[chats].sum())
        predicted = int(self.spool.lengths[chats].sum() - chats.sum())
        if chats.any() and learned in (0, predicted):
            raise BadTemplate(
                f"{learned} of {predicted} tokens of the conversations are answers, so the masks cannot be right",
                place="data.chat_template",
                value=f"supervised share {100 * learned / max(predicted, 1):.0f} %",
                remedy="see how the template marks the assistant's turn (add_generation_prompt)",
            )

    def _checked(self, item: Found, validation: bool) -> tuple[str, Row, int] | None:
        self.tally.rows += 1
        if item.row is None:
            self.tally.refuse(item.place, item.reason)
            return None
        try:
            print_ = fingerprint(item.row, self.config.seed)
        except BadRow as error:
            self.tally.refuse(item.place, str(error))
            return None
        if not validation and print_ in self._held:
            self.tally.drop(item.place, "also in the validation files")
            return None
        if self.config.drop_duplicates:
            if print_ in self._seen:
                self.tally.drop(item.place, "equal to an earlier row")
                return None
            self._seen.add(print_)
        return item.place, item.row, print_

    def _spool(self, rows: list[tuple[str, Row, int]], validation: bool) -> None:
        texts = self.template.render([(place, row) for place, row, _ in rows])
        for (place, _, _), text in zip(rows, texts, strict=True):
            if isinstance(text, BadRow):
                self.tally.refuse(place, str(text))
        good = [(*row, text) for row, text in zip(rows, texts, strict=True) if isinstance(text, Rendered)]
        for (place, row, print_, text), tokens in zip(good, self.encoder.encode([g[3] for g in good]), strict=True):
            self.lengths.append(len(tokens.ids))
            pieces = self._fitted(place, row, tokens)
            for number, piece in enumerate(pieces):
                self.spool.add(piece, print_, isinstance(row, Chat), head=number == 0)
            if pieces:
                self.tally.keep(pieces[0].straddling)
                if validation:
                    self._held.add(print_)
                if validation or self.config.validation_files is None:
                    self._offer(print_, row, text, tokens)

    def _offer(self, print_: int, row: Row, text: Rendered, tokens: Tokens) -> None:
        """Of a document the middle of its beginning parts prompt and answer; what was cut is no prompt for a model."""
        if isinstance(row, Text):
            self.prompts.offer(print_, lambda: self.encoder.halves(tokens.ids[:ASKED]))
        elif len(tokens.ids) <= self.config.max_length:
            self.prompts.offer(print_, lambda: (text.prompt(), text.answer()))

    def _fitted(self, place: str, row: Row, tokens: Tokens) -> list[Tokens]:
        """The row within max_length, in several pieces where it may be split; none where it is dropped."""
        length, limit = len(tokens.ids), self.config.max_length
        if length <= limit:
            return [tokens]
        if self.config.overlong == "split" and isinstance(row, Text):
            self.tally.split += 1
            ends = [*range(0, length, limit), length]
            ends[-2] -= length - ends[-2] == 1  # nothing would predict a last piece of one token
            return [Tokens(tokens.ids[a:b], tokens.learned[a:b]) for a, b in pairwise(ends)]
        if self.config.overlong != "truncate":
            self.tally.drop(place, "longer than max_length", f" ({length} tokens)")
            return []
        cut = Tokens(tokens.ids[:limit], tokens.learned[:limit], tokens.straddling)
        if not cut.learned.any():
            self.tally.drop(place, "its answer lies beyond max_length", f" ({length} tokens)")
            return []
        self.tally.truncate(place, f"{length} tokens cut to {limit}")
        return [cut]


def require_rows(train: int, tally: Tally) -> None:
    """BadData where nothing is left to train on."""
    if train == 0:
        raise BadData(
            "no row is left to train on",
            place="data.train_files",
            value=f"{tally.rows} rows, {tally.bad} bad, {tally.dropped} dropped: {dict(tally.why)}",
            remedy="raise data.max_length, or give other rows",
        )


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
