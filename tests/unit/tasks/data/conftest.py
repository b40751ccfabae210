"""A tiny tokenizer, and a way to run the stage's work in this process."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.launch.step import Spec
from infra.launch.work import Work
from infra.settings import Settings
from infra.storage.objects import sha256_of
from infra.storage.receipt import FileEntry, Receipt, content_sha256
from tasks.data import stage, worker
from tasks.data.config import DataConfig
from tasks.data.tokens import load
from tests import tiny


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Any:
    return load(tokenizer_folder)


def receipt(folder: Path) -> Receipt:
    """What the base stage would hand on of a tokenizer's folder, had it committed it."""
    files = [
        FileEntry(path=path.name, size=(found := sha256_of(path))[0], sha256=found[1])
        for path in sorted(folder.iterdir())
    ]
    return Receipt(
        stage="tokenizer", key="0" * 64, attempt="a", uri="file:///x", content_sha256=content_sha256("tokenizer", files)
    )


@dataclass(frozen=True)
class Made:
    """An artifact as a folder, and its summary."""

    folder: Path
    summary: dict[str, Any]

    def split(self, name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The rows of a split, read back through memory maps: their tokens, and their weights."""
        at = self.folder / name
        ends = np.load(at / "offsets.npy", mmap_mode="r")
        tokens = np.memmap(at / "tokens.bin", "<u4", "r") if ends[-1] else np.zeros(0, "<u4")
        weights = np.memmap(at / "weights.bin", "<f2", "r") if ends[-1] else np.zeros(0, "<f2")
        assert len(tokens) == len(weights) == ends[-1]
        pairs = list(itertools.pairwise(ends))
        return [tokens[a:b] for a, b in pairs], [weights[a:b] for a, b in pairs]

    def bins(self, name: str) -> list[list[int]]:
        """The row indices in each bin of a split."""
        with np.load(self.folder / name / "bins.npz") as index:
            return (
                [part.tolist() for part in np.split(index["rows"], index["starts"][1:-1])] if len(index["rows"]) else []
            )

    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / "report.json").read_text())

    def hashes(self) -> dict[str, str]:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): sha256_of(path)[1] for path in files}


Make = Callable[..., Made]


@pytest.fixture
def make(tmp_path: Path, tokenizer_folder: Path) -> Make:
    """Runs the work on files of rows: `make(path, …, max_length=…)`, in this process and without a store's commit."""
    count = iter(range(1000))

    def run(*files: Path, tokenizer: Path = tokenizer_folder, **fields: Any) -> Made:
        config = DataConfig(train_files=[str(path) for path in files], **fields)
        step = stage.step(config, receipt(tokenizer))
        room = tmp_path / f"run-{next(count)}"
        (room / "out").mkdir(parents=True)
        spec = Spec(
            stage=step.stage,
            version=step.version,
            key=step.key,
            attempt="a",
            config=config.model_dump(mode="json"),
            inputs=step.inputs,
        )
        platform = Settings(home=tmp_path / "home", store="").platform()
        job = Work(config, {"tokenizer": tokenizer}, spec, platform, room / "out", room)
        return Made(room / "out", worker.work(job))

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as JSONL; a string is written as it is, as a line."""

    def to(rows: Iterable[Mapping[str, Any] | str], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return to


@pytest.fixture
def golden() -> Callable[[str], Path]:
    """A file that was looked at by a person and is compared with ever after."""
    return lambda name: Path(__file__).parent / "golden" / name
