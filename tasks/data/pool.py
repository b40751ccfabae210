"""Shards on all cores: each is looked up, or made and committed by a process of its own; the same whoever makes it."""

import hashlib
import multiprocessing
import os
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from infra import settings
from infra.errors import Crashed, Unreachable
from infra.frozen import Frozen
from infra.launch.lifeline import die_with_parent
from infra.launch.scratch import scratch
from infra.launch.step import Step
from infra.launch.step import spec as specified
from infra.launch.work import commit
from infra.memory import give_back
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.data import formats, sources, templates
from tasks.data.layouts import Shape
from tasks.data.plan import Planned
from tasks.data.shard import Shard
from tasks.data.tokens import Encoder, load, without_torch

AHEAD = 2  # shards a process that wait for it, so that none waits for the plan
LISTEN_S = 1.0


class Order(Frozen):
    """A shard to be made, and what for: the tokenizer as an artifact and as a folder, and the template that replaces its own."""

    planned: Planned
    tokenizer: Receipt
    folder: Path
    template: str | None

    def step(self) -> Step:
        """The work that makes it."""
        template = "" if self.template is None else hashlib.sha256(self.template.encode()).hexdigest()
        return self.planned.step(self.tokenizer, template)


def make(order: Order, platform: Platform, rows: Callable[[int], object]) -> Receipt:
    """The shard's receipt: from the store where it is committed, else made now. `rows` hears of each batch's rows."""
    step = order.step()
    found = platform.store.find(step.stage, step.key)
    if found is None:
        return _made(order, step, platform, rows)
    if 0 < found.summary["bad"] == found.summary["rows"]:  # type: ignore[operator]
        # Another version may be able to read what this one could not: it has, with pairs of answers.
        return _made(order, replace(step, always=True), platform, rows)
    return platform.store.receipt(found)


def _made(order: Order, step: Step, platform: Platform, rows: Callable[[int], object]) -> Receipt:
    spec = specified(step, uuid.uuid4().hex)
    text = order.planned.text
    tokenizer, encoder = _loaded(order)
    template = templates.of(text, order.template, tokenizer)
    with scratch(platform.home / "work", f"shard-{spec.attempt}") as room:
        shape = Shape.of(text)
        with Shard(room, text, template, encoder) as shard:
            for segment in order.planned.segments:
                reading = formats.read(segment.path, segment.name, shape, segment.kind, segment.part)
                for count in shard.feed(reading, segment.place):
                    rows(count)
                sources.require_unchanged(segment.origin)
            told = shard.finish(shape.unused)
        return commit(platform, spec, room, {"rows": sum(told.rows), "bad": told.bad})


_kept: dict[str, tuple[Any, Encoder]] = {}  # one, by its content: it may lie in another folder each time


def _loaded(order: Order) -> tuple[Any, Encoder]:
    content = order.tokenizer.content_sha256
    if content not in _kept:
        _kept.clear()
        tokenizer = load(order.folder)
        _kept[content] = tokenizer, Encoder(tokenizer)
    return _kept[content]


def run(orders: Iterable[Order], platform: Platform, workers: int, heard: Callable[[int], object]) -> Iterator[Receipt]:
    """The receipts in order. `heard` is told of all rows so far, at least every LISTEN_S seconds.

    One worker is this process; so it is for a single shard. Raises what a shard raised; Crashed where a process died.
    """
    orders = iter(orders)
    first = list(islice(orders, 2))
    orders = chain(first, orders)
    if workers == 1 or len(first) < 2:
        yield from _alone(orders, platform, heard)
        return
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(counter, platform.environment())) as pool:
        waiting = Waiting(counter, heard, platform.silence_s)
        try:
            for order in orders:
                waiting.add(pool.submit(_task, order))
                if len(waiting.futures) == workers * (1 + AHEAD):
                    yield waiting.next().result()
            while waiting.futures:
                yield waiting.next().result()
        except Unreachable:
            for process in multiprocessing.active_children():
                process.kill()  # it would be waited for
            raise
        except BrokenProcessPool as error:
            raise Crashed(
                "a process that prepared rows died", remedy="most often for memory: lower data.num_proc"
            ) from error
        finally:
            # Where all is made its processes are waited for: what follows would need their memory too.
            pool.shutdown(wait=not waiting.futures, cancel_futures=True)


class Waiting:
    """Shards that are being made, in order. Unreachable where for `silence_s` no row was read and no shard was done:
    this process sends signs of life meanwhile, so that nobody else would notice."""

    def __init__(self, counter: Any, heard: Callable[[int], object], silence_s: float) -> None:
        self.futures: deque[Future[Any]] = deque()
        self._counter, self._heard, self._silence_s = counter, heard, silence_s
        self._seen, self._moved = (0, 0), time.monotonic()

    def add(self, future: Future[Any]) -> None:
        """One more, behind the others."""
        self.futures.append(future)

    def next(self) -> Future[Any]:
        """The first one, once it is done."""
        while not self.futures[0].done():
            wait([self.futures[0]], timeout=LISTEN_S)
            rows = self._counter.value
            self._heard(rows)
            self._require_motion((rows, sum(future.done() for future in self.futures)))
        self._moved = time.monotonic()
        return self.futures.popleft()

    def _require_motion(self, seen: tuple[int, int]) -> None:
        if seen != self._seen:
            self._seen, self._moved = seen, time.monotonic()
        if time.monotonic() - self._moved > self._silence_s:
            raise Unreachable(
                f"no row was prepared for {self._silence_s:.0f} s, and what was to do it was ended",
                remedy="what is made stays made; LUTHIER_SILENCE_S sets how long they may be silent",
            )


def _alone(orders: Iterable[Order], platform: Platform, heard: Callable[[int], object]) -> Iterator[Receipt]:
    total = 0

    def rows(count: int) -> None:
        nonlocal total
        total += count
        heard(total)

    try:
        for order in orders:
            yield make(order, platform, rows)
    finally:
        _kept.clear()
        give_back()


_counter: Any = None


def _begin(counter: Any, environment: dict[str, str]) -> None:
    global _counter  # noqa: PLW0603 - a pool's initializer has no other place to leave what it was given
    die_with_parent()
    without_torch()
    # The cores are taken by the other processes.
    os.environ.update(environment, TOKENIZERS_PARALLELISM="false")
    _counter = counter


def _task(order: Order) -> Receipt:
    def rows(count: int) -> None:
        with _counter.get_lock():
            _counter.value += count

    return make(order, settings.load().platform(), rows)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
