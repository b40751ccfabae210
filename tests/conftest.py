"""What all tests share: a real S3 server, once a session, and a fresh root in each kind of store."""

import os
import random
import re
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from infra.storage.s3 import S3Objects
from infra.storage.store import Store, open_objects
from tests.s3 import Server, server

settings.register_profile("luthier", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("luthier")
os.environ["LUTHIER_PROFILE"] = os.devnull  # that of who runs the tests is not theirs

HEAVY = re.compile(r"^pytestmark = .*\bheavy\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where heavy tests are left out, what holds nothing else is not imported: their libraries take seconds."""
    if "not heavy" not in config.option.markexpr:
        return None
    files = list(collection_path.rglob("test_*.py")) if collection_path.is_dir() else [collection_path]
    light = [file for file in files if not HEAVY.search(file.read_text(encoding="utf-8"))]
    return True if files and not light else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Every test draws the same numbers each time, alone or among others; also what its fixtures draw."""
    seed = zlib.crc32(item.nodeid.encode())
    random.seed(seed)
    if sys.modules.get("torch") is not None:  # and not kept from being imported
        sys.modules["torch"].manual_seed(seed)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """A SeaweedFS that all tests of the session share; keys are kept apart by prefix."""
    with server() as running:
        yield running


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, with this process's environment leading to it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def s3_root(s3: Server) -> str:
    """A fresh root on the S3 server."""
    return f"s3://{s3.bucket}/{uuid.uuid4().hex}"


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh root in each kind of store."""
    return request.getfixturevalue("s3_root") if request.param == "s3" else f"file://{tmp_path}/store"


@pytest.fixture(scope="session")
def s3_client(s3_server: Server) -> Iterator[S3Objects]:
    """One client for the session: making one costs more than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        client = S3Objects(f"s3://{s3_server.bucket}", deadline_s=20)
        client.get("warm")
        yield client


@pytest.fixture
def another(root: str) -> Callable[[], Store]:
    """Makes further stores at that root, each with a client of its own, as other processes would have."""

    def make() -> Store:
        return Store(open_objects(root, deadline_s=60))

    return make


@pytest.fixture
def store(another: Callable[[], Store]) -> Store:
    """A store at that root."""
    return another()


@pytest.fixture
def luthier_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home with a local store, which this process and the workers that it starts use."""
    for name in [name for name in os.environ if name.startswith("LUTHIER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # workers of tests live in tests/
    return tmp_path / "home"
