"""MLflow's database where it is a file of this machine: there as a whole, or not yet.

MLflow makes its tables in some sixty migrations, and never gets over a process that was killed in the middle of them.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from filelock import FileLock

PREFIX = "sqlite:///"
OTHER_S = 300.0  # another process makes it meanwhile, perhaps on a slow disk


def ensure(tracking_uri: str) -> None:
    """Make the file with its tables beside its place and move it there; nothing where it exists, or is no file."""
    path = Path(tracking_uri.removeprefix(PREFIX))
    if not tracking_uri.startswith(PREFIX) or "?" in tracking_uri or path.exists():
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
    path = Path(tracking_uri.removeprefix(PREFIX))
    if not tracking_uri.startswith(PREFIX) or "?" in tracking_uri:
        return False
    if not path.exists():
        return True
    query = "select count(*) from registered_model_aliases where name = ? and alias = ?"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as database:
            return bool(database.execute(query, (name, alias)).fetchone()[0] == 0)
    except sqlite3.Error:  # another MLflow's tables, or busy: then MLflow itself is asked
        return False


def _make(path: Path) -> None:
    from mlflow.store.db import utils  # noqa: PLC0415 - only who makes one needs it

    engine = utils.create_sqlalchemy_engine(f"{PREFIX}{path}")
    try:
        utils._initialize_tables(engine)  # what the first client would do, in place
    finally:
        engine.dispose()
