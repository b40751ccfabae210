"""What the containers of compose.yaml run: the services of `luthier up`, at the addresses that containers have.

serve.py ROLE            become that service: s3, prefect, mlflow or worker
serve.py healthy ROLE    exit status 0 when it does its work
serve.py deploy          apply work pool, automations and deployments to the Prefect server
serve.py client COMMAND  become a command that knows the stack's addresses and passwords
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.errors import LuthierError, Refused
from infra.stack import postgres
from infra.stack.ports import HOST
from infra.stack.processes import Record
from infra.stack.services import Plan, Service
from infra.stack.state import Credentials, Folder
from infra.stack.supervise import ROLES

PROJECT = Path(__file__).parents[1]
SECRETS = Path("/run/secrets")
NEEDS: Mapping[str, tuple[str, ...]] = {
    "s3": ("s3_key", "s3_secret", "s3_signing"),
    "prefect": ("postgres", "prefect"),
    "mlflow": ("mlflow", "mlflow_flask", "postgres", "s3_key", "s3_secret"),
    "deploy": ("prefect",),
    "worker": ("mlflow", "prefect", "s3_key", "s3_secret"),
    "client": ("mlflow", "prefect", "s3_key", "s3_secret"),
}
ANY = "0.0.0.0"


class Containers(Plan):
    """The same services, each at the name by which the other containers find it."""

    def url(self, role: str) -> str:
        """The address of a service between containers."""
        return f"http://{role}:{self.ports[role]}"


def main(role: str, *arguments: str) -> None:
    """Do what the command line says."""
    role, asked = (arguments[0], True) if role == "healthy" else (role, False)
    secrets = understand(role)
    plan = Containers(Folder(Path(os.environ["LUTHIER_HOME"])), ROLES, secrets, databases(secrets))
    if role == "deploy":
        deploy(plan)
    elif role == "client":
        os.execvpe(arguments[0], list(arguments), {**plan.clean(), **plan.client()})
    elif asked:
        sys.exit(0 if service(plan, role).healthy(Record(pid=1, born="", started=0.0)) else 1)
    else:
        become(service(plan, role), secrets)


def understand(role: str) -> Credentials:
    """The secrets that a role needs, all others empty; Refused where one of them is missing."""
    if role not in NEEDS:
        raise Refused("no such role", value=role, remedy=f"one of {', '.join(NEEDS)}")
    found = {name: _read(name) for name in NEEDS[role]}
    missing = ", ".join(name for name, value in found.items() if not value)
    if missing:  # SeaweedFS without a key would let everybody in
        raise Refused("a secret is missing", place=str(SECRETS), value=missing, remedy="sh docker/secrets.sh")
    return Credentials(**{**dict.fromkeys(Credentials.model_fields, ""), **found})


def databases(secrets: Credentials) -> dict[str, str]:
    """The addresses of the two databases, for a role that may know the password."""
    return postgres.addresses(_server(secrets)) if secrets.postgres else {}


def service(plan: Plan, role: str) -> Service:
    """A service as `luthier up` would start it."""
    makers = {"s3": plan.s3, "prefect": plan.prefect, "mlflow": plan.mlflow, "worker": plan.worker}
    return makers[role]()


def become(one: Service, secrets: Credentials) -> None:
    """Replace this process by a server that other containers reach. What compose.yaml sets in its environment wins."""
    if one.name == "prefect":
        postgres.ensure(_server(secrets))
    one.prepare()
    os.chdir(one.cwd)
    os.execve(one.command[0], listening(one.command), {**one.environment, **os.environ})


def listening(command: list[str]) -> list[str]:
    """A command that listens on all of its container's addresses instead of loopback."""
    return [re.sub(rf"^(-ip\.bind=)?{re.escape(HOST)}$", rf"\g<1>{ANY}", word) for word in command]


def deploy(plan: Plan) -> None:
    """What `luthier up` applies to the Prefect server as soon as it is up; nothing changes when it is there already."""
    from pipelines import automations  # noqa: PLC0415 - only this role needs them

    server = automations.Server(f"{plan.url('prefect')}/api", plan.secrets.prefect)
    print(automations.ensure_automations(server, _read("notify_url")))  # noqa: T201
    environment = {**plan.clean(), **plan.client()}
    automations.deploy(server, PROJECT, environment, plan.folder.log("deploy"), "docker compose up deploy")
    print("deployed", ", ".join(automations.deployments(PROJECT)))  # noqa: T201


def _server(secrets: Credentials) -> str:
    return f"postgresql://luthier:{secrets.postgres}@postgres:5432/postgres"


def _read(name: str) -> str:
    path = SECRETS / name
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LuthierError as error:
        sys.exit(f"{type(error).__name__}: {error}")
