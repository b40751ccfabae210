"""torchrun of one node: dies with its worker, and says how its ranks ended; it makes 1 of every exit status itself."""

import json
import sys
from pathlib import Path

from infra.launch.lifeline import die_with_parent

AT_ONCE_S = 5  # torchrun gives the other ranks 30 s before it kills them itself


def main(told: str, arguments: list[str]) -> None:
    """Run it, and write the exit statuses of the ranks that failed by themselves, by rank, to `told`."""
    die_with_parent()
    from torch.distributed import run  # noqa: PLC0415 - takes seconds, in which the worker may be killed
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415

    try:
        run.main(arguments)
    except ChildFailedError as failed:
        first = min(failure.timestamp for failure in failed.failures.values())
        own = {
            rank: failure.exitcode
            for rank, failure in failed.failures.items()
            if failure.timestamp <= first + AT_ONCE_S
        }
        Path(told).write_text(json.dumps(own))
        raise SystemExit(1) from failed


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
