"""Workers as jobs of Slurm: one job a launch, one worker a node, and what they share in a folder that all nodes mount."""

import logging
import os
import re
import shutil
import time
from pathlib import Path

from infra.errors import BadRecipe, Cancelled, LuthierError, Unreachable
from infra.launch import elsewhere
from infra.launch import slurm_commands as commands
from infra.launch.base import State
from infra.launch.following import FOLLOWED, Follower
from infra.launch.nodes import beside
from infra.launch.profile import Profile
from infra.launch.resources import Resources
from infra.launch.slurm_script import Batch, script

log = logging.getLogger(__name__)

PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")
LOOK_S, LOOK_ENDED_S = 5.0, 0.5  # squeue is asked that often; the second once script or squeue say that it is over
GONE_S = 90.0  # for a job that was called off to be gone: KillWait is 30 s by default
BELIEVED_S = 120.0  # without slurmctld, the script's own word counts after so long
OUTAGE_S = 3600.0  # how long a job still counts as waiting while slurmctld is away
OLD_S = 86400.0  # folders of jobs that nobody came back for
STATUS = dict.fromkeys(commands.TO_LEAVE, 143) | {"OUT_OF_MEMORY": -9}


class SlurmJob:
    """A job by its number. It outlives its flow; whoever follows it last calls it off."""

    def __init__(self, number: str, folder: Path, log_file: Path, nodes: int, queue_s: float) -> None:
        self.number, self._folder, self._log, self._nodes, self._queue_s = number, folder, log_file, nodes, queue_s
        self._follower = Follower(folder)
        self._known, self._reason, self._status = "PENDING", "", None if folder.exists() else 1
        self._asked, self._answered, self._idle = 0.0, time.monotonic(), time.monotonic()
        self._read: dict[str, int] = {}
        log_file.parent.mkdir(parents=True, exist_ok=True)

    def poll(self) -> int | None:
        """None while it waits, runs or is requeued. Cancelled where somebody called it off; BadRecipe where it waits
        for what can never be; Unreachable where it waited for too long."""
        if self._status is not None:
            return self._status
        self._follower.renew()
        self._copy_logs()
        ended = self._folder / "ended"
        if time.monotonic() - self._asked < (
            LOOK_ENDED_S if ended.exists() or self._known in commands.ENDED else LOOK_S
        ):
            return None
        self._asked = time.monotonic()
        try:
            before, (self._known, self._reason) = self._known, commands.state(self.number)
        except LuthierError as error:
            return self._without_slurmctld(error)
        self._answered = time.monotonic()
        if self._known in commands.ENDED:
            if before == self._known:  # said twice: for a moment it is also so of a job that is requeued
                self._end()
        elif self._known in commands.WAITING:
            self._require_hope()
        else:
            self._idle = time.monotonic()
        return self._status

    def state(self) -> State:
        """Whether it waits and why, how often it was requeued, and what people want to know of the job."""
        restarts, began = self._started()
        notes = {"job": self.number}
        if began:
            notes["queued"] = f"{max(0.0, began - self._submitted()):.0f} s"
        if restarts:
            notes["requeued"] = str(restarts)
        waits = (
            self._status is None and self._known in commands.WAITING and time.monotonic() - self._answered < OUTAGE_S
        )
        minutes = (time.monotonic() - self._idle) / 60
        minutes -= minutes % (10 if minutes >= 10 else 1)  # a line a minute would fill the log of a week
        waiting = f"job {self.number} in the queue for {minutes:.0f} min, reason {self._reason or 'None'}"
        return State(waiting=waiting if waits else "", restarts=restarts, notes=notes)

    def stop(self) -> None:
        """Call it off, unless it is over or another flow follows it, and wait until it is gone, up to GONE_S."""
        if self._status is None and self._follower.others():
            log.info("job %s is left to the other flow that follows it", self.number)
            self._follower.leave()
            return
        if self._status is None and not self._called_off():
            return
        self._copy_logs()
        self._status = 143 if self._status is None else self._status
        shutil.rmtree(self._folder, ignore_errors=True)

    def _called_off(self) -> bool:
        end = time.monotonic() + GONE_S
        try:
            commands.patiently(["scancel", self.number], deadline_s=GONE_S)
            while not self._gone():
                if time.monotonic() > end:
                    raise Unreachable("it is not gone", value=self.number)
                time.sleep(LOOK_ENDED_S)
        except LuthierError as error:
            log.error(
                "job %s could not be called off: %s; `scancel %s` does it, or it ends itself",
                *(self.number, error, self.number),
            )
            self._follower.leave()
            return False
        return True

    def _gone(self) -> bool:
        try:
            return commands.state(self.number)[0] in commands.ENDED
        except Unreachable:
            return False

    def _end(self) -> None:
        self._copy_logs()
        if self._known == "CANCELLED":
            self._status = 143
            raise Cancelled(
                f"job {self.number} was called off from outside (scancel)",
                place=str(self._log),
                remedy="run it again, and it goes on from what it has stored",
            )
        told = self._ended()
        self._status = STATUS.get(self._known, 1 if told is None else told)
        if self._status and commands.NODE_LOST.search(_text(self._folder / "batch.log")):
            self._status = 143  # srun has killed the others before they could say so

    def _without_slurmctld(self, error: LuthierError) -> int | None:
        """A healthy run is not ended because slurmctld is away: the store still has its beats."""
        away_s = time.monotonic() - self._answered
        log.warning("job %s: slurmctld has not answered for %.0f s: %s", self.number, away_s, error.value)
        if away_s > BELIEVED_S:
            self._status = self._ended()
        return self._status

    def _require_hope(self) -> None:
        waited = time.monotonic() - self._idle
        if self._reason in commands.NEVER:
            raise BadRecipe(
                f"job {self.number} would wait for ever",
                place="resources",
                value=self._reason,
                remedy="`scontrol show partition` has the limits of time and nodes that the job is beyond",
            )
        if waited > self._queue_s:
            raise Unreachable(
                f"job {self.number} has waited for its turn for {waited / 3600:.1f} h",
                place="queue_s of the site's profile",
                value=self._reason,
                remedy="ask for less, or for another partition",
            )

    def _started(self) -> tuple[int, float]:
        words = _text(self._folder / "started").split()
        return (int(words[0]), float(words[1])) if words else (0, 0.0)

    def _ended(self) -> int | None:
        """The status that the script noted for the start that it had last."""
        words = _text(self._folder / "ended").split()
        return int(words[1]) if words and int(words[0]) == self._started()[0] else None

    def _submitted(self) -> float:
        return float(_text(self._folder / "submitted") or 0)

    def _copy_logs(self) -> None:
        """What the workers have written since the last time, into the flow's own logs."""
        for name, target in [
            ("batch.log", self._log),
            *((f"{n}.log", beside(self._log, n)) for n in range(self._nodes)),
        ]:
            source, at = self._folder / name, self._read.get(name)
            try:
                with source.open("rb") as new:
                    new.seek(at or 0)
                    text = new.read()
            except OSError as error:
                _unless_missing(error)
                continue
            with target.open("ab") as file:
                file.write(text)
            self._read[name] = (at or 0) + len(text)


