"""Whether a version may go into production by its gate: the rule that every promotion keeps, whoever asks for it."""

from typing import TYPE_CHECKING

from infra.errors import Refused

if TYPE_CHECKING:  # MLflow takes seconds to load
    from infra.tracking.lookup import Version
    from infra.tracking.production import Production

VERDICT = "luthier.verdict"  # tag of a version


def require_passed(one: "Version", now: "Production") -> None:
    """Refused where the verdict is another than promote, or was reached beside another version than the champion of now."""
    from infra.tracking.versions import INCUMBENT  # noqa: PLC0415 - MLflow takes seconds to load

    said = one.tags.get(VERDICT, "none")
    if said != "promote":
        raise Refused(
            "the version has not passed its gate",
            value=f"{one.name}/{one.number}: {said}",
            remedy=f"`luthier show {one.name}/{one.number}` tells why; --override REASON promotes it all the same",
        )
    if now.champion is not None and one.tags.get(INCUMBENT, "") != now.champion.content:
        raise Refused(
            "the version has passed its gate, but not beside what is in production now",
            value=f"{one.name}/{one.number}, in production is {now.champion.number}",
            remedy="run its recipe again, which compares them; --override REASON promotes it without",
        )
