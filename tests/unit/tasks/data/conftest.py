"""A tiny tokenizer, and a way to run the stage's work in this process."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.launch.step import spec
from infra.launch.work import Work
from infra.settings import Settings
from infra.storage.objects import sha256_of
from infra.storage.receipt import FileEntry, Receipt, content_sha256
from tasks.data import sources, stage, worker
from tasks.data.config import DataConfig
from tasks.data.tokens import load
from tests import tiny


@pytest.fixture(autouse=True)
def home(luthier_home: Path) -> Path:
    """What is remembered of files is remembered there."""
    return luthier_home


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
    """An artifact as a folder, its shards, and its summary."""

    folder: Path
    shards: list[Path]
    summary: dict[str, Any]

    def split(self, name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The pieces of a side, read back through memory maps: their tokens, and their weights."""
        tokens, weights = (
            [mapped(shard / f"{kind}.bin", dtype) for shard in self.shards]
            for kind, dtype in (("tokens", "<u4"), ("weights", "<f2"))
        )
        pieces = np.load(self.folder / name / "pieces.npy").tolist()
        prompt = json.loads((self.folder / "index.json").read_text())["prompt_loss_weight"]
        told = []
        for shard, begin, length in pieces:
            weighed = weights[shard][begin : begin + length].astype(np.float32)
            weighed[weighed < 0] = prompt
            weighed[:1] = 0
            told.append((tokens[shard][begin : begin + length], weighed))
        return [ids for ids, _ in told], [weighed for _, weighed in told]

    def bins(self, name: str) -> list[list[int]]:
        """The indices of the pieces in each sequence of a side."""
        with np.load(self.folder / name / "bins.npz") as index:
            return (
                [part.tolist() for part in np.split(index["rows"], index["starts"][1:-1])] if len(index["rows"]) else []
            )

    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / "report.json").read_text())

    def hashes(self) -> dict[str, str]:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): sha256_of(path)[1] for path in files}


def mapped(path: Path, dtype: str) -> np.ndarray:
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)


Make = Callable[..., Made]


@pytest.fixture
def make(tmp_path: Path, tokenizer_folder: Path) -> Make:
    """Runs the work on files of rows: `make(path, …, max_length=…)`, in this process and without the last commit.

    Each call has a store of its own, so that no shard of another is found, unless it names a `home`.
    """
    count = iter(range(1000))

    def run(
        *files: Path,
        tokenizer: Path = tokenizer_folder,
        overlap: tuple[Receipt, Path] | None = None,
        home: Path | None = None,
        **fields: Any,
    ) -> Made:
        config = DataConfig.model_validate({"train_files": [str(path) for path in files], "num_proc": 1} | fields)
        step = stage.step(config, receipt(tokenizer), overlap and overlap[0])
        room = tmp_path / f"run-{next(count)}"
        (room / "out").mkdir(parents=True)
        platform = Settings(home=home or room / "home", store="").platform()
        folders = {"tokenizer": tokenizer} | ({"overlap": overlap[1]} if overlap else {})
        job = Work(config, folders, spec(step, "a"), platform, room / "out", room)
        summary = worker.work(job)
        shards = [
            platform.cache.materialise(platform.store, part, room / "shards" / name) for name, part in job.parts.items()
        ]
        return Made(room / "out", shards, summary)

    return run


def fetched(names: list[str], field: str, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Each file of a field with its short name, lying on this machine while it is looked at."""
    for file in sources.pinned(names, field):
        with sources.local(file, scratch) as path:
            yield file.short, path


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
