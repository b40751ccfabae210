"""Finds lm-eval's tasks by name, and says whose mistake an error in one is. Loads no torch, and runs the code of tasks."""

import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from lm_eval.tasks import TaskManager

from infra.errors import BadTask, Crashed, LuthierError, OutOfMemory


def manager(names: Sequence[str], folder: Path | None) -> TaskManager:
    """The index of tasks; lm-eval's own thousands of YAMLs are read only where a name is not in `folder`.

    BadTask for a name in neither, with the names that are near. A path is no name: its code was not vouched for.
    """
    include = None if folder is None else str(folder)
    found = TaskManager(include_path=include, include_defaults=False)
    if not set(names) <= set(found.all_tasks):
        found = TaskManager(include_path=include)
    for name in names:
        if name not in found.all_tasks:
            near = get_close_matches(name, found.all_tasks, 5)
            raise BadTask(
                "there is no such evaluation task",
                place="evaluate.tasks",
                value=name,
                remedy=f"near it: {', '.join(near)}" if near else "`lm-eval ls tasks` lists lm-eval's own",
            )
    return found


def explained(error: Exception, tasks: Path | None) -> LuthierError:
    """What an exception means: memory, a mistake in a task of the user's own, or nothing that was foreseen."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if tasks is not None and Path(frame.filename).is_relative_to(tasks)]
    text = f"{type(error).__name__}: {str(error)[:2000]}"
    # Torch's is told by its name, because torch is not loaded where no model is asked.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OutOfMemory("evaluation ran out of memory", value=text, remedy="lower evaluate.batch_size")
    if own and tasks is not None:
        place = f"{Path(own[-1].filename).relative_to(tasks)}:{own[-1].lineno}"
        return BadTask(
            f"an evaluation task failed: {text}",
            place=place,
            remedy="it sees a copy of evaluate.include_path and nothing beside it",
        )
    if tasks is not None and isinstance(error, FileNotFoundError) and str(tasks) in str(error):
        return BadTask(
            f"an evaluation task reads a file that is not there: {text.replace(str(tasks), '.')}",
            place="evaluate.include_path",
            remedy="put it into that folder; a copy of it is all that a task sees",
        )
    return Crashed(f"evaluation: {text}", place=f"{frames[-1].filename}:{frames[-1].lineno}")
