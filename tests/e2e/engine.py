"""A container engine for tests: Debian's buildah and podman with a storage of their own, and docker-compose before them.

Containers are real: own network, names resolved between them, read-only roots, no capabilities. Two things are not as with
Docker: health checks are triggered from here (podman leaves that to systemd), and no image comes from a registry.
"""

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILDERS = ("buildah", "debootstrap")
RUNNERS = ("podman", "runc", "catatonit", "docker-compose")
PACKAGES = "buildah debootstrap podman runc catatonit netavark aardvark-dns docker-compose"
# runc, and limits below those of most machines: an unprivileged root may neither mix cgroup versions nor raise limits.
CONF = """\
[containers]
default_ulimits = ["nofile=8192:8192", "nproc=8192:8192"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "{networks}"
"""
# What official images bring in their own way; the variables are theirs.
POSTGRES = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-15
COPY start /start
RUN install -d -m 1777 -o postgres -g postgres /var/lib/postgresql/data && chmod 3777 /run/postgresql
ENV PATH=/usr/lib/postgresql/15/bin:$PATH PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["sh", "/start"]
"""
START = """\
set -eu
if ! test -s "$PGDATA/PG_VERSION"; then
  initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth=scram-sha-256 --encoding=UTF8
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
fi
exec postgres -c listen_addresses='*'
"""


def missing(*commands: str) -> str:
    """Why there can be no engine here; empty where there can."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [command for command in commands if shutil.which(command) is None]
    return f"{', '.join(absent)} missing: apt-get install {PACKAGES}" if absent else ""


def run(command: list[str], timeout: float = 300, cwd: Path = ROOT, **environment: str) -> str:
    """What a command says, once it has ended well."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


@dataclass(frozen=True)
class Engine:
    """Images and containers below one folder."""

    folder: Path

    @property
    def own(self) -> list[str]:
        return ["--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run")]

    @property
    def socket(self) -> Path:
        return self.folder / "podman.sock"

    def podman(self, *arguments: str, timeout: float = 300) -> str:
        """A podman command."""
        return run(["podman", *self.own, *arguments], timeout, CONTAINERS_CONF=str(self.folder / "containers.conf"))

    def build(self, tag: str, file: Path, **arguments: str) -> None:
        """An image of the project, which reaches packages the way this machine does; nothing of that way stays in it."""
        self._bud(tag, file, ROOT, {"BASE_IMAGE": name("base"), **arguments}, self._ways())

    def _bud(
        self, tag: str, file: Path, context: Path, arguments: Mapping[str, str], mounts: Mapping[str, str]
    ) -> None:
        given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        seen = [f"--volume={outside}:{inside}:ro" for outside, inside in mounts.items()]
        how = ["bud", "--quiet", "--isolation=chroot", "--network=host", *given, *seen]
        run(["buildah", *self.own, *how, "--tag", name(tag), "--file", str(file), str(context)], timeout=2400)

    def _ways(self) -> dict[str, str]:
        links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS") or ""
        settings = self.folder / "uv.toml"
        settings.write_text("system-certs = true\n" + (f'find-links = ["{links}"]\n' if Path(links).is_dir() else ""))
        same = [path for path in ("/etc/ssl/certs", "/etc/pip.conf", links) if path and Path(path).exists()]
        return {str(settings): "/etc/uv/uv.toml", **{path: path for path in same}}

    def make_base(self) -> None:
        """Debian with Python 3.11, from its packages: what `python:3.11-slim-bookworm` is elsewhere."""
        tree = self.folder / "debian"
        packages = "--include=python3,python3-venv,ca-certificates"
        run(["debootstrap", "--variant=minbase", packages, "bookworm", str(tree)], timeout=900)
        file = self.folder / "base.Dockerfile"
        file.write_text("FROM scratch\nCOPY . /\n")
        self._bud("base", file, tree, {}, {})
        shutil.rmtree(tree)

    def make_postgres(self, tag: str) -> None:
        """Debian's Postgres that heeds the variables of the official image which compose.yaml uses."""
        context = self.folder / "postgres"
        context.mkdir()
        (context / "start").write_text(START)
        (context / "Dockerfile").write_text(POSTGRES)
        self._bud(tag, context / "Dockerfile", context, {"BASE_IMAGE": name("base")}, {})

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """While docker-compose may speak to podman; health checks are made all the time."""
        command = ["podman", *self.own, "system", "service", "--time=0", f"unix://{self.socket}"]
        conf = {**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf")}
        leave = threading.Event()
        checks = threading.Thread(target=self._check, args=(leave,))
        with (self.folder / "service.log").open("wb") as log:
            service = subprocess.Popen(command, env=conf, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        checks.start()
        try:
            yield
        finally:
            leave.set()
            checks.join(timeout=60)
            service.terminate()
            service.wait(timeout=30)

    def _check(self, leave: threading.Event) -> None:
        while not leave.wait(1):
            for container in self.podman("ps", "--format={{.Names}}").split():
                # It may have ended by now, or have no check; an unhealthy one is compose's to notice.
                with contextlib.suppress(AssertionError):
                    self.podman("healthcheck", "run", container)

    def compose(self, project: Path, *arguments: str, timeout: float = 900) -> str:
        """A docker-compose command on the compose.yaml in `project`/docker."""
        way = {"DOCKER_HOST": f"unix://{self.socket}", "COMPOSE_HTTP_TIMEOUT": "300"}
        return run(["docker-compose", "-f", "docker/compose.yaml", *arguments], timeout, project, **way)


def name(tag: str) -> str:
    """An image as Docker would call it in full."""
    return f"docker.io/library/{tag}"


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """An engine with its base image; no container, network or image of it is left afterwards."""
    made = Engine(folder)
    (folder / "networks").mkdir()
    (folder / "containers.conf").write_text(CONF.format(networks=folder / "networks"))
    try:
        made.make_base()
        yield made
    finally:
        if shutil.which("podman"):
            made.podman("rm", "--all", "--force", "--time=5")
            made.podman("network", "prune", "--force")
        run(["buildah", *made.own, "rmi", "--all", "--force"])
        shutil.rmtree(folder / "storage", ignore_errors=True)
