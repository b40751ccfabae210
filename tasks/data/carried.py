"""The bytes of source files in the store, by their hash: nodes that make shards see the store, and no file of this machine."""

import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from infra.errors import Lost
from infra.frozen import Frozen
from infra.launch.scratch import scratch
from infra.launch.step import Step
from infra.launch.step import spec as specified
from infra.launch.work import commit
from infra.settings import Platform
from infra.storage.objects import PIECE, file_blocks
from infra.storage.receipt import Receipt
from infra.storage.sources import Listed
from tasks.data import sources
from tasks.data.plan import Planned, Segment

VERSION = 1


class Carried(Frozen):
    """Which bytes an artifact holds: a file each, under the name of its hash."""

    sha256: tuple[str, ...]


def bring(planned: Planned, platform: Platform) -> list[Receipt]:
    """Artifacts with all that a shard is made of; what is stored already is not read again.

    Ranges of lines go together, without the rest of their files. Files of columns go whole, once for all shards of them.
    Lost where a file is no longer what was planned.
    """
    ranges = [segment for segment in planned.segments if segment.within is None]
    whole = {segment.sha256: segment for segment in planned.segments if segment.within is not None}
    return [_stored(group, platform) for group in [ranges, *([segment] for segment in whole.values())] if group]


def _stored(segments: list[Segment], platform: Platform) -> Receipt:
    names = tuple(sorted({segment.sha256 for segment in segments}))
    step = Step("source", VERSION, Carried(sha256=names))
    found = platform.store.find(step.stage, step.key)
    if found is not None:
        return platform.store.receipt(found)
    spec = specified(step, uuid.uuid4().hex)
    with scratch(platform.home / "work", f"source-{spec.attempt}") as room:
        for segment in segments:
            _lay(segment, room / segment.sha256)
        receipt = commit(platform, spec, room, {"files": len(names)})
    manifest = platform.store.manifest(receipt)
    if any(file.sha256 != file.path for file in manifest.files):
        platform.store.condemn(manifest)
        raise Lost(
            "a source file changed while it was read",
            place=", ".join(sorted({segment.name for segment in segments}))[:300],
            remedy="run it once it rests",
        )
    return receipt


def _lay(segment: Segment, target: Path) -> None:
    if target.is_symlink() or target.exists():
        return
    if segment.within is not None or segment.part.whole:
        target.symlink_to(segment.path)
        return
    with target.open("wb") as out:
        out.writelines(file_blocks(segment.path, start=segment.part.start, stop=segment.part.stop))


def fetch(planned: Planned, carried: Iterable[Receipt], platform: Platform, room: Path) -> Planned:
    """The same shard on another node: its segments lie below `room`, every byte checked."""
    for receipt in carried:
        platform.cache.materialise(platform.store, receipt, room)
    return planned.model_copy(
        update={"segments": tuple(_there(segment, at, room) for at, segment in enumerate(planned.segments))}
    )


def _there(segment: Segment, at: int, room: Path) -> Segment:
    path = room / segment.sha256
    if segment.within is None and not segment.part.whole:
        path = _in_place(path, room / f"range-{at}", segment)
    return segment.model_copy(update={"path": path})


def _in_place(range_: Path, target: Path, segment: Segment) -> Path:
    """A file with a hole before the range and behind it, so that readers find each byte where it was."""
    with range_.open("rb") as source, target.open("wb") as out:
        os.truncate(out.fileno(), segment.part.of)
        out.seek(segment.part.start)
        shutil.copyfileobj(source, out, PIECE)
    return target


def without_places(planned: Planned) -> Planned:
    """What other machines need to know of it: no path of this one."""
    return planned.model_copy(
        update={
            "segments": tuple(
                segment.model_copy(update={"path": Path(), "origin": Listed(f"sha256://{segment.sha256}", 0, "")})
                for segment in planned.segments
            )
        }
    )


def require_same(planned: Planned) -> None:
    """Lost where a file of the shard changed since it was planned."""
    for segment in planned.segments:
        sources.require_unchanged(segment.origin)
