"""`luthier deploy`: this folder's prefect.yaml, applied to a Prefect server."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import typer

from infra import settings
from infra.errors import Refused
from infra.stack import environment
from infra.stack.state import Folder
from pipelines import automations
from pipelines import recipe as recipes
from tasks.training import stage as training

PATIENCE_S = 15.0


def deploy() -> None:
    """Apply the prefect.yaml of this folder: work pools and deployments are made, or brought up to date.

    The Prefect server is the one that PREFECT_API_URL names, else that of the stack which `luthier up` started. Every
    recipe that a deployment names is read first: where one is wrong, nothing is applied.
    """
    project = Path.cwd()
    wanted = automations.stanzas(project)
    for stanza in wanted:
        _require_recipe(stanza)
    at = server()
    with refusals(at.api):
        if at.ask("work_pools/filter", {"limit": 1}) is None:  # before anything is applied: is it one, and ours?
            raise _no_api(at.api, "404")
        log = settings.load().home.absolute() / "logs" / "deploy.log"
        automations.deploy(at, project, os.environ, log, "luthier deploy")
        idle = [pool for pool in automations.pools(project) if not at.has_worker(pool)]
        typer.echo(_closing(at, wanted, idle))


def _require_recipe(stanza: automations.Stanza) -> None:
    """BadRecipe where the recipe that a deployment names, with its overrides, would be refused at the start of a run."""
    named = stanza.parameters.get("recipe")
    if isinstance(named, str):
        training.check(recipes.load(named, stanza.parameters.get("overrides")).train)


def server() -> automations.Server:
    """The Prefect server that the environment names; Refused where it names none."""
    api = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not api:
        raise Refused(
            "no Prefect server is named",
            place="PREFECT_API_URL",
            remedy="`luthier up` starts one on this machine; or set it to yours, such as http://prefect.example:4200/api",
        )
    if not api.startswith(("http://", "https://")):
        raise _no_api(api, "no http:// or https://")
    key = os.environ.get("PREFECT_API_KEY")  # Prefect Cloud's; a server of one's own has an auth string
    auth = f"Bearer {key}" if key else os.environ.get("PREFECT_API_AUTH_STRING", "")
    return automations.Server(
        api, auth, PATIENCE_S, "is PREFECT_API_URL right, and the server up? `luthier doctor` tells more"
    )


@contextmanager
def refusals(api: str) -> Iterator[None]:
    """Tell what the server refuses, with what to do about it."""
    try:
        yield
    except HTTPError as error:
        if error.code in (401, 403):
            raise Refused(
                "the Prefect server does not let us in",
                place=api,
                value=f"{error.code} {error.reason}",
                remedy="set PREFECT_API_AUTH_STRING to user:password; for Prefect Cloud PREFECT_API_KEY",
            ) from None
        said = error.read()[:300].decode(errors="replace")
        raise _no_api(api, f"{error.code} {said}") from None
    except ValueError as error:  # an address that is none, or a page where JSON should be
        raise _no_api(api, str(error)) from None


def _no_api(api: str, value: str) -> Refused:
    return Refused(
        "that is no Prefect API, or one of another version",
        place=api,
        value=value,
        remedy="PREFECT_API_URL ends with /api, or, for Prefect Cloud, with /workspaces/…; Luthier needs Prefect 3.8",
    )


def _closing(server: automations.Server, deployed: Sequence[automations.Stanza], idle: Sequence[str]) -> str:
    lines = [f"deployed to {server.pages}"]
    for stanza in deployed:
        known = server.deployment(stanza.name) or {"id": ""}
        lines += [
            f"  {stanza.name}",
            f"    run    prefect deployment run {stanza.name} --watch",
            f"    page   {server.pages}/deployments/deployment/{known['id']}",
        ]
    lines += [f"nobody works on pool {pool} yet: prefect worker start --pool {pool} --limit 1" for pool in idle]
    env = Folder(settings.load().home.absolute()).env
    if environment.read(env).get("PREFECT_API_URL") == server.api:
        lines.append(f"`prefect` finds this server after: set -a; . {os.path.relpath(env)}; set +a")
    return "\n".join(lines)
