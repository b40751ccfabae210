"""A TCP proxy on loopback that can be told to misbehave in front of a real server that speaks HTTP: S3 or MLflow."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST
_METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ", b"PATCH ")
_UNAVAILABLE = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
_SAYS_503 = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_UNAVAILABLE), _UNAVAILABLE)
)


@dataclass(frozen=True)
class Weather:
    """Shares of the requests that meet each kind of trouble, and how long the slow ones are held up."""

    unavailable: float = 0.0
    reset: float = 0.0
    lost_reply: float = 0.0
    slow: float = 0.0
    slow_s: float = 1.0

    def fate(self, chance: float) -> str:
        """What happens to the request that drew this number."""
        for name in ("unavailable", "reset", "lost_reply", "slow"):
            chance -= getattr(self, name)
            if chance < 0:
                return name
        return ""


@dataclass
class _Line:
    """One connection and what was decided about it."""

    client: socket.socket
    server: socket.socket
    doomed: threading.Event = field(default_factory=threading.Event)
    flip: bool = False
    left: int | None = None  # bytes of the reply that still come through

    def cut(self) -> None:
        _cut(self.server)
        _cut(self.client)


@dataclass
class Proxy:
    """Forwards until told otherwise; what it is told holds for connections and requests to come."""

    port: int
    upstream: tuple[str, int]
    mode: str = "forward"
    weather: Weather = field(default_factory=Weather)
    dropped: threading.Event = field(default_factory=threading.Event)
    met: dict[str, int] = field(default_factory=dict)
    _chance: random.Random = field(default_factory=lambda: random.Random(0))
    _once: dict[str, tuple[bytes, int]] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def refuse(self) -> None:
        """Reset every new connection, and the open ones at their next byte."""
        self.mode = "refuse"

    def swallow(self) -> None:
        """Take everything and answer nothing."""
        self.mode = "swallow"

    def forward(self) -> None:
        """Behave."""
        self.mode = "forward"

    def drop_reply(self, request: bytes) -> None:
        """Once: let a request that contains these bytes reach the server, and cut the line when its reply arrives."""
        self._once["lost_reply"] = (request, 0)

    def flip_body(self, request: bytes) -> None:
        """Once: change a bit in the body of a request that contains these bytes."""
        self._once["flip"] = (request, 0)

    def cut_reply(self, request: bytes, after: int) -> None:
        """Once: cut the line when so many bytes of the reply to such a request have come through."""
        self._once["cut"] = (request, after)

    def _serve(self, client: socket.socket) -> None:
        if self.mode == "refuse":
            return _cut(client)
        line = _Line(client, socket.create_connection(self.upstream))
        threading.Thread(target=self._requests, args=(line,), daemon=True).start()
        self._replies(line)

    def _requests(self, line: _Line) -> None:
        with contextlib.suppress(OSError):
            while data := line.client.recv(65536):
                if self.mode == "refuse":
                    break
                if data.startswith(_METHODS) and not self._pass(line, data):
                    break
                if line.flip and not data.startswith(_METHODS):
                    data, line.flip = data[:-1] + bytes([data[-1] ^ 1]), False
                if self.mode == "forward":
                    line.server.sendall(data)
        line.cut()

    def _pass(self, line: _Line, request: bytes) -> bool:
        """Decide about a request that begins; False where it must not reach the server."""
        for what, (wanted, number) in list(self._once.items()):
            if wanted in request:
                del self._once[what]
                self._decide(line, what, number)
        fate = self.weather.fate(self._chance.random())
        if fate:
            self.met[fate] = self.met.get(fate, 0) + 1
            self._decide(line, fate, 0)
        return fate not in ("reset", "unavailable")

    def _decide(self, line: _Line, what: str, number: int) -> None:
        if what == "lost_reply":
            line.doomed.set()
        elif what == "flip":
            line.flip = True
        elif what == "cut":
            line.left = number
        elif what == "slow":
            time.sleep(self.weather.slow_s)
        elif what == "unavailable":
            line.client.sendall(_SAYS_503)
            line.client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(
                TimeoutError
            ):  # the other side reads the answer, then closes; a reset would eat it
                line.client.settimeout(2)
                while line.client.recv(65536):
                    continue

    def _replies(self, line: _Line) -> None:
        with contextlib.suppress(OSError):
            while data := line.server.recv(65536):
                if line.doomed.is_set() and not data.startswith(b"HTTP/1.1 100"):
                    self.dropped.set()
                    break
                if line.left is not None and not data.startswith(b"HTTP/1.1 100"):
                    data = data[: line.left]
                    line.left -= len(data)
                if self.mode == "forward":
                    line.client.sendall(data)
                if line.left == 0:
                    self.dropped.set()
                    break
        line.cut()


@contextlib.contextmanager
def proxy(endpoint: str) -> Iterator[Proxy]:
    """A proxy in front of an http:// endpoint."""
    parts = urlsplit(endpoint)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Proxy(listener.getsockname()[1], (parts.hostname or "", parts.port or 80))
        threading.Thread(target=_accept, args=(listener, made), daemon=True).start()
        try:
            yield made
        finally:
            made.refuse()
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, made: Proxy) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=made._serve, args=(client,), daemon=True).start()


def _cut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        line.shutdown(socket.SHUT_RDWR)
        line.close()
