"""The ranks of one node, as their worker starts them and hears of their end."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.errors import Crashed, ErrorReport, LuthierError, OutOfMemory, revive
from infra.frozen import Frozen, canonical
from infra.launch.nodes import Place
from infra.launch.preflight import network

MEET_S = 600  # torchrun of all nodes; their workers have met before
ENDED = "ended.json"  # how the ranks ended, by torchrun
_NO_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED")
_VMSTAT = Path("/proc/vmstat")


class Address(Frozen):
    """Where the first node's torchrun waits for the others."""

    host: str
    port: int


@dataclass(frozen=True)
class Meeting:
    """This node's place in a training of several, and where all meet."""

    place: Place
    address: Address
    attempt: str


def start(module: str, told: Path, scratch: Path, here: int, meeting: Meeting | None = None) -> subprocess.Popen[bytes]:
    """torchrun on this node, for so many ranks; with a meeting they are some of those of all nodes.

    No restarts of its own: with DeepSpeed on gloo they hang; the stage's retry resumes.
    """
    interface = "lo" if meeting is None else network(meeting.place.host, meeting.place.node, gpus() > 0).interface
    environment = os.environ | {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, _cores() // here))),
        "TORCH_EXTENSIONS_DIR": str(scratch / "torch_extensions"),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        # Beside NCCL too: ranks agree on when to save and stop over gloo.
        **({"GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", interface)} if interface else {}),
        **({} if gpus() else {"DS_ACCELERATOR": "cpu"}),
    }
    command = [
        *(sys.executable, "-m", "tasks.training.torchrun", str(scratch / ENDED)),
        *(f"--nproc-per-node={here}", "--max-restarts=0", *_rendezvous(meeting)),
        *("-m", module, str(told)),
    ]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)


def _rendezvous(meeting: Meeting | None) -> list[str]:
    if meeting is None:
        endpoint = ["--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1", "--rdzv-conf=is_host=1"]
        return ["--nnodes=1", "--rdzv-backend=c10d", *endpoint]
    place, address = meeting.place, meeting.address
    return [
        *(f"--nnodes={place.nodes}", f"--node-rank={place.node}"),
        # c10d would number the nodes as they come, and rank 0 must be where checkpoints are sealed.
        *("--rdzv-backend=static", f"--master-addr={address.host}", f"--master-port={address.port}"),
        *(f"--rdzv-id={meeting.attempt}", f"--rdzv-conf=timeout={MEET_S}", f"--local-addr={place.host}"),
    ]


def report(scratch: str, error: LuthierError) -> None:
    """A rank's last word; it ends there."""
    rank = os.environ.get("RANK", "0")
    (Path(scratch) / f"error-{rank}.json").write_bytes(canonical(error.report().model_dump(mode="json")))
    raise SystemExit(1)


def of_memory(error: Exception) -> bool:
    """Whether an error is a lack of memory: devices, the CPU's allocator and C++ each put it in their own way."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _NO_MEMORY)


def reports(scratch: Path) -> list[LuthierError]:
    """The last words of all ranks that had any."""
    paths = sorted(scratch.glob("error-*.json"))
    return [revive(ErrorReport.model_validate_json(path.read_bytes())) for path in paths]


def failure(scratch: Path, status: int, kills: int) -> LuthierError:
    """Why ranks failed: what they reported, else what the way they ended tells; `kills` are the kernel's before them."""
    if said := reports(scratch):
        return said[0]
    told = scratch / ENDED
    codes: dict[str, int] = json.loads(told.read_text()) if told.exists() else {}
    killed = [f"rank {rank}" for rank, code in codes.items() if code == -signal.SIGKILL]
    killed += ["torchrun"] if status == -signal.SIGKILL else []
    if killed and kernel_kills() > kills:
        return OutOfMemory(
            f"{', '.join(killed)} was killed by the kernel for memory",
            place="train.per_device_train_batch_size",
            remedy="lower it, set gradient_checkpointing: true, or use zero3",
        )
    ways = ", ".join(f"rank {rank}: {_way(code)}" for rank, code in codes.items())
    return Crashed("a rank died", value=ways or f"torchrun: {_way(status)}", remedy="the log has its last words")


def kernel_kills() -> int:
    """Processes that the kernel has killed for memory since it started; 0 where it does not tell (before Linux 4.13)."""
    if not _VMSTAT.exists():
        return 0
    counts = dict(line.split(maxsplit=1) for line in _VMSTAT.read_text().splitlines())
    return int(counts.get("oom_kill", 0))


def _way(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def devices() -> int:
    """The ranks that there are where the recipe does not say: one a GPU."""
    return gpus() or 1


def gpus() -> int:
    """The GPUs that this node's ranks may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _cores() -> int:
    return len(os.sched_getaffinity(0))
