"""A small model hub on loopback, for huggingface_hub's own client: repositories with commits, LFS, tokens and gates.

Uploads: create, validate-yaml, preupload, LFS batch with basic transfer, commit. Downloads: model info and tree at a
branch or commit, resolve with ETag and X-Repo-Commit, ranges. Gated and private repositories answer as the hub does.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import yaml

Access = Literal["read", "write"]
Tree = dict[str, bytes]
LFS = (".safetensors", ".bin", ".gguf", ".png", ".parquet")
_ID = r"(?P<repo>[\w.-]+/[\w.-]+)"


@dataclass
class Repo:
    """A repository of a model or a data set: every commit is a whole tree."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Tree] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, tree: Tree, message: str, branch: str = "main") -> str:
        """Put a tree on top of a branch; its commit, which depends on the tree and on what was there before."""
        content = {name: hashlib.sha256(data).hexdigest() for name, data in tree.items()}
        oid = hashlib.sha1(json.dumps([list(self.commits), content], sort_keys=True).encode()).hexdigest()
        self.commits[oid] = dict(tree)
        self.branches[branch] = oid
        self.messages.append(message)
        return oid

    def at(self, revision: str) -> str | None:
        """The commit that a branch or a commit's id means."""
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    @property
    def files(self) -> Tree:
        """The tree of main."""
        return self.commits[self.branches["main"]]


