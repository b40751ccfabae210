"""The machines of the site's profile: who has them, have one run a worker, end what runs there."""

import json
import logging
import shlex
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TypeVar

from infra.errors import BadRecipe, LuthierError, Unreachable
from infra.launch import elsewhere, ssh
from infra.launch.keeper import Order
from infra.launch.nodes import HOST, variables
from infra.launch.profile import Host, Profile

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_S = 30.0
BEGIN_S = 60.0
STOP_S = 32.0  # the keeper gives 23 s, and takes a few to see that nothing is left
KEEPER = "infra.launch.keeper"


@dataclass(frozen=True)
class Known:
    """A job that a machine knows: its name, and the machines of all its nodes, in their order."""

    name: str
    hosts: list[str]
    running: bool


@dataclass(frozen=True)
class Seen:
    """What a machine said: the job that has it, and those that it knows; or why it said nothing."""

    host: Host
    busy: str = ""
    jobs: list[Known] = field(default_factory=list)
    away: str = ""


class Machines:
    """All that there are, asked at once."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._last: tuple[float, list[Seen]] = (float("-inf"), [])

    def look(self, within_s: float = 0.0) -> list[Seen]:
        """Every machine, in the profile's order, as of now or of a moment ago.

        Refused where one shows another key than the known one.
        """
        if time.monotonic() - self._last[0] > within_s:
            self._last = (time.monotonic(), _of_all(self.profile.hosts, self._seen))
        return self._last[1]

    def begin(self, host: Host, order: Order, environment: dict[str, str]) -> str:
        """Have a machine run a worker; the job that has it, where another one does. It may be asked twice.

        Secrets go by ssh's standard input into the environment of what is started there, and into no file.
        """
        told = environment | variables(order.node, len(order.hosts), host.address)
        lines = [
            *([] if host.address else [f"at=($SSH_CONNECTION); export {HOST}=${{at[2]}}", _NOT_LOOPBACK]),
            home(self.profile),
            f"setsid --fork {self._keeper('begin', json.dumps(asdict(order)))} < /dev/null",
        ]
        text = ssh.script(self.profile, "\n".join(lines), told)
        said = ssh.patiently(self.profile, host, text, BEGIN_S)
        if said.get("begun") is False:
            raise BadRecipe(
                "two names in the list of hosts are one machine",
                place="hosts of the site's profile",
                value=host.ssh,
                remedy="name each machine once",
            )
        return str(said.get("busy", ""))

    def watch(self, host: Host, name: str, at: int, who: str) -> ssh.Line:
        """A connection that tells of a worker what it writes from byte `at` on, and its end."""
        return ssh.Line(
            self.profile, host, ssh.script(self.profile, f"exec {self._keeper('watch', name, str(at), who)}")
        )

    def stop(self, name: str, hosts: Sequence[Host], who: str) -> bool:
        """End a job everywhere, within STOP_S; False where another flow follows it. What is left is logged."""
        text = ssh.script(self.profile, f"exec {self._keeper('stop', name, who)} < /dev/null")

        def end(host: Host) -> bool:
            try:
                said = ssh.patiently(self.profile, host, text, STOP_S)
            except LuthierError as error:
                log.error("%s was not ended on %s: %s: %s; it ends itself", name, host.ssh, error.what, error.value)
                return True
            if said.get("left"):
                log.error("%s: on %s these processes would not end: %s", name, host.ssh, said["left"])
            return not said.get("followed")

        return all(_of_all(hosts, end))

    def _seen(self, host: Host) -> Seen:
        text = ssh.script(self.profile, f"exec {self._keeper('jobs')} < /dev/null")
        try:
            said = ssh.answer(self.profile, host, text, LOOK_S)
        except Unreachable as error:
            return Seen(host, away=error.value)
        return Seen(host, said["busy"], [Known(**job) for job in said["jobs"]])

    def _keeper(self, *told: str) -> str:
        return f"{elsewhere.python(self.profile)} -P -m {KEEPER} {shlex.join(told)}"


_NOT_LOOPBACK = f"case ${HOST} in 127.*|::1) unset {HOST};; esac  # nobody else reaches it there"


def home(profile: Profile) -> str:
    """The line of bash that gives a machine a home of its own, also where machines share those of their users."""
    return f'export LUTHIER_HOME="{profile.home or "$HOME/.luthier"}/$(uname -n)"'


def _of_all(hosts: Sequence[Host], ask: Callable[[Host], T]) -> list[T]:
    with ThreadPoolExecutor(max(1, len(hosts))) as pool:
        return list(pool.map(ask, hosts))
