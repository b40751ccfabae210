"""Rendered text → token ids, and which of them are the answer's."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadModel, BadTemplate
from tasks.data.templates import Rendered


@dataclass(frozen=True)
class Tokens:
    """One row: ids (uint32), `learned` (bool, the answers with their end-of-turn tokens), and how many tokens straddle
    the start of an answer and so count as prompt."""

    ids: NDArray[np.uint32]
    learned: NDArray[np.bool_]
    straddling: int = 0


class Bounds(NamedTuple):
    """The tokens first … last of an answer, tokens that reach over its start, and whether its end is one token."""

    first: int
    last: int
    over: int
    closed: bool


def load(folder: Path) -> Any:
    """The tokenizer in a folder; BadModel where it has no offsets to map text to tokens (no tokenizer.json)."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds, and only here

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BadModel("the tokenizer cannot be loaded", value=error, remedy="check the files of the base") from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise BadModel(
            "the tokenizer has no tokenizer.json", value=type(tokenizer).__name__, remedy="convert it to a fast one"
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

    def encode(self, rows: Sequence[Rendered]) -> list[Tokens]:
        """The tokens of each row; BadTemplate where an end-of-turn text is not one token."""
        texts = [row.text for row in rows]
        if self._bytes is None:
            encodings = self._backend.encode_batch(texts, add_special_tokens=False)
            return [_by_offsets(encoding, row) for encoding, row in zip(encodings, rows, strict=True)]
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        return [self._by_lengths(self._bytes, encoding, row) for encoding, row in zip(encodings, rows, strict=True)]

    def halves(self, ids: NDArray[np.uint32]) -> tuple[str, str]:
        """The text of the first half of some tokens, and of the second."""
        first, second = np.split(ids, [len(ids) // 2])
        return self.text(first), self.text(second)

    def text(self, ids: NDArray[np.uint32]) -> str:
        """What tokens stand for, special ones as they are written."""
        return str(self._backend.decode(ids.tolist(), skip_special_tokens=False))

    def _by_lengths(self, lengths: NDArray[np.int64], encoding: Any, row: Rendered) -> Tokens:
        ids = np.array(encoding.ids, dtype=np.uint32)
        ends = np.cumsum(lengths[ids])
        if not len(ids) or ends[-1] != _bytes_to(row.text) or not unicodedata.is_normalized("NFC", row.text):
            # A token that swallowed white space, or a normaliser that changed the text.
            return _by_offsets(self._backend.encode(row.text, add_special_tokens=False), row)
        return _tokens(ids, row, (_in_bytes(row, answer, ends) for answer in row.answers))


def _tokens(ids: NDArray[np.uint32], row: Rendered, answers: Iterable[Bounds]) -> Tokens:
    learned, straddling = np.zeros(len(ids), dtype=bool), 0
    for first, last, over, closed in answers:
        if not closed:
            raise BadTemplate(
                "the end-of-turn text of the template is not one token of this tokenizer",
                value=repr(row.end),
                remedy="use the tokenizer that belongs to the template",
            )
        learned[first : last + 1] = True
        straddling += over
    # Nothing comes before the first token, so nothing predicts it.
    learned[:1] = False
    return Tokens(ids, learned, straddling)


def _in_bytes(row: Rendered, answer: tuple[int, int], ends: NDArray[np.int64]) -> Bounds:
    start, stop = (_bytes_to(row.text, at) for at in answer)
    first, last = np.searchsorted(ends, [start, stop - 1], side="right").tolist()
    over = int(_begin(ends, first) < start)
    closed = ends[last] == stop and _begin(ends, last) == stop - _bytes_to(row.end)
    return Bounds(first + over, last, over, bool(closed))


def _begin(ends: NDArray[np.int64], token: int) -> int:
    return int(ends[token - 1]) if token else 0


def _by_offsets(encoding: Any, row: Rendered) -> Tokens:
    bounds = (_in_characters(encoding, row, answer) for answer in row.answers)
    return _tokens(np.array(encoding.ids, dtype=np.uint32), row, bounds)


def _in_characters(encoding: Any, row: Rendered, answer: tuple[int, int]) -> Bounds:
    start, stop = answer
    # Normalisers may drop characters: those have no token.
    found = next((token for at in range(start, stop) if (token := encoding.char_to_token(at)) is not None), 0)
    last = encoding.char_to_token(stop - 1)
    if last is None:
        return Bounds(found, found, 0, False)
    first = found
    while encoding.token_to_chars(first)[0] < start:
        first += 1
    # Some end tokens swallow the white space behind them; none may begin before its own text.
    return Bounds(first, last, first - found, encoding.token_to_chars(last)[0] == stop - len(row.end))


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
