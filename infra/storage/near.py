"""What a name may have been meant to be, where nothing is there."""

import glob
import os
from difflib import get_close_matches
from itertools import islice, pairwise
from pathlib import Path

MANY = 10_000  # names of a folder that are looked at
SHOWN = 3
RELATIVE = "paths are relative to the recipe's folder"


def advice(name: str) -> str:
    """What to do about a local path or glob that means nothing: names that are near it, or what lies there instead."""
    above, missing = _first_missing(Path(name))
    if above is None:
        return RELATIVE
    there = sorted(entry.name for entry in islice(os.scandir(above), MANY) if not entry.name.startswith("."))
    if glob.has_magic(missing):
        some = ", ".join(there[:SHOWN]) + (", …" if len(there) > SHOWN else "")
        return f"in its folder there is {some or 'nothing'}; {RELATIVE}"
    near = get_close_matches(missing, there, SHOWN)
    return f"did you mean {' or '.join(near)}? {RELATIVE}" if near else RELATIVE


def _first_missing(path: Path) -> tuple[Path | None, str]:
    """The deepest folder of a path that is there, and the part below it that is not."""
    parts = [*reversed(path.parents), path]
    for above, below in pairwise(parts):
        if above.is_dir() and not below.is_dir() and os.access(above, os.R_OK):
            return above, below.name
    return None, ""
