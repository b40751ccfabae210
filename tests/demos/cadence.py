"""`make demo-cadence`: a model's life in half an hour, on real servers. Exit status 1 where a step does not come out as said.

A first version goes into production; better rows are announced, retrained on and approved; spoilt rows are held; where nothing
is new nothing is done; and the last promotion is taken back. With --tiny it is a model of some thousand weights, in minutes.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.gate import share
from tests.demos import material
from tests.demos.material import Material
from tests.e2e.stack import Stack, begin, finish

FLOW, DEPLOYMENT = "retrain", "retrain/demo"
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
STARTS_S = 300  # until a run that was asked for is there
LONGEST_S = 3000  # of one run, on a machine that does other things too
POLL_S = 2.0
SAY_S = 30.0


class Otherwise(Exception):
    """A step that did not come out as said."""


@dataclass
class Demo:
    """The stack, what is learned, and what came of each step so far."""

    stack: Stack
    given: Material
    began: float = field(default_factory=time.monotonic)
    table: list[tuple[str, str, str, float]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def step(self, title: str, expected: str, do: Callable[[], str]) -> None:
        """Do it, and remember what came of it; Otherwise where that is not what was expected."""
        say(f"\n{len(self.table) + 1}. {title} (expected: {expected})")
        started = time.monotonic()
        try:
            came = do()
        except Otherwise as other:
            self.table.append((title, expected, f"OTHERWISE: {other}", time.monotonic() - started))
            raise
        self.table.append((title, expected, came, time.monotonic() - started))
        say(f"   {came}")

    def announced(self) -> dict[str, Any]:
        """Announce the rows; the run that the event starts, once it has ended or waits for somebody."""
        self.stack("data", "announce", str(self.given.rows))
        return self.watched()

    def by_hand(self) -> dict[str, Any]:
        """The same of a run that somebody starts."""
        known = self.stack.prefect(f"deployments/name/{DEPLOYMENT}")
        self.stack.prefect(f"deployments/{known['id']}/create_flow_run", {})
        return self.watched()

    def watched(self) -> dict[str, Any]:
        """The next run, once it has ended or waits."""
        end = time.monotonic() + STARTS_S
        while time.monotonic() < end:
            run = self._new()
            if run is not None:
                return self.followed(run["id"], (*ENDED, "PAUSED"))
            time.sleep(POLL_S)
        raise Otherwise(f"no run has started within {STARTS_S / 60:.0f} min")

    def followed(self, run: str, until: tuple[str, ...]) -> dict[str, Any]:
        """A run, once it is in one of these states; what it does is said every now and then."""
        spoke = began = time.monotonic()
        while time.monotonic() - began < LONGEST_S:
            now = self.read(run)
            if now["state_type"] in until:
                return now
            if time.monotonic() - spoke > SAY_S:
                spoke = time.monotonic()
                say(f"   {self.elapsed()} {now['state_name']}: {self.last_word(run)}")
            time.sleep(POLL_S)
        raise Otherwise(f"no end within {LONGEST_S / 60:.0f} min")

    def _new(self) -> dict[str, Any] | None:
        body = {"sort": "EXPECTED_START_TIME_DESC", "flows": {"name": {"any_": [FLOW]}}}
        found = [run for run in self.stack.prefect("flow_runs/filter", body) if run["id"] not in self.seen]
        if not found:
            return None
        self.seen.add(found[0]["id"])
        return dict(found[0])

    def read(self, run: str) -> dict[str, Any]:
        """What Prefect knows of a run now."""
        return dict(self.stack.prefect(f"flow_runs/{run}"))

    def last_word(self, run: str) -> str:
        """The last line of its log: the stage, its step, how long it will take."""
        body = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_DESC", "limit": 1}
        found = self.stack.prefect("logs/filter", body)
        return str(found[0]["message"]).splitlines()[0][:150] if found else "waits for the worker"

    def approve(self, run: dict[str, Any]) -> dict[str, Any]:
        """Answer the form of a run that waits, as its page would; the run at its end."""
        require(run["state_type"] == "PAUSED", f"the run does not wait: {told(run)}")
        self.let_go(run)
        answer = {"decision": "approve", "name": "the demo", "comment": "it is better"}
        said = self.stack.prefect(f"flow_runs/{run['id']}/resume", {"run_input": answer})
        require(said["status"] == "ACCEPT", str(said))
        return self.followed(run["id"], ENDED)

    def let_go(self, run: dict[str, Any]) -> None:
        """Wait until the process of a run that was suspended has ended: its worker takes it up again only then."""
        pid = str(run.get("infrastructure_pid") or "").rpartition(":")[2]
        end = time.monotonic() + STARTS_S
        while pid.isdigit() and psutil.pid_exists(int(pid)):
            require(time.monotonic() < end, f"process {pid} of the suspended run does not end")
            time.sleep(POLL_S)

    def versions(self) -> dict[str, Any]:
        """What `luthier versions` tells."""
        said = self.stack("versions", self.given.model, "--json")
        return dict(json.loads(said[said.index("{") : said.rindex("}") + 1]))

    def require_champion(self, number: int) -> None:
        """Otherwise where another version is in production."""
        champion = self.versions()["champion"]
        require(champion == number, f"version {champion} is in production, not {number}")

    def page(self, key: str) -> str:
        """The newest page with this key that a run has shown."""
        body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 1}
        return str(self.stack.prefect("artifacts/filter", body)[0]["data"])

    def elapsed(self) -> str:
        """Minutes since the beginning."""
        return f"[{(time.monotonic() - self.began) / 60:4.1f} min]"


def play(demo: Demo) -> None:
    """All steps; Otherwise where one does not come out as said."""
    given, name = demo.given, demo.given.model

    def first() -> str:
        given.put("few")
        run = demo.approve(demo.by_hand())
        require(run["state_type"] == "COMPLETED", told(run))
        demo.require_champion(1)
        return told(run)

    def better() -> str:
        given.put("better")
        run = demo.announced()
        require("tickets.jsonl: changed" in demo.page("news"), "the page does not name the file that changed")
        run = demo.approve(run)
        require(run["state_type"] == "COMPLETED", told(run))
        demo.require_champion(2)
        return told(run)

    def unchanged(since: int) -> str:
        run = demo.announced()
        require(run["state_name"] == "NothingNew", told(run))
        require(f"{name}/{since}" in str(run["state"]["message"]), told(run))
        return f"{run['state']['message']} ({run['total_run_time']:.0f} s)"

    def spoilt() -> str:
        given.put("spoilt")
        run = demo.announced()
        require(run["state_type"] == "COMPLETED", told(run))
        verdict = demo.page("verdict")
        require(verdict.startswith("# Hold"), verdict[:200])
        sample = next((line for line in verdict.splitlines() if line.startswith(f"{given.task} ")), "")
        require(bool(sample), "the verdict names no document that got worse")
        demo.require_champion(2)
        return f"held; for example {sample}"

    def back() -> str:
        demo.stack("rollback", name)
        demo.require_champion(1)
        return f"{name}/1 is in production again"

    demo.step("a first version, from few rows", "approved, in production", first)
    demo.step("better rows are announced", "retrained, promoted after approval", better)
    demo.step("nothing has changed", "skipped", lambda: unchanged(2))
    demo.step("spoilt rows are announced", "held, with the documents that got worse", spoilt)
    demo.step("the same spoilt rows again", "skipped", lambda: unchanged(3))
    demo.step("rollback", "version 1 in production", back)


def beforehand(given: Material) -> str:
    """What the gate asks, and how likely the two comparisons come out as they should."""
    n, margin = given.n, given.margin
    gain, loss = given.better - given.first, given.better - given.spoilt
    sees = share(n, gain, -margin, min(1.0, gain + 0.1), "passed")
    holds = share(n, -loss, -margin, min(1.0, loss + 0.1), "failed")
    return (
        f"The gate compares on {n} held-out documents with a margin of {margin:g}, at 5 %. If the first version gets "
        f"{given.first:.0%} of them right and the better one {given.better:.0%}, it promotes in {sees:.1%} of cases; if spoilt "
        f"rows cost {loss:.0%}, it holds in {holds:.1%}. One run takes about {given.minutes:g} min on two cores of its own; "
        "there are three."
    )


def require(holds: bool, otherwise: str) -> None:
    """Otherwise, with what is so instead."""
    if not holds:
        raise Otherwise(otherwise)


def told(run: dict[str, Any]) -> str:
    """A run's last state in words."""
    return f"{run['state_name']}: {(run['state'] or {}).get('message') or ''}"


def say(text: str) -> None:
    """For whoever watches."""
    print(text, flush=True)  # noqa: T201


def main() -> int:
    """Play it in a folder that goes afterwards, or in one that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a model of some thousand weights")
    parser.add_argument("--in", dest="folder", type=Path, help="keep everything in this new folder")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cadence-") as temporary:
        room = chosen.folder or Path(temporary)
        return run(room, material.tiny if chosen.tiny else material.real)


def run(room: Path, make: Callable[[Path], Material]) -> int:
    """The exit status: 0 where every step came out as said."""
    given = make(room / "project")
    say(beforehand(given))
    stack = begin(room / "home", given.project)
    demo = Demo(stack, given)
    try:
        say(f"starting Prefect, MLflow and an S3 store in {room}")
        stack("up")
        play(demo)
    except Otherwise as other:
        say(f"   OTHERWISE: {other}")
        return 1
    finally:
        say("")
        for title, expected, came, seconds in demo.table:
            say(f"{seconds / 60:5.1f} min  {title}\n           expected  {expected}\n           came out  {came}")
        finish(stack)
    say(f"all came out as said, after {(time.monotonic() - demo.began) / 60:.1f} min")
    return 0


if __name__ == "__main__":
    sys.exit(main())
