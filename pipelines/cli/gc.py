"""`luthier gc`: what the store and this machine keep for nobody, told first and deleted on demand."""

import re
import time
from typing import Annotated, Any

import typer

from infra import home, settings
from infra.errors import BadRecipe, Refused, StoreRefused
from infra.home import Leftover
from infra.printable import size
from infra.settings import Platform
from infra.storage import collect, garbage, listing
from infra.storage.collect import Swept
from infra.storage.garbage import Doomed, Roots, Scan
from infra.storage.listing import Unfinished
from pipelines.cli import screen, versions

UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}
LEAST_S = 3600.0  # a worker gives a sign of life every few seconds, and an upload takes its time


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="delete it; without this it is only told")] = False,
    older_than: Annotated[
        str, typer.Option("--older-than", help="spare what was written since: 12h, 7d, 4w; at least 1h")
    ] = "7d",
    unreferenced: Annotated[
        bool, typer.Option("--unreferenced", help="also committed artifacts that no registered version needs")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List what nobody needs any more, with sizes and reasons; --delete removes it.

    That is: attempts that did not become an artifact, or were replaced; artifacts that were found corrupt and that no
    version needs; checkpoints without a COMMIT; folders of jobs that are over; uploads that were never ended; and on this
    machine work folders of dead processes, old logs, and what the cache has over its limit. Only what was last written
    before --older-than is meant, so it is safe beside running jobs.

    Every whole committed artifact stays: it is what makes the next run cheap. With --unreferenced those go too that neither
    a version in MLflow, nor a running job, nor anything written since needs. MLflow must answer in either case, and all
    versions made with this store must be in it.
    """
    age_s = _seconds(older_than)
    platform = settings.load().platform()
    store = platform.store
    roots = Roots.of((one.source, one.registration) for one in versions.lookup(platform).every_version())
    cutoff = listing.now(store.objects) - age_s
    screen.progress("listing the store …")
    scan = Scan.of(store)
    _require_registry(scan, roots, platform, unreferenced)
    found = [*garbage.doomed(scan, roots, cutoff, unreferenced)]
    uploads = _uploads(platform, cutoff)
    local = [*home.leftovers(platform.home, platform.cache, time.time() - age_s)]
    swept = _delete(platform, found, uploads, cutoff, time.time() - age_s) if delete else None
    found = found if swept is None else swept.gone
    if json:
        screen.as_json(_told(scan, found, uploads, local, swept))
    else:
        _tell(scan, found, uploads, local, swept)
    if swept and swept.left:
        raise typer.Exit(1)


def _seconds(age: str) -> float:
    match = re.fullmatch(r"(\d{1,4})([hdw])", age)
    seconds = int(match[1]) * UNITS[match[2]] if match else 0
    if seconds < LEAST_S:
        raise BadRecipe(
            "that is no age, or less than an hour", place="--older-than", value=age, remedy="for example 12h, 7d or 4w"
        )
    return seconds


def _require_registry(scan: Scan, roots: Roots, platform: Platform, unreferenced: bool) -> None:
    """Refused where MLflow is another store's, or where it cannot be known what is needed."""
    here = {key for (stage, key), held in scan.homes.items() if stage == "registry" and held.attempt}
    if here and not here & roots.registrations:
        raise Refused(
            "MLflow knows none of the versions that were registered from this store, so it is not its registry",
            place=platform.tracking_uri,
            value=f"{len(here)} registrations in {platform.store.uri}",
            remedy="set MLFLOW_TRACKING_URI; were all versions deleted on purpose, remove stages/registry first",
        )
    if unreferenced and (unread := scan.unread()):
        raise Refused(
            "what these artifacts need cannot be read, so it is not known what is unreferenced",
            place=platform.store.uri,
            value="; ".join(unread[:3]),
            remedy="`luthier verify --all --condemn` marks damaged records; move away what is not Luthier's",
        )


def _uploads(platform: Platform, cutoff: float) -> list[Unfinished]:
    try:
        return collect.unfinished(platform.store, cutoff)
    except StoreRefused as error:
        screen.note(f"unfinished uploads are not looked at (the right is s3:ListBucketMultipartUploads): {error.value}")
        return []


def _delete(platform: Platform, found: list[Doomed], uploads: list[Unfinished], cutoff: float, here: float) -> Swept:
    swept = collect.sweep(platform.store, found, cutoff, lambda one: screen.progress(f"deleting {one.place}"))
    for upload in uploads:
        listing.abort(platform.store.objects, upload)
    home.tidy(platform.home, platform.cache, here)
    return swept


def _rows(found: list[Doomed], uploads: list[Unfinished], local: list[Leftover]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"place": one.place, "reason": one.reason, "objects": one.objects, "bytes": one.bytes, "since": one.since}
        for one in sorted(found, key=lambda one: -one.bytes)
    ]
    rows += [
        {"place": one.key, "reason": "an upload that was not ended", "objects": 1, "bytes": 0, "since": one.begun}
        for one in uploads
    ]
    return rows + [
        {"place": str(one.path), "reason": one.reason, "objects": 1, "bytes": one.bytes, "since": None} for one in local
    ]


def _told(
    scan: Scan, found: list[Doomed], uploads: list[Unfinished], local: list[Leftover], swept: Swept | None
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "store": scan.store.uri,
        "garbage": _rows(found, uploads, local),
        "deleted": swept is not None,
    }
    if swept:
        told |= {"spared": [one.place for one in swept.spared], "left": [one.place for one in swept.left]}
    return told | {"unread": scan.unread(), "unparsed": scan.unparsed}


def _tell(
    scan: Scan, found: list[Doomed], uploads: list[Unfinished], local: list[Leftover], swept: Swept | None
) -> None:
    rows = _rows(found, uploads, local)
    if rows:
        head = ["what", "why", "objects", "size", "last written"]
        screen.table(
            head,
            (
                [one["place"], one["reason"], str(one["objects"]), size(one["bytes"]), _day(one["since"])]
                for one in rows
            ),
        )
    objects, total = sum(one["objects"] for one in rows), sum(one["bytes"] for one in rows)
    doing = "deleted" if swept else "would be deleted"
    screen.say(f"{doing}: {objects} objects, {size(total)}, of {scan.store.uri} and this machine")
    for one in swept.spared if swept else ():
        screen.say(f"spared, for it was used meanwhile: {one.place}")
    for one in swept.left if swept else ():
        screen.say(f"STILL THERE after it was deleted: {one.place}")
    for line in scan.unread():
        screen.note(f"left alone, for this Luthier cannot read all of it: {line}")
    if scan.unparsed:
        screen.note(f"left alone: {scan.unparsed} objects whose names are none of Luthier's")
    if rows and not swept:
        screen.note("nothing was deleted; --delete does it")


def _day(since: float | None) -> str:
    return screen.when(int(since * 1000)) if since else ""
