"""The GPUs, seen by torch in a process of its own: loading it here would make every command slow."""

import json
import subprocess
import sys

from infra.doctor.finding import Finding, bad, note, ok, warn

DEADLINE_S = 180.0
REMEDIES = {
    "driver": "the driver is older than this torch was built for: upgrade it, or install a torch for its CUDA version",
    "gather": "NCCL_DEBUG=INFO tells more; /dev/shm of 1 GiB and more, NCCL_SOCKET_IFNAME and the firewall are the usual causes",
    "memory": "end what holds the memory (nvidia-smi), or leave that GPU out with CUDA_VISIBLE_DEVICES",
}


def devices() -> list[Finding]:
    """What torch can use here, and whether processes on it hear each other."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "infra.models.devices"],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [bad("devices", f"processes did not hear each other within {DEADLINE_S:.0f} s", REMEDIES["gather"])]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return [bad("devices", f"torch cannot be used: {last}", "pip install 'luthier[train]'")]
    return judge(json.loads(done.stdout.splitlines()[-1]))


def judge(seen: dict[str, object]) -> list[Finding]:
    """What the process said (see infra.models.devices) as findings."""
    return [_devices(seen), _gather(seen)]


def _devices(seen: dict[str, object]) -> Finding:
    gpus = [str(gpu) for gpu in _list(seen["gpus"])]
    if seen["cards"] and not gpus:
        return bad("devices", f"{seen['cards']} GPU(s), but torch {seen['torch']} sees none", REMEDIES["driver"])
    if not gpus:
        return note("devices", f"no GPU: torch {seen['torch']} trains on the CPU, small models only")
    full = [str(name) for name in _list(seen["full"])]
    if full:
        return warn("devices", f"hardly any memory is free on {', '.join(full)}", REMEDIES["memory"])
    return ok("devices", f"{', '.join(gpus)}; torch {seen['torch']}, CUDA {seen['cuda']}")


def _gather(seen: dict[str, object]) -> Finding:
    if seen["problem"]:
        return bad("collectives", f"{seen['backend']}: {seen['problem']}", REMEDIES["gather"])
    return ok("collectives", f"{seen['ranks']} processes sum over {seen['backend']}")


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
