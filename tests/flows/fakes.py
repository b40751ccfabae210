"""Stand-ins for the stages of a run, for tests of what the flows make of them."""

from collections.abc import Callable
from typing import Any

from infra.storage.receipt import Receipt

SUMMARIES: dict[str, dict[str, Any]] = {
    "evaluation": {"scores": {"echo": {"exact_match": 0.5}}, "n": {"echo": 6}, "num_fewshot": 0},
    "gate": {"promote": True, "outcome": "promote", "failed": []},
    "registry": {"name": "tiny-tickets", "version": "1", "promoted": True},
}


class Fakes:
    """Stands in for every stage's run: remembers what it was given and hands out a receipt."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.fail: dict[str, list[Exception]] = {}

    def stage(self, name: str) -> Callable[..., Receipt]:
        def run(_config: object, *inputs: object, **named: object) -> Receipt:
            receipts = [item.uri for item in [*inputs, *named.values()] if isinstance(item, Receipt)]
            self.calls.append((name, receipts))
            if self.fail.get(name):
                raise self.fail[name].pop()
            made = sum(called == name for called, _ in self.calls)
            return Receipt(
                stage=name,
                key=name,
                attempt="a",
                uri=f"{name}{made}",
                content_sha256=name,
                summary=SUMMARIES.get(name, {}),
            )

        return run
