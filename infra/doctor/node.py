"""`python -m infra.doctor.node KEY FOLDER`: what a node of a cluster has and sees, as a line of JSON."""

import importlib.metadata
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path

from infra import settings
from infra.errors import LuthierError
from infra.launch.work import code
from infra.storage.store import open_objects


def look(key: str, folder: str) -> dict[str, str]:
    """The host, its versions, GPUs, clock and room, whether it sees the folder, and what the key holds or why nothing."""
    return {
        "host": os.environ.get("SLURMD_NODENAME") or platform.node(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "gpus": str(len(list(Path("/dev").glob("nvidia[0-9]*")))),
        "folder": folder,
        "shared": "yes" if Path(folder).is_dir() else folder,
        "found": _found(key),
        "code": code(),
        "clock": str(time.time()),
        "home": str(_home()),
        "free": str(shutil.disk_usage(_home()).free),
    }


def _home() -> Path:
    """LUTHIER_HOME, or what there is of it."""
    told = Path(os.environ.get("LUTHIER_HOME", os.curdir)).absolute()
    return next(folder for folder in (told, *told.parents) if folder.is_dir())


def _found(key: str) -> str:
    try:
        own = settings.load()
        data = open_objects(own.root(), min(own.store_deadline_s, 20.0)).get(key)
    except LuthierError as error:
        return str(error)
    return "nothing there" if data is None else data.decode()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look(*sys.argv[1:])) + "\n")
