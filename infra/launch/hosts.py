"""Workers on machines that ssh reaches, one on each: found free, begun, followed, and ended together."""

import dataclasses
import logging
import time
import uuid
from pathlib import Path

from infra.errors import BadRecipe, LuthierError, Unreachable
from infra.launch import elsewhere
from infra.launch.base import State
from infra.launch.keeper import Order
from infra.launch.machines import Machines, Seen
from infra.launch.nodes import beside
from infra.launch.profile import Host, Profile
from infra.launch.resources import Resources
from infra.launch.watching import Watch

log = logging.getLogger(__name__)

LOOK_S = 5.0
LOST_S = 60.0  # how long a machine may be out of reach after the worker of another has ended
GONE = 143  # the place went away, and the work goes on elsewhere


class HostsJob:
    """A worker on each of some machines. It waits for machines that others have, and outlives its flow."""

    def __init__(
        self, machines: Machines, order: Order, nodes: int, environment: dict[str, str], log_file: Path
    ) -> None:
        self._machines, self._order, self._nodes = machines, order, nodes
        self._environment, self._log = environment, log_file
        self._who = uuid.uuid4().hex
        self._watches: list[Watch] = []
        self._status: int | None = None
        self._busy: dict[str, str] = {}
        self._left_out: set[str] = set()
        self._since = self._looked = time.monotonic()
        self._place(machines.look(within_s=LOOK_S))

    def poll(self) -> int | None:
        """None while it waits for machines or runs. Unreachable where too few are left, or it waited for too long."""
        if self._status is None and not self._watches:
            if time.monotonic() - self._looked > LOOK_S:
                self._place(self._machines.look())
        elif self._status is None:
            self._status = self._ended()
        return self._status

    def state(self) -> State:
        """Which machines it has, or who has those that it waits for."""
        if self._watches:
            return State(notes={"hosts": ", ".join(watch.host.ssh for watch in self._watches)})
        minutes = (time.monotonic() - self._since) / 60
        minutes -= minutes % (10 if minutes >= 10 else 1)
        taken = ", ".join(f"{host} is taken by {name}" for host, name in self._busy.items())
        waits = self._status is None
        return State(waiting=f"waiting for {self._nodes} free hosts for {minutes:.0f} min: {taken}" if waits else "")

    def stop(self) -> None:
        """End it on every machine, unless another flow follows it, and see that nothing of it is left there."""
        for watch in self._watches:
            watch.close()
        hosts = [watch.host for watch in self._watches]
        if hosts and not self._machines.stop(self._order.name, hosts, self._who):
            log.info("%s is left to the other flow that follows it", self._order.name)
            return
        self._status = GONE if self._status is None else self._status

    def _ended(self) -> int | None:
        """Once all have ended; or one has in a way that decides for all, and the rest has been out of reach for LOST_S."""
        statuses = [watch.look() for watch in self._watches]
        told = [status for status in statuses if status is not None]
        away_s = [watch.away_s for watch, status in zip(self._watches, statuses, strict=True) if status is None]
        decided = statuses[0] is not None or any(told)  # the first commits; one that failed has failed for all
        if away_s and (not decided or min(away_s) < LOST_S):
            return None
        return next((status for status in told if status), GONE if away_s else 0)

    def _place(self, seen: list[Seen]) -> None:
        """Find the machines that have it, or take free ones; else it waits."""
        self._looked = time.monotonic()
        chosen, absent = self._found(seen) or self._free(seen)
        if not chosen or not self._begin(chosen, absent):
            self._require_hope(seen)
            return
        self._watches = [
            Watch(self._machines, host, self._order.name, self._who, beside(self._log, node))
            for node, host in enumerate(chosen)
        ]

    def _found(self, seen: list[Seen]) -> "tuple[list[Host], list[int]] | None":
        """The machines of a job of this name, and the nodes of it that its flow did not come to begin."""
        known = {one.host.ssh: one for one in seen}
        jobs = {one.host.ssh: job for one in seen for job in one.jobs if job.name == self._order.name}
        if not jobs:
            return None
        names = next(iter(jobs.values())).hosts
        hosts = [known[name].host if name in known else Host(ssh=name) for name in names]
        there = [name in known and not known[name].away for name in names]
        return hosts, [node for node, name in enumerate(names) if there[node] and name not in jobs]

    def _free(self, seen: list[Seen]) -> tuple[list[Host], list[int]]:
        there = [one for one in seen if not one.away]
        if len(there) < self._nodes:
            raise _too_few(self._nodes, seen)
        self._busy = {one.host.ssh: one.busy for one in there if one.busy}
        free = [one.host for one in there if not one.busy][: self._nodes]
        for one in seen:
            if one.away and one.host.ssh not in self._left_out:
                log.warning("%s is left out: %s", one.host.ssh, one.away)
        self._left_out = {one.host.ssh for one in seen if one.away}
        return (free, list(range(self._nodes))) if len(free) == self._nodes else ([], [])

    def _begin(self, hosts: list[Host], absent: list[int]) -> bool:
        """One after the other, in the profile's order, so that two jobs never wait for each other; False where
        another was faster."""
        begun: list[Host] = []
        try:
            for node in absent:
                order = dataclasses.replace(self._order, node=node, hosts=[host.ssh for host in hosts])
                begun.append(hosts[node])
                if busy := self._machines.begin(hosts[node], order, self._environment):
                    self._busy[hosts[node].ssh] = busy
                    self._machines.stop(self._order.name, begun, self._who)
                    return False
        except BaseException:
            self._machines.stop(self._order.name, begun, self._who)
            raise
        return True

    def _require_hope(self, seen: list[Seen]) -> None:
        waited = time.monotonic() - self._since
        if waited > self._machines.profile.queue_s:
            raise Unreachable(
                f"{self._order.name} has waited for its turn for {waited / 3600:.1f} h",
                place="queue_s of the site's profile",
                value=_said(seen),
                remedy="ask for fewer nodes, or name more hosts",
            )


