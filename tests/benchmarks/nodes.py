"""P13 and what several nodes cost: bytes that a rank holds and sends a step, its seconds, and what launchers add.

    python -m tests.benchmarks.nodes

Nodes are torchruns of this machine with one rank each, as workers start them. All weights of a model of 23 million
parameters in bf16 are trained. Beside what a rank holds stands ZeRO's arithmetic (Rajbhandari et al. 2020, with W ranks:
4 + 12/W, 2 + 14/W and 16/W bytes a parameter); beside what it sends, its own: twice the parameters, three times for ZeRO-3.
"""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.launch.base import Launcher
from infra.launch.hosts import HostsLauncher
from infra.launch.nodes import Place
from infra.launch.profile import Host, Profile
from infra.launch.resources import Resources
from infra.launch.slurm import SlurmLauncher
from tasks.training import zero
from tasks.training.config import TrainConfig
from tasks.training.rank import RankJob
from tasks.training.ranks import Address, Meeting, start
from tests import tiny
from tests.benchmarks.figures import figure, note
from tests.e2e.training import bench
from tests.s3 import free_ports
from tests.slurm import MISSING as slurm_missing
from tests.slurm import slurm
from tests.sshd import MISSING as ssh_missing
from tests.sshd import machines
from tests.unit.tasks.training.prepared import Row, dataset

ROOT = Path(__file__).parents[2]
STEPS, TOKENS, BATCH = 7, 16, 2
DEADLINE_S = 600
BUCKET = 1_000_000  # elements; those of the presets would be as large as all states of so small a model
STATES: dict[zero.Preset, Callable[[int], float]] = {
    "zero1": lambda ranks: 4 + 12 / ranks,
    "zero2": lambda ranks: 2 + 14 / ranks,
    "zero3": lambda ranks: 16 / ranks,
}
SENT = {"zero1": 2, "zero2": 2, "zero3": 3}  # times the parameters, of which each rank sends (W - 1) / W
ELEMENT = 2  # bytes, bf16
TWO_STEPS = {"num_processes": 2, "deepspeed": "zero2", "max_steps": 2}
ROUNDS = 3


def main() -> None:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="luthier-nodes-") as folder:
        states(Path(folder))
        overhead(Path(folder))


def states(root: Path) -> None:
    """What ranks hold and send, for each stage on one node and on two."""
    weights = tiny.model(root / "model", vocab_size=8192, hidden_size=512, layers=8)
    data = _data(root / "data")
    for preset, arithmetic in STATES.items():
        for nodes in (1, 2):
            told = _trained(preset, nodes, weights, data, root / f"{preset}-{nodes}")
            size = told[0]["parameters"]
            held, seconds = (max(one[what] for one in told) for what in ("held", "seconds"))
            sent = told[0]["sent"] / nodes
            note(
                f"{preset}, {nodes} ranks: {held / size:.2f} bytes a parameter, "
                f"a step takes {seconds:.2f} s and sends {sent / 1e6:.1f} MB"
            )
            share = held / (size * arithmetic(nodes))
            figure(f"P13.{preset}.{nodes}", share, target=1.15, better="lower", unit="x arithmetic", n=len(told))
            if nodes > 1:
                due = SENT[preset] * size * ELEMENT * (nodes - 1) / nodes
                figure(f"nodes.sent.{preset}", sent / due, better="lower", unit="x arithmetic", n=STEPS)
            figure(f"nodes.step_s.{preset}.{nodes}", seconds, better="lower", unit="s", n=STEPS)


def _data(folder: Path) -> tuple[Path, Path]:
    rows: list[Row] = [([3 + at % 50] * TOKENS, [0.0] + [1.0] * (TOKENS - 1)) for at in range(2 * BATCH)]
    return dataset(folder, rows, [[at] for at in range(len(rows))], [[0]])


