"""A real Slurm on this machine, for the length of a `with`: munged, slurmctld and two slurmds, each node a name on loopback."""

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.s3 import free_ports

START_S = 30.0
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue", "scontrol", "sinfo")
MISSING = [name for name in NEEDED if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin") is None]
needs_slurm = pytest.mark.skipif(bool(MISSING), reason=f"needs Slurm and munge: no {', '.join(MISSING)} here")

CONFIG = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=2
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=25
MinJobAge=300
OverTimeLimit=0
SlurmdTimeout=20
InactiveLimit=0
JobRequeue=1
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=2000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=2000
PartitionName=work Nodes=node[1-2] Default=YES MaxTime=60 State=UP
"""


@dataclass
class Slurm:
    """The cluster; its commands find it by `SLURM_CONF`. `folder` is what all nodes share."""

    folder: Path
    environment: dict[str, str]
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def ask(self, *command: str) -> str:
        """What a command of Slurm's says."""
        return subprocess.run(
            command, env=os.environ | self.environment, check=True, capture_output=True, text=True, timeout=20
        ).stdout

    def jobs(self) -> list[str]:
        """The jobs that are not over."""
        return self.ask("squeue", "--noheader", "--format=%i").split()

    def start(self, name: str, *command: str) -> None:
        """A daemon, which stays in the foreground."""
        path = shutil.which(command[0], path=os.environ["PATH"] + ":/usr/sbin")
        assert path is not None
        self.daemons[name] = subprocess.Popen(
            [path, *command[1:]],
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / f"{name}.out").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def controller(self) -> None:
        """slurmctld, with the state that an earlier one left."""
        self.start("slurmctld", "slurmctld", "-D")

    def without_controller(self) -> None:
        """End slurmctld, which saves its state; one that is killed forgets jobs of the last seconds."""
        self.daemons["slurmctld"].terminate()
        self.daemons.pop("slurmctld").wait(30)

    def node(self, name: str) -> None:
        """The slurmd of a node."""
        self.start(name, "slurmd", "-D", "-N", name)

    def kill(self, name: str) -> None:
        """The slurmd of a node, with SIGKILL, and its steps too: as if the machine had lost its power."""
        steps = self._steps(name)
        self.daemons[name].kill()
        self.daemons.pop(name).wait()
        for step in steps:
            with contextlib.suppress(psutil.NoSuchProcess):
                step.kill()

    def ready(self) -> None:
        """Wait for both nodes to be idle."""
        until(lambda: self._ask_quietly("sinfo", "--noheader", "--format=%T").split() == ["idle"], START_S)

    def _ask_quietly(self, *command: str) -> str:
        with contextlib.suppress(subprocess.SubprocessError):
            return self.ask(*command)
        return ""

    def _steps(self, name: str) -> list[psutil.Process]:
        """The steps of a node, with what runs in them."""
        return [process for process in self.lines() if self._node(process) == name]

    def _node(self, process: psutil.Process) -> str:
        """The node that a process runs on: tasks have it in their environment, Slurm's own in the log that they hold."""
        with contextlib.suppress(psutil.Error, OSError):
            if told := process.environ().get("SLURMD_NODENAME"):
                return told
            links = [os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
            return next((name for name in ("node1", "node2") if f"{self.folder}/slurmd-{name}.log" in links), "")
        return ""

    def all(self) -> list[psutil.Process]:
        """Every process that belongs to this Slurm: its daemons, its steps and what runs in them."""
        return list(self.lines())

    def lines(self) -> dict[psutil.Process, str]:
        """The same with their command lines; those that end meanwhile are left out."""
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]
                step = process.name() == "slurmstepd" and self._node(process)  # its title took its environment's place
                if (ours or step) and process.pid != os.getpid():
                    found[process] = " ".join(process.cmdline())
        return found


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


@contextlib.contextmanager
def slurm() -> Iterator[Slurm]:
    """Start it; nothing is left afterwards, jobs of tests that failed neither."""
    folder = Path(tempfile.mkdtemp(prefix="luthier-slurm-"))
    for name in ("state", "spool-node1", "spool-node2"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            folder=folder, host=socket.gethostname().split(".")[0], user=getpass.getuser(), ports=free_ports(3)
        )
    )
    made = Slurm(folder, {"SLURM_CONF": str(config)})
    try:
        own = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        made.start(
            "munged",
            "munged",
            "--foreground",
            "--force",
            *(f"--{name}={folder}/munge.{kind}" for name, kind in own.items()),
        )
        until((folder / "munge.socket").exists)
        made.controller()
        made.node("node1")
        made.node("node2")
        made.ready()
        yield made
    finally:
        for process in made.all():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for daemon in made.daemons.values():
            daemon.wait(10)
        shutil.rmtree(folder, ignore_errors=True)
