"""What in a store nobody needs any more: found from one listing and the commit records, and nothing is touched here.

Only keys of the forms that infra/storage/layout.py makes are ever looked at twice; all others stay.
"""

import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from infra.frozen import Frozen
from infra.storage import layout, lineage
from infra.storage.listing import Seen, seen
from infra.storage.receipt import Manifest
from infra.storage.store import Store

Key = tuple[str, str]  # stage, input key
Kind = Literal["artifact", "attempt", "checkpoint", "job", "probe"]

_STAGE, _SHA, _ID = r"[a-z][a-z0-9_]*", r"[0-9a-f]{64}", r"[0-9a-f]{32}"
_HOME = re.compile(rf"stages/({_STAGE})/({_SHA})/(.+)")
_RECORD = re.compile(r"MANIFEST(\.[0-9]+)?\.json|MANIFEST\.corrupt\.[\w-]+")
_ATTEMPT = re.compile(rf"({_ID})/.+")
_CHECKPOINT = re.compile(rf"checkpoints/([0-9]{{8,}}-({_ID}))/(.+)")
_POINTER = re.compile(r"trajectory/[0-9]{8,}\.json")
_JOB = re.compile(rf"jobs/({_STAGE})/({_SHA})/({_ID})/[^/]+")
_LEARNED = re.compile(rf"jobs/{_STAGE}/{_SHA}/learned\.json")  # small, and saves the next run a launch: it stays
_PROBE = re.compile(rf"probe/{_ID}")
_OURS = re.compile(rf"stages/{_STAGE}/{_SHA}/(?:{_ID}|checkpoints/[0-9]{{8,}}-{_ID})/.+|snapshots/.+|{_PROBE.pattern}")
READERS = 8


@dataclass
class Group:
    """Objects that stay or go together."""

    objects: int = 0
    bytes: int = 0
    newest: float = 0.0

    def add(self, item: Seen) -> None:
        """One more."""
        self.objects += 1
        self.bytes += item.size
        self.newest = max(self.newest, item.changed)


@dataclass
class Home:
    """Everything of one input key. `unknown` is set where there is something that this Luthier cannot read."""

    records: dict[str, float] = field(default_factory=dict)
    small: int = 0
    attempts: dict[str, Group] = field(default_factory=dict)
    checkpoints: dict[str, Group] = field(default_factory=dict)
    committed: set[str] = field(default_factory=set)
    pointers: dict[str, float] = field(default_factory=dict)
    attempt: str = ""
    replaces: str = ""
    condemned: bool = False
    needs: frozenset[Key] = frozenset()
    unknown: str = ""

    @property
    def generation(self) -> int:
        """That of the newest record, 0 where there is none."""
        return max((layout.generation(name) or 0 for name in self.records), default=0)

    @property
    def newest(self) -> float:
        """When anything of it was last written."""
        groups = [*self.attempts.values(), *self.checkpoints.values()]
        return max([*self.records.values(), *self.pointers.values(), *(group.newest for group in groups)], default=0.0)


class Doomed(Frozen):
    """Something that may go: a prefix that ends in a slash, or one key; `since` is when it was last written."""

    kind: Kind
    place: str
    reason: str
    objects: int
    bytes: int
    since: float


@dataclass(frozen=True)
class Roots:
    """What stays whatever the store says of it: sources of registered versions, and the keys of their registrations."""

    sources: frozenset[tuple[str, str, str]]
    registrations: frozenset[str]

    @classmethod
    def of(cls, versions: Iterable[tuple[str, str]]) -> "Roots":
        """From the source and the registration of each version, whichever store it names."""
        told = [*versions]
        found = [
            match.group("stage", "key", "attempt") for source, _ in told if (match := lineage.SOURCE.search(source))
        ]
        return cls(frozenset((a, b, c) for a, b, c in found), frozenset(key for _, key in told if key))

    @property
    def keys(self) -> set[Key]:
        """The artifacts that are meant."""
        return {(stage, key) for stage, key, _ in self.sources} | {("registry", key) for key in self.registrations}


