"""Runs of words that two sets of texts share: found by hashes over whole batches, then compared word by word.

Words are folded: compatibility forms (NFKC), case, punctuation, invisible characters and white space make no difference;
digits stay. Scripts that put no space between words (Han, Kana) count a character as a word.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.data.config import LONGEST, SHORTEST

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

CHUNK = 2**18  # bytes hashed at once: the tables of powers stay in the processor's cache
SPARSE = 16  # places of the filter for each run: it lets through one in so many that are in no question
_BYTE, _WORD = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F  # odd, so that they have inverses modulo 2**64
_UNSPACED = (range(0x3040, 0x3100), range(0x3400, 0xA000), range(0xF900, 0xFB00), range(0x20000, 0x32400))
_FOLDED = bytes(32 if code < 128 and not chr(code).isalnum() else code for code in range(256)).lower()


class _Characters(dict[int, str | None]):
    """What becomes of a character beyond ASCII; each is looked up once."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        kind = unicodedata.category(character)
        if any(code in block for block in _UNSPACED):
            self[code] = f" {character} "
        elif kind == "Cf":
            self[code] = None  # a soft hyphen, a zero-width joiner
        else:
            self[code] = character if kind[0] in "LMN" else " "
        return self[code]


_CHARACTERS = _Characters({code: chr(code) for code in range(128)})


def fold(text: str) -> bytes:
    """The words of a text in UTF-8, with one space or several between them."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).casefold().translate(_CHARACTERS)
    return text.encode().translate(_FOLDED)


def _powers(base: int, count: int) -> Hashes:
    made = np.full(count, base, np.uint64)
    made[0] = 1
    return np.multiply.accumulate(made)


_UP, _DOWN = _powers(_BYTE, CHUNK), _powers(pow(_BYTE, -1, 2**64), CHUNK)


class Words:
    """All words of several folded texts in one line; `hashes` has 64 bits of each, equal words have equal ones."""

    def __init__(self, folded: Sequence[bytes]) -> None:
        self.folded = folded
        begins = np.cumsum([0, *(len(text) + 1 for text in folded)])
        parts = list(_hashed(b" ".join(folded)))
        at = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.int64)
        self.hashes = np.concatenate([part[1] for part in parts]) if parts else np.zeros(0, np.uint64)
        self.edges: Ints = np.searchsorted(at, begins).astype(np.int64)  # text i has words edges[i] … edges[i + 1]
        self.counts: Ints = np.diff(self.edges)

    @cached_property
    def text_of(self) -> Ints:
        """The number of the text that each word is in."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def left(self) -> Ints:
        """How many words are left in its text from each word on, itself included."""
        return self.edges[1:][self.text_of] - np.arange(len(self.hashes))

    @cached_property
    def _doubled(self) -> list[Hashes]:
        """The hashes of runs of 1, 2, 4, … words from each word on."""
        made, size = [self.hashes], 1
        while 2 * size <= min(LONGEST, self.counts.max(initial=0)):
            last = made[-1]
            made.append(last[:-size] * np.uint64(pow(_WORD, size, 2**64)) + last[size:])
            size *= 2
        return made

    def runs(self, length: int, at: Ints) -> Hashes:
        """The hash of `length` words from each place on; there must be so many left."""
        made, done = np.zeros(len(at), np.uint64), 0
        if not len(at):
            return made
        for power in reversed(range(length.bit_length())):
            size = 1 << power
            if length & size:
                made = made * np.uint64(pow(_WORD, size, 2**64)) + self._doubled[power][at + done]
                done += size
        return made


def _hashed(raw: bytes) -> Iterator[tuple[Ints, Hashes]]:
    """Where words begin, and their hashes: of words of more than CHUNK bytes, such as pictures, that of their beginning."""
    begin = 0
    while 0 <= begin < len(raw):
        end = len(raw) if len(raw) - begin <= CHUNK else raw.rfind(b" ", begin, begin + CHUNK)
        cut = end <= begin
        end = begin + CHUNK if cut else end
        letters = np.frombuffer(raw, np.uint8, end - begin, begin)
        edges = np.flatnonzero(np.diff(letters != 32, prepend=False, append=False))
        starts, ends = edges[::2], edges[1::2]
        sums = np.zeros(len(letters) + 1, np.uint64)
        np.cumsum(letters * _UP[: len(letters)], out=sums[1:])
        yield starts + begin, (sums[ends] - sums[starts]) * _DOWN[starts]
        begin = raw.find(b" ", end) if cut else end


@dataclass(frozen=True)
class Shared:
    """A run of words of text `text` that is also in question `question`."""

    text: int
    question: int
    words: str


