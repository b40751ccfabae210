"""The system's ssh, asked as a program asks: no password, no prompt, no key of a machine taken on trust.

What is to be done over there goes to a bash by standard input, so that no command line holds any of it.
"""

import contextlib
import json
import os
import re
import subprocess
import time
from typing import Any

from infra.errors import BadRecipe, LuthierError, Refused, Unreachable
from infra.launch import elsewhere
from infra.launch.keeper import ANSWER
from infra.launch.profile import Host, Profile

CONNECT_S = 10.0
ALIVE_S, ALIVE_COUNT = 15, 4  # a line that has gone dead is noticed within a minute
PAUSE_S = 1.0
CLOSE_S = 5.0
OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "NoHostAuthenticationForLocalhost": "no",
    "UpdateHostKeys": "no",
    "ConnectTimeout": f"{CONNECT_S:.0f}",
    "ServerAliveInterval": ALIVE_S,
    "ServerAliveCountMax": ALIVE_COUNT,
    "ControlMaster": "no",  # one that we became would hold our pipes
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RequestTTY": "no",
    "LogLevel": "ERROR",
}
_KEY = ("host key verification failed", "host key is known", "identification has changed")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/=]+")


def command(profile: Profile, host: Host) -> list[str]:
    """What starts a bash on a machine that reads its lines from standard input."""
    options = dict(OPTIONS)
    if profile.known_hosts:
        options |= {"UserKnownHostsFile": f'"{profile.known_hosts}"', "GlobalKnownHostsFile": "/dev/null"}
    told = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    file = ["-F", profile.ssh_config] if profile.ssh_config else []
    shell = "/bin/bash -ls" if profile.modules else "/bin/bash -s"  # a login shell knows `module`
    return ["ssh", *file, *told, "--", f"ssh://{host.ssh}", shell]


def script(profile: Profile, last: str, variables: dict[str, str] | None = None) -> str:
    """The site's lines, the variables, and the last line, which becomes the one program that is left."""
    before = elsewhere.setup(profile)
    lines = ["{", *before, "} < /dev/null >&2"] if before else []
    return "\n".join([*lines, elsewhere.exports(variables or {}), last]) + "\n"


def ask(profile: Profile, host: Host, text: str, deadline_s: float) -> str:
    """What a machine prints, once. Unreachable where it does not answer, Refused where its key is not the known one."""
    try:
        done = subprocess.run(
            command(profile, host),
            input=text,
            capture_output=True,
            text=True,
            timeout=deadline_s,
            check=False,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the flow
        )
    except FileNotFoundError:
        raise _no_ssh() from None
    except subprocess.TimeoutExpired:
        raise _away(host, f"no answer in {deadline_s:.0f} s") from None
    if done.returncode == 255:
        raise error(profile, host, done.stderr)
    if done.returncode != 0:
        raise _failed(host, f"exit status {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def answer(profile: Profile, host: Host, text: str, deadline_s: float) -> dict[str, Any]:
    """What the keeper on a machine answers."""
    said = ask(profile, host, text, deadline_s)
    for line in said.splitlines():
        if line.startswith(ANSWER):
            told: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
            return told
    raise _failed(host, said.strip()[-300:] or "it said nothing")


def patiently(profile: Profile, host: Host, text: str, deadline_s: float) -> dict[str, Any]:
    """The same, again and again while it does not answer, until the deadline: for what may be asked twice."""
    end = time.monotonic() + deadline_s
    while True:
        left = end - time.monotonic()
        try:
            return answer(profile, host, text, max(left, PAUSE_S))
        except Unreachable:
            if time.monotonic() + PAUSE_S > end:
                raise
            time.sleep(PAUSE_S)


class Line:
    """A connection that stays: lines of the keeper come, and each byte of ours says that we are there."""

    def __init__(self, profile: Profile, host: Host, text: str) -> None:
        self._profile, self._host, self._rest, self._words = profile, host, b"", ""
        try:
            self._process = subprocess.Popen(
                command(profile, host),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,  # told apart by the mark
                bufsize=0,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise _no_ssh() from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._input.fileno(), False)
        os.set_blocking(self._output.fileno(), False)
        self.say(text.encode())

    def say(self, data: bytes) -> None:
        """Send something; where that cannot be, `hear` tells of it."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            self._input.write(data)

    def hear(self) -> list[dict[str, Any]]:
        """What has come since; it does not wait. Raises what ended the connection, once all was heard."""
        data = b""
        while chunk := self._output.read(1 << 20):
            data += chunk
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        mark = ANSWER.encode()
        told = [json.loads(line.removeprefix(mark)) for line in lines if line.startswith(mark)]
        words = b"\n".join(line for line in lines if not line.startswith(mark)).decode(errors="replace")
        self._words = (self._words + words)[-4096:]
        if chunk is None or told:  # None: nothing more for now
            return told
        raise self._ended()

    def close(self) -> None:
        """Let go of it; the other side hears that, too."""
        self._input.close()
        self._output.close()
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ended(self) -> LuthierError:
        try:
            status = self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            return _away(self._host, "it has closed its output")
        return error(self._profile, self._host, self._words or f"exit status {status}")


def error(profile: Profile, host: Host, said: str) -> LuthierError:
    """What ssh's own words mean."""
    if not any(sign in said.lower() for sign in _KEY):
        return _away(host, said.strip()[-300:])
    file = profile.known_hosts or "~/.ssh/known_hosts"
    changed, shown = "identification has changed" in said.lower(), _FINGERPRINT.search(said)
    name, port = _place(host)
    known = f"[{name}]:{port}" if port else name
    check = "compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on that machine itself"
    scan = f"`ssh-keyscan {f'-p {port} ' if port else ''}{name} >> {file}`"
    return Refused(
        f"{host.ssh} shows another key than the known one" if changed else f"the key of {host.ssh} is not known",
        place=f"{host.ssh}, {file}",
        value=shown[0] if shown else said.strip()[-300:],
        remedy=f"somebody may stand between; {check}, and if it is right: `ssh-keygen -R '{known}' -f {file}`, then {scan}"
        if changed
        else f"{check}, and if it is right: {scan}",
    )


def _place(host: Host) -> tuple[str, str]:
    """Name or address, and the port where one is told."""
    at = host.ssh.rpartition("@")[2]
    name, port = at.rsplit(":", 1) if ":" in at.rpartition("]")[2] else (at, "")
    return name.strip("[]"), port


def _away(host: Host, said: str) -> Unreachable:
    last = " ".join(said.split()) or "the connection was closed"
    return Unreachable(
        f"{host.ssh} does not answer", place=host.ssh, value=last, remedy=f"`ssh {host.ssh} true` has to work from here"
    )


def _failed(host: Host, said: str) -> Unreachable:
    remedy = "is profile: python the path of a Python with luthier over there? `luthier doctor --launcher hosts` looks"
    return Unreachable(f"{host.ssh} cannot do what it is asked", place=host.ssh, value=said, remedy=remedy)


def _no_ssh() -> BadRecipe:
    remedy = "install OpenSSH's client where flows run"
    return BadRecipe("there is no ssh here", place="LUTHIER_PROFILE, launcher: hosts", remedy=remedy)
