"""`luthier versions`, `promote`, `rollback`: which version is in production, and how that changes."""

import getpass
import os
import re
import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import settings
from infra.errors import Refused
from infra.settings import Platform
from infra.storage.lineage import locate
from pipelines.cli import screen
from pipelines.cli.versions import lookup
from tasks.registry import promotion

if TYPE_CHECKING:
    from infra.tracking.lookup import Version
    from infra.tracking.production import Production

Name = Annotated[str, typer.Argument(metavar="NAME", help="a registered model, such as tickets")]


def versions(
    name: Name,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List the versions of a model: aliases, verdicts, what each was compared with, and who promoted it when and why.

    candidate: the newest version that has passed its gate. champion: what is in production, which your servers load as
    models:/NAME@champion. previous: what was before it, to which `luthier rollback NAME` returns.
    """
    platform = settings.load().platform()
    known = registered(platform, name)
    now = _now(platform, name)
    rows = [_told(one) for one in known]
    if json:
        champion = now.champion.number if now.champion else None
        screen.as_json({"name": name, "champion": champion, "by_hand": now.by_hand, "versions": rows})
        return
    head = ["version", "made", "verdict", "compared with", "promoted", "by", "why"]
    screen.table(head, [_row(one) for one in rows], fold=["why"])
    _note_moves(now)


def promote(
    version: Annotated[str, typer.Argument(metavar="NAME/VERSION", help="tickets/3, or tickets@candidate")],
    override: Annotated[
        str,
        typer.Option("--override", metavar="REASON", help="although its gate was not passed; kept with the version"),
    ] = "",
) -> None:
    """Put a version into production: move the alias champion to it, and previous to what was the champion.

    It must have passed its gate, and beside the version that is in production now: a version that was compared with an
    older one is refused, and running its recipe again compares it anew, which takes seconds where all else is committed.
    --override REASON promotes whatever the verdict is; who did that, when and why stands in the version's tags.

    Servers that load models:/NAME@champion have it with their next load. `luthier rollback NAME` takes it back.
    """
    platform = settings.load().platform()
    one = lookup(platform).version(version)
    if one.chosen:
        screen.note(f"{one}: {one.chosen}")
    now = _now(platform, one.name)
    _note_moves(now)
    if now.champion is not None and now.champion.number == one.number:
        screen.say(f"{one.name}/{one.number} is in production already")
        return
    promotion.promote(platform, one, now, _who(), override=override)
    before = f"; before it was {now.name}/{now.champion.number}" if now.champion else ""
    screen.say(f"{one.name}/{one.number} is in production (models:/{one.name}@champion){before}")


def rollback(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="why; kept with the version that is taken back")] = "",
) -> None:
    """Take the last promotion back: champion and previous change places, in seconds. Twice is as before.

    No gate is asked: what returns was in production before. The model stays where it lies, so servers need only load
    models:/NAME@champion again.
    """
    _require_name(name)
    platform = settings.load().platform()
    now = _now(platform, name)
    _note_moves(now)
    champion, previous = now.champion, now.previous
    if champion is None or previous is None or champion.number == previous.number:
        raise Refused(
            "there is nothing to go back to: a model needs a champion, and a previous one that is another version",
            place=platform.tracking_uri,
            value=f"{name}: champion {_number(champion)}, previous {_number(previous)}",
            remedy=f"`luthier versions {name}` lists what there is, `luthier promote {name}/VERSION --override REASON` "
            "puts any of it into production",
        )
    locate(platform.store, previous.source, previous.content)
    from infra.tracking.production import swap  # noqa: PLC0415 - MLflow takes seconds to load
    from infra.tracking.versions import Versions  # noqa: PLC0415

    told = {**promotion.signed(promotion.BACK_BY, promotion.BACK_AT, _who()), promotion.BACK_WHY: reason}
    swap(Versions(platform.tracking_uri), now, champion, previous, told)
    promotion.remember(platform, name)
    screen.say(
        f"{name}/{previous.number} is in production again (models:/{name}@champion); {champion.number} was taken back"
    )


def registered(platform: Platform, name: str) -> "list[Version]":
    """The versions of a model; Refused where there are none."""
    _require_name(name)
    look = lookup(platform)
    known = look.versions(name=name)
    if not known:
        raise look.unknown(name, [])
    return known


def _require_name(name: str) -> None:
    if not re.fullmatch(r"[\w.-]{1,100}", name, re.ASCII):
        raise Refused(
            "that is no name of a model", value=name, remedy="the name alone, without version or alias: tickets"
        )


def _now(platform: Platform, name: str) -> "Production":
    look = lookup(platform)
    from infra.tracking.production import production  # noqa: PLC0415 - MLflow takes seconds to load

    return production(look, name)


def _who() -> str:
    return os.environ.get("MLFLOW_TRACKING_USERNAME") or f"{getpass.getuser()}@{socket.gethostname()}"


def _note_moves(now: "Production") -> None:
    if now.by_hand:
        put = f"Luthier had put it to {now.moved}" if now.moved is not None else "not by Luthier"
        to = f"is at {now.champion.number}, and was set by hand" if now.champion else "was removed by hand"
        screen.note(f"champion {to} ({put}); that is respected")


def _number(one: "Version | None") -> str:
    return str(one.number) if one else "none"


def _told(one: "Version") -> dict[str, Any]:
    return {
        "version": one.number,
        "aliases": [*one.aliases],
        "created": one.created_ms,
        "verdict": one.tags.get(promotion.VERDICT, ""),
        "against": one.tags.get("luthier.incumbent", ""),
        **{tag.removeprefix("luthier."): one.tags.get(tag, "") for tag in promotion.KEPT},
    }


def _row(one: dict[str, Any]) -> list[str]:
    back = [f"taken back {one['rolled_back_at'][:10]} by {one['rolled_back_by']}"] if one["rolled_back_at"] else []
    no = [f"refused {one['refused_at'][:10]} by {one['refused_by']}"] if one["refused_at"] else []
    why = [part for part in (*no, one["refused_why"], one["promoted_why"], *back, one["rolled_back_why"]) if part]
    return [
        screen.stack([str(one["version"]), *(f"@{alias}" for alias in one["aliases"])], " "),
        screen.when(one["created"])[:10],
        one["verdict"] or "–",
        one["against"] or "–",
        one["promoted_at"][:10] or "–",
        one["promoted_by"] or "–",
        "; ".join(why) or "–",
    ]
