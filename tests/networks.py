"""Networks on this machine for two nodes: each has its own, with one wire between them."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest


def _allowed() -> bool:
    """Whether this kernel lets us make a network and a wire: containers often may not."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        return False
    command = ["unshare", "--net", "ip", "link", "add", "lt-a", "type", "veth", "peer", "name", "lt-b"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_networks = pytest.mark.skipif(
    not _allowed(), reason="making networks needs root, iproute2 and a kernel that lets us"
)


@contextlib.contextmanager
def networks(ways_here: bool = False) -> Iterator[list[str]]:
    """The names of two, at 10.77.0.1 and 10.77.0.2; with ways here, they are reached from here at 10.78.0.2 and 10.78.1.2."""
    names = [f"luthier-{os.getpid()}-{node}" for node in range(2)]
    cables = [_cable(os.getpid(), node) for node in range(2)]
    commands = [f"ip netns add {name}" for name in names]
    commands += [f"ip link add {cables[0]} type veth peer name {cables[1]}"]
    for node, (name, cable) in enumerate(zip(names, cables, strict=True)):
        commands += [
            f"ip link set {cable} netns {name}",
            f"ip -n {name} address add 10.77.0.{node + 1}/24 dev {cable}",
            f"ip -n {name} link set lo up",
            f"ip -n {name} link set {cable} up",
            f"ip -n {name} {_way(node)}",
        ]
        if ways_here:
            here, there = f"lh{os.getpid() % 100000}-{node}", f"lw{os.getpid() % 100000}-{node}"
            commands += [
                f"ip link add {here} type veth peer name {there}",
                f"ip link set {there} netns {name}",
                f"ip address add 10.78.{node}.1/24 dev {here}",
                f"ip -n {name} address add 10.78.{node}.2/24 dev {there}",
                f"ip link set {here} up",
                f"ip -n {name} link set {there} up",
            ]
    try:
        for command in commands:
            subprocess.run(command.split(), check=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def wire(name: str, state: str) -> None:
    """`down`: nothing comes through the wire at that end any more, and nobody is told; `up`: as it was."""
    _, owner, node = name.split("-")
    subprocess.run(["ip", "-n", name, "link", "set", _cable(int(owner), int(node)), state], check=True)
    if state == "up":  # the way went with the wire
        subprocess.run(["ip", "-n", name, *_way(int(node)).split()], check=True)


def _way(node: int) -> str:
    return f"route replace default via 10.77.0.{2 - node}"


def _cable(owner: int, node: int) -> str:
    return f"lt{owner % 100000}-{node}"
