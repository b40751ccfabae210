"""A TCP proxy on loopback that can be told to misbehave in front of a real server."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST


@dataclass
class Proxy:
    """Forwards until told otherwise; what it is told holds for connections and requests to come."""

    port: int
    upstream: tuple[str, int]
    mode: str = "forward"
    dropped: threading.Event = field(default_factory=threading.Event)
    _drop: bytes = b""

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
        self._drop = request

    def _serve(self, client: socket.socket) -> None:
        if self.mode == "refuse":
            return _cut(client)
        server = socket.create_connection(self.upstream)
        doomed = threading.Event()
        threading.Thread(target=self._requests, args=(client, server, doomed), daemon=True).start()
        self._replies(client, server, doomed)

    def _requests(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.mode == "refuse":
                    break
                if self._drop and self._drop in data:
                    self._drop = b""
                    doomed.set()
                if self.mode == "forward":
                    server.sendall(data)
        _cut(server)
        _cut(client)

    def _replies(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if doomed.is_set() and not data.startswith(b"HTTP/1.1 100"):
                    self.dropped.set()
                    break
                if self.mode == "forward":
                    client.sendall(data)
        _cut(server)
        _cut(client)


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
