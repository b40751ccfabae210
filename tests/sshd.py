"""Machines that ssh reaches, for the length of a `with`: each a real sshd on this one, with a home and a key of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.s3 import free_ports
from tests.slurm import until

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
MISSING = [name for name, path in {"ssh": shutil.which("ssh"), "sshd": SSHD}.items() if path is None]
needs_sshd = pytest.mark.skipif(bool(MISSING), reason=f"needs OpenSSH: no {', '.join(MISSING)} here")

CONFIG = """
Port {port}
ListenAddress {address}
HostKey {folder}/key
AuthorizedKeysFile {root}/flow.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
SetEnv HOME={folder}
PidFile none
LogLevel VERBOSE
"""


@dataclass
class Machine:
    """One of them; what runs there has its home. `before` is what its sshd is started through."""

    root: Path
    folder: Path
    address: str
    port: int
    before: Sequence[str] = ()
    daemon: "subprocess.Popen[bytes] | None" = None

    @property
    def name(self) -> str:
        """As the site's profile names it."""
        return f"{self.address}:{self.port}"

    def up(self) -> None:
        """Start its sshd, and wait until it listens."""
        (self.folder / "config").write_text(
            CONFIG.format(port=self.port, address=self.address, folder=self.folder, root=self.root)
        )
        self.daemon = subprocess.Popen(
            [*self.before, str(SSHD), "-D", "-e", "-f", str(self.folder / "config")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "sshd.log").open("ab"),
            env={"PATH": os.environ["PATH"]},
            start_new_session=True,
        )
        until(self._listens)

    def cut(self) -> None:
        """End its sshd with all connections; what was started through them stays."""
        assert self.daemon is not None
        ours = [psutil.Process(self.daemon.pid), *self._connections()]
        for process in ours:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.daemon.wait(10)

    def new_key(self) -> None:
        """Another host key, as if it had been set up anew."""
        for name in ("key", "key.pub"):
            (self.folder / name).unlink(missing_ok=True)
        keygen(self.folder / "key")

    def known(self) -> str:
        """Its line in a file of known hosts."""
        return f"[{self.address}]:{self.port} {(self.folder / 'key.pub').read_text()}"

    def processes(self) -> list[psutil.Process]:
        """What runs on it, but for sshd itself."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("HOME") == str(self.folder) and process.name() != "sshd":
                    found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        """Those that are workers of stages."""
        return [process for process in self.processes() if "LUTHIER_WORKER" in process.environ()]

    def _connections(self) -> list[psutil.Process]:
        assert self.daemon is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.daemon.pid).children(recursive=True)
            return [process for process in below if process.name() == "sshd"]
        return []

    def _listens(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), timeout=1) as there:
                return there.recv(4) == b"SSH-"
        except OSError:
            return False


@dataclass
class Machines:
    """All of them; `folder` has the flow's key, its options of ssh, and the known keys."""

    folder: Path
    all: list[Machine] = field(default_factory=list)

    def trust(self) -> None:
        """Know the keys that they have now."""
        (self.folder / "known_hosts").write_text("".join(machine.known() for machine in self.all))

    def profile(self, more: str = "") -> str:
        """A site's profile that names them."""
        names = ", ".join(machine.name for machine in self.all)
        own = f"known_hosts: {self.folder}/known_hosts\nssh_config: {self.folder}/ssh_config\n"
        return f"launcher: hosts\nhosts: [{names}]\n{own}{more}"

    def processes(self) -> list[psutil.Process]:
        """What runs on any of them."""
        return [process for machine in self.all for process in machine.processes()]

    def workers(self) -> list[psutil.Process]:
        """The workers on any of them."""
        return [process for machine in self.all for process in machine.workers()]


def keygen(path: Path) -> None:
    """A pair of keys."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=20)


@contextlib.contextmanager
def machines(
    places: Sequence[tuple[str, Sequence[str]]] = (("127.0.0.1", ()), ("127.0.0.1", ())),
) -> Iterator[Machines]:
    """Start one at each of the addresses, through the command beside it; nothing is left of them afterwards."""
    made = Machines(Path(tempfile.mkdtemp(prefix="luthier-ssh-")))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd of root insists on it
    keygen(made.folder / "flow")
    (made.folder / "ssh_config").write_text(f"Host *\n  IdentityFile {made.folder}/flow\n  IdentitiesOnly yes\n")
    try:
        for at, (port, (address, before)) in enumerate(zip(free_ports(len(places)), places, strict=True)):
            machine = Machine(made.folder, made.folder / f"machine-{at}", address, port, before)
            machine.folder.mkdir()
            machine.new_key()
            made.all.append(machine)
            machine.up()
        made.trust()
        yield made
    finally:
        for machine in made.all:
            if machine.daemon is not None:
                machine.cut()
        for process in made.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(made.folder, ignore_errors=True)
