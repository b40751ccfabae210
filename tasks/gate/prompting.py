"""Would prompting do? The candidate beside the base model with examples in its prompt, on the same documents. It decides
nothing: whoever reads the verdict should know whether training was needed at all."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.errors import BadTask
from tasks.gate.comparing import Compared, compare
from tasks.gate.config import Comparison, GateConfig
from tasks.gate.samples import Pairs, beside


def prompting(config: GateConfig, candidate: Path, prompted: Path) -> list[Compared]:
    """Whether the candidate is better, for each metric that the gate looks at and single documents have; at the level and
    with the power of the comparison with production."""
    asked = (one.model_copy(update={"margin": None, "min_gain": 0.0}) for one in config.comparisons())
    found = {one: pairs for one in asked if (pairs := _pairs(one, candidate, prompted)) is not None}
    return compare(found, config.incumbent)


def told(rows: Sequence[Compared], shots: int) -> Iterator[str]:
    """What that shows, a sentence for each."""
    examples = f"{shots} example{'s' if shots > 1 else ''}"
    for row in rows:
        figures = f"{row.candidate:.3g} beside {row.incumbent:.3g} in {row.metric} on {row.n:,} documents"
        if row.outcome == "passed":
            yield f"On {row.task} it is shown to be better than the base with {examples} in its prompt ({figures})."
        elif row.outcome == "failed":
            yield f"Prompting suffices on {row.task}: the base with {examples} in its prompt is shown to be better ({figures})."
        else:
            yield (
                f"Prompting may suffice on {row.task}: it is not shown to be better than the base with {examples} in its "
                f"prompt ({figures})."
            )


def _pairs(asked: Comparison, candidate: Path, prompted: Path) -> Pairs | None:
    try:
        return beside(asked, candidate, prompted)
    except BadTask:  # a bar may stand on a group, or on a metric that documents do not have: no verdict fails for this
        return None
