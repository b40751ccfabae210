"""Up, down and status: start what is missing, touch nothing else, end exactly what was started."""

import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGTERM
from threading import Event

from infra.errors import Crashed, LuthierError, Refused, Unreachable
from infra.stack import environment, ports, postgres, processes
from infra.stack.services import Plan, Service
from infra.stack.state import Folder, Memory, State

START_S = 240.0  # a first start makes databases, on a busy machine for minutes
PATIENCE_S = 45.0  # how long one that runs may be silent before it is replaced
ROLES = {
    **{"prefect": 4200, "mlflow": 5000, "s3": 8333, "postgres": 5433},
    **{"s3-master": 9333, "s3-volume": 9340, "s3-filer": 8888, "s3-admin": 23646},
}
Say = Callable[[str], None]
Hook = Callable[[Plan, Memory], None]


@dataclass(frozen=True)
class Line:
    """One service in the table of `luthier status`; `up_s` is None unless it is up."""

    service: str
    state: str
    address: str
    pid: int | None
    version: str
    up_s: float | None


def bring_up(folder: Folder, database: str, say: Say, hooks: Mapping[str, Hook]) -> tuple[Plan, list[str]]:
    """Start every service that does not run, in parallel where one does not need another; the plan, and what was started.

    `hooks` run when the service of that name is up. `database` is LUTHIER_DATABASE, or empty: as the last time.
    Raises the first error after all others have come to their end; what was started stays, and is remembered.
    """
    with folder.lock(say):
        memory, plan = _prepare(folder, database)
        services = _services(plan, memory.state.database)
        started: list[str] = []
        with ThreadPoolExecutor(len(services) + len(hooks)) as threads:
            ready: dict[str, Future[None]] = {}
            for service in services:
                before = [ready[name] for name in service.needs if name in ready]
                ready[service.name] = threads.submit(ensure, service, before, memory, say, started)
            after = [threads.submit(_after, ready[name], partial(hook, plan, memory)) for name, hook in hooks.items()]
            _wait([*ready.values(), *after], memory)
        _raise_first([*ready.values(), *after], plan)
        environment.write(folder.env, plan.client())
        return plan, started


def take_down(folder: Folder, say: Say) -> list[str]:
    """End what the stack started, and nothing else; what was ended. Data and secrets stay."""
    if not folder.root.exists():
        return []
    with folder.lock(say):
        memory = Memory(folder, folder.state())
        state, plan = memory.state, _plan(folder, folder.state())
        stopped: list[str] = []
        services = {service.name: service for service in _services(plan, state.database, strict=False)}
        end = partial(_end, memory=memory, say=say, stopped=stopped)
        # The worker tells the server how its flows ended; servers still write to store and database while they end.
        for group in (["worker"], ["prefect", "mlflow"], ["s3", "postgres"]):
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(end, [services[name] for name in group if name in services]))
        for name in set(state.services) - set(services):  # its program was uninstalled while it ran
            if processes.stop(state.services[name], state.mark(name), SIGTERM, 15.0):
                stopped.append(name)
            memory.record(name, None)
        folder.env.unlink(missing_ok=True)
        return stopped


def look(folder: Folder) -> list[Line]:
    """How each service is: `up`, `silent` (it runs and does not answer), `dead` or `not started`."""
    state = folder.state()
    services = _services(_plan(folder, state), state.database, strict=False)
    with ThreadPoolExecutor(len(services)) as threads:
        return list(threads.map(partial(_line, state), services))


def _prepare(folder: Folder, database: str) -> tuple[Memory, Plan]:
    secrets, state = folder.credentials(), folder.state()
    wanted = postgres.understand(database) if database else state.database
    address = wanted if wanted.startswith("postgresql:") else ""
    kind = "address" if address else wanted
    running = set(state.alive())
    if kind == "address" and not (address or secrets.database):
        raise Refused(
            "the address of the database is not known any more",
            place="LUTHIER_DATABASE",
            remedy="set it to postgresql://user:password@host:port/database once more",
        )
    if running and (kind != state.database or (address and address != secrets.database)):
        raise Refused(
            "the stack runs on another database",
            place="LUTHIER_DATABASE",
            remedy="`luthier down` first; what the one knows is not moved to the other",
        )
    folder.keep(secrets.model_copy(update={"database": address or secrets.database}))
    memory = Memory(folder, state.model_copy(update={"ports": choose_ports(state), "database": kind}))
    plan = _plan(folder, memory.state)
    if kind == "address":
        postgres.ensure(plan.secrets.database)
    return memory, plan


def choose_ports(state: State) -> dict[str, int]:
    """The ports of the last time; another one only where there was none, or a stranger took it while all was down."""
    chosen, running = dict(state.ports), state.alive()
    for role, well_known in ROLES.items():
        if role not in chosen or not (running or ports.free(chosen[role]) or _ours(state, role)):
            chosen[role] = ports.choose(well_known, [port for name, port in chosen.items() if name != role])
    return chosen


def _ours(state: State, role: str) -> bool:
    """Whether what listens on a port may be an orphan of our own, which healing ends."""
    return bool(processes.family(None, state.mark(role.partition("-")[0])))


def _plan(folder: Folder, state: State) -> Plan:
    secrets = folder.credentials()
    ports_ = {role: state.ports.get(role, 0) for role in ROLES}
    bases = {"address": secrets.database, "postgres": postgres.private_url(ports_["postgres"], secrets.postgres)}
    base = bases.get(state.database)
    return Plan(folder, ports_, secrets, postgres.addresses(base) if base else {})


