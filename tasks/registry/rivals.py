"""The versions that a new one has to stand beside: what is in production, and what was before."""

from infra.frozen import Frozen
from infra.storage.receipt import Receipt


class Judged(Frozen):
    """A registered version as `tickets/3`, the key of its registration's record, and what was said of it."""

    version: str
    registration: str = ""
    outcome: str = ""


class Rival(Judged):
    """The same with its model and the tokenizer it was merged with."""

    model: Receipt
    tokenizer: Receipt


class Rivals(Frozen):
    """`champion` is what is in production; `previous` is only needed where that is the very model that a run makes again.
    `turned_down` are the newest versions that were not good enough beside the champion."""

    champion: Rival | None = None
    previous: Rival | None = None
    turned_down: tuple[Judged, ...] = ()

    def beside(self, model: Receipt) -> Rival | None:
        """Whom a model is compared with: the champion, unless it is the champion; then with the one before it."""
        others = [one for one in (self.champion, self.previous) if one is not None]
        return next((one for one in others if one.model.content_sha256 != model.content_sha256), None)