class HostsLauncher:
    """Starts jobs on machines of the site's profile, and finds those of flows that died by their names."""

    def __init__(self, profile: Profile, shared_root: str) -> None:
        self._machines = Machines(profile)
        self._shared = Path(shared_root).absolute() if shared_root else None

    def find(self, stage: str, key: str, _resources: Resources, /) -> list[str]:
        """The attempts at a key whose workers run on any machine that answers."""
        prefix = elsewhere.job_name(stage, key)
        names = {job.name for one in self._machines.look() for job in one.jobs if job.running}
        return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))

    def start(
        self, module: str, spec: str, environment: dict[str, str], log: Path, resources: Resources | None = None
    ) -> HostsJob:
        """Begin a job, or follow the one that there is by that name. Output goes to `log` and beside it."""
        profile, nodes = self._machines.profile, resources.nodes if resources else 1
        elsewhere.require_visible(environment, self._shared)
        if nodes > len(profile.hosts):
            raise BadRecipe(
                f"{nodes} nodes are asked for, and the site's profile names {len(profile.hosts)} hosts",
                place="hosts of the site's profile, resources.nodes",
                remedy="name machines as `hosts: [user@a, user@b]`; docs/clusters.md shows a profile",
            )
        log.parent.mkdir(parents=True, exist_ok=True)
        for node in range(nodes):
            beside(log, node).unlink(missing_ok=True)  # of a flow that died: all is read again
        order = Order(elsewhere.named_by(spec), module, spec, 0, [], profile.orphan_s)
        return HostsJob(self._machines, order, nodes, elsewhere.environment(environment, profile), log)


def _said(seen: list[Seen]) -> str:
    return "; ".join(f"{one.host.ssh}: {one.away or one.busy or 'free'}" for one in seen)


def _too_few(nodes: int, seen: list[Seen]) -> LuthierError:
    return Unreachable(
        f"{nodes} hosts are asked for, and {sum(not one.away for one in seen)} answer",
        place="hosts of the site's profile",
        value=_said(seen),
        remedy="`luthier doctor --launcher hosts` looks at each",
    )