def _services(plan: Plan, database: str, strict: bool = True) -> list[Service]:
    """The services in the order of their needs. Not strict: without those whose programs are gone."""
    makers = [*([partial(postgres.service, plan)] if database == "postgres" else [])]
    makers += [plan.s3, plan.prefect, plan.mlflow, plan.worker]  # type: ignore[list-item]
    found = []
    for maker in makers:
        with contextlib.nullcontext() if strict else contextlib.suppress(Refused):
            found.append(maker())
    return found


def ensure(service: Service, before: list[Future[None]], memory: Memory, say: Say, started: list[str]) -> None:
    """Leave a service alone that answers; else end what is left of it, start it, and wait until it answers.

    Waits for `before` first, and raises what they raise. Refused where a port is taken, Crashed where it ends,
    Unreachable where it does not answer in time.
    """
    for needed in before:
        needed.result()
    record = memory.state.services.get(service.name)
    if record is not None and processes.alive(record):
        if _await(service, record, PATIENCE_S, memory.leaving):
            return
        if memory.leaving.is_set():
            raise Unreachable(f"{service.name} was not waited for")
        say(f"{service.name} has not answered for {PATIENCE_S:.0f} s: replacing it")
    mark = memory.state.mark(service.name)
    if record is not None or not service.keeps_children:
        _clear(service, record, mark)
    _require_ports(service, memory.state)
    service.prepare()
    service.cwd.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    log = memory.folder.log(service.name)
    offset = log.stat().st_size if log.exists() else 0
    record = processes.spawn(service.command, service.environment, log, service.cwd, mark, service.user)
    memory.record(service.name, record)
    started.append(service.name)
    say(f"{service.name} starts")
    if not _await(service, record, START_S, memory.leaving):
        raise _did_not_start(service, record, log, offset)
    say(f"{service.name} is up after {time.monotonic() - begun:.1f} s: {service.address}")


def _clear(service: Service, record: processes.Record | None, mark: str) -> None:
    """End what is left of a service before it is started anew; flows of a dead worker go on."""
    if service.keeps_children:
        heads = [record] if record is not None else []
        processes.send(heads, SIGKILL)  # told to end, it would end its flows first
        processes.wait_gone(heads, 10)
    else:
        processes.stop(record, mark, service.signal, 2.0)
    _remove_sockets(service)


def _await(service: Service, record: processes.Record, deadline_s: float, leaving: Event) -> bool:
    end = time.monotonic() + deadline_s
    while processes.alive(record) and not leaving.is_set():
        if service.healthy(record):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return False


def _require_ports(service: Service, state: State) -> None:
    for role in service.ports:
        if not ports.free(state.ports[role]):
            raise Refused(
                f"the port of {service.name} is taken by {ports.listener(state.ports[role])}",
                place=f"{ports.HOST}:{state.ports[role]} ({role})",
                remedy="end that process; or `luthier down`, then `luthier up`, which takes another port",
            )


def _did_not_start(service: Service, record: processes.Record, log: Path, offset: int) -> LuthierError:
    with log.open("rb") as file:
        file.seek(offset)
        tail = file.read().decode(errors="replace").strip()[-1500:]
    if processes.alive(record):
        return Unreachable(
            f"{service.name} does not answer after {START_S:.0f} s",
            place=str(log),
            value=tail,
            remedy="`luthier up` again",
        )
    return Crashed(
        f"{service.name} ended while it started", place=str(log), value=tail, remedy="the end of its log is above"
    )


def _wait(futures: list[Future[None]], memory: Memory) -> None:
    try:
        wait(futures)
    except KeyboardInterrupt:
        memory.leaving.set()  # else Ctrl-C would wait for every deadline; `luthier down` finds what was started
        raise


def _after(ready: Future[None], hook: Callable[[], None]) -> None:
    if ready.exception() is None:
        hook()


def _raise_first(futures: list[Future[None]], plan: Plan) -> None:
    errors = [error for future in futures if (error := future.exception()) is not None]
    if not errors:
        return
    first = errors[0]
    if isinstance(first, LuthierError):
        raise type(first)(
            plan.secrets.hide(first.what),
            place=first.place,
            value=plan.secrets.hide(first.value),
            remedy=first.remedy,
        ) from None
    raise first


def _end(service: Service, memory: Memory, say: Say, stopped: list[str]) -> None:
    record, mark = memory.state.services.get(service.name), memory.state.mark(service.name)
    members = processes.family(record, mark)
    if members:
        if service.keeps_children:
            _end_flows(record, mark, service.grace_s)
        processes.stop(record, mark, service.signal, service.grace_s)
        say(f"{service.name} is down ({len(members)} process{'es' if len(members) > 1 else ''})")
        stopped.append(service.name)
    memory.record(service.name, None)
    _remove_sockets(service)


def _end_flows(record: processes.Record | None, mark: str, grace_s: float) -> None:
    """SIGTERM to the flow runs first: each ends its stages, tells the server, and is gone before the worker is."""
    flows = [member for member in processes.family(record, mark) if record is None or member.pid != record.pid]
    engines = processes.heads(flows)
    processes.send(engines, SIGTERM)
    processes.wait_gone(engines, grace_s)


def _remove_sockets(service: Service) -> None:
    for pattern in service.sockets:
        for socket in Path("/tmp").glob(pattern):
            socket.unlink(missing_ok=True)


def _line(state: State, service: Service) -> Line:
    record = state.services.get(service.name)
    if record is None:
        return Line(service.name, "not started", service.address if state.ports else "", None, service.version(), None)
    if not processes.alive(record):
        return Line(service.name, "dead", service.address, None, service.version(), None)
    condition = "up" if service.healthy(record) else "silent"
    return Line(service.name, condition, service.address, record.pid, service.version(), time.time() - record.started)
