"""P10: what the store's client costs beside s5cmd and boto3, on the same S3 server; and how much memory it takes.

    python -m tests.benchmarks.transfer [MEBIBYTES] [ROUNDS]

Every way is a process of its own. From its CPU-seconds those of the same process are taken that only asks for one small
object, so that what is compared is the moving of bytes. Ours are also hashed (sha256), which the others do not do.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.benchmarks.figures import cpu, figure, note
from tests.s3 import Server, server

MIB = 2**20
OURS = """
import hashlib, sys
from pathlib import Path
from infra.storage.s3 import S3Objects

def peak():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

root, do, path = sys.argv[1:]
client = S3Objects(root)
client.put("small", b"x")
before = peak()
if do == "up":
    client.upload(Path(path), "ours")
if do == "down":
    sha = hashlib.sha256()
    with open(path, "wb") as out:
        for block in client.blocks("ours"):
            sha.update(block)
            out.write(block)
print(peak() - before)
"""
BOTO3 = """
import sys
import boto3
root, do, path = sys.argv[1:]
bucket, _, prefix = root.removeprefix("s3://").partition("/")
client = boto3.client("s3")
client.put_object(Bucket=bucket, Key=f"{prefix}/small", Body=b"x")
if do == "up":
    client.upload_file(path, bucket, f"{prefix}/boto3")
if do == "down":
    client.download_file(bucket, f"{prefix}/boto3", path)
"""


def _python(code: str, root: str, do: str, path: Path) -> list[str]:
    return [sys.executable, "-c", code, root, do, str(path)]


def _s5cmd(root: str, do: str, path: Path) -> list[str]:
    program, there = str(Path(sys.executable).parent / "s5cmd"), f"{root}/s5cmd"
    return {
        "nothing": [program, "head", f"{root}/small"],
        "up": [program, "cp", str(path), there],
        "down": [program, "cp", there, str(path)],
    }[do]


def main(size: int, rounds: int) -> None:
    """Print the figures."""
    with server() as running, tempfile.TemporaryDirectory() as room, _reaching(running):
        root, sent = f"s3://{running.bucket}/bench", Path(room) / "sent"
        with sent.open("wb") as file:
            for _ in range(size):
                file.write(os.urandom(MIB))
        ways = {
            "ours": partial(_python, OURS, root),
            "boto3": partial(_python, BOTO3, root),
            "s5cmd": partial(_s5cmd, root),
        }
        spent: dict[tuple[str, str], list[float]] = {(way, do): [] for way in ways for do in ("up", "down")}
        for _ in range(rounds):
            for (name, do), found in spent.items():
                path = sent if do == "up" else Path(room) / "received"
                start = cpu(partial(_run, ways[name]("nothing", path)))
                found.append(max(cpu(partial(_run, ways[name](do, path))) - start, 0.01))
        grown = max(
            float(_run(ways["ours"](do, path))) for do, path in (("up", sent), ("down", Path(room) / "received"))
        )
    for (name, do), found in spent.items():
        note(f"{name} {do}: {size / statistics.median(found):.0f} MiB a CPU-second; {[round(one, 2) for one in found]}")
    _compare(spent, rounds)
    figure("P10.rss_mb", grown, target=128, better="lower", unit="MiB", n=2)


def _compare(spent: Mapping[tuple[str, str], list[float]], rounds: int) -> None:
    """CPU of the other's over ours, pair by pair: up and down together, and each."""
    for peer, target in (("s5cmd", 0.8), ("boto3", None)):
        for name, kinds in (("", ("up", "down")), (".up", ("up",)), (".down", ("down",))):
            theirs, ours = ([sum(spent[way, do][at] for do in kinds) for at in range(rounds)] for way in (peer, "ours"))
            ratio = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
            figure(
                f"P10.{peer}_ratio{name}",
                ratio,
                target=None if name else target,
                better="higher",
                unit="ratio",
                n=rounds,
            )


@contextmanager
def _reaching(running: Server) -> Iterator[None]:
    """This process's environment leads to the server, for all three."""
    before = dict(os.environ)
    os.environ.update(running.environment, S3_ENDPOINT_URL=running.endpoint)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main(*([int(given) for given in sys.argv[1:]] or [256, 5]))
