"""Rows that are looked at one by one: the held-out prompts that models are compared on, and those of the report."""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.data import quality
from tasks.data.index import Flags, Index, mixed
from tasks.data.judged import NOTHING, UNDESIRABLE
from tasks.data.places import Problem
from tasks.data.pool import cores
from tasks.data.preview import Part, Shown
from tasks.data.rows import sample
from tasks.data.shard import CHAT, TEXT, TOKEN, WEIGHT
from tasks.data.tokens import Encoder, Tokens

PROMPTS = 64
SHOWN_ROWS = 20
SHARDS = 4  # of a source, that rows to be shown are taken from: each is fetched whole
BEGINNING = 100  # tokens of a row that was not used
ASKED = 256  # tokens of a document that become prompt and answer


class Looked:
    """Tokens and weights of single rows; a shard is fetched when the first of its rows is asked for."""

    def __init__(self, platform: Platform, shards: list[Receipt], room: Path) -> None:
        self._platform, self._shards, self._room = platform, shards, room
        self._here: set[int] = set()
        self._open: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}

    def row(self, found: Index, row: int) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
        """ids [n] and weights [n], −1 for prompt."""
        return self.tokens(int(found.shard[row]), int(found.begin[row]), int(found.rows["length"][row]))

    def texts(self, found: Index, row: int) -> list[Tokens]:
        """The same as its texts: two where it is a pair, the chosen one first."""
        chosen = 0 if found.judged is None else int(found.judged["chosen"][row])
        return divided(*self.row(found, row), chosen)

    def judged(self, shard: int, begin: int) -> tuple[int, int]:
        """What people said of the row whose tokens begin there, and how many of them are the chosen text's of a pair."""
        self._shard(shard)
        folder = self._room / str(shard)
        if not (folder / "judged.npy").exists():
            return NOTHING, 0
        ends = np.cumsum(np.load(folder / "rows.npy", mmap_mode="r")["length"], dtype=np.int64)
        said = np.load(folder / "judged.npy", mmap_mode="r")[int(np.searchsorted(ends, begin, side="right"))]
        return int(said["verdict"]), int(said["chosen"])

    def fetch(self, shards: Iterable[int]) -> None:
        """Have these shards here; several at once, as what comes is hashed."""
        with ThreadPoolExecutor(cores()) as threads:
            self._here.update(threads.map(self._lay, sorted(set(shards) - self._here)))

    def tokens(self, shard: int, begin: int, length: int) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
        """The same, by where they lie."""
        tokens, weights = self._shard(shard)
        return tokens[begin : begin + length], weights[begin : begin + length]

    @property
    def open(self) -> list[int]:
        """The shards that are here by now."""
        return sorted(self._open)

    def _shard(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        if number not in self._open:
            self.fetch([number])
            folder = self._room / str(number)
            self._open[number] = (
                np.memmap(folder / "tokens.bin", TOKEN, "r"),
                np.memmap(folder / "weights.bin", WEIGHT, "r"),
            )
        return self._open[number]

    def _lay(self, number: int) -> int:
        self._platform.cache.materialise(self._platform.store, self._shards[number], self._room / str(number))
        return number


def divided(ids: NDArray[np.uint32], weights: NDArray[np.float16], chosen: int) -> list[Tokens]:
    """A row as its texts; `chosen` tokens are the first one's where it is a pair, else 0."""
    at = [chosen] if chosen else []
    return [Tokens(*text) for text in zip(np.split(ids, at), np.split(weights, at), strict=True)]


def write_prompts(path: Path, found: Index, held: Flags, looked: Looked, encoder: Encoder) -> None:
    """Prompt and answer, as text and as tokens, of at most PROMPTS held-out rows that are different and whole."""
    rows = _lowest(found, held)
    looked.fetch(int(found.shard[row]) for row in rows)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            text = looked.texts(found, row)[0]
            asked, answer = _divided(text.ids, text.weights, document=found.rows["kind"][row] == TEXT)
            said = {
                "prompt": encoder.text(asked),
                "answer": encoder.text(answer),
                "prompt_ids": asked.tolist(),
                "answer_ids": answer.tolist(),
            }
            file.write(json.dumps(said, ensure_ascii=False) + "\n")


def _lowest(found: Index, held: Flags) -> list[int]:
    """The rows with the lowest hashes, one of each, of judged ones one of a prompt; what is cut is no prompt for a model,
    and what was not liked is no answer where another is there."""
    whole = held & ((found.longest() <= found.config.max_length) | (found.rows["kind"] == TEXT))
    if found.judged is not None and (liked := whole & (found.judged["verdict"] != UNDESIRABLE)).any():
        whole = liked
    return lowest(found.alike, np.flatnonzero(whole), PROMPTS)


def lowest(hashes: NDArray[np.uint64], at: NDArray[np.int64], count: int) -> list[int]:
    """Of the rows `at` those with the `count` lowest different hashes, the first of each, without sorting all of them."""
    mine, looked = hashes[at], count
    while looked < len(at):
        few = np.flatnonzero(mine <= np.partition(mine, looked - 1)[looked - 1])
        found, first = np.unique(mine[few], return_index=True)
        if len(found) >= count:
            return [int(row) for row in at[few[first[:count]]]]
        looked *= 8  # so many are equal
    _, first = np.unique(mine, return_index=True)
    return [int(row) for row in at[first[:count]]]


def _divided(
    ids: NDArray[np.uint32], weights: NDArray[np.float16], document: bool
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """What comes before the last answer, and the answer without its end; of a document's beginning the halves."""
    if document:
        beginning = ids[:ASKED]
        return beginning[: len(beginning) // 2], beginning[len(beginning) // 2 :]
    learned = weights > 0
    last = len(learned) - 1 - int(learned[::-1].argmax())
    before = np.flatnonzero(~learned[:last])
    first = int(before[-1]) + 1 if len(before) else 0
    return ids[:first], ids[first:last]


def shown(found: Index, times: NDArray[np.int32], looked: Looked, encoder: Encoder) -> list[Shown]:
    """SHOWN_ROWS different rows that are trained on, chosen by their hashes, in reading order; every source has some."""
    return [_shown(found, row, looked, encoder) for row in _chosen(found, times > 0, looked)]


def _chosen(found: Index, trained: Flags, looked: Looked) -> list[int]:
    """The lowest hashes of each source in turn, from a few shards of each beside those that are here."""
    order = mixed(found.order, 2)  # rows with low hashes are held out
    there: Flags = np.isin(found.shard, looked.open)
    queues: list[list[int]] = []
    for source in np.unique(found.source[trained]):
        mine: Flags = trained & (found.source == source)
        shards = np.flatnonzero(np.bincount(found.shard[mine]))
        few = shards[np.argsort(mixed(shards.astype(np.uint64), 0))[:SHARDS]]
        queues.append(lowest(order, np.flatnonzero(mine & (there | np.isin(found.shard, few))), SHOWN_ROWS))
    turns = [row for turn in range(SHOWN_ROWS) for queue in queues for row in queue[turn : turn + 1]]
    return sorted(turns[:SHOWN_ROWS])


def _shown(found: Index, row: int, looked: Looked, encoder: Encoder) -> Shown:
    texts, limit = looked.texts(found, row), found.config.max_length
    fate = {"truncate": "cut", "split": "split"}.get(found.config.overlong, "") if longest(texts) > limit else ""
    said = NOTHING if found.judged is None else int(found.judged["verdict"][row])
    pieces = parts(texts, said, encoder, found.prompt_loss_weight)
    return Shown(
        place=found.place(row),
        chat=bool(found.rows["kind"][row] == CHAT),
        fate=fate,
        warnings=warnings(texts, fate, limit),
        tokens=sum(len(text.ids) for text in texts),
        learned=int(found.rows["learned"][row]),
        parts=tuple(
            part.model_copy(update={"text": quality.shown(part.text, found.config.sensitive)}) for part in pieces
        ),
    )


def longest(texts: Sequence[Tokens]) -> int:
    """The tokens of the longest text of a row."""
    return max(len(text.ids) for text in texts)


def warnings(texts: Sequence[Tokens], fate: str, max_length: int) -> tuple[str, ...]:
    """What is odd about a row that is used."""
    learned = [np.flatnonzero(text.learned) for text in texts]
    if not all(len(at) for at in learned):
        return ("no token of it is learned",)
    return ("its answer is cut",) if fate == "cut" and any(at[-1] >= max_length for at in learned) else ()


def parts(texts: Sequence[Tokens], verdict: int, encoder: Encoder, prompt_loss_weight: float) -> Iterator[Part]:
    """A row in pieces of one weight; what both texts of a pair begin with is told once."""
    for number, text in enumerate(texts):
        told = text
        if number:
            yield Part(text="\nrejected: ", weight=0.0)
            shared = _shared(texts[0], text)
            told = Tokens(text.ids[shared:], text.weights[shared:])
        for part in _parts(told, encoder, prompt_loss_weight):
            yield part.model_copy(update={"rejected": part.learned and (number == 1 or verdict == UNDESIRABLE)})


def _shared(chosen: Tokens, rejected: Tokens) -> int:
    """How many tokens of their prompts are equal."""
    length = min(int(text.learned.argmax()) for text in (chosen, rejected))
    same = chosen.ids[:length] == rejected.ids[:length]
    return length if same.all() else int(same.argmin())


def _parts(tokens: Tokens, encoder: Encoder, prompt_loss_weight: float) -> Iterator[Part]:
    weighed = tokens.weighed(prompt_loss_weight)
    edges = np.flatnonzero(np.diff(tokens.weights)) + 1
    pieces = (np.split(values, edges) for values in (tokens.ids, weighed, tokens.learned))
    for ids, same, learned in zip(*pieces, strict=True):
        yield Part(text=encoder.text(ids), weight=float(same[0]), learned=bool(learned[0]), tokens=len(ids))


def sampled(found: Index, looked: Looked, encoder: Encoder) -> dict[str, list[Problem]]:
    """The index's problems, each with the beginning of its row."""

    def of(problem: Problem) -> Problem:
        if problem.row < 0:
            return problem
        ids, _ = looked.row(found, problem.row)
        return problem._replace(sample=quality.shown(sample(encoder.text(ids[:BEGINNING])), found.config.sensitive))

    return {kind: [of(problem) for problem in problems] for kind, problems in found.problems.items()}
