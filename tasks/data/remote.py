"""Shards made on the nodes of a cluster: they need the store, this package, and nothing of the machine that asks."""

import os
import platform as machine
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

from infra import settings
from infra.errors import Corrupt, Crashed, Refused, StoreRefused, Unreachable, revive
from infra.frozen import Frozen
from infra.launch import cluster
from infra.launch.cluster import Cluster
from infra.launch.scratch import scratch
from infra.launch.step import Outcome
from infra.launch.work import foreseen
from infra.settings import Platform
from infra.storage.receipt import Manifest, Receipt
from tasks.data import carried, pool
from tasks.data.plan import Planned
from tasks.data.pool import AHEAD, Order, Waiting

LEAST = 4  # shards that are on their way before a cluster has said how wide it is


class Sent(Frozen):
    """An order on its way: what the shard is made of lies in the store as `carried`. No secret has a field here."""

    store: str
    key: str
    planned: Planned
    tokenizer: Receipt
    template: str | None
    carried: list[Receipt]


def run(orders: Iterable[Order], platform: Platform, address: str, heard: Callable[[int], object]) -> Iterator[Receipt]:
    """The receipts in order; those that are stored already cost no connection. `heard` is told of all rows so far.

    Raises what a shard raised; Unreachable for a scheduler that is lost or gives nothing back for `silence_s`.
    """
    done = Done()
    waiting = Waiting(done, heard, platform.silence_s)
    with Lazily(address) as there:
        for order in orders:
            step = order.step()
            found = platform.store.find(step.stage, step.key)
            waiting.add(_ready(platform, found) if found else there.submit(_sent(order, platform, step.key)))
            if len(waiting.futures) >= there.room:
                yield done.counted(there.next(waiting))
        while waiting.futures:
            yield done.counted(there.next(waiting))


class Done:
    """The rows of the shards that are there: a node tells of no others."""

    value = 0

    def counted(self, receipt: Receipt) -> Receipt:
        """The same, counted."""
        rows = receipt.summary["rows"]
        self.value += rows if isinstance(rows, int) else 0
        return receipt


class Lazily:
    """The cluster, connected when something is first to be made."""

    def __init__(self, address: str) -> None:
        self._context = cluster.connected(address)
        self._cluster: Cluster | None = None

    def __enter__(self) -> "Lazily":
        return self

    def __exit__(self, *_: object) -> None:
        if self._cluster is not None:
            self._context.__exit__(None, None, None)

    @property
    def room(self) -> int:
        """Shards to have on their way, so that no worker waits for the next."""
        return LEAST if self._cluster is None else max(LEAST, self._cluster.width * (1 + AHEAD))

    def submit(self, sent: Sent) -> Future[str]:
        """Have it made there."""
        if self._cluster is None:
            self._cluster = self._context.__enter__()
        return self._cluster.submit(made, sent.model_dump_json())

    def next(self, waiting: Waiting) -> Receipt:
        """The first one's receipt, once it is there."""
        try:
            first = waiting.next()
        except Unreachable as silent:
            workers = self._cluster.width if self._cluster else 0
            remedy = "LUTHIER_SHARDS waits for workers that do something; LUTHIER_SILENCE_S sets how long"
            raise Unreachable(silent.what, place=self._place, value=f"{workers} threads there", remedy=remedy) from None
        return _receipt(first.result() if self._cluster is None else self._cluster.answer(first))

    @property
    def _place(self) -> str:
        return self._cluster.address if self._cluster else ""


def _ready(platform: Platform, found: Manifest) -> Future[str]:
    ready: Future[str] = Future()
    ready.set_result(Outcome(state="committed", receipt=platform.store.receipt(found)).model_dump_json())
    return ready


def _sent(order: Order, platform: Platform, key: str) -> Sent:
    there = carried.bring(order.planned, platform)
    carried.require_same(order.planned)
    return Sent(
        store=platform.store.uri,
        key=key,
        planned=carried.without_places(order.planned),
        tokenizer=order.tokenizer,
        template=order.template,
        carried=there,
    )


def _receipt(answer: str) -> Receipt:
    outcome = Outcome.model_validate_json(answer)
    if outcome.error is not None:
        raise revive(outcome.error)
    if outcome.receipt is None:
        raise Crashed("a node's answer has no receipt")
    return outcome.receipt


_one = threading.Lock()  # a tokenizer is no thing for two threads


def made(sent: str) -> str:
    """On a node: make a shard, commit it, and say how that ended. An error is part of the answer, and not raised."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the cores are taken by other workers
    try:
        with _one:
            outcome = Outcome(state="committed", receipt=_made(Sent.model_validate_json(sent)))
    except Exception as error:
        outcome = Outcome(state="failed", error=foreseen(error, f"shard on {machine.node()}").report())
    return outcome.model_dump_json()


def _made(sent: Sent) -> Receipt:
    platform = settings.load(store=sent.store).platform()
    with scratch(platform.home / "work", f"fetched-{uuid.uuid4().hex}") as room:
        try:
            folder = platform.cache.materialise(platform.store, sent.tokenizer, room / "tokenizer")
        except Corrupt as error:
            raise _other_store(sent, error) from error
        planned = carried.fetch(sent.planned, sent.carried, platform, room / "sources")
        order = Order(planned=planned, tokenizer=sent.tokenizer, folder=folder, template=sent.template)
        if order.step().key != sent.key:
            raise Refused(
                "a node of the cluster would make other shards: its luthier is of another version",
                place=machine.node(),
                remedy="install the same luthier for the scheduler and all workers, and start them anew",
            )
        return pool.make(order, platform, lambda _: None)


def _other_store(sent: Sent, error: Corrupt) -> Exception:
    if not sent.store.startswith("file://"):
        return error
    return StoreRefused(
        "a node of the cluster does not see what this machine stored",
        place=f"{machine.node()}: {sent.store}",
        remedy="mount LUTHIER_SHARED_ROOT there under the same path, or set LUTHIER_STORE to s3://…",
    )
