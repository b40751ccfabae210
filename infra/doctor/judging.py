"""What is right and wrong with a node, by what it said of itself (infra/doctor/node.py)."""

import os
import platform

from infra.doctor.finding import Finding, bad, ok, warn
from infra.doctor.machine import SCARCE
from infra.launch.work import code

CLOCK_S = 5.0


def judged(check: str, told: dict[str, str], key: str, asked: tuple[float, float] | None = None) -> Finding:
    """The first thing that is wrong. `asked` is when, by this machine's clock, it was asked and had answered."""
    if "code" not in told:
        return bad(check, f"Python {told['python']}; it has an older Luthier", "install there what is here")
    free = int(told["free"])
    said = f"Python {told['python']}, torch {told['torch']}, {told['gpus']} GPUs, {free / 2**30:.0f} GiB free"
    off = _off(float(told["clock"]), *asked) if asked else 0.0
    here = platform.python_version_tuple()[:2]
    faults = [
        (bad, told["shared"] != "yes", f"it does not see {told['shared']}", "mount LUTHIER_SHARED_ROOT there, too"),
        (bad, told["found"] != key, f"it does not see the store: {told['found']}", "see LUTHIER_STORE and AWS_*"),
        (bad, told["torch"] == "none", "the store is seen", "install luthier[train] there, or name profile: python"),
        (warn, told["code"] != code(), "it has another Luthier", "install there what is here"),
        (warn, tuple(told["python"].split(".")[:2]) != here, f"here it is {'.'.join(here)}", "use the same everywhere"),
        (warn, off > CLOCK_S, f"its clock is off by {off:.0f} s", "have chrony or systemd-timesyncd keep it"),
        (warn, free < SCARCE, f"too little in {told['home']}", "free some space, or set home in the site's profile"),
    ]
    for kind, wrong, what, remedy in faults:
        if wrong:
            return kind(check, f"{said}; {what}", remedy)
    return ok(check, f"{said}; {'store is' if told['folder'] == os.curdir else 'shared folder and store are'} seen")


def _off(clock: float, before: float, after: float) -> float:
    return max(before - clock, clock - after, 0.0)
