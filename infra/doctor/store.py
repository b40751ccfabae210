"""The store: does it answer, may we do all we need to do there, does it keep its word, and is its clock ours?"""

import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from infra.doctor.finding import Finding, bad, guarded, ok, warn
from infra.settings import Settings
from infra.storage.s3 import S3Objects
from infra.storage.store import Store, open_objects

PATIENCE_S = 20.0  # somebody waits for the answer
SKEW_S, REFUSED_S = 60.0, 900.0  # seconds: odd; what S3 refuses


def store(own: Settings) -> Finding:
    """Write, overwrite never, read, list, delete, and on S3 also an upload in parts and the clock."""
    return guarded("store", lambda: _store(own.root(), min(own.store_deadline_s, PATIENCE_S)))


def _store(uri: str, deadline_s: float) -> Finding:
    objects = open_objects(uri, deadline_s)
    ahead = _ahead(objects) if isinstance(objects, S3Objects) else 0.0
    if abs(ahead) > REFUSED_S:
        return bad("store", _clock(ahead), "set the clock that is wrong (timedatectl, chronyc tracking)")
    begun = time.monotonic()
    Store(objects).probe()
    if isinstance(objects, S3Objects):
        _in_parts(objects)
    said = f"{uri}: rights and conditional writes hold ({(time.monotonic() - begun) * 1000:.0f} ms for all)"
    if abs(ahead) > SKEW_S:
        return warn("store", f"{said}; {_clock(ahead)}", "S3 refuses from 15 minutes on: set the clock that is wrong")
    return ok("store", said)


def _ahead(objects: S3Objects) -> float:
    """Seconds by which the server's clock is before ours."""
    return (objects.clock() - _now()).total_seconds()


def _now() -> datetime:
    return datetime.now(UTC)


def _clock(ahead: float) -> str:
    side = "ahead of" if ahead > 0 else "behind"
    return f"the store's clock is {abs(ahead) / 60:.0f} minutes {side} this machine's"


def _in_parts(objects: S3Objects) -> None:
    key = f"probe/{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part"
        path.write_bytes(b"in parts")
        objects.in_parts(path, key)
    objects.delete(key)
