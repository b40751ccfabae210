"""P6.raw_ratio, P7: how close preparation comes to its tokenizer, and how well and fast it packs. Prints JSON lines.

`python -m tests.benchmarks.data [TOKENIZER_FOLDER]`; without a folder the tiny tokenizer of the tests is used.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.config import DataConfig
from tasks.data.formats import read
from tasks.data.packing import pack
from tasks.data.preparation import Preparation
from tasks.data.spool import Spool
from tasks.data.templates import Template
from tasks.data.tokens import load
from tests import tiny
from tests.benchmarks.figures import figure

PAIRS = 7
ROWS = 4000
WORDS = [
    "the",
    "of",
    "printer",
    "account",
    "ticket",
    "please",
    "settle",
    "river",
    "quickly",
    "under",
    "yellow",
    "machine",
    "answer",
    "because",
    "during",
]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        tokenizer = load(Path(sys.argv[1]) if len(sys.argv) > 1 else tiny.tokenizer(home / "tokenizer"))
        figure("P6.raw_ratio", raw_ratio(tokenizer, home), target=0.9, better="higher", unit="share", n=PAIRS)
    lengths = np.clip(np.random.default_rng(0).lognormal(5.5, 0.8, 1_000_000), 8, 2048).astype(np.int64)
    bins = len(pack(lengths, 2048))
    figure("P7.fill", int(lengths.sum()) / (bins * 2048), target=0.995, better="higher", unit="share", n=1)
    seconds = [cpu(lambda: pack(lengths, 2048)) for _ in range(PAIRS)]
    speed = len(lengths) / statistics.median(seconds)
    figure("P7.plan_rows_per_s", speed, target=1e6, better="higher", unit="rows/s", n=PAIRS)


def raw_ratio(tokenizer: Any, home: Path) -> float:
    """CPU time of reading, rendering once and `encode_batch_fast`, over that of our whole preparation to files."""
    path = home / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    ratios, tokens = [], 0
    for pair in range(PAIRS):
        plain = cpu(lambda: raw(tokenizer, path))
        spool = Spool(home / f"spool-{pair}", 0.1)
        config = DataConfig(train_files=[str(path)])
        preparation = Preparation(config, tokenizer, Template(tokenizer), spool)
        ours = cpu(lambda preparation=preparation: prepare(preparation, path))
        tokens = int(spool.lengths.sum())
        ratios.append(plain / ours)
        print(f"{tokens / plain / 1e6:.3f} Mtok/CPU-s raw, {tokens / ours / 1e6:.3f} ours", file=sys.stderr)  # noqa: T201
    return statistics.median(ratios)


def raw(tokenizer: Any, path: Path) -> None:
    """What anyone would write who needs neither masks nor checks."""
    with path.open(encoding="utf-8") as file:
        conversations = [json.loads(line)["messages"] for line in file]
    texts = tokenizer.apply_chat_template(conversations, tokenize=False)
    for start in range(0, len(texts), 512):
        tokenizer.backend_tokenizer.encode_batch_fast(texts[start : start + 512], add_special_tokens=False)


def prepare(preparation: Preparation, path: Path) -> None:
    """Everything up to the finished spool."""
    for _ in preparation.feed(read(path, path.name), validation=False):
        continue
    preparation.finish()


def rows() -> list[dict[str, Any]]:
    """Conversations of a question and an answer, some 200 words in all."""
    chance = np.random.default_rng(0)

    def text(words: int) -> str:
        return " ".join(WORDS[pick] for pick in chance.integers(0, len(WORDS), words)) + f" {chance.integers(10**6)}."

    return [
        {"messages": [{"role": "user", "content": text(80)}, {"role": "assistant", "content": text(120)}]}
        for _ in range(ROWS)
    ]


def cpu(work: Callable[[], object]) -> float:
    """CPU-seconds of this process, its threads included."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
