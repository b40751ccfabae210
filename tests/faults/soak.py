"""R10: one small run after the other, each struck by a fault that a seed chose; nobody mends anything."""

import contextlib
import os
import random
import resource
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from mlflow import MlflowClient

from infra.errors import LuthierError
from infra.launch.lifeline import started_by
from infra.settings import Platform
from infra.storage.receipt import Receipt
from infra.storage.verify import Survey, check
from tasks.gate import stage as gate
from tasks.gate.config import Bar, GateConfig
from tasks.registry import stage as registry
from tasks.registry.config import RegisterConfig
from tests.benchmarks.figures import note
from tests.faults.duplicates import Before
from tests.faults.kills import environment
from tests.faults.points import Act, arm, points, struck
from tests.proxy import Proxy, Weather

TRIES = 3  # of a stage, as many as a run gives it
SILENCE_S = 60.0
AWAY_S = 5.0
WEATHERS = {
    "503": Weather(unavailable=0.3),
    "resets": Weather(reset=0.3),
    "lost replies": Weather(lost_reply=0.3),
    "slow replies": Weather(slow=0.5, slow_s=0.5),
}
ACTS: tuple[Act, ...] = ("kill", "kill", "leave", "stop")  # a worker that is stopped costs its silence: fewer of these
KINDS = (*ACTS, *WEATHERS, "refused", "black hole", "flipped byte")


@dataclass
class Soak:
    """What a stream of runs met, and what was wrong with them; CPU-seconds are those of workers."""

    given: Before
    line: Proxy
    room: Path
    chance: random.Random
    names: list[str] = field(default_factory=list)
    met: dict[str, int] = field(default_factory=dict)
    manual: list[str] = field(default_factory=list)
    cpu_s: float = 0.0
    calm_s: float = 0.0

    def calm(self, times: int) -> None:
        """Runs without a fault: what one costs is what of each later one was needed."""
        before = _used()
        for _ in range(times):
            self._run()
        self.calm_s = (_used() - before) / times

    def storm(self, kinds: Sequence[str]) -> None:
        """As many runs, each with a fault of its kind."""
        for number, kind in enumerate(kinds):
            before = _used()
            try:
                with self._fault(kind, number):
                    self._run()
            except LuthierError as error:
                self.manual.append(f"run {number}, {kind}: {error}")
            self.cpu_s += _used() - before
            note(f"R10: {number + 1} of {len(kinds)}, {kind}")

    @property
    def useful(self) -> float:
        """CPU-seconds that as many runs need where nothing happens, of all that were used."""
        return self.calm_s * sum(self.met.values()) / self.cpu_s

    def wrong(self) -> list[str]:
        """Versions that are missing or there twice, what does not verify, and workers that are left."""
        client, on = MlflowClient(self.given.tracking_uri), self.given.platform(self.room / "after")
        found = []
        for name in self.names:
            versions = [int(one.version) for one in client.search_model_versions(f"name = '{name}'")]
            if versions != [1]:
                found.append(f"{name}: versions {versions}")
        survey = Survey(on.store)
        survey.all()
        found += [f"{fault.place}: {fault.actual}" for fault in [*survey.faults, *check(survey, lambda _: None)]]
        return found + [f"left: {line}" for line in _workers()]

    def _run(self) -> None:
        """A gate, then the registration of a model of its own name, each tried again as a run does."""
        number = len(self.names)
        self.names.append(f"soak-{number}")
        on = replace(self.given.platform(self.room / str(number)), silence_s=SILENCE_S)
        config = GateConfig(bars=[Bar(task="echo", metric="exact_match", min=number / 1e6)])
        made = self.given.made
        verdict = _tried(lambda: gate.run(config, made["baseline"], made["scores"], on))
        _tried(lambda: self._registered(verdict, number, on))

    def _registered(self, verdict: Receipt, number: int, on: Platform) -> Receipt:
        made, config = self.given.made, RegisterConfig(name=f"soak-{number}")
        roles = ("scores", "baseline", "adapter", "dataset")
        return registry.run(config, made["model"], verdict, *(made[role] for role in roles), on)

    @contextlib.contextmanager
    def _fault(self, kind: str, number: int) -> Iterator[None]:
        self.met[kind] = self.met.get(kind, 0) + 1
        if kind in ACTS:
            stage = self.chance.choice(("gate", "registry"))
            name, point = self.chance.choice([*points(stage, "s3").items()])
            folder = self.room / f"armed-{number}"
            with environment(arm(folder, point, kind)):
                yield
            if not struck(folder):
                self.manual.append(f"run {number}: nobody came by {name} of {stage}")
        elif kind in WEATHERS:
            self.line.weather = WEATHERS[kind]
            try:
                yield
            finally:
                self.line.weather = Weather()
        elif kind == "flipped byte":
            self.line.flip_body(b"PUT ")
            yield
        else:
            with self._away(kind):
                yield

    @contextlib.contextmanager
    def _away(self, kind: str) -> Iterator[None]:
        """From a moment that chance gives, the store is away for some seconds."""
        over, begin = threading.Event(), self.chance.uniform(0, 3)

        def go() -> None:
            if not over.wait(begin):
                self.line.refuse() if kind == "refused" else self.line.swallow()
                over.wait(AWAY_S)
            self.line.forward()

        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _tried(run: Callable[[], Receipt]) -> Receipt:
    for _ in range(TRIES - 1):
        try:
            return run()
        except LuthierError as error:
            if not error.retry:
                raise
    return run()


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _workers() -> list[str]:
    lines = []
    for process in started_by(os.getpid()):
        with contextlib.suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return [line for line in lines if ".worker" in line]
