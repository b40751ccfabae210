"""The servers that the environment names: Prefect, MLflow, a model hub, and the stack of `luthier up`."""

import importlib.metadata as installed
import json
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packaging.version import InvalidVersion, Version

from infra.doctor.finding import Finding, bad, guarded, note, ok, warn
from infra.errors import Refused, Unreachable
from infra.settings import Settings
from infra.stack import ports
from infra.stack.health import authorization
from infra.stack.state import Folder

ASK_S = 10.0
OLDEST_MLFLOW = Version("3.0")  # the first that knows what our client says of models
SERVERS = ("AWS_ENDPOINT_URL", "PREFECT_API_URL", "MLFLOW_TRACKING_URI", "HF_ENDPOINT")


@dataclass(frozen=True)
class Reply:
    """What a server said, whatever the status."""

    status: int
    text: str

    def json(self) -> Any:
        """The text as JSON; None where it is something else (a page, say)."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


def ask(url: str, auth: str = "", body: object = None) -> Reply:
    """One request with `user:password` or `Bearer key`, POST where there is a body; Unreachable where nobody speaks HTTP there, Refused for what is no URL."""
    headers = {**authorization(auth), "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(url, data, headers)
        with urllib.request.urlopen(request, timeout=ASK_S) as reply:
            return Reply(reply.status, reply.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.read().decode(errors="replace"))
    except ValueError:
        raise Refused("that is no address", value=url, remedy="an address begins with http:// or https://") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        remedy = "is the server up, the port right, and https:// not confused with http://?"
        raise Unreachable(f"nobody answers ({reason})", place=url, remedy=remedy) from None


def prefect(environment: Mapping[str, str] = os.environ) -> Finding:
    """The Prefect server: address, password or key, version, and whether a worker waits for runs."""
    return guarded("prefect", lambda: _prefect(environment))


def _prefect(environment: Mapping[str, str]) -> Finding:
    api = environment.get("PREFECT_API_URL", "").rstrip("/")
    if not api:
        return note("prefect", "PREFECT_API_URL is not set: runs keep their state below LUTHIER_HOME, without a server")
    key = environment.get("PREFECT_API_KEY", "")
    auth = f"Bearer {key}" if key else environment.get("PREFECT_API_AUTH_STRING", "")
    pools = ask(f"{api}/work_pools/filter", auth, {})
    if pools.status in (401, 403):
        return bad("prefect", f"{api} answers {pools.status}", _prefect_login(key))
    if pools.status != 200 or not isinstance(pools.json(), list):
        remedy = "PREFECT_API_URL is the address of the API, and ends in /api (in Prefect Cloud in the workspace's id)"
        return bad("prefect", f"{api} is no Prefect API: it answers {pools.status}", remedy)
    version = ask(f"{api}/admin/version", auth)
    if version.status == 200 and (old := _older_prefect(str(version.json()))):
        return bad("prefect", f"{api}: {old}", "upgrade the server to the client's version or a later one")
    return _workers(api, auth, [pool["name"] for pool in pools.json()])


def _prefect_login(key: str) -> str:
    if key:
        return "PREFECT_API_KEY is not a key of that workspace: make one in Prefect Cloud"
    return "set PREFECT_API_AUTH_STRING to the user:password that the server was started with"


def _older_prefect(server: str) -> str:
    client = Version(installed.version("prefect"))
    try:
        is_older = Version(server).release[:2] < client.release[:2]
    except InvalidVersion:  # one built from source
        return ""
    return f"the server is of version {server}, older than the client's {client}" if is_older else ""


def _workers(api: str, auth: str, pools: list[str]) -> Finding:
    online = {}
    for pool in pools:
        workers = ask(f"{api}/work_pools/{pool}/workers/filter", auth, {}).json() or []
        online[pool] = sum(worker.get("status") == "ONLINE" for worker in workers)
    if not any(online.values()):
        said = f"{api}: no worker is online in " + (", ".join(pools) or "any work pool: there is none")
        return warn("prefect", f"{said}; deployments would wait", "prefect worker start --pool NAME; or luthier up")
    return ok("prefect", f"{api}: " + ", ".join(f"{count} worker(s) in {pool}" for pool, count in online.items()))


def mlflow(own: Settings, environment: Mapping[str, str] = os.environ) -> Finding:
    """MLflow: a server with its login and version, or the sqlite file."""
    uri = own.tracking_uri()
    if uri.startswith("http"):
        return guarded("mlflow", lambda: _mlflow(uri.rstrip("/"), environment))
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not os.access(path if path.exists() else _existing(path), os.W_OK):
        return bad("mlflow", f"{path} cannot be written to", "set MLFLOW_TRACKING_URI, or give yourself the right")
    return ok("mlflow", f"{uri} (no server: a file of your own)")


def _existing(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.exists())


def _mlflow(uri: str, environment: Mapping[str, str]) -> Finding:
    token = environment.get("MLFLOW_TRACKING_TOKEN", "")
    pair = f"{environment.get('MLFLOW_TRACKING_USERNAME', '')}:{environment.get('MLFLOW_TRACKING_PASSWORD', '')}"
    auth = f"Bearer {token}" if token else pair
    models = ask(f"{uri}/api/2.0/mlflow/registered-models/search?max_results=1", auth)
    if models.status == 401 or (models.status == 403 and "host" not in models.text.lower()):
        remedy = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN) are what it asks for"
        return bad("mlflow", f"{uri} answers {models.status}: the login is not accepted", remedy)
    if models.status == 403:
        remedy = f"start the server with MLFLOW_SERVER_ALLOWED_HOSTS that has {urlsplit(uri).netloc}"
        return bad("mlflow", f"{uri} answers 403: {models.text[:80]}", remedy)
    if models.status != 200 or not isinstance(models.json(), dict):
        remedy = "MLFLOW_TRACKING_URI is the address of an MLflow server, without /api"
        return bad("mlflow", f"{uri} has no model registry: it answers {models.status}", remedy)
    server = ask(f"{uri}/version", auth).text.strip()
    try:
        is_old = Version(server) < OLDEST_MLFLOW
    except InvalidVersion:  # a service that speaks MLflow's language has no such page
        return ok("mlflow", f"{uri}, of unknown version")
    if is_old:
        said = f"{uri} is of version {server}; registering needs {OLDEST_MLFLOW} or later"
        return bad(
            "mlflow", said, "upgrade the server, best to the version that `pip install 'luthier[register]'` brings"
        )
    return ok("mlflow", f"{uri}, version {server}")


def hub(environment: Mapping[str, str] = os.environ) -> Finding:
    """The model hub: whether it answers, and takes the token. Only recipes that name a hub's model need it."""
    endpoint = environment.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    token = environment.get("HF_TOKEN", "")
    remedy = "a mirror goes into HF_ENDPOINT, a proxy into HTTPS_PROXY; a model in a folder needs neither"
    try:
        reply = ask(f"{endpoint}/api/whoami-v2", f"Bearer {token}" if token else "")
    except Unreachable as error:
        return warn("hub", f"{endpoint}: {error.what}", remedy)
    if not token:
        return note("hub", f"{endpoint} answers; HF_TOKEN is not set: gated and private models are closed")
    if reply.status in (401, 403):
        remedy = "make a token in the hub's settings, and put it into HF_TOKEN"
        return bad("hub", f"{endpoint} does not take the token in HF_TOKEN ({reply.status})", remedy)
    said = reply.json()
    if reply.status != 200 or not isinstance(said, dict):
        return warn("hub", f"{endpoint} answers {reply.status}", remedy)
    return ok("hub", f"{endpoint}, as {said.get('name', '?')}")


