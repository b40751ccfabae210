"""What is known of a version's way into production: what is left to decide, or what came of the decision."""

from typing import Literal

from infra.frozen import Frozen


class Standing(Frozen):
    """None: nobody has decided. `promoted` is just now, when `before` was in production (None: nothing was).

    `by`, `at` and `why` are those of the promotion or the refusal; `note` is for whoever decides. `hindrance` is why an
    approval would be refused by the rule.
    """

    state: Literal["in production", "promoted", "refused"] | None = None
    before: int | None = None
    by: str = ""
    at: str = ""
    why: str = ""
    note: str = ""
    hindrance: str = ""
