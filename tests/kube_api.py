"""The API of the tests' Kubernetes, on loopback: what Luthier asks for, and no more. Manifests are held to the published
schemas, strictly."""

import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import kubernetes_validate
import yaml

from tests.kube import Found, Kube, now

VERSION = "1.37.0"


def answered(kube: Kube, method: str, path: str, asked: dict[str, str], body: Found) -> tuple[int, Any]:
    """Status and answer of a request."""
    for (verb, pattern), handler in ROUTES.items():
        if verb == method and (match := re.fullmatch(pattern, path)):
            with kube.lock:
                kube.settle()
                status, answer = handler(kube, asked, body, *match.groups())
                return status, answer if isinstance(answer, bytes | str) else json.dumps(answer).encode()
    return 404, f"no such path: {method} {path}"


def post_job(kube: Kube, asked: dict[str, str], body: Found) -> tuple[int, Any]:
    try:
        kubernetes_validate.validate(body, VERSION, strict=asked.get("fieldValidation") == "Strict")
    except kubernetes_validate.ValidationError as error:
        return 400, f"strict decoding error: {error.message}"
    if body["metadata"]["name"] in kube.jobs:
        return 409, "jobs.batch already exists"
    return 201, (body if asked.get("dryRun") else kube.create(body))


def get_jobs(kube: Kube, asked: dict[str, str], _body: Found) -> tuple[int, Any]:
    return 200, {"items": [job for job in kube.jobs.values() if _selected(job, asked)]}


def get_job(kube: Kube, _asked: dict[str, str], _body: Found, name: str) -> tuple[int, Any]:
    return _or_404(kube.jobs.get(name))


def delete_job(kube: Kube, asked: dict[str, str], _body: Found, name: str) -> tuple[int, Any]:
    if name not in kube.jobs:
        return 404, "not found"
    if asked["propagationPolicy"] != "Foreground":
        return 400, "pods would be left for a while"
    kube.jobs[name]["metadata"].setdefault("deletionTimestamp", now())
    for pod in kube.of(name):
        kube.remove(pod)
    kube.settle()
    return 200, {}


def get_pods(kube: Kube, asked: dict[str, str], _body: Found) -> tuple[int, Any]:
    return 200, {"items": [pod.told for pod in kube.pods.values() if _selected(pod.told, asked)]}


def patch_pod(kube: Kube, _asked: dict[str, str], body: Found, name: str) -> tuple[int, Any]:
    if name not in kube.pods:
        return 404, "not found"
    kube.pods[name].told["metadata"]["annotations"] |= body["metadata"]["annotations"]
    kube.show_annotations(kube.pods[name])
    return 200, kube.pods[name].told


def get_log(kube: Kube, asked: dict[str, str], _body: Found, name: str) -> tuple[int, Any]:
    pod = kube.pods.get(name)
    if pod is None:
        return 404, "not found"
    if pod.status["phase"] == "Pending":
        return 400, "container is waiting to start"
    if asked["container"] != "worker":
        return 400, "no such container"
    since = float(asked.get("sinceSeconds", "1e9"))
    return 200, b"".join(line for line in list(pod.lines) if _age(line) <= since)


def get_events(kube: Kube, asked: dict[str, str], _body: Found) -> tuple[int, Any]:
    name = asked["fieldSelector"].partition("involvedObject.name=")[2].partition(",")[0]
    return 200, {"items": [event for event in kube.events if event["involvedObject"]["name"] == name]}


def post_review(kube: Kube, _asked: dict[str, str], body: Found) -> tuple[int, Any]:
    told = body["spec"]["resourceAttributes"]
    name = f"{told['verb']} {told['resource']}" + (f"/{told['subresource']}" if told["subresource"] else "")
    return 201, {"status": {"allowed": name not in kube.forbidden}}


def get_secret(kube: Kube, _asked: dict[str, str], _body: Found, name: str) -> tuple[int, Any]:
    return _or_404({"data": kube.secrets[name]} if name in kube.secrets else None)


def get_claim(kube: Kube, _asked: dict[str, str], _body: Found, name: str) -> tuple[int, Any]:
    return _or_404(kube.claims.get(name))


def get_nodes(kube: Kube, _asked: dict[str, str], _body: Found) -> tuple[int, Any]:
    return 200, {"items": kube.nodes}


BATCH, CORE = "/apis/batch/v1/namespaces/work", "/api/v1/namespaces/work"
ROUTES: dict[tuple[str, str], Callable[..., tuple[int, Any]]] = {
    ("POST", f"{BATCH}/jobs"): post_job,
    ("GET", f"{BATCH}/jobs"): get_jobs,
    ("GET", f"{BATCH}/jobs/([^/]+)"): get_job,
    ("DELETE", f"{BATCH}/jobs/([^/]+)"): delete_job,
    ("GET", f"{CORE}/pods"): get_pods,
    ("PATCH", f"{CORE}/pods/([^/]+)"): patch_pod,
    ("GET", f"{CORE}/pods/([^/]+)/log"): get_log,
    ("GET", f"{CORE}/events"): get_events,
    ("GET", f"{CORE}/secrets/([^/]+)"): get_secret,
    ("GET", f"{CORE}/persistentvolumeclaims/([^/]+)"): get_claim,
    ("GET", "/api/v1/nodes"): get_nodes,
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"): post_review,
}


def _or_404(found: Found | None) -> tuple[int, Any]:
    return (404, "not found") if found is None else (200, found)


def _selected(told: Found, asked: dict[str, str]) -> bool:
    pairs = (pair.partition("=") for pair in asked.get("labelSelector", "").split(",") if pair)
    return all(told["metadata"]["labels"].get(name) == value for name, _, value in pairs)


def _age(line: bytes) -> float:
    stamp = datetime.fromisoformat(line.partition(b" ")[0].decode().replace("Z", "+00:00"))
    return (datetime.now(UTC) - stamp).total_seconds()


class _Handler(BaseHTTPRequestHandler):
    kube: Kube
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def _serve(self) -> None:
        where, size = urlparse(self.path), int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size) or b"{}")
        told = f"{self.command} {where.path}"
        self.kube.asked.append(told)
        weather = self.kube.weather(self.command, where.path)
        if self.command == "PATCH" and "merge-patch" not in self.headers["Content-Type"]:
            weather = weather or 415
        if weather == "reset":
            self.close_connection = True
            return
        if self.headers.get("Authorization") != "Bearer a-token":
            weather = weather or 401
        if isinstance(weather, int):
            status, answer = weather, "as the weather has it"
        else:
            asked = {name: values[0] for name, values in parse_qs(where.query).items()}
            status, answer = answered(self.kube, self.command, where.path, asked, body)
        if weather == "lost":  # it was done, and nobody hears of it
            self.close_connection = True
            return
        if isinstance(answer, str):
            answer = json.dumps({"kind": "Status", "status": "Failure", "message": answer, "code": status}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def log_message(self, *_: Any) -> None:
        """Tests have a log of their own: `asked`."""


@contextlib.contextmanager
def kube() -> Iterator[Kube]:
    """A cluster with a namespace `work`; `folder/config` is its kubeconfig. Nothing of its pods is left afterwards."""
    made = Kube(Path(tempfile.mkdtemp(prefix="luthier-kube-")))
    handler = type("Handler", (_Handler,), {"kube": made})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    (made.folder / "config").write_text(_config(server.server_address[1]))
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        for process in made.workers():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        shutil.rmtree(made.folder, ignore_errors=True)


def _config(port: int) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "me", "namespace": "work"}}],
            "clusters": [{"name": "tests", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "me", "user": {"token": "a-token"}}],
        }
    )
