"""What a Prefect server should hold for Luthier: the work pool, the deployments of prefect.yaml, automations.

All of it is reconciled by name through Prefect's REST API, so that it may be applied again at any time, and without
importing Prefect, which costs seconds.
"""

import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import yaml

from infra.errors import Crashed, Refused, Unreachable
from infra.stack import private
from infra.stack.health import call
from infra.stack.services import POOL

BUSY_S = 60.0
BLOCK = "luthier-notify"
_OURS = Path(__file__).parents[1]
_CLOUD = re.compile(r"https://api(\..*)/api/accounts/([^/]+)/workspaces/([^/]+)")


@dataclass(frozen=True)
class Stanza:
    """One deployment of a prefect.yaml: `flow/deployment`, where its flow is, the pool that runs it, its parameters."""

    name: str
    entrypoint: str
    pool: str
    parameters: Mapping[str, Any]


class Server:
    """A Prefect server, spoken to with its auth string, or with `Bearer key`.

    `patience_s` is how long it may be busy (BUSY_S by default), `remedy` what to do about one that stays so.
    """

    def __init__(
        self,
        api: str,
        auth: str,
        patience_s: float | None = None,
        remedy: str = "see its log below LUTHIER_HOME/stack/logs, then `luthier up` again",
    ) -> None:
        self.api, self._auth, self._patience_s, self._remedy = api, auth, patience_s, remedy

    def ask(self, path: str, body: Any = None, method: str = "POST") -> Any:
        """One request; None for a 404. Tried again while the server is busy: just started on sqlite, it says 503.

        Raises Unreachable when that does not end, and HTTPError for what it refuses.
        """
        end = time.monotonic() + (self._patience_s or BUSY_S)
        while True:
            try:
                return call(f"{self.api}/{path}", self._auth, body, method)
            except OSError as error:
                if isinstance(error, HTTPError) and error.code < 500:
                    raise
                if time.monotonic() > end:
                    raise Unreachable(
                        "the Prefect server does not answer",
                        place=f"{self.api}/{path}",
                        value=error,
                        remedy=self._remedy,
                    ) from None
            time.sleep(0.5)

    def ensure_pool(self, name: str = POOL) -> None:
        """A process work pool of that name, where there is none of any type."""
        if self.ask(f"work_pools/{quote(name)}", method="GET") is None:
            try:
                self.ask("work_pools/", {"name": name, "type": "process"})
            except HTTPError as error:
                if error.code != 409:  # the worker, which starts at the same time, has made it
                    raise

    def ensure_automation(self, wanted: Mapping[str, Any]) -> None:
        """An automation of that name with that content; others of the name are removed."""
        known = self.ask("automations/filter", {"automations": {"name": {"any_": [wanted["name"]]}}})
        for extra in known[1:]:
            self.ask(f"automations/{extra['id']}", method="DELETE")
        if not known:
            self.ask("automations/", wanted)
        elif not _holds(known[0], wanted):  # writing it anew would forget what it waits for
            self.ask(f"automations/{known[0]['id']}", wanted, "PUT")

    def drop_automation(self, name: str) -> None:
        """No automation of that name."""
        for known in self.ask("automations/filter", {"automations": {"name": {"any_": [name]}}}):
            self.ask(f"automations/{known['id']}", method="DELETE")

    def ensure_webhook(self, url: str) -> str:
        """The id of the block that holds the address to notify; the address is kept encrypted by the server."""
        kind = self.ask("block_types/slug/webhook", method="GET")
        schema = self.ask("block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})[0]
        known = self.ask(f"block_types/slug/webhook/block_documents/name/{BLOCK}", method="GET")
        data = {"method": "POST", "url": url, "headers": {"Content-Type": "application/json"}}
        if known is not None:
            self.ask(f"block_documents/{known['id']}", {"data": data, "merge_existing_data": False}, "PATCH")
            return str(known["id"])
        wanted = {"name": BLOCK, "data": data, "block_type_id": kind["id"], "block_schema_id": schema["id"]}
        return str(self.ask("block_documents/", wanted)["id"])

    def has_worker(self, pool: str) -> bool:
        """Whether runs of a pool would be taken up now."""
        return bool(self.ask(f"work_pools/{quote(pool)}", method="GET")["status"] != "NOT_READY")

    def deployment(self, name: str) -> Any:
        """What the server knows of `flow/deployment`; None where it is not there."""
        return self.ask(f"deployments/name/{quote(name)}", method="GET")

    def has_deployments(self, project: Path) -> bool:
        """Whether every deployment of a prefect.yaml is there."""
        return all(self.deployment(name) for name in deployments(project))

    @property
    def pages(self) -> str:
        """Where a browser finds this server."""
        cloud = _CLOUD.fullmatch(self.api)
        return (
            f"https://app{cloud[1]}/account/{cloud[2]}/workspace/{cloud[3]}" if cloud else self.api.removesuffix("/api")
        )


def stanzas(project: Path) -> list[Stanza]:
    """The deployments of a project's prefect.yaml; Refused where it is missing or cannot be used."""
    path = project / "prefect.yaml"
    try:
        return [_stanza(entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]]
    except FileNotFoundError:
        raise Refused(
            "there is no prefect.yaml in this folder",
            place=str(project),
            remedy="go to the folder that has one; `luthier init DIR` makes a project with one",
        ) from None
    except yaml.YAMLError as error:
        raise Refused("prefect.yaml is not YAML", place=str(path), value=error) from None
    except (KeyError, TypeError, AttributeError):
        raise Refused(
            "a deployment has no name or no entrypoint",
            place=str(path),
            remedy="`deployments:` is a list, and each has both",
        ) from None


def _stanza(entry: Mapping[str, Any]) -> Stanza:
    flow = re.split("[:.]", entry["entrypoint"])[-1].replace("_", "-")  # a file's or a module's function
    pool = (entry.get("work_pool") or {}).get("name") or ""
    return Stanza(f"{flow}/{entry['name']}", entry["entrypoint"], pool, entry.get("parameters") or {})


def deployments(project: Path) -> list[str]:
    """`flow/deployment` of every stanza of a project's prefect.yaml."""
    return [stanza.name for stanza in stanzas(project)]


def pools(project: Path) -> list[str]:
    """The work pools that the stanzas of a project name."""
    return sorted({stanza.pool for stanza in stanzas(project)} - {""})


def fingerprint(project: Path) -> str:
    """Changes when prefect.yaml, its place, or the flows that it names change."""
    text = (project / "prefect.yaml").read_bytes()
    flows = sorted({stanza.entrypoint for stanza in stanzas(project)})
    parts = [str(project).encode(), text, *(code for flow in flows if (code := _code(flow, project)))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def deploy(server: Server, project: Path, environment: Mapping[str, str], log: Path, again: str = "luthier up") -> None:
    """The work pools that a project names, then `prefect deploy --all` in it; Crashed with the end of its output where it fails.

    `again` is the command that its user types once it is mended.
    """
    for pool in pools(project):
        server.ensure_pool(pool)
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        # prefect.yaml says $PWD, which only a shell would set anew.
        env={**environment, "PWD": str(project)},
        cwd=project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    private.write(log, done.stdout + done.stderr)
    if done.returncode != 0:
        raise Crashed(
            "`prefect deploy --all` failed",
            place=str(log),
            value=(done.stdout + done.stderr)[-400:],
            remedy=f"correct {project / 'prefect.yaml'}, then `{again}`",
        )


def _holds(known: Any, wanted: Any) -> bool:
    """Whether what the server has contains what is wanted; it adds defaults and orders sets as it likes."""
    if isinstance(wanted, dict):
        return isinstance(known, dict) and all(_holds(known.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return len(known or ()) == len(wanted) and all(any(_holds(one, value) for one in known) for value in wanted)
    return bool(known == wanted)


def _code(entrypoint: str, project: Path) -> bytes:
    """The text of the file with a flow, which is the project's or one of Luthier's modules; empty where it is neither."""
    file, colon, _ = entrypoint.partition(":")
    places = [project / file] if colon else [_OURS / (file.rpartition(".")[0].replace(".", "/") + ".py")]
    return b"".join(path.read_bytes() for path in places if path.is_file())