def _trained(
    preset: zero.Preset, nodes: int, weights: Path, data: tuple[Path, Path], room: Path
) -> list[dict[str, float]]:
    """What every rank of a short training told."""
    engine = zero.STAGES[preset] | {"reduce_bucket_size": BUCKET}
    if preset == "zero3":
        # What it has gathered for one layer is given back before the next.
        gathered = ("stage3_max_live_parameters", "stage3_max_reuse_distance", "stage3_prefetch_bucket_size")
        engine |= dict.fromkeys(gathered, BUCKET)
    whole = {"zero_optimization": engine, "bf16": {"enabled": True}, "zero_allow_untested_optimizer": True}
    recipe = {"tuning": {"method": "full"}, "deepspeed": whole, "bf16": True, "max_steps": STEPS}
    config = TrainConfig.model_validate(
        recipe | {"save_steps": STEPS + 1, "train_batch_size": BATCH, "eval_steps": None}
    )
    address, started = Address(host="127.0.0.1", port=free_ports(1)[0]), []
    for node in range(nodes):
        told = _told(config, weights, data, room / str(node))
        meeting = Meeting(Place(node=node, nodes=nodes, host="127.0.0.1"), address, preset) if nodes > 1 else None
        started.append(start("tests.benchmarks.states", told, told.parent, 1, meeting))
    _ended(started, room)
    return [json.loads(path.read_text()) for path in sorted(room.glob("*/states-*.json"))]


def _told(config: TrainConfig, weights: Path, data: tuple[Path, Path], scratch: Path) -> Path:
    """What a worker would tell the ranks of a node."""
    scratch.mkdir(parents=True)
    job = RankJob(
        config=config,
        weights=str(weights),
        weights_sha256="",
        dataset=str(data[0]),
        shards=[str(data[1])],
        out=str(scratch / "out"),
        scratch=str(scratch),
    )
    (scratch / "rank.json").write_text(job.model_dump_json())
    return scratch / "rank.json"


def _ended(started: "list[subprocess.Popen[bytes]]", room: Path) -> None:
    end = time.monotonic() + DEADLINE_S
    try:
        statuses = [process.wait(max(1.0, end - time.monotonic())) for process in started]
    finally:
        for process in started:
            process.terminate()
    for log in room.glob("*/log") if any(statuses) else ():
        note(log.read_text()[-3000:])
    assert not any(statuses), statuses


def overhead(root: Path) -> None:
    """Seconds of a training of two steps on two ranks by each launcher, beyond those of torchrun alone."""
    with contextlib.ExitStack() as stack:
        ways: dict[str, Callable[[Path], object]] = {"plain": _plain, "local": lambda room: _by(None, room)}
        os.environ["PYTHONPATH"] = str(ROOT)
        if slurm_missing:
            note(f"no figures of Slurm: no {', '.join(slurm_missing)} here")
        else:
            os.environ |= stack.enter_context(slurm()).environment
            profile = Profile(resources=Resources(cpus_per_task=2, time="00:20:00"))
            ways["slurm"] = lambda room: _by(SlurmLauncher(profile, str(room)), room)
        if ssh_missing:
            note(f"no figures of hosts: no {', '.join(ssh_missing)} here")
        else:
            there = stack.enter_context(machines([("127.0.0.1", ())]))
            reached = Profile(
                hosts=[Host(ssh=machine.name) for machine in there.all],
                known_hosts=str(there.folder / "known_hosts"),
                ssh_config=str(there.folder / "ssh_config"),
            )
            ways["hosts"] = lambda room: _by(HostsLauncher(reached, str(room)), room)
        took: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(ROUNDS):
            for name, way in ways.items():
                room = root / f"{name}-{number}"
                begin = time.perf_counter()
                way(room)
                took[name].append(time.perf_counter() - begin)
            note("seconds: " + ", ".join(f"{name} {seconds[-1]:.1f}" for name, seconds in took.items()))
    for name in ways.keys() - {"plain"}:
        more = statistics.median(ours - plain for ours, plain in zip(took[name], took["plain"], strict=True))
        figure(f"nodes.launch_s.{name}", more, better="lower", unit="s beyond torchrun", n=ROUNDS)


def _plain(room: Path) -> None:
    config = TrainConfig.model_validate({"tuning": {"method": "lora", "lora_r": 4}, "bf16": False, **TWO_STEPS})
    told = _told(config, tiny.model(room / "model"), _data(room / "data"), room / "0")
    with _said_on_stderr():
        ranks = start("tasks.training.rank", told, told.parent, 2)
    _ended([ranks], room)


@contextlib.contextmanager
def _said_on_stderr() -> Iterator[None]:
    """What is started has no part of the benchmark's output."""
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(own, 1)
        os.close(own)


def _by(launcher: Launcher | None, room: Path) -> None:
    """Through the stage: worker, checkpoints, MLflow, the artifact's commit."""
    made = bench(room)
    platform = made.platform if launcher is None else dataclasses.replace(made.platform, launcher=launcher)
    dataclasses.replace(made, platform=platform).train(**TWO_STEPS)


if __name__ == "__main__":
    main()
