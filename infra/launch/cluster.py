"""A Dask cluster as a place where work is done. Text goes there and text comes back: no pickle of ours, and no secret."""

import json
import os
import platform
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from infra.errors import BadRecipe, Crashed, LuthierError, Refused, Unreachable
from infra.settings import load

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 30.0
LEAVE_S = 5.0
Work = Callable[[str], str]  # found there by its name in a module


class Cluster:
    """An open connection. Work whose process died is given to another by the scheduler, as often as it is set to."""

    def __init__(self, client: "Client", address: str) -> None:
        self._client, self.address = client, address
        self._executor = client.get_executor(pure=False)  # what a key should hold is our affair

    @property
    def width(self) -> int:
        """How many pieces of work it does at once, as of now; 0 where no worker has come yet."""
        try:
            return sum(self._client.nthreads().values())
        except OSError:
            raise self._lost() from None

    def submit(self, work: Work, text: str) -> Future[str]:
        """Have it done there; ask `answer` for what came of it."""
        made: Future[str] = self._executor.submit(_call, work.__module__, work.__name__, text)
        return made

    def answer(self, done: Future[str]) -> str:
        """What the work said. Unreachable where the scheduler was lost, Crashed where processes died of it, Refused where
        the nodes lack our code."""
        try:
            return done.result(timeout=0)
        except CancelledError:
            raise self._lost() from None
        except ModuleNotFoundError as error:
            raise Refused(
                "the nodes of the cluster lack a package",
                place=self.address,
                value=error,
                remedy="install the same luthier there, with its extras data and dask, for the scheduler and the workers",
            ) from error
        except LuthierError:
            raise
        except Exception as error:
            raise Crashed(
                f"the cluster gave the work back: {type(error).__name__}",
                place=self.address,
                value=error,
                remedy="workers that die are most often out of memory; their own logs say more",
            ) from error

    def _lost(self) -> Unreachable:
        remedy = "what is made stays made, and the next try makes the rest; is the scheduler up?"
        return Unreachable("the scheduler of the cluster was lost", place=self.address, remedy=remedy)


def _call(module: str, name: str, text: str) -> str:
    import importlib  # noqa: PLC0415 - it travels without what stands around it

    return str(getattr(importlib.import_module(module), name)(text))


# So it travels as a whole: a worker that is told of a module it lacks would end instead of saying so.
_call.__module__ = "__main__"


@contextmanager
def connected(address: str, deadline_s: float | None = None) -> Iterator[Cluster]:
    """The cluster behind a scheduler's address; what still waits there is called off at the end.

    Unreachable where nobody answers before the deadline, CONNECT_S where none is given. Certificates (tls://) are Dask's own settings.
    """
    client = _client(address, CONNECT_S if deadline_s is None else deadline_s)
    try:
        _require_same_python(client, address)
        yield Cluster(client, address)
    finally:
        client.close(LEAVE_S)


def _client(address: str, deadline_s: float) -> "Client":
    try:
        from distributed import Client  # noqa: PLC0415 - an extra, which only runs on a cluster need
    except ImportError:
        raise BadRecipe(
            "Dask is not installed", place="LUTHIER_SHARDS", value=address, remedy="pip install 'luthier[dask]'"
        ) from None
    try:
        return Client(address, timeout=deadline_s, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise Unreachable(
            f"no scheduler answers within {deadline_s:.0f} s",
            place=address,
            value=error,
            remedy="LUTHIER_SHARDS is the address that `dask scheduler` tells, as tcp://host:8786; for tls:// Dask needs its certificates",
        ) from error


def _require_same_python(client: "Client", address: str) -> None:
    answers: list[dict[str, Any]] = []
    asker = threading.Thread(target=lambda: answers.append(client.get_versions()), daemon=True)
    asker.start()
    asker.join(CONNECT_S)
    if not answers:  # a worker is too busy to say; what is wrong is then told where it shows
        return
    told, ours = answers[0], platform.python_version_tuple()[:2]
    for place, versions in [("scheduler", told["scheduler"]), *told["workers"].items()]:
        python = str(versions["host"]["python"]).split(".")[:2] if versions else list(ours)
        if tuple(python) != ours:
            raise Refused(
                "the cluster has another version of Python, between which no work can be sent",
                place=f"{address}, {place}",
                value=f"{'.'.join(python)} there, {'.'.join(ours)} here",
                remedy="install the same luthier with the same Python for the scheduler and all workers",
            )


def look(text: str) -> str:
    """Asked of a node: what runs there, and what it finds at `key` in `store`."""
    asked: dict[str, str] = json.loads(text)
    found = load(store=asked["store"]).platform().store.objects.get(asked["key"])
    told: dict[str, Any] = {"host": platform.node(), "python": platform.python_version(), "cores": os.cpu_count()}
    return json.dumps(told | {"found": None if found is None else found.decode()})
