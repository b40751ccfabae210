"""An HTTP server that answers as it is told, and keeps what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Script(ThreadingHTTPServer):
    """Answers with the given statuses in turn, the last one for ever; a reply that is no text is sent as JSON."""

    def __init__(self, statuses: list[int], reply: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses, self.reply = statuses, reply
        self.asked: list[tuple[str, str, Any]] = []
        self.logins: list[str] = []

    @property
    def api(self) -> str:
        """Its address, as that of a Prefect API."""
        return f"http://127.0.0.1:{self.server_port}/api"


@contextmanager
def serving(statuses: list[int], reply: Any) -> Iterator[Script]:
    """Such a server, for the length of the block."""
    server = Script(statuses, reply)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Script

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, json.loads(body) if body else None))
        self.server.logins.append(self.headers.get("Authorization", ""))
        status = self.server.statuses[min(len(self.server.asked), len(self.server.statuses)) - 1]
        reply = self.server.reply
        text = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, *_: Any) -> None:
        return
