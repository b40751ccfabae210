"""P12.rerun: what the same run costs once more, beside the first: the quickstart, by `luthier` as it is typed."""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.figures import cpu, figure, note

AGAIN = 3
LIMIT_S = 1800
LUTHIER = str(Path(sys.executable).parent / "luthier")


def main() -> None:
    """CPU-seconds of all processes: the run, the same command again, and `luthier rerun` of the version it made.

    The last two are the start of processes, whatever the model: where training takes hours they are nothing.
    """
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as folder:
        home = Path(folder)
        first = cpu(lambda: luthier(home, "run", "quickstart"))
        same = statistics.median(cpu(lambda: luthier(home, "run", "quickstart")) for _ in range(AGAIN))
        rerun = statistics.median(cpu(lambda: luthier(home, "rerun", "tickets/1")) for _ in range(AGAIN))
    note(f"CPU-seconds: first {first:.1f}, the same again {same:.1f}, luthier rerun {rerun:.1f}")
    figure("P12.rerun", same / first, target=0.05, better="lower", unit="share", n=AGAIN)
    figure("P12.rerun_s", same, better="lower", unit="CPU-s", n=AGAIN)
    figure("P12.rerun_version_s", rerun, better="lower", unit="CPU-s", n=AGAIN)


def luthier(home: Path, *arguments: str) -> None:
    """The command to its good end."""
    environment = {**os.environ, "LUTHIER_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [LUTHIER, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-3000:])


if __name__ == "__main__":
    main()
