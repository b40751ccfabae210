"""P6 and P7: what preparing rows costs beside its tokenizer and beside others, how it grows, and how well it packs.

    python -m tests.benchmarks.data [ROWS]

ROWS is GSM8K, a folder with train.jsonl or a file of that form, else $BENCH_ROWS; without either the rows are made up. The
tokenizer is SmolLM2's. Ratios are of CPU-seconds, of whole process trees, each round of all ways one after the other.
"""

import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.config import DataConfig
from tasks.data.formats import read
from tasks.data.layouts import Shape
from tasks.data.packing import pack
from tasks.data.shard import Shard
from tasks.data.templates import Template
from tasks.data.tokens import Encoder, load
from tests.benchmarks import material, peers, scale
from tests.benchmarks.figures import cpu, figure, note

ROUNDS = 5
ROWS = 7_500
CAPACITY = 2048
# By figure: the other way, and how many times its cost ours should save.
WAYS = {
    "P6.raw_ratio": (peers.raw, 0.9),
    "P6.map_ratio": (peers.mapped, 1.5),
    "P6.batched_map_ratio": (peers.mapped_in_batches, None),
    "P6.trl_ratio": (peers.trl, None),
}


def main(given: str | None = None, large: bool = True) -> None:
    """All figures; those at a million rows, which take minutes, only where `large`."""
    # One thread each: what the tokenizer's threads do while they wait is CPU time too.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as folder:
        root = Path(folder)
        tokenizer, path = material.tokenizer(root / "tokenizer"), root / "rows.jsonl"
        path = material.questions(Path(given), path) if given else material.chats(ROWS, path)
        parts: dict[str, Callable[[], None]] = {
            "packing a million lengths": packing,
            f"{ROUNDS} rounds of all ways, {path.stat().st_size >> 10:,} KiB": lambda: ratios(
                load(tokenizer), path, root
            ),
        }
        if large:
            parts["the stage on up to a million rows"] = lambda: scale.main(tokenizer, root)
        failed = [name for name, part in parts.items() if not _told(name, part)]
    if failed:
        raise SystemExit(f"these have no figures: {', '.join(failed)}")


def _told(name: str, part: Callable[[], None]) -> bool:
    """Whether a part of the figures could be taken; what one cannot do costs none of the others."""
    note(f"{time.strftime('%H:%M:%S')} {name}")
    try:
        part()
    except Exception:
        note(traceback.format_exc())
        return False
    return True


def ratios(tokenizer: Any, path: Path, root: Path) -> None:
    """The cost of each other way over that of our whole preparation to files."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(-1, ROUNDS):
        ours = cpu(lambda number=number: prepare(tokenizer, path, root / f"shard-{number}"))  # type: ignore[misc]
        spent = {name: _cost(way, tokenizer, path) for name, (way, _) in WAYS.items()}
        if number < 0:
            continue  # imports, and what is compiled once
        tokens = (root / f"shard-{number}" / "tokens.bin").stat().st_size // 4
        told = ", ".join(f"{name[3:-6]} {seconds:.2f}" for name, seconds in spent.items())
        note(f"CPU-seconds for {tokens:,} tokens: ours {ours:.2f}, {told}")
        for name, seconds in spent.items():
            found[name].append(seconds / ours)
    for name, (_, target) in WAYS.items():
        figure(name, statistics.median(found[name]), target=target, better="higher", unit="ratio", n=ROUNDS)


def _cost(way: Any, tokenizer: Any, path: Path) -> float:
    """CPU-seconds, as the way itself says them where not all that it does counts."""
    said: list[float | None] = []
    spent = cpu(lambda: said.append(way(tokenizer, path)))
    return spent if said[0] is None else said[0]


def prepare(tokenizer: Any, path: Path, folder: Path) -> None:
    """Everything from the file to the finished shard."""
    folder.mkdir()
    config, shape = DataConfig(train_files=[str(path)]), Shape()
    text = config.text(config.sources(validation=False)[0])
    with Shard(folder, text, Template(tokenizer), Encoder(tokenizer)) as shard:
        for _ in shard.feed(read(path, path.name, shape), "rows.jsonl:"):
            continue
        shard.finish(shape.unused)


def packing() -> None:
    """How full sequences are and how fast rows find theirs, beside TRL's packing of the same lengths."""
    lengths = np.clip(np.random.default_rng(0).lognormal(5.5, 0.8, 1_000_000), 8, CAPACITY).astype(np.int64)
    total = int(lengths.sum())
    figure(
        "P7.fill", total / (len(pack(lengths, CAPACITY)) * CAPACITY), target=0.995, better="higher", unit="share", n=1
    )
    seconds = [cpu(lambda: pack(lengths, CAPACITY)) for _ in range(ROUNDS)]
    speed = len(lengths) / statistics.median(seconds)
    figure("P7.plan_rows_per_s", speed, target=1e6, better="higher", unit="rows/s", n=ROUNDS)
    some = lengths[:200_000]
    spent, bins = peers.trl_packed(some, CAPACITY)
    ours = statistics.median(cpu(lambda: pack(some, CAPACITY)) for _ in range(ROUNDS))
    figure("P7.trl_fill", int(some.sum()) / (bins * CAPACITY), better="higher", unit="share", n=1)
    figure("P7.trl_speed_ratio", spent / ours, better="higher", unit="ratio", n=1)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BENCH_ROWS"))