def proxies(environment: Mapping[str, str] = os.environ) -> Finding:
    """Whether a proxy stands between us and a server on this machine, where it can only do harm."""
    for name in SERVERS:
        parts = urlsplit(environment.get(name, ""))
        host = parts.hostname or ""
        if host not in ("localhost", "127.0.0.1", "::1"):
            continue
        proxy = environment.get(f"{parts.scheme}_proxy") or environment.get(f"{parts.scheme.upper()}_PROXY")
        if proxy and not urllib.request.proxy_bypass_environment(host):  # type: ignore[attr-defined]
            return bad(
                "proxies", f"{name} is on this machine, yet would be asked through a proxy", f"add {host} to NO_PROXY"
            )
    return ok("proxies", "none stands before a server on this machine")


def stack(home: Path) -> Finding:
    """The stack of `luthier up`, where there is one: what is dead, whose port is taken, who may read its secrets."""
    folder = Folder(home)
    if not (folder.root / "state.json").exists():
        return note("stack", "none here (`luthier up` makes one)")
    return guarded("stack", lambda: _stack(folder))


def _stack(folder: Folder) -> Finding:
    for path in (folder.env, folder.root / "credentials.json"):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            return bad("stack", f"others may read {path}", f"chmod 600 {path}")
    state = folder.state()
    alive = state.alive()
    for role, port in state.ports.items():
        if role.partition("-")[0] not in alive and not ports.free(port):
            remedy = "end that; or `luthier down` and `luthier up`, which takes another port"
            return bad("stack", f"port {port}, that of {role}, is taken by {ports.listener(port)}", remedy)
    dead = sorted(set(state.services) - set(alive))
    if dead:
        return bad("stack", f"dead: {', '.join(dead)}", "luthier up")
    return ok("stack", f"up: {', '.join(alive)}") if alive else note("stack", "down (`luthier up` starts it)")
