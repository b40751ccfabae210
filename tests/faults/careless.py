"""An S3 server that works, except that it ignores conditions: the kind on which two runs would both win."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.objects[self._key()] = data
        self._reply(200, b"", ETag=f'"{hashlib.md5(data).hexdigest()}"')

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            return self._list(query.get("prefix", [""])[0])
        if self._key() not in self.objects:
            return self._reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
        return self._reply(200, self.objects[self._key()])

    def do_DELETE(self) -> None:
        self.objects.pop(self._key(), None)
        self._reply(204, b"")

    def _list(self, prefix: str) -> None:
        found = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(data)}</Size></Contents>"
            for key, data in self.objects.items()
            if key.startswith(prefix)
        )
        self._reply(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode())

    def _key(self) -> str:
        return urlsplit(self.path).path.split("/", 2)[2]

    def _reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def careless_server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its endpoint, and what it holds by key (in any bucket)."""
    objects: dict[str, bytes] = {}
    handler = type("Handler", (_Handler,), {"objects": objects})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}", objects
        finally:
            running.shutdown()
