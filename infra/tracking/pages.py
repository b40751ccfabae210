"""Pages beside a run in MLflow, for those who look there; a server without room for them costs the pages, and nothing else."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

DEADLINE_S = 60.0
_DATABASE = "sqlite:///"


def room(tracking_uri: str) -> str | None:
    """Where an experiment keeps its files: beside a database on this machine, else None, as a server decides that itself."""
    if not tracking_uri.startswith(_DATABASE):
        return None
    return (Path(tracking_uri.removeprefix(_DATABASE)).absolute().parent / "mlartifacts").as_uri()


def attach(tracking_uri: str, run_id: str, files: Sequence[Path], folder: str) -> bool:
    """Put files below `folder` among a run's artifacts; False, with a word in the log, where that does not work in time.

    They replace those of the same name.
    """
    failed: list[str] = ["no answer in time"]

    def send() -> None:
        try:
            failed[:] = _send(tracking_uri, run_id, files, folder)
        except Exception as error:  # whatever some store of MLflow's raises: the pages are not worth a run
            failed[:] = [f"{type(error).__name__}: {str(error)[:200]}"]

    sender = threading.Thread(target=send, daemon=True, name="pages")
    sender.start()
    sender.join(DEADLINE_S)
    if failed:
        log.warning("MLflow at %s: the run has no copy of %s: %s", _shown(tracking_uri), folder, failed[0])
    return not failed


def _send(tracking_uri: str, run_id: str, files: Sequence[Path], folder: str) -> list[str]:
    from mlflow import MlflowClient  # noqa: PLC0415 - slow, and not every reader of `room` needs it

    client = MlflowClient(tracking_uri)
    root = str(client.get_run(run_id).info.artifact_uri)
    if not reachable(tracking_uri, root):
        return [f"{root} is no place of ours"]
    for file in files:
        client.log_artifact(run_id, str(file), folder)
    return []


def reachable(tracking_uri: str, root: str) -> bool:
    """Whether files may go there. A folder is the server's own; where we are the server it is one beside the database,
    as other experiments have theirs wherever somebody happened to stand."""
    address = urlsplit(root)
    if address.scheme not in ("", "file"):
        return True
    mine = room(tracking_uri)
    return mine is not None and Path(address.path).is_relative_to(urlsplit(mine).path)


def _shown(tracking_uri: str) -> str:
    """Without a password."""
    return tracking_uri.rpartition("@")[2]
