"""What a run says must not end it: the worker that reads its output may be killed, and the pipe goes with it."""

import contextlib

from rich.console import Console


def outlive_the_pipe() -> None:
    """Go on in silence when nobody reads our output any more; the log goes to the Prefect server all the same.

    Prefect writes through rich, which by default ends the process (Console.on_broken_pipe).
    """
    Console.on_broken_pipe = _go_on  # type: ignore[method-assign, assignment]


_end = Console.on_broken_pipe


def _go_on(console: Console) -> None:
    with contextlib.suppress(SystemExit):
        _end(console)  # silences the console first