@dataclass
class Scan:
    """One look at a store, by its own clock."""

    store: Store
    homes: dict[Key, Home] = field(default_factory=dict)
    jobs: dict[tuple[str, str, str], Group] = field(default_factory=dict)
    probes: dict[str, Group] = field(default_factory=dict)
    unparsed: int = 0

    @classmethod
    def of(cls, store: Store) -> "Scan":
        """List everything, then read the newest commit record of each key."""
        made = cls(store)
        for prefix in ("stages/", "jobs/", "probe/"):
            for item in seen(store.objects, prefix):
                made.unparsed += not made._place(item)
        with ThreadPoolExecutor(READERS) as pool:
            for _ in pool.map(made._read, made.homes.items()):
                continue
        return made

    def _place(self, item: Seen) -> bool:
        """Put an object to those that it belongs to; whether its key is one of ours."""
        if match := _HOME.fullmatch(item.key):
            return self._at_home(self.homes.setdefault((match[1], match[2]), Home()), match[3], item)
        if match := _JOB.fullmatch(item.key):
            self.jobs.setdefault((match[1], match[2], match[3]), Group()).add(item)
        elif _PROBE.fullmatch(item.key):
            self.probes.setdefault(item.key, Group()).add(item)
        else:
            return _LEARNED.fullmatch(item.key) is not None
        return True

    @staticmethod
    def _at_home(home: Home, inside: str, item: Seen) -> bool:
        if _RECORD.fullmatch(inside):
            home.records[inside] = item.changed
            home.small += item.size
        elif _POINTER.fullmatch(inside):
            home.pointers[inside] = item.changed
            home.small += item.size
        elif match := _ATTEMPT.fullmatch(inside):
            home.attempts.setdefault(match[1], Group()).add(item)
        elif match := _CHECKPOINT.fullmatch(inside):
            home.checkpoints.setdefault(match[1], Group()).add(item)
            if match[3] == "COMMIT.json":
                home.committed.add(match[1])
        else:
            home.unknown = inside
            return False
        return True

    def _read(self, found: tuple[Key, Home]) -> None:
        (stage, key), home = found
        if home.generation == 0:
            return
        pointed = [self.store.objects.get(f"{layout.home(stage, key)}/{name}") for name in home.pointers]
        if f"MANIFEST.corrupt.generation-{home.generation}" in home.records:
            home.condemned = True
            return
        try:
            data = self.store.objects.get(layout.manifest(stage, key, home.generation))
            manifest = Manifest.read(data or b"")
        except ValueError:  # damaged, a newer Luthier's, or gone this instant
            home.unknown = home.unknown or "its commit record"
            return
        home.attempt, home.replaces = manifest.attempt, manifest.replaces
        home.condemned = f"MANIFEST.corrupt.{manifest.attempt}" in home.records
        home.needs = needs(manifest) | {held for data in pointed for held in _named([_json(data)])}

    def running(self, cutoff: float) -> set[tuple[str, str, str]]:
        """Attempts whose job has given a sign of life since."""
        return {job for job, group in self.jobs.items() if group.newest >= cutoff}

    def unread(self) -> list[str]:
        """Keys of which not everything can be read, so that what they need is not known."""
        return [f"{layout.home(*key)}: {home.unknown}" for key, home in self.homes.items() if home.unknown]

    def reached(self, roots: Roots, cutoff: float, everything: bool) -> set[Key]:
        """What stays: all that is committed and whole (`everything`), or only what versions, running jobs and what was
        written since need; and in either case all that these were made of."""
        waiting = roots.keys | self._wanted(cutoff)
        waiting |= {
            key
            for key, home in self.homes.items()
            if home.newest >= cutoff or home.unknown or (everything and home.attempt and not home.condemned)
        }
        found: set[Key] = set()
        while waiting:
            key = waiting.pop()
            found.add(key)
            waiting |= (self.homes[key].needs if key in self.homes else frozenset()) - found
        return found

    def _wanted(self, cutoff: float) -> set[Key]:
        """The inputs of running jobs, by what they were told."""
        found: set[Key] = set()
        for stage, key, attempt in self.running(cutoff):
            found.add((stage, key))
            told = _json(self.store.objects.get(layout.job(stage, key, attempt, "spec.json")))
            inputs = told.get("inputs") if isinstance(told, dict) else None
            found |= _named(inputs.values() if isinstance(inputs, dict) else ())
        return found