class SlurmLauncher:
    """Submits jobs, and finds those of flows that died by their names."""

    def __init__(self, profile: Profile, shared_root: str) -> None:
        self._profile, self._shared_root = profile, shared_root

    @property
    def root(self) -> Path:
        """Where the folders of jobs are. BadRecipe where no folder is named that all nodes see."""
        if not self._shared_root:
            raise BadRecipe(
                "Slurm's nodes and this machine need a folder that they share",
                place="LUTHIER_SHARED_ROOT, or shared_root of the site's profile",
                remedy="name one that all mount under the same path; the store may be elsewhere",
            )
        root = Path(self._shared_root).absolute()
        if not PLAIN.fullmatch(str(root)):
            raise BadRecipe(
                "sbatch cannot be told of a folder of this name",
                place="LUTHIER_SHARED_ROOT, or shared_root of the site's profile",
                value=str(root),
                remedy="name one of letters, digits and . _ + - only, or a link to it",
            )
        return root / ".luthier"

    def find(self, stage: str, key: str, _resources: Resources, /) -> list[str]:
        """The attempts at a key that have a job now, or are in the queue."""
        prefix = elsewhere.job_name(stage, key)
        return [name.removeprefix(prefix) for name in commands.named(prefix)]

    def start(
        self, module: str, spec: str, environment: dict[str, str], log: Path, resources: Resources | None = None
    ) -> SlurmJob:
        """Submit a job, or follow the one that there is by that name. Output goes to `log` and beside it."""
        asked = resources or Resources()
        elsewhere.require_visible(environment, self.root.parent)
        name = elsewhere.named_by(spec)
        folder = self.root / "jobs" / name
        running = commands.named(elsewhere.job_name())
        self._sweep(running)
        if name not in running:
            running[name] = self._submit(
                Batch(name, folder, elsewhere.python(self._profile), module, spec, self._home(), asked), environment
            )
        log.unlink(missing_ok=True)  # of a flow that died: all is read again
        return SlurmJob(running[name], folder, log, asked.nodes, self._profile.queue_s)

    def _submit(self, batch: Batch, environment: dict[str, str]) -> str:
        """The environment goes beside, readable by its owner only: Slurm keeps and shows what it is given itself."""
        batch.folder.mkdir(parents=True, mode=0o700)
        followed = {FOLLOWED: f"{self._profile.orphan_s} {batch.folder}"}
        told = elsewhere.environment(environment, self._profile) | followed
        secret = os.open(batch.folder / "environment", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(secret, "w") as file:
            file.write(elsewhere.exports(told))
        (batch.folder / "submitted").write_text(str(time.time()))
        try:
            return commands.submit(script(batch, self._profile), batch.name)
        except BaseException:
            shutil.rmtree(batch.folder, ignore_errors=True)
            raise

    def _home(self) -> str:
        return self._profile.home or str(self.root / "home")

    def _sweep(self, running: dict[str, str]) -> None:
        """Remove folders, and with them environments, of jobs that are gone and whose flows never came back."""
        for folder in (self.root / "jobs").glob("luthier.*"):
            if folder.name not in running and time.time() - folder.stat().st_mtime > OLD_S:
                shutil.rmtree(folder, ignore_errors=True)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:  # a file server that is away must not end a job that goes on
        _unless_missing(error)
        return ""


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        log.warning("the shared folder cannot be read: %s", error)
