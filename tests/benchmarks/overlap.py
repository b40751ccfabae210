"""How fast rows are compared with an evaluation's questions, reading included. Prints JSON lines."""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from tasks.data.formats import read
from tasks.data.layouts import Shape
from tasks.data.overlap import Question, Searched, hits
from tests.benchmarks.figures import figure

RUNS = 5
QUESTIONS, ROWS = 10_000, 20_000
LONG, SHORT, ROW = 50, 9, 150  # words


def main() -> None:
    chance = np.random.default_rng(0)
    words = [f"{number:x}" if number % 40 else str(number) for number in chance.permutation(2**24)[:30_000]]

    def text(length: int) -> str:
        return " ".join(words[rank] for rank in np.minimum(chance.zipf(1.3, length), len(words)) - 1)

    asked = [text(SHORT if number % 4 == 0 else LONG) for number in range(QUESTIONS)]
    questions = [Question(f"task{number % 50}", number, "", one, [], []) for number, one in enumerate(asked)]
    searched = Searched(questions, 13)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps({"text": text(ROW)}) + "\n" for _ in range(ROWS)))
        speeds = [path.stat().st_size / 1e6 / _seconds(path, searched) for _ in range(RUNS)]
    figure("overlap.mb_per_s", statistics.median(speeds), target=20, better="higher", unit="MB/s", n=RUNS)


def _seconds(path: Path, searched: Searched) -> float:
    """CPU seconds of one pass."""
    begun = time.process_time()
    for _ in hits(read(path, path.name, Shape("auto", {})), searched, seed=42):
        pass
    return time.process_time() - begun


if __name__ == "__main__":
    main()
