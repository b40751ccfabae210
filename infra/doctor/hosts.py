"""Machines that ssh reaches: does each answer with the key that is known, and has and sees it what workers need?"""

import json
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from infra.doctor.finding import Finding, bad
from infra.doctor.judging import judged
from infra.doctor.slurm import LOOK
from infra.errors import LuthierError
from infra.launch import elsewhere, ssh
from infra.launch.machines import home
from infra.launch.profile import Host, Profile, passed
from infra.launch.profile import load as load_profile
from infra.settings import Settings
from infra.storage.store import open_objects

PATIENCE_S = 60.0


def hosts(own: Settings) -> Iterator[Finding]:
    """Each machine of the profile, all at once; nothing is left there."""
    if shutil.which("ssh") is None:
        yield bad("hosts", "no ssh here", "install OpenSSH's client where flows run")
        return
    key = f"probe/{uuid.uuid4().hex}"
    try:
        profile, objects = load_profile(own.profile), open_objects(own.root(), min(own.store_deadline_s, 20.0))
        objects.create(key, key.encode())
    except LuthierError as error:
        yield bad("hosts", f"{error.what}; {error.place}", error.remedy)
        return
    if not profile.hosts:
        yield bad("hosts", "the site's profile names none", "as `hosts: [user@a, user@b]`, see docs/clusters.md")
    shared = own.shared_root or profile.shared_root
    try:
        with ThreadPoolExecutor(max(1, len(profile.hosts))) as pool:
            yield from pool.map(lambda host: _looked_at(own, profile, host, key, shared), profile.hosts)
    finally:
        objects.delete(key)


def _looked_at(own: Settings, profile: Profile, host: Host, key: str, shared: str) -> Finding:
    look = f"exec {elsewhere.python(profile)} -P -m {LOOK} {key} {shlex.quote(shared or '.')} < /dev/null"
    told = {"LUTHIER_STORE": own.root()} | passed({}, profile)
    before = time.time()
    try:
        said = ssh.ask(profile, host, ssh.script(profile, f"{home(profile)}\n{look}", told), PATIENCE_S)
    except LuthierError as error:
        return bad(f"hosts {host.ssh}", f"{error.what}: {error.value}", error.remedy)
    answers = [json.loads(line) for line in said.splitlines() if line.startswith('{"host"')]
    if not answers:
        return bad(f"hosts {host.ssh}", f"it said: {said[-300:]}", "profile: python is the path of Python over there")
    return judged(f"hosts {host.ssh}", answers[0], key, (before, time.time()))
