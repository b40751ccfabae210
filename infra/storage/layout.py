"""Where everything lies under a store's root. The only place where names become keys."""

import re

from infra.errors import Refused

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,199}")
_LONGEST = 800  # S3 allows 1,024 bytes, the store's own prefix among them


def join(*parts: str) -> str:
    """A key made of safe segments; Refused where one is empty, hidden, `..`, or has a character off the allow-list."""
    key = "/".join(parts)
    segments = key.split("/")
    if len(key) > _LONGEST:
        raise Refused(
            "a name is too long to become a key in the store",
            place=key[:80] + "…",
            value=f"{len(key)} characters",
            remedy=f"use shorter file and folder names; {_LONGEST} characters in all are allowed",
        )
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            raise Refused(
                "a name cannot become a key in the store",
                place="/".join(segments),
                value=repr(segment),
                remedy="use letters, digits and . _ = + - in file and stage names, not starting with a dot or a sign",
            )
    return key


def file_name(name: str) -> str:
    """A name of others, such as an evaluation task's, with what a key cannot hold replaced."""
    return re.sub(r"[^A-Za-z0-9._=+-]", "_", name).lstrip(".=+-")


def home(stage: str, key: str) -> str:
    """Everything that was ever made of one input key."""
    return join("stages", stage, key)


def attempt(stage: str, key: str, attempt_id: str) -> str:
    """The files of one attempt, immutable once written."""
    return join(home(stage, key), attempt_id)


def manifest(stage: str, key: str, generation: int) -> str:
    """The commit record; generation n+1 replaces n after corruption."""
    return join(home(stage, key), "MANIFEST.json" if generation == 1 else f"MANIFEST.{generation}.json")


def generation(name: str) -> int | None:
    """The generation that a manifest's key names, or None for any other key."""
    match = re.fullmatch(r"MANIFEST(?:\.([2-9]|[1-9]\d+))?\.json", name.rsplit("/", 1)[-1])
    return None if match is None else int(match.group(1) or 1)


def tombstone(stage: str, key: str, attempt_id: str) -> str:
    """Marks an attempt as corrupt; beside the manifests, so that one listing shows both."""
    return join(home(stage, key), f"MANIFEST.corrupt.{attempt_id}")


def record_tombstone(stage: str, key: str, number: int) -> str:
    """Marks a commit record as damaged: which attempt it named cannot be read."""
    return tombstone(stage, key, f"generation-{number}")


def snapshot(identity: str) -> str:
    """What a source file holds, by the digest of what a listing says of it; the folders keep listings short."""
    return join("snapshots", identity[:2], identity + ".json")


def checkpoints(key: str) -> str:
    """The training checkpoints of one input key, shared by all its attempts."""
    return join(home("training", key), "checkpoints")


def jobs(stage: str, key: str) -> str:
    """Everything about the launches at one input key."""
    return join("jobs", stage, key)


def learned(stage: str, key: str) -> str:
    """What launches at one input key have learned about the machine; a later one may begin with it."""
    return join(jobs(stage, key), "learned.json")


def trajectory(key: str) -> str:
    """One receipt a step: the adapters of one training's checkpoints, which outlive the checkpoints."""
    return join(home("training", key), "trajectory")


def job(stage: str, key: str, attempt_id: str, name: str) -> str:
    """Spec, launch, heartbeat and outcome of one attempt: read by the stage that launched it, trusted by nobody else."""
    return join(jobs(stage, key), attempt_id, name)