def needs(manifest: Manifest) -> frozenset[Key]:
    """The artifacts that one was made of, and those that are part of it."""
    return frozenset((held.stage, held.key) for held in (*manifest.inputs.values(), *manifest.parts.values()))


def _json(data: bytes | None) -> object:
    """What a small object says, None where it says nothing: a torn spec is no job's, for its worker ends at once."""
    try:
        return json.loads(data or b"null")
    except ValueError:
        return None


def _named(receipts: Iterable[object]) -> set[Key]:
    """The artifacts that receipts in JSON name."""
    return {(str(held.get("stage")), str(held["key"])) for held in receipts if isinstance(held, dict) and "key" in held}


def doomed(scan: Scan, roots: Roots, cutoff: float, unreferenced: bool = False) -> Iterator[Doomed]:
    """What may go of all that was last written before `cutoff`.

    Without `unreferenced` every whole committed artifact stays, and every committed checkpoint.
    """
    reached = scan.reached(roots, cutoff, everything=not unreferenced)
    kept: dict[Key, set[str]] = {}
    for stage, key, attempt in scan.running(cutoff) | roots.sources:
        kept.setdefault((stage, key), set()).add(attempt)
    for (stage, key), home in sorted(scan.homes.items()):
        if home.unknown:
            continue
        made = bool(home.attempt or home.condemned) if not home.committed else unreferenced
        if made and (stage, key) not in reached:
            yield _whole(stage, key, home)
        else:
            yield from _leftovers(stage, key, home, cutoff, kept.get((stage, key), set()))
    for (stage, key, attempt), group in scan.jobs.items():
        if group.newest < cutoff:
            yield _one("job", f"jobs/{stage}/{key}/{attempt}/", "the job is over", group)
    for probe, group in scan.probes.items():
        if group.newest < cutoff:
            yield _one("probe", probe, "left by a process that was killed", group)


def _whole(stage: str, key: str, home: Home) -> Doomed:
    groups = [*home.attempts.values(), *home.checkpoints.values()]
    return Doomed(
        kind="artifact",
        place=layout.home(stage, key) + "/",
        reason="found corrupt" if home.condemned else "no version needs it",
        objects=len(home.records) + len(home.pointers) + sum(group.objects for group in groups),
        bytes=home.small + sum(group.bytes for group in groups),
        since=home.newest,
    )


def _leftovers(stage: str, key: str, home: Home, cutoff: float, kept: set[str]) -> Iterator[Doomed]:
    """Attempts that are not the artifact, and checkpoints that were not committed."""
    at = layout.home(stage, key)
    for attempt, group in home.attempts.items():
        if group.newest < cutoff and attempt not in kept | {home.attempt}:
            reason = "replaced by a newer one" if attempt == home.replaces else "not committed"
            yield _one("attempt", f"{at}/{attempt}/", reason, group)
    for name, group in home.checkpoints.items():
        if group.newest < cutoff and name not in home.committed and name.partition("-")[2] not in kept:
            yield _one("checkpoint", f"{at}/checkpoints/{name}/", "not committed", group)


def _one(kind: Kind, place: str, reason: str, group: Group) -> Doomed:
    return Doomed(kind=kind, place=place, reason=reason, objects=group.objects, bytes=group.bytes, since=group.newest)


def is_ours(key: str) -> bool:
    """Whether Luthier uploads under this key."""
    return bool(_OURS.fullmatch(key))
