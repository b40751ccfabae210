"""This machine: the settings, the packages, the folder it works in, its memory and its compiler."""

import difflib
import importlib.metadata as installed
import os
import platform
import shutil
import sysconfig
import uuid
from collections.abc import Mapping
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from infra.doctor.finding import Finding, bad, guarded, note, ok, warn
from infra.launch.lifeline import MARK as WORKER
from infra.settings import Settings, load
from infra.stack.processes import MARK as STACK

SCARCE, LITTLE = 2 * 2**30, 20 * 2**30  # bytes free: no run at all; none of a model of some size
SMALL = 8 * 2**30  # bytes of memory
STAGES = {
    "data": "data cannot be prepared",
    "train": "nothing can be pinned, trained or merged",
    "evaluate": "nothing can be evaluated",
    "register": "nothing can be registered",
    "stack": "`luthier up` cannot start servers",
}


def settings() -> Finding:
    """The LUTHIER_* variables: each is known, and each value is one that can be meant."""
    return guarded("settings", _settings)


def _settings() -> Finding:
    load()
    known = {f"LUTHIER_{name.upper()}" for name in Settings.model_fields} | {WORKER, STACK}
    given = sorted(name for name in os.environ if name.startswith("LUTHIER_"))
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            return bad("settings", f"there is no setting {name}", _meant(near[0] if near else ""))
    return ok("settings", ", ".join(given) or "no LUTHIER_ variable is set: the defaults hold")


def _meant(near: str) -> str:
    return f"{near} is meant?" if near else "docs/operations.md lists the variables"


def packages() -> list[Finding]:
    """Python and every package, against the ranges that this Luthier was tried with."""
    try:
        about = installed.metadata("luthier")
    except installed.PackageNotFoundError:
        return [bad("packages", "luthier itself is not installed", "pip install -e '.[all]' in its checkout")]
    asked = [Requirement(text) for text in installed.requires("luthier") or []]
    found = [_python(str(about["Requires-Python"])), _required("", asked, "")]
    extras = about.get_all("Provides-Extra") or []  # an installation that was made before one of them does not know it
    return found + [_required(extra, asked, lost) for extra, lost in STAGES.items() if extra in extras]


def _python(range_: str) -> Finding:
    version = platform.python_version()
    if not SpecifierSet(range_).contains(version):
        return bad("python", f"Python {version} is outside {range_}", "make an environment of a Python of that range")
    return ok("python", f"Python {version}")


def _required(extra: str, asked: list[Requirement], lost: str) -> Finding:
    """The packages of one extra, or of none: those that are always needed."""
    name = f"packages [{extra}]" if extra else "packages"
    mine = [one for one in asked if _of(one, extra) and one.name.lower() != "luthier"]
    versions = {one.name: _version(one.name) for one in mine}
    install = f"pip install 'luthier[{extra}]'" if extra else "pip install luthier"
    wrong = [one for one in mine if versions[one.name] and not one.specifier.contains(versions[one.name], True)]
    if wrong:
        said = ", ".join(f"{one.name} {versions[one.name]} is outside {one.specifier}" for one in wrong)
        return bad(name, said, f"{install}, into an environment of its own")
    missing = [package for package, version in versions.items() if not version]
    if missing:
        said = f"{', '.join(missing)} not installed" + (f": {lost}" if lost else "")
        return (warn if extra else bad)(name, said, install)
    return ok(name, ", ".join(f"{package} {version}" for package, version in versions.items()))


def _of(one: Requirement, extra: str) -> bool:
    if one.marker is None:
        return not extra
    return bool(extra) and "extra" in str(one.marker) and one.marker.evaluate({"extra": extra})


def _version(package: str) -> str:
    try:
        return installed.version(package)
    except installed.PackageNotFoundError:
        return ""


def home(own: Settings) -> Finding:
    """The folder for work, cache and logs: it can be written to, and there is room."""
    folder = own.home.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f".doctor-{uuid.uuid4().hex}")
    except OSError as error:
        remedy = "free some of the disk, or set LUTHIER_HOME to a folder that you may write to, on a disk with room"
        return bad("home", f"cannot be written to: {error.strerror}; {folder}", remedy)
    free = shutil.disk_usage(folder).free
    said = f"{folder}, {free / 2**30:.0f} GiB free"
    if free < SCARCE:
        return bad("home", f"{said}: too little for any run", "free some of the disk, or set LUTHIER_HOME elsewhere")
    if free < LITTLE:
        return warn("home", f"{said}: too little for models of some size", "free some of the disk")
    if free < own.cache_bytes:
        return note("home", f"{said}, less than the cache may take (LUTHIER_CACHE_BYTES {own.cache_bytes})")
    return ok("home", said)


def _write(path: Path) -> None:
    try:
        path.write_bytes(bytes(2**20))
    finally:
        path.unlink(missing_ok=True)


def memory() -> Finding:
    """The memory of the machine, in all."""
    total, cores = psutil.virtual_memory().total, os.cpu_count()
    said = f"{total / 2**30:.0f} GiB of memory, {cores} CPU cores"
    if total < SMALL:
        return warn("memory", said, "models of 1 B parameters and more need a machine with more memory")
    return ok("memory", said)


def compiler(paths: Mapping[str, str] | None = None) -> Finding:
    """What DeepSpeed compiles its CPU optimizer with: only the presets that offload need it."""
    headers = Path((paths or sysconfig.get_paths())["include"]) / "Python.h"
    wanted = {"c++": shutil.which("c++"), "ninja": shutil.which("ninja"), "Python.h": headers.exists()}
    missing = [name for name, found in wanted.items() if not found]
    if missing:
        remedy = "apt-get install g++ ninja-build python3-dev, or the like; or train without offload"
        return warn("compiler", f"no {', '.join(missing)}: zero2_offload and zero3_offload cannot run here", remedy)
    return ok("compiler", "c++, ninja and Python.h are here (zero2_offload, zero3_offload)")