class Index:
    """The runs of `ngram` words of questions; a question of fewer words, but SHORTEST, is one run.

    `tasks` says of each question whose it is. Left out are runs of numbers alone, and those that stand in more than
    MANY of a task's questions and COMMON of them: they are the task's form and not its questions. So are words that
    all of them begin or end with ("Question: … Answer:"), which a row need not have.
    """

    MANY, COMMON = 3, 0.1

    def __init__(self, questions: Sequence[str], tasks: Sequence[str], ngram: int) -> None:
        words = Words(_without_form([fold(text).split() for text in questions], tasks))
        self._canonical = [b" %b " % text for text in words.folded]
        numeric = [word.isnumeric() for text in words.folded for word in text.decode().split()]
        numbers = np.concatenate([[0], np.cumsum(numeric, dtype=np.int64)])
        names, task_of = np.unique(np.array(tasks, dtype=np.str_), return_inverse=True)
        self._runs: dict[int, tuple[Hashes, Ints]] = {}
        for length in sorted({ngram, *words.counts[(words.counts >= SHORTEST) & (words.counts < ngram)].tolist()}):
            at = np.flatnonzero(words.left >= length)
            if length < ngram:
                at = at[words.counts[words.text_of[at]] == length]
            at = at[numbers[at + length] - numbers[at] < length]
            found = _rare(
                words.runs(length, at), words.text_of[at], task_of, np.bincount(task_of, minlength=len(names))
            )
            if len(found[0]):
                self._runs[length] = found
        self.searched = np.unique(np.concatenate([np.zeros(0, np.int64), *(runs[1] for runs in self._runs.values())]))
        self._least = min(self._runs, default=ngram)
        self._filter, self._shift = self._made_filter(words)

    def _made_filter(self, words: Words) -> tuple[NDArray[np.bool_], np.uint64]:
        """Which upper bits the first `_least` words of runs have."""
        at = np.flatnonzero(words.left >= self._least)
        bits = max(16, (SPARSE * len(at)).bit_length())
        shift = np.uint64(64 - bits)
        places = np.zeros(2**bits, np.bool_)
        places[words.runs(self._least, at) >> shift] = True
        return places, shift

    def shared(self, folded: Sequence[bytes]) -> Iterator[Shared]:
        """What texts share with questions, in order; of each pair the first run, as long as it goes on."""
        if not self._runs:
            return
        words = Words(folded)
        at = np.flatnonzero(words.left >= self._least)
        at = at[self._filter[words.runs(self._least, at) >> self._shift]]
        found = [pair for length in self._runs for pair in self._found(words, length, at[words.left[at] >= length])]
        by_text: dict[int, list[tuple[int, int, int]]] = {}
        for place, length, question in sorted(found):
            by_text.setdefault(int(words.text_of[place]), []).append((place, length, question))
        for text, pairs in by_text.items():
            yield from self._compared(text, words.folded[text].split(), int(words.edges[text]), pairs)

    def _found(self, words: Words, length: int, at: Ints) -> Iterator[tuple[int, int, int]]:
        """Place, length and question of every run whose hash is a question's."""
        hashes, questions = self._runs[length]
        wanted = words.runs(length, at)
        low = np.searchsorted(hashes, wanted)
        hit = hashes[np.minimum(low, len(hashes) - 1)] == wanted
        at, low, high = at[hit], low[hit], np.searchsorted(hashes, wanted[hit], "right")
        for place, first, last in zip(at.tolist(), low.tolist(), high.tolist(), strict=True):
            for question in questions[first:last].tolist():
                yield place, length, question

    def _compared(
        self, text: int, words: list[bytes], begin: int, pairs: list[tuple[int, int, int]]
    ) -> Iterator[Shared]:
        spans: dict[int, tuple[int, int]] = {}
        for place, length, question in pairs:
            first, last = place - begin, place - begin + length
            if question in spans:
                if last == spans[question][1] + 1:
                    spans[question] = (spans[question][0], last)
            elif b" %b " % b" ".join(words[first:last]) in self._canonical[question]:
                spans[question] = (first, last)
        for question, (first, last) in spans.items():
            yield Shared(text, question, b" ".join(words[first:last]).decode())


def _without_form(questions: Sequence[list[bytes]], tasks: Sequence[str]) -> list[bytes]:
    """Questions without the words that all of their task begin or end with, where enough is left of them."""
    by_task: dict[str, list[list[bytes]]] = {}
    for words, task in zip(questions, tasks, strict=True):
        by_task.setdefault(task, []).append(words)
    form = {task: (_common(found), _common([words[::-1] for words in found])) for task, found in by_task.items()}
    made = []
    for words, task in zip(questions, tasks, strict=True):
        before, after = form[task] if len(by_task[task]) > Index.MANY else (0, 0)
        inner = words[before : len(words) - after]
        made.append(b" ".join(inner if len(inner) >= SHORTEST else words))
    return made


def _common(questions: list[list[bytes]]) -> int:
    """How many words all begin with; what the first and the last in order share, all share."""
    first, last = min(questions), max(questions)
    same = (one == other for one, other in zip(first, last, strict=False))
    return sum(takewhile(bool, same))


def _rare(hashes: Hashes, questions: Ints, task_of: Ints, sizes: Ints) -> tuple[Hashes, Ints]:
    """Runs in order of their hashes with their questions, each pair once, without those that are a task's form."""
    tasks = task_of[questions]
    order = np.lexsort((questions, tasks, hashes))
    hashes, tasks, questions = hashes[order], tasks[order], questions[order]
    other = _differ(hashes) | _differ(tasks)
    once = other | _differ(questions)
    hashes, tasks, questions, other = hashes[once], tasks[once], questions[once], other[once]
    begins = np.flatnonzero(other)
    counts = np.diff(begins, append=len(hashes))
    count = np.repeat(counts, counts)
    rare = (count <= Index.MANY) | (count <= Index.COMMON * sizes[tasks])
    return hashes[rare], questions[rare]


def _differ(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values differ from the one before; the first does."""
    return np.concatenate([np.ones(min(1, len(values)), np.bool_), values[1:] != values[:-1]])
