"""Ports on loopback: the well-known one where it is free, else any below the range that the kernel gives out itself."""

import secrets
import socket
from collections.abc import Collection

from infra.errors import Lost

HOST = "127.0.0.1"
SHIFT = 10000  # SeaweedFS opens another port that much above each of its own


def free(port: int) -> bool:
    """Whether nobody listens there; connections that are only fading away do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def choose(wanted: int, taken: Collection[int]) -> int:
    """`wanted` if it is free and 10,000 above it too, else another such port; `taken` are given away already."""
    for port in [wanted, *(11000 + secrets.randbelow(10000) for _ in range(1000))]:
        if not {port, port + SHIFT} & set(taken) and free(port) and free(port + SHIFT):
            return port
    raise Lost("no free port on loopback", place=f"{HOST}:11000-20999", remedy="end some servers on this machine")


def listener(port: int) -> str:
    """Who listens there, as far as this user may know: `name (pid)`."""
    import psutil  # noqa: PLC0415 - only asked for a message

    try:
        pids = {link.pid for link in psutil.net_connections("tcp") if link.laddr and link.laddr[1] == port and link.pid}
        return ", ".join(f"{psutil.Process(pid).name()} (pid {pid})" for pid in pids) or "another process"
    except (psutil.Error, OSError):
        return "another process"
