"""MLflow's database where it is a file of this machine: there as a whole, or not yet.

MLflow makes its tables in some sixty migrations, and never gets over a process that was killed in the middle of them.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from filelock import FileLock

PREFIX = "sqlite:///"
REGISTRATION = (
    "luthier.registration"  # tag of a version: the key of the registry's artifact, which names everything else
)
OTHER_S = 300.0  # another process makes it meanwhile, perhaps on a slow disk


def ensure(tracking_uri: str) -> None:
    """Make the file with its tables beside its place and move it there; nothing where it exists, or is no file."""
    path = _path(tracking_uri)
    if not is_file(tracking_uri) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=OTHER_S):
        if not path.exists():
            half = path.with_name(f"{path.name}.half")
            for left in path.parent.glob(f"{half.name}*"):  # with the journal of who was killed
                left.unlink()
            _make(half)
            half.replace(path)


def lacks_alias(tracking_uri: str, name: str, alias: str) -> bool:
    """Whether it is a file of this machine in which a model surely has no such alias: told in a moment, without MLflow."""
    if is_file(tracking_uri) and not _path(tracking_uri).exists():
        return True
    query = "select count(*) from registered_model_aliases where name = ? and alias = ?"
    return _asked(tracking_uri, query, (name, alias)) == [(0,)]


def holds(tracking_uri: str, name: str, version: int, tags: Mapping[str, str], alias: str | None) -> bool:
    """Whether it is a file of this machine in which a model surely has this version with these tags, and the alias leads
    to it: told in a moment, without MLflow."""
    query = (
        "select t.key, t.value from model_versions v join model_version_tags t on t.name = v.name and t.version = v.version "
        "where v.name = ? and v.version = ? and v.current_stage != 'Deleted_Internal'"
    )
    told = dict(_asked(tracking_uri, query, (name, version)))
    if not told or any(told.get(key) != value for key, value in tags.items()):
        return False
    query = "select version from registered_model_aliases where name = ? and alias = ?"
    return alias is None or _asked(tracking_uri, query, (name, alias)) == [(version,)]


def is_file(tracking_uri: str) -> bool:
    """Whether it is a database in a file of this machine."""
    return tracking_uri.startswith(PREFIX) and "?" not in tracking_uri


def _path(tracking_uri: str) -> Path:
    return Path(tracking_uri.removeprefix(PREFIX)).absolute()


def _asked(tracking_uri: str, query: str, values: tuple[str | int, ...]) -> list[tuple[Any, ...]]:
    """Its rows; none where it is no file, has another MLflow's tables, or is busy: then MLflow itself is to be asked."""
    if not is_file(tracking_uri):
        return []
    try:
        place = f"{_path(tracking_uri).as_uri()}?mode=ro"
        with closing(sqlite3.connect(place, uri=True, timeout=10)) as database:
            return database.execute(query, values).fetchall()
    except sqlite3.Error:
        return []


def _make(path: Path) -> None:
    from mlflow.store.db import utils  # noqa: PLC0415 - only who makes one needs it

    engine = utils.create_sqlalchemy_engine(f"{PREFIX}{path}")
    try:
        utils._initialize_tables(engine)  # what the first client would do, in place
    finally:
        engine.dispose()
