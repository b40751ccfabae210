"""One Postgres for Prefect and MLflow: Debian's own, run privately on loopback, or one that the user has."""

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

from infra.errors import Refused, Unreachable
from infra.stack.ports import HOST
from infra.stack.processes import born
from infra.stack.services import Plan, Service

DEBIAN = Path("/usr/lib/postgresql")
DRIVERS = {"prefect": "postgresql+asyncpg", "mlflow": "postgresql+psycopg"}
_ADDRESS = re.compile(r"postgres(?:ql)?://\S+")


def understand(setting: str) -> str:
    """`sqlite`, `postgres`, or the address of a server; Refused for anything else, which is not repeated: it may hold a password."""
    if setting in ("sqlite", "postgres"):
        return setting
    if _ADDRESS.fullmatch(setting):
        return "postgresql" + setting[setting.index("://") :]
    raise Refused(
        "that is no database",
        place="LUTHIER_DATABASE",
        remedy="sqlite, postgres (Debian's, started for you) or postgresql://user:password@host:port/database",
    )


def addresses(base: str) -> dict[str, str]:
    """The addresses of the two databases `luthier_prefect` and `luthier_mlflow` beside the one that `base` names.

    Two, because both keep a table of migrations by the same name.
    """
    parts = urlsplit(base)
    return {name: parts._replace(scheme=driver, path=f"/luthier_{name}").geturl() for name, driver in DRIVERS.items()}


def ensure(base: str) -> None:
    """Make both databases where they are missing. Unreachable without a server, Refused without the right."""
    import asyncpg  # type: ignore[import-untyped] # noqa: PLC0415 - comes with Prefect; only needed here

    try:
        asyncio.run(_ensure(base))
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError) as error:
        raise Refused(
            "Postgres does not let us in, or not make databases",
            place=_shown(base),
            value=error,
            remedy="check user and password in LUTHIER_DATABASE; the user needs CREATEDB, or make luthier_prefect and luthier_mlflow yourself",
        ) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise Unreachable(
            "Postgres does not answer",
            place=_shown(base),
            value=error,
            remedy="is the address in LUTHIER_DATABASE right?",
        ) from None


def private_url(port: int, password: str) -> str:
    """The address of the Postgres that we run ourselves."""
    return f"postgresql://luthier:{quote(password)}@{HOST}:{port}/postgres"


def service(plan: Plan) -> Service:
    """Debian's Postgres on a folder of ours, as an unprivileged user where we are root."""
    binaries, data = find_binaries(), plan.folder.root / "postgres"
    user = "postgres" if os.geteuid() == 0 else None
    base = private_url(plan.ports["postgres"], plan.secrets.postgres)
    return Service(
        name="postgres",
        command=[
            *(str(binaries / "postgres"), "-D", str(data), "-p", str(plan.ports["postgres"])),
            *("-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories="),
        ],
        environment=plan.clean(),
        address=f"{HOST}:{plan.ports['postgres']}",
        ports=("postgres",),
        healthy=lambda _: _ready(base),
        version=partial(_version, binaries),
        prepare=lambda: _prepare(binaries, data, user, plan.secrets.postgres),
        cwd=Path("/"),
        user=user,
        signal=signal.SIGINT,  # "fast": ends its connections, then itself; SIGTERM would wait for the clients
        grace_s=20.0,
    )


def find_binaries() -> Path:
    """The folder with postgres and initdb, the newest of Debian's or the one on the PATH; Refused without any."""
    debian = sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("postgres")
    for postgres in [*reversed(debian), *([Path(on_path)] if on_path else [])]:
        if (postgres.parent / "initdb").exists():
            return postgres.parent
    raise Refused(
        "Postgres is not installed on this machine",
        place="LUTHIER_DATABASE=postgres",
        remedy="apt-get install postgresql, or name a server: LUTHIER_DATABASE=postgresql://…, or use sqlite",
    )


def _prepare(binaries: Path, data: Path, user: str | None, password: str) -> None:
    if (data / "PG_VERSION").exists():
        forget_dead(data / "postmaster.pid")
        return
    admit(data, user)
    with tempfile.NamedTemporaryFile("w", dir=data.parent, prefix=".pw-") as file:  # 0600
        file.write(password)
        file.flush()
        if user is not None:
            shutil.chown(file.name, user)
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "luthier", "--auth=scram-sha-256"]
        done = subprocess.run(
            [*initdb, f"--pwfile={file.name}", "--encoding=UTF8", "--no-locale", "--no-instructions"],
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    if done.returncode != 0:
        shutil.rmtree(data, ignore_errors=True)
        raise Refused(
            "initdb failed", place=str(data), value=done.stderr[-400:], remedy="mend what it says, then `luthier up`"
        )


def forget_dead(lock: Path) -> None:
    """Remove the lock of a server that is gone: Postgres takes a zombie, which nobody has waited for, for a running one."""
    if lock.exists() and not born(int(lock.read_text(encoding="ascii").split()[0])):
        lock.unlink()


def admit(data: Path, user: str | None) -> None:
    """Make the empty folder of the data, which the server's user owns; Refused where that user cannot reach it."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user is None:
        return
    try:
        shutil.chown(data, user, pwd.getpwnam(user).pw_gid)
    except (LookupError, KeyError):
        raise Refused(
            "Postgres refuses to run as root, and there is no user postgres",
            place=str(data),
            remedy="run luthier as an ordinary user, or useradd --system postgres",
        ) from None
    closed = [folder for folder in data.parents if not folder.stat().st_mode & 0o001]
    if closed:
        raise Refused(
            "Postgres refuses to run as root, and its own user may not enter the folder of its data",
            place=str(closed[-1]),
            remedy=f"chmod o+x {closed[-1]}, or set LUTHIER_HOME elsewhere, or run luthier as an ordinary user",
        )


def _ready(base: str) -> bool:
    try:
        ensure(base)
    except Unreachable:
        return False
    return True


def _version(binaries: Path) -> str:
    told = subprocess.run(
        [str(binaries / "postgres"), "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    return next((word for word in told.stdout.split() if word[:1].isdigit()), "?")


async def _ensure(base: str) -> None:
    import asyncpg  # noqa: PLC0415

    connection = await asyncpg.connect(base, timeout=10)
    try:
        for name in DRIVERS:
            if not await connection.fetchval("select 1 from pg_database where datname = $1", f"luthier_{name}"):
                await connection.execute(f"create database luthier_{name}")
    finally:
        await connection.close()


def _shown(base: str) -> str:
    """An address without its password."""
    parts = urlsplit(base)
    return f"{parts.hostname}:{parts.port or 5432}"
