"""`luthier up`, `luthier down`, `luthier status`: the servers on this machine."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from urllib.error import HTTPError

import typer
from rich.console import Console
from rich.table import Table

from infra import settings
from infra.errors import Refused
from infra.stack import environment, supervise
from infra.stack.services import Plan
from infra.stack.state import Folder, Memory

VERBS = ("up", "down", "status", "init", "schema")  # they use no stack, or are about it


def up() -> None:
    """Start the stack on this machine, or heal it: S3 store, Prefect with a worker, MLflow. No container engine.

    A second `luthier up` changes nothing. Ports, passwords and data stay from one time to the next, below LUTHIER_HOME.
    LUTHIER_DATABASE=postgres puts Prefect and MLflow on Postgres.
    """
    begun, own, folder = time.monotonic(), settings.load(), _folder()
    hook = _Prefect(folder, own.notify_url, _project())
    plan, started = supervise.bring_up(folder, own.database, _say, {"prefect": hook.apply})
    if not started and not hook.changed:
        typer.echo(f"already up ({time.monotonic() - begun:.1f} s)")
    else:
        typer.echo(f"up after {time.monotonic() - begun:.1f} s")
    typer.echo(_closing(plan, hook))


def down() -> None:
    """End the servers that `luthier up` started, and nothing else. Data, ports and passwords stay."""
    folder = _folder()
    stopped = supervise.take_down(folder, _say)
    typer.echo(f"down; the data stays in {folder.root}" if stopped else "nothing was up")


def status(as_json: Annotated[bool, typer.Option("--json", help="for a program instead of a person")] = False) -> None:
    """Show how each server is. Exit status 0 when all are up, 1 otherwise."""
    lines = supervise.look(_folder())
    if as_json:
        typer.echo(json.dumps([asdict(line) for line in lines], indent=1))
    else:
        table = Table("service", "state", "address", "pid", "version", "up for", box=None)
        for line in lines:
            since = (
                "" if line.up_s is None else f"{line.up_s / 3600:.1f} h" if line.up_s > 5400 else f"{line.up_s:.0f} s"
            )
            table.add_row(line.service, line.state, line.address, str(line.pid or ""), line.version, since)
        Console(highlight=False).print(table)
    raise typer.Exit(0 if all(line.state == "up" for line in lines) else 1)


def use(context: typer.Context) -> None:
    """Lead every other verb to the stack that is up in this LUTHIER_HOME, unless the environment leads elsewhere."""
    if context.invoked_subcommand in VERBS:
        return
    folder = _folder()
    if environment.adopt(folder.env):
        state = folder.state()
        dead = sorted(set(state.services) - set(state.alive()))
        remark = f"; {', '.join(dead)} is dead, `luthier up` heals it" if dead else ""
        typer.echo(f"using the stack of {folder.env} (`luthier status`){remark}", err=True)


class _Prefect:
    """What is applied to the Prefect server as soon as it is up."""

    def __init__(self, folder: Folder, notify_url: str, project: Path | None) -> None:
        self._folder, self._notify_url, self.project = folder, notify_url, project
        self.changed, self.told = False, ""

    def apply(self, plan: Plan, memory: Memory) -> None:
        """Work pool, automations and deployments, each only where it is missing or has changed."""
        try:
            self._apply(plan, memory)
        except HTTPError as error:
            raise Refused(
                "the Prefect server refuses what `luthier up` applies to it",
                place=error.url or plan.url("prefect"),
                value=f"{error.code} {error.read()[:300].decode(errors='replace')}",
                remedy="is it of the version that `luthier status` shows? If so, please report this",
            ) from None

    def _apply(self, plan: Plan, memory: Memory) -> None:
        from pipelines import alarms, automations  # noqa: PLC0415 - only this verb needs them

        server = automations.Server(f"{plan.url('prefect')}/api", plan.secrets.prefect)
        server.ensure_pool()
        self.told = alarms.ensure_automations(server, self._notify_url)
        if self.project is None:
            return
        print_ = automations.fingerprint(self.project)
        if memory.state.applied != print_ or not server.has_deployments(self.project):
            client = {**plan.clean(), **plan.client(), "PREFECT_HOME": str(plan.folder.home / "prefect")}
            automations.deploy(server, self.project, client, self._folder.log("deploy"))
            memory.change(applied=print_)
            self.changed = True
            _say(f"deployed {', '.join(automations.deployments(self.project))}")


def _closing(plan: Plan, hook: _Prefect) -> str:
    deployments = f"from {hook.project}/prefect.yaml" if hook.project else "none: there is no prefect.yaml here"
    try:
        env = plan.folder.env.relative_to(Path.cwd())
    except ValueError:
        env = plan.folder.env
    return f"""
  Prefect      {plan.url("prefect")}   (password: PREFECT_API_AUTH_STRING in {env})
  MLflow       {plan.url("mlflow")}   (user admin, password: MLFLOW_TRACKING_PASSWORD there)
  S3           {plan.url("s3")}   bucket luthier
  deployments  {deployments}
  automations  {hook.told}
Next:
  luthier run quickstart                     uses the stack by itself, like every `luthier …`
  set -a; . {env}; set +a      for prefect, mlflow and aws in this shell, then for example:
  prefect deployment run finetune/quickstart --watch
  luthier status; luthier down"""


def _folder() -> Folder:
    return Folder(Path(os.environ.get("LUTHIER_HOME") or settings.Settings.model_fields["home"].default).absolute())


def _project() -> Path | None:
    """The folder whose prefect.yaml is applied: this one, or Luthier's own where it is a checkout."""
    for folder in (Path.cwd(), Path(__file__).parents[2]):
        if (folder / "prefect.yaml").is_file():
            return folder
    return None


def _say(line: str) -> None:
    typer.echo(f"  {line}")
