"""A preparation that is killed loses the shards it was at, and nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.data import stage
from tasks.data.config import DataConfig
from tests import jobs, tiny

pytestmark = [pytest.mark.heavy, pytest.mark.slow]

ROWS = 200_000
RUN = """
import sys
from pathlib import Path
from infra.storage.receipt import Receipt
from tasks.data import stage
from tasks.data.config import DataConfig
from tests import jobs
config, tokenizer = DataConfig.model_validate_json(sys.argv[2]), Receipt.model_validate_json(sys.argv[3])
stage.run(config, tokenizer, jobs.platform(Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """Many rows in one file; a few of them cannot be used, and some are equal."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    lines = [json.dumps(row) + "\n" for row in tiny.rows(2000)]
    with path.open("w") as file:
        for number in range(ROWS):
            line = lines[number % len(lines)]
            file.write("{\n" if number % 5000 == 17 else line.replace("Ticket", f"Ticket {number // 3}", 1))
    return DataConfig(train_files=[str(path)], num_proc=2, max_length=512)


def platform(home: Path, tokenizer: Path) -> tuple[Platform, Receipt]:
    """A store of its own, and the tokenizer in it."""
    on = jobs.platform(home)
    return on, jobs.keep(on, "tokenizer", tokenizer, key="0" * 64)


def shards(on: Platform) -> dict[str, str]:
    """The shards that are committed: their keys, and the attempts that made them."""
    made = {}
    for key in on.store.objects.list("stages/shard/"):
        if key.endswith("MANIFEST.json"):
            manifest = on.store.newest("shard", key.split("/")[2])
            assert manifest is not None
            made[manifest.key] = manifest.attempt
    return made


def start(on: Platform, config: DataConfig, tokenizer: Receipt, **options: Any) -> subprocess.Popen[str]:
    """A process that prepares, seen with its second shard in the store."""
    arguments = [str(on.home), config.model_dump_json(), tokenizer.model_dump_json()]
    run = subprocess.Popen([sys.executable, "-c", RUN, *arguments], text=True, **options)
    until(lambda: len(shards(on)) >= 2)
    return run


def below(run: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(run.pid).children(recursive=True)


@pytest.fixture
def killed(tmp_path: Path, config: DataConfig) -> tuple[Platform, Receipt, dict[str, str]]:
    """A preparation whose every process was killed when the second shard was there."""
    on, tokenizer = platform(tmp_path / "killed", tiny.tokenizer(tmp_path / "tokenizer"))
    run = start(on, config, tokenizer)
    found = below(run)
    assert len(found) >= 3, "a worker and two processes that prepare"
    for process in (run.pid, *(child.pid for child in found)):
        os.kill(process, signal.SIGKILL)
    run.wait(10)
    return on, tokenizer, shards(on)


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_the_rerun_of_a_killed_preparation_makes_what_is_missing_and_the_same_bytes(
    killed: tuple[Platform, Receipt, dict[str, str]], config: DataConfig, tmp_path: Path
) -> None:
    on, tokenizer, before = killed
    again = stage.run(config, tokenizer, on)
    after = shards(on)
    assert before
    assert len(before) < len(after)
    assert {key: after[key] for key in before} == before, "a shard that was there was made again"

    left, whole = platform(tmp_path / "whole", tiny.tokenizer(tmp_path / "tokenizer"))
    alone = stage.run(config.model_copy(update={"num_proc": 1}), whole, left)
    assert again.content_sha256 == alone.content_sha256
    assert again.summary["rows"] == ROWS
    assert again.summary["bad"] == ROWS // 5000
