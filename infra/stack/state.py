"""What the stack remembers from one command to the next, below LUTHIER_HOME: ports, processes, secrets."""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from infra.errors import Refused, Unreachable
from infra.frozen import Frozen
from infra.stack import private
from infra.stack.processes import Record, alive

T = TypeVar("T", "State", "Credentials")

LOCK_S = 300.0  # the longest that another `up` may take on a slow machine


def _token() -> str:
    return secrets.token_urlsafe(32)


class Credentials(Frozen):
    """Every secret of the stack, made once; `database` is the address of a Postgres of the user's own."""

    s3_key: str = Field(default_factory=lambda: "luthier" + secrets.token_hex(8), repr=False)
    s3_secret: str = Field(default_factory=_token, repr=False)
    s3_signing: str = Field(default_factory=_token, repr=False)
    prefect: str = Field(default_factory=lambda: f"luthier:{_token()}", repr=False)
    mlflow: str = Field(default_factory=_token, repr=False)
    mlflow_flask: str = Field(default_factory=_token, repr=False)
    postgres: str = Field(default_factory=_token, repr=False)
    database: str = Field(default="", repr=False)

    def hide(self, text: str) -> str:
        """A text (the end of a log) without any of them."""
        for secret in (*self.model_dump().values(), self.prefect.partition(":")[2]):
            text = text.replace(secret, "***") if secret else text
        return text


class State(Frozen):
    """`stack` is the mark of this stack's processes; `applied` tells which prefect.yaml the Prefect server has."""

    stack: str = Field(default_factory=lambda: secrets.token_hex(8))
    database: str = "sqlite"
    ports: dict[str, int] = Field(default_factory=dict)
    services: dict[str, Record] = Field(default_factory=dict)
    applied: str = ""

    def mark(self, name: str) -> str:
        """What a service's processes have in their environment."""
        return f"{self.stack}/{name}"

    def alive(self) -> list[str]:
        """The services whose process runs."""
        return [name for name, record in self.services.items() if alive(record)]


@dataclass(frozen=True)
class Folder:
    """Where the stack keeps its things: `home/stack`, and `home/stack.env` for those who use it."""

    home: Path

    @property
    def root(self) -> Path:
        return self.home / "stack"

    @property
    def env(self) -> Path:
        return self.home / "stack.env"

    def log(self, name: str) -> Path:
        """The log of a service."""
        return self.root / "logs" / f"{name}.log"

    @contextmanager
    def lock(self, say: Callable[[str], None], deadline_s: float = LOCK_S) -> Iterator[None]:
        """Held by the one command that changes the stack; says so where it has to wait for another.

        Unreachable when that one keeps it beyond the deadline.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / "lock", mode=0o600)
        try:
            try:
                lock.acquire(timeout=min(0.5, deadline_s))
            except Timeout:
                say("another `luthier up` or `down` is at work: waiting for it")
                lock.acquire(timeout=deadline_s)
        except Timeout:
            raise Unreachable(
                f"another `luthier up` or `down` has been at work for {deadline_s:.0f} s",
                place=str(self.root / "lock"),
                remedy="wait for it, or end it, then try again",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def state(self) -> State:
        """What was remembered; a fresh state where there is nothing."""
        return _read(self.root / "state.json", State)

    def credentials(self) -> Credentials:
        """The secrets; made anew (and not yet kept) where there are none."""
        return _read(self.root / "credentials.json", Credentials)

    def keep(self, value: State | Credentials) -> None:
        """Remember, in a file of mode 0600."""
        name = "state.json" if isinstance(value, State) else "credentials.json"
        private.write(self.root / name, value.model_dump_json(indent=1))


class Memory:
    """The state while several threads change it; every change is on disk before the next begins."""

    def __init__(self, folder: Folder, state: State) -> None:
        self.folder, self.state, self._changing = folder, state, threading.Lock()
        self.leaving = threading.Event()  # set when the command is told to end
        folder.keep(state)

    def change(self, **fields: object) -> None:
        """Replace fields of the state."""
        with self._changing:
            self.state = self.state.model_copy(update=fields)
            self.folder.keep(self.state)

    def record(self, name: str, record: Record | None) -> None:
        """Remember a service's process, or that it has none."""
        with self._changing:
            others = {other: kept for other, kept in self.state.services.items() if other != name}
            kept = others if record is None else {**others, name: record}
            self.state = self.state.model_copy(update={"services": kept})
            self.folder.keep(self.state)


def _read(path: Path, kind: type[T]) -> T:
    if not path.exists():
        return kind()
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise Refused(
            "a file of the stack cannot be read",
            place=str(path),
            value=error.errors(include_input=False)[0]["msg"],
            remedy="end the servers by hand, then move the file away; ports or secrets are then chosen anew",
        ) from None