@dataclass
class Hub:
    """What the server knows. `tokens` may read gated and private repositories, those that write also change them."""

    endpoint: str
    tokens: dict[str, Access] = field(default_factory=lambda: {"hf_writer": "write", "hf_reader": "read"})
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def add(self, repo_id: str, files: Tree, private: bool = False, gated: bool = False) -> str:
        """Commit files to a repository, which is made where there is none; the commit."""
        repo = self.repos.setdefault(repo_id, Repo(private, gated))
        return repo.commit(files, "added")

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a client finds this hub; it needs a cache of its own besides."""
        plain = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        return {"HF_ENDPOINT": self.endpoint, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **plain}


class Answer(Exception):
    """A reply that ends the handling of a request."""

    def __init__(self, status: int, body: object = None, **headers: str) -> None:
        super().__init__(status)
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def _refused(status: int, code: str, text: str) -> Answer:
    return Answer(status, {"error": text}, X_Error_Code=code, X_Error_Message=text)


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    """A hub for the length of a `with`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {}))
    known = Hub(f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass.hub = known  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    data = b""

    ROUTES = (
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("POST", rf"/api/models/{_ID}/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", rf"/api/models/{_ID}/commit/(?P<revision>[^/]+)", "commit"),
        ("POST", rf"/{_ID}\.git/info/lfs/objects/batch", "batch"),
        ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "upload"),
        ("GET", rf"/api/(?P<kind>models|datasets)/{_ID}/tree/(?P<revision>[^/]+)(?P<path>/.*)?", "tree"),
        ("GET", rf"/api/(?P<kind>models|datasets)/{_ID}(?:/revision/(?P<revision>[^/]+))?", "info"),
        ("GET|HEAD", rf"/(?:(?P<kind>datasets)/)?{_ID}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    )

    def _handle(self) -> None:
        self.data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        try:
            for method, pattern, name in self.ROUTES:
                match = re.fullmatch(pattern, path)
                if match and re.fullmatch(method, self.command):
                    found = {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
                    getattr(self, f"_{name}")(**found)
            raise Answer(404, {"error": f"no such page: {path}"})
        except Answer as answer:
            self._reply(answer)

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _reply(self, answer: Answer) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body or {}).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests look at `requests` instead."""

    # Who may do what

    def _access(self) -> Access | None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if given and given not in self.hub.tokens:
            raise _refused(401, "", "Invalid username or password.")
        return self.hub.tokens.get(given)

    def _writer(self) -> None:
        access = self._access()
        if access is None:
            raise _refused(401, "", "Invalid username or password.")
        if access != "write":
            raise _refused(403, "", "You don't have the rights to write here.")

    def _repo(self, repo: str) -> Repo:
        """A repository that this client may know of; a private one looks as if it was not there."""
        access, found = self._access(), self.hub.repos.get(repo)
        if found is None or (found.private and access is None):
            raise _refused(404 if access else 401, "RepoNotFound", "Repository not found")
        return found

    def _commit_of(self, repo: str, revision: str) -> tuple[Repo, str]:
        found = self._repo(repo)
        oid = found.at(revision)
        if oid is None:
            raise _refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found, oid

    # Uploads

    def _create(self) -> None:
        self._writer()
        asked = json.loads(self.data)
        repo_id = f"{asked['organization']}/{asked['name']}"
        url = f"{self.hub.endpoint}/{repo_id}"
        if repo_id in self.hub.repos:
            raise Answer(409, {"error": "You already created this model repo", "url": url})
        made = self.hub.repos[repo_id] = Repo(private=asked.get("visibility") == "private")
        made.commit({".gitattributes": b""}, "initial commit")
        raise Answer(200, {"url": url})

    def _validate(self) -> None:
        text = json.loads(self.data)["content"]
        match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        try:
            front = yaml.safe_load(match[1]) if match else {}
        except yaml.YAMLError as error:
            raise Answer(400, {"errors": [{"message": str(error)}]}) from error
        licence = str(front.get("license", "mit"))
        if not re.fullmatch(r"[a-z0-9.-]+", licence):
            raise Answer(400, {"errors": [{"message": '"license" must be one of [apache-2.0, mit, …]'}]})
        raise Answer(200, {"warnings": []})

    def _preupload(self, repo: str, revision: str) -> None:
        self._writer()
        found, oid = self._commit_of(repo, revision)
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LFS) else "regular",
                "shouldIgnore": False,
                "oid": _oid(file["path"], found.commits[oid].get(file["path"])),
            }
            for file in json.loads(self.data)["files"]
        ]
        raise Answer(200, {"files": files})

    def _batch(self, repo: str) -> None:
        self._writer()
        self._repo(repo)
        objects = [
            {"oid": one["oid"], "size": one["size"]}
            | (
                {}
                if one["oid"] in self.hub.objects
                else {"actions": {"upload": {"href": f"{self.hub.endpoint}/lfs/{one['oid']}"}}}
            )
            for one in json.loads(self.data)["objects"]
        ]
        raise Answer(200, {"transfer": "basic", "objects": objects})

    def _upload(self, oid: str) -> None:
        if hashlib.sha256(self.data).hexdigest() != oid:
            raise Answer(400, {"error": "the content has another hash"})
        self.hub.objects[oid] = self.data
        raise Answer(200)

    def _commit(self, repo: str, revision: str) -> None:
        self._writer()
        found, oid = self._commit_of(repo, revision)
        tree, message = dict(found.commits[oid]), ""
        for line in self.data.splitlines():
            item = json.loads(line)
            value = item["value"]
            match item["key"]:
                case "header":
                    message = value["summary"]
                case "file":
                    tree[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    tree[value["path"]] = self.hub.objects[value["oid"]]
                case "deletedFile":
                    del tree[value["path"]]
        made = found.commit(tree, message, revision)
        raise Answer(
            200, {"commitUrl": f"{self.hub.endpoint}/{repo}/commit/{made}", "commitOid": made, "success": True}
        )

    # Downloads

    def _info(self, repo: str, revision: str = "main", kind: str = "models") -> None:
        found, oid = self._commit_of(_held(kind, repo), revision)
        siblings = [{"rfilename": name} for name in sorted(found.commits[oid])]
        about = {"private": found.private, "gated": "auto" if found.gated else False, "tags": [], "downloads": 0}
        raise Answer(200, {"_id": oid, "id": repo, "modelId": repo, "sha": oid, "siblings": siblings, **about})

    def _tree(self, repo: str, revision: str, path: str = "", kind: str = "models") -> None:
        found, oid = self._commit_of(_held(kind, repo), revision)
        inside = path.strip("/")
        names = [name for name in sorted(found.commits[oid]) if name.startswith(f"{inside}/" if inside else "")]
        if inside and not names:
            raise _refused(404, "EntryNotFound", f"{inside} is not there")
        raise Answer(200, [_entry(name, found.commits[oid][name]) for name in names])

    def _resolve(self, repo: str, revision: str, path: str, kind: str = "models") -> None:
        found, oid = self._commit_of(_held(kind, repo), revision)
        if found.gated and self._access() is None:
            raise _refused(401, "GatedRepo", f"Access to model {repo} is restricted. Please log in.")
        data = found.commits[oid].get(path)
        if data is None:
            raise Answer(404, {}, X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
        etag = f'"{_oid(path, data)}"'
        headers = {"ETag": etag, "X_Repo_Commit": oid, "Accept_Ranges": "bytes"}
        if path.endswith(LFS):
            headers |= {"X_Linked_Etag": etag, "X_Linked_Size": str(len(data))}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            begin, end = int(wanted[1]), int(wanted[2] or len(data) - 1)
            span = f"bytes {begin}-{end}/{len(data)}"
            raise Answer(206, data[begin : end + 1], Content_Range=span, **headers)
        raise Answer(200, data, **headers)


def _held(kind: str, repo: str) -> str:
    """Under which name a repository is added: a data set's starts with datasets/."""
    return repo if kind == "models" else f"{kind}/{repo}"


def _oid(path: str, data: bytes | None) -> str | None:
    """What git calls a file: sha256 of a large one, the blob's sha1 of another."""
    if data is None:
        return None
    if path.endswith(LFS):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _oid(path, data)}
    if path.endswith(LFS):
        entry["lfs"] = {"oid": _oid(path, data), "size": len(data), "pointerSize": 130}
    return entry
