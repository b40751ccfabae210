"""`luthier retire`: old versions leave the registry, so that `luthier gc` may free what only they need."""

from typing import TYPE_CHECKING, Annotated

import typer

from infra import settings
from infra.errors import Refused
from pipelines.cli import screen
from pipelines.cli.production import Name, registered

if TYPE_CHECKING:
    from infra.tracking.lookup import Version


def retire(
    name: Name,
    keep: Annotated[int, typer.Option("--keep", metavar="N", min=1, help="how many of the newest stay")],
    delete: Annotated[bool, typer.Option("--delete", help="retire them; without this they are only told")] = False,
) -> None:
    """List the versions that are older than the newest N; --delete removes them from MLflow.

    A version that any alias leads to stays: champion, previous, candidate, and those that people have set. With a version go
    its tags: who promoted it, when and why. Its artifacts stay until `luthier gc --unreferenced --delete`, and its curves
    stay in MLflow.
    """
    platform = settings.load().platform()
    known = registered(platform, name)
    old = retired(known, keep)
    if not old:
        screen.say(f"nothing to retire: {name} has {len(known)} versions, and {keep} stay beside those with an alias")
        return
    screen.table(["version", "made"], [[str(one.number), screen.when(one.created_ms)[:10]] for one in old])
    if not delete:
        screen.note(f"{len(old)} of {len(known)} versions would be retired; --delete does it")
        return
    from infra.tracking.versions import Versions  # noqa: PLC0415 - MLflow takes seconds to load

    gone = Versions(platform.tracking_uri).retire(name, [one.number for one in old])
    screen.say(f"retired {len(gone)} versions; `luthier gc --unreferenced --delete` frees what only they needed")
    if len(gone) < len(old):
        raise Refused(
            "versions got an alias meanwhile, and stay",
            place=platform.tracking_uri,
            value=", ".join(f"{name}/{one.number}" for one in old if one.number not in gone),
            remedy=f"`luthier versions {name}` shows the aliases",
        )


def retired(known: "list[Version]", keep: int) -> "list[Version]":
    """Those beyond the newest `keep` that no alias leads to, oldest first."""
    newest = sorted(known, key=lambda one: one.number, reverse=True)
    return [one for one in reversed(newest[keep:]) if not one.aliases]
