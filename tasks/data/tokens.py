"""Rendered text → token ids, and which of them are the answer's."""

import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadModel, BadTemplate
from tasks.data.beginnings import Beginnings
from tasks.data.spans import Span
from tasks.data.templates import Rendered

BASE = "base.model_name_or_path"  # where the recipe names what a tokenizer comes from
PROMPT = -1.0  # the weight of tokens that are not learned: data.prompt_loss_weight decides it later


@dataclass(frozen=True)
class Tokens:
    """One row: ids (uint32), the loss weight of each (float16, 0 … 1, PROMPT where it is not learned, the first always
    0), and how many tokens straddle the start of an answer and so count as prompt."""

    ids: NDArray[np.uint32]
    weights: NDArray[np.float16]
    straddling: int = 0

    @property
    def learned(self) -> NDArray[np.bool_]:
        """Which tokens are an answer's, its end-of-turn token included, and count, [n]."""
        return self.weights > 0

    def weighed(self, prompt_loss_weight: float) -> NDArray[np.float64]:
        """The loss weight of each token, [n]."""
        return np.where(self.weights < 0, prompt_loss_weight, self.weights.astype(np.float64))


@dataclass(frozen=True)
class Batch:
    """Several rows one behind the other: ids and weights [all tokens] as in Tokens; of each row its straddling tokens and
    the count of all its tokens, [rows]."""

    ids: NDArray[np.uint32]
    weights: NDArray[np.float16]
    straddling: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Tokens]) -> "Batch":
        """Put rows together."""
        return cls(
            np.concatenate([np.zeros(0, np.uint32), *(row.ids for row in rows)]),
            np.concatenate([np.zeros(0, np.float16), *(row.weights for row in rows)]),
            np.array([row.straddling for row in rows], dtype=np.int64),
            np.array([len(row.ids) for row in rows], dtype=np.int64),
        )

    def apart(self) -> list[Tokens]:
        """Each row by itself."""
        at = np.cumsum(self.counts)[:-1]
        parts = zip(np.split(self.ids, at), np.split(self.weights, at), self.straddling.tolist(), strict=True)
        return [Tokens(*part) for part in parts] if len(self.counts) else []

    def put(self, row: int, tokens: Tokens) -> None:
        """Another account of the tokens of one row, which are as many."""
        stop = int(self.counts[: row + 1].sum())
        place = slice(stop - int(self.counts[row]), stop)
        self.ids[place], self.weights[place], self.straddling[row] = tokens.ids, tokens.weights, tokens.straddling

    def learned(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each row how many tokens are learned, and where the first of them stands; its length where none is."""
        at = np.flatnonzero(self.weights > 0)
        stops = np.cumsum(self.counts)
        before, behind = np.searchsorted(at, stops - self.counts), np.searchsorted(at, stops)
        first = np.concatenate([at, [0]])[before] - (stops - self.counts)
        return behind - before, np.where(behind > before, first, self.counts)


class Bounds(NamedTuple):
    """The tokens first … last of an answer, tokens that reach over its start, and whether its end is one token."""

    first: int
    last: int
    over: int
    closed: bool


def without_torch() -> None:
    """Have this process import transformers without torch, which is most of its seconds and of its memory; tokenizers are the
    same. Only for processes that do nothing else: there is no torch in them from now on."""
    if "torch" not in sys.modules:
        os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # it says that there are no models now
        sys.modules["torch"] = None  # type: ignore[assignment]  # as Python documents: importing it fails


def load(folder: Path) -> Any:
    """The tokenizer in a folder; BadModel where it cannot be loaded, or has no offsets to map text to tokens."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds, and only here

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers has no narrower one for a tokenizer.json that is none
        raise BadModel(
            "the tokenizer cannot be loaded", place=BASE, value=error, remedy="check the files of the base"
        ) from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise BadModel(
            "the tokenizer has no tokenizer.json",
            place=BASE,
            value=type(tokenizer).__name__,
            remedy="convert it to a fast one",
        )
    # A tokenizer.json may carry both, and would cut or fill rows without a word.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


class Encoder:
    """Rows → tokens, the whole text of a row at once, as inference will see it.

    Byte-level vocabularies say by themselves how many bytes of text each token stands for; asking the tokenizer for
    offsets costs a quarter more. `by_length=False` always asks.
    """

    def __init__(self, tokenizer: Any, by_length: bool = True) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._bytes = _byte_lengths(self._backend) if by_length else None
        self._beginnings = Beginnings(self._backend) if self._bytes is not None else None

    def encode(self, rows: Sequence[Rendered]) -> list[Tokens]:
        """The tokens of each row; BadTemplate where an end-of-turn text is not one token."""
        return self.together(rows).apart()

    def together(self, rows: Sequence[Rendered]) -> Batch:
        """The tokens of all rows, one row behind the other; BadTemplate where an end-of-turn text is not one token."""
        texts = [row.text for row in rows]
        if self._bytes is None or self._beginnings is None:
            encodings = self._backend.encode_batch(texts, add_special_tokens=False)
            return Batch.of([_by_offsets(encoding, row) for encoding, row in zip(encodings, rows, strict=True)])
        found = self._beginnings.ids(texts)
        counts = np.fromiter((len(begin) + len(rest) for begin, rest in found), np.int64, len(found))
        ids = np.fromiter(chain.from_iterable(chain.from_iterable(found)), np.uint32, counts.sum())
        return self._by_lengths(self._bytes, ids, counts, rows)

    @property
    def special(self) -> tuple[str, ...]:
        """The special tokens, as they are written."""
        added = self._backend.get_added_tokens_decoder().values()
        return tuple(sorted(token.content for token in added if token.special and token.content))

    def halves(self, ids: NDArray[np.uint32]) -> tuple[str, str]:
        """The text of the first half of some tokens, and of the second."""
        first, second = np.split(ids, [len(ids) // 2])
        return self.text(first), self.text(second)

    def text(self, ids: NDArray[np.uint32]) -> str:
        """What tokens stand for, special ones as they are written."""
        return str(self._backend.decode(ids.tolist(), skip_special_tokens=False))

    def _by_lengths(
        self, lengths: NDArray[np.int64], ids: NDArray[np.uint32], counts: NDArray[np.int64], rows: Sequence[Rendered]
    ) -> Batch:
        # Where each token begins, and the last one ends, in bytes of all texts so far.
        edges = np.concatenate([[0], np.cumsum(lengths[ids])])
        stops = np.cumsum(counts)
        base = edges[stops - counts]
        expected = np.fromiter((_bytes_to(row.text) for row in rows), np.int64, len(rows))
        sure = ((counts > 0) & (edges[stops] - base == expected)).tolist()
        # A token that swallowed white space, or a normaliser that changed the text.
        odd = [at for at, row in enumerate(rows) if not (sure[at] and _is_settled(row.text))]
        plain = rows if not odd else [row if at not in set(odd) else None for at, row in enumerate(rows)]
        spans = [(at, span, row.text) for at, row in enumerate(plain) if row is not None for span in row.spans]
        batch = Batch(ids, *_weighed(spans, edges, base, len(rows)), counts)
        batch.weights[(stops - counts)[counts > 0]] = 0  # nothing comes before the first token, so nothing predicts it
        for at in odd:
            batch.put(at, _by_offsets(self._backend.encode(rows[at].text, add_special_tokens=False), rows[at]))
        return batch


def _weighed(
    spans: list[tuple[int, Span, str]], edges: NDArray[np.int64], base: NDArray[np.int64], rows: int
) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """The weight of each token, [n], and the straddling tokens of each row; the spans come with their rows and texts."""
    weights = np.full(len(edges) - 1, PROMPT, dtype=np.float16)
    row = np.array([at for at, _, _ in spans], dtype=np.int64)
    start = base[row] + np.array([_bytes_to(text, span.start) for _, span, text in spans], dtype=np.int64)
    stop = base[row] + np.array([_bytes_to(text, span.stop) for _, span, text in spans], dtype=np.int64)
    end = np.array([len(span.end.encode()) for _, span, _ in spans], dtype=np.int64)
    first, last = (np.searchsorted(edges[1:], at, side="right") for at in (start, stop - 1))
    over = edges[first] < start
    closed = (edges[last + 1] == stop) & (edges[last] == stop - end)
    for at in np.flatnonzero(~closed & (end > 0))[:1].tolist():
        raise _open_end(spans[at][1])
    for (_, span, _), begin, behind in zip(spans, (first + over).tolist(), (last + 1).tolist(), strict=True):
        weights[begin:behind] = span.weight
    return weights, np.bincount(row, over, rows).astype(np.int64)


def _tokens(ids: NDArray[np.uint32], row: Rendered, bounds: Iterable[Bounds]) -> Tokens:
    weights, straddling = np.full(len(ids), PROMPT, dtype=np.float16), 0
    for span, (first, last, over, closed) in zip(row.spans, bounds, strict=True):
        if not closed and span.end:
            raise _open_end(span)
        weights[first : last + 1] = span.weight
        straddling += over
    # Nothing comes before the first token, so nothing predicts it.
    weights[:1] = 0
    return Tokens(ids, weights, straddling)


def _open_end(span: Span) -> BadTemplate:
    return BadTemplate(
        "the end-of-turn text of the template is not one token of this tokenizer",
        value=repr(span.end),
        remedy="use the tokenizer that belongs to the template",
    )


def _by_offsets(encoding: Any, row: Rendered) -> Tokens:
    bounds = (_in_characters(encoding, span) for span in row.spans)
    return _tokens(np.array(encoding.ids, dtype=np.uint32), row, bounds)


def _in_characters(encoding: Any, span: Span) -> Bounds:
    start, stop = span.start, span.stop
    # Normalisers may drop characters: those have no token.
    found = next((token for at in range(start, stop) if (token := encoding.char_to_token(at)) is not None), 0)
    last = encoding.char_to_token(stop - 1)
    if last is None:
        return Bounds(found, found, 0, False)
    first = found
    while encoding.token_to_chars(first)[0] < start:
        first += 1
    # Some end tokens swallow the white space behind them; none may begin before its own text.
    return Bounds(first, last, first - found, encoding.token_to_chars(last)[0] == stop - len(span.end))


def _is_settled(text: str) -> bool:
    """Whether Unicode's normal form leaves it as it is."""
    return text.isascii() or unicodedata.is_normalized("NFC", text)


def _bytes_to(text: str, stop: int | None = None) -> int:
    if text.isascii():
        return len(text) if stop is None else stop
    return len(text[:stop].encode())


def _byte_lengths(backend: Any) -> NDArray[np.int64] | None:
    """The bytes that each token id stands for, or None where tokens are not simply the bytes of the text in order."""
    if type(backend.decoder).__name__ != "ByteLevel" or type(backend.normalizer).__name__ not in ("NoneType", "NFC"):
        return None
    vocabulary = backend.get_vocab(with_added_tokens=True)
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    lengths = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
    for token, number in vocabulary.items():
        # Byte-level vocabularies write each byte as one character.
        lengths[number] = len(token.encode()) if token in added else len(token)
    return lengths
