"""The versions that a new one has to stand beside: what is in production, and what was before."""

from infra.frozen import Frozen
from infra.storage.receipt import Receipt


class Rival(Frozen):
    """A registered version as `tickets/3`, with its model and the tokenizer it was merged with."""

    version: str
    model: Receipt
    tokenizer: Receipt


class Rivals(Frozen):
    """`champion` is what is in production; `previous` is only needed where that is the very model that a run makes again."""

    champion: Rival | None = None
    previous: Rival | None = None

    def beside(self, model: Receipt) -> Rival | None:
        """Whom a model is compared with: the champion, unless it is the champion; then with the one before it."""
        others = [one for one in (self.champion, self.previous) if one is not None]
        return next((one for one in others if one.model.content_sha256 != model.content_sha256), None)
