"""Beginnings that many rows share, such as the system message that a template writes: they become tokens once.

A tokenizer looks for its special tokens before anything else (Hugging Face tokenizers: AddedVocabulary), so what stands before
one has the same tokens whatever stands behind.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from tasks.data.outlines import either

SAME = 64  # characters by which rows are told apart at first
SHORTEST, LONGEST = 24, 4096  # characters of a beginning that is worth it, and of what is compared to find it
ROWS = 8
KEPT = 64


class Beginnings:
    """Texts → ids by a tokenizer, the same as it gives for whole texts. Where special tokens overlap, or the first row of a
    beginning comes out otherwise, all texts are given to it whole."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        # The others are looked for in what these leave.
        first = [
            token for token in backend.get_added_tokens_decoder().values() if token.content and not token.normalized
        ]
        self._pattern = either([token.content for token in first])
        self._cuts = {token.content for token in first if token.special and not (token.lstrip or token.single_word)}
        inner = (part for token in first for part in (token.content[1:], token.content[:-1]))
        self._sure = not any(map(self._pattern.search, inner))
        self._known: dict[str, list[int]] = {}

    def ids(self, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """Of each text the ids of its beginning, none where it shares none, and those of the rest."""
        begin = self._shared(texts) if self._sure else {}
        rests = [text[len(begin.get(at, "")) :] for at, text in enumerate(texts)]
        found = [one.ids for one in self._backend.encode_batch_fast(rests, add_special_tokens=False)]
        known = [self._known[begin[at]] if at in begin else [] for at in range(len(texts))]
        return list(zip(known, found, strict=True))

    def _shared(self, texts: Sequence[str]) -> dict[int, str]:
        """By text its beginning, where enough others have it too."""
        alike: dict[str, list[int]] = defaultdict(list)
        for at, text in enumerate(texts):
            alike[text[:SAME]].append(at)
        shared: dict[int, str] = {}
        for rows in alike.values():
            if len(rows) >= ROWS and (begin := self._beginning([texts[at] for at in rows])):
                shared |= dict.fromkeys(rows, begin)
        return shared

    def _beginning(self, texts: Sequence[str]) -> str:
        """What all have before the last special token that all have."""
        low, high = min(texts)[:LONGEST], max(texts)[:LONGEST]
        common = low[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))]
        cuts = [found.start() for found in self._pattern.finditer(common) if found[0] in self._cuts]
        begin = common[: cuts[-1]] if cuts and cuts[-1] >= SHORTEST else ""
        return begin if begin in self._known or (begin and self._proved(begin, texts[0])) else ""

    def _proved(self, begin: str, text: str) -> bool:
        before, behind, whole = (
            self._backend.encode(part, add_special_tokens=False).ids for part in (begin, text[len(begin) :], text)
        )
        self._sure = before + behind == whole
        if len(self._known) == KEPT:
            self._known.clear()
        self._known[begin] = before
        return self._sure
