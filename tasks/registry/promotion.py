"""How a version gets into production, whoever asks for it: the rule, the move, and what is kept of who, when and why."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infra.errors import Refused
from infra.settings import Platform
from infra.storage.lineage import locate

if TYPE_CHECKING:  # MLflow takes seconds to load
    from infra.tracking.lookup import Version
    from infra.tracking.production import Production

# Tags of a version.
VERDICT = "luthier.verdict"
BY, AT, WHY = "luthier.promoted_by", "luthier.promoted_at", "luthier.promoted_why"
BACK_BY, BACK_AT, BACK_WHY = "luthier.rolled_back_by", "luthier.rolled_back_at", "luthier.rolled_back_why"
REFUSED_BY, REFUSED_AT, REFUSED_WHY = "luthier.refused_by", "luthier.refused_at", "luthier.refused_why"
KEPT = (AT, BY, WHY, REFUSED_AT, REFUSED_BY, REFUSED_WHY, BACK_AT, BACK_BY, BACK_WHY)
REFUSED_VERDICT = (
    "luthier.refused_verdict"  # the content of the verdict that was refused: another one is another question
)


def promote(
    platform: Platform, one: "Version", now: "Production", who: str, comment: str = "", override: str = ""
) -> None:
    """Make a version the champion. Refused by the rule, unless `override` says why not; and where its model is gone.

    The alias moves after all else but the memory of it, so that one that was cut off can be made again.
    """
    from infra.tracking.production import promote as move  # noqa: PLC0415 - see above
    from infra.tracking.versions import Versions  # noqa: PLC0415

    locate(platform.store, one.source, one.content)
    if not override:
        require_passed(one, now)
    why = f"override: {override}" if override else f"gate: {one.tags[VERDICT]}"
    told = {**signed(BY, AT, who), WHY: f"{why}; {comment}" if comment else why}
    move(Versions(platform.tracking_uri), now, one.number, told)
    remember(platform, one.name)


def refuse(platform: Platform, one: "Version", who: str, why: str, verdict: str) -> dict[str, str]:
    """Keep with a version that it is not to go into production by this verdict; no alias moves. The tags."""
    from infra.tracking.versions import Versions  # noqa: PLC0415 - see above

    told = {**signed(REFUSED_BY, REFUSED_AT, who), REFUSED_WHY: why, REFUSED_VERDICT: verdict}
    Versions(platform.tracking_uri).mark(one.name, told, one.number)
    return told


def remember(platform: Platform, name: str) -> None:
    """Let the store know what is in production now, so that it is known if MLflow is wiped."""
    from infra.tracking.lookup import Lookup  # noqa: PLC0415 - see above
    from infra.tracking.production import production  # noqa: PLC0415
    from tasks.registry import incumbent  # noqa: PLC0415

    incumbent.remember(platform, production(Lookup(platform.tracking_uri), name))


def signed(by: str, at: str, who: str) -> dict[str, str]:
    """Who does this, and when."""
    return {by: who, at: datetime.now(UTC).isoformat(timespec="seconds")}


def require_passed(one: "Version", now: "Production") -> None:
    """Refused where the verdict is another than promote, or was reached beside another version than the champion of now."""
    from infra.tracking.versions import INCUMBENT  # noqa: PLC0415 - see above

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
