"""What became of every row: counted, with the first places of each kind."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappush, heappushpop

from infra.errors import BadData

SHOWN = 20
PROMPTS = 64


@dataclass
class Tally:
    """Rows in = kept + dropped + bad, always. `problems` has the first SHOWN places of each kind, `why` all counts."""

    rows: int = 0
    kept: int = 0
    dropped: int = 0
    truncated: int = 0
    split: int = 0
    bad: int = 0
    straddling: int = 0
    problems: dict[str, list[tuple[str, str]]] = field(
        default_factory=lambda: {"bad": [], "dropped": [], "truncated": []}
    )
    why: Counter[str] = field(default_factory=Counter)

    def keep(self, straddling: int) -> None:
        self.kept += 1
        self.straddling += straddling

    def refuse(self, place: str, reason: str) -> None:
        """A row that cannot be used."""
        self.bad += 1
        self._note("bad", place, reason)

    def drop(self, place: str, reason: str, detail: str = "") -> None:
        """A good row that is left out."""
        self.dropped += 1
        self.why[reason] += 1
        self._note("dropped", place, reason + detail)

    def truncate(self, place: str, detail: str) -> None:
        """A kept row that lost its end."""
        self.truncated += 1
        self._note("truncated", place, detail)

    def require_few_bad(self, share: float) -> None:
        """BadData where more than `share` of the rows were bad."""
        if self.bad > share * self.rows:
            raise BadData(
                f"{self.bad} of {self.rows} rows cannot be used; at most {share:.2%} may be bad",
                place=self.problems["bad"][0][0],
                value="; ".join(f"{place} {reason}" for place, reason in self.problems["bad"][:5]),
                remedy="mend or remove these rows, or raise data.max_bad_rows",
            )

    def _note(self, kind: str, place: str, text: str) -> None:
        if len(self.problems[kind]) < SHOWN:
            self.problems[kind].append((place, text))


class Prompts:
    """The rows with the lowest hashes that were offered, at most PROMPTS different ones: held-out rows come first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, str]] = []
        self._seen: set[int] = set()

    def offer(self, fingerprint: int, pair: Callable[[], tuple[str, str]]) -> None:
        """A row's prompt and answer, which are only asked for where they are wanted."""
        if fingerprint in self._seen or (len(self._heap) == PROMPTS and -fingerprint <= self._heap[0][0]):
            return
        item = (-fingerprint, *pair())
        self._seen.add(fingerprint)
        if len(self._heap) < PROMPTS:
            heappush(self._heap, item)
        else:
            self._seen.discard(-heappushpop(self._heap, item)[0])

    def items(self, held_out: Callable[[int], bool]) -> list[dict[str, str]]:
        """Prompt and answer of those that `held_out` says yes to, in order of their hash."""
        chosen = sorted((-negative, prompt, answer) for negative, prompt, answer in self._heap if held_out(-negative))
        return [{"prompt": prompt, "answer": answer} for _, prompt, answer in chosen]
