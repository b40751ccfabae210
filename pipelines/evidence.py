"""What people read when it is decided whether a version goes into production: the question with its evidence, and what came of it."""

from datetime import datetime

from infra.printable import inert
from tasks.registry.config import DecisionConfig
from tasks.registry.standing import Standing

WAITS = "prefect.flow-run.luthier-waits"  # the event of a run that is suspended with the question


def question(asked: DecisionConfig, against: str, place: str, verdict: str, until: datetime, note: str = "") -> str:
    """Markdown above the form: what is asked, what an answer does, and the verdict's own page.

    `against` is the version in production that the verdict compares with, or empty; `place` is a link to the version
    in MLflow, or empty where that is a file; what comes from data is made inert here.
    """
    one = f"{asked.name}/{asked.version}"
    lines = [
        f"### Put {one} into production?",
        f"- Compared with {against}, which is in production."
        if against
        else "- Nothing was in production to compare it with.",
        *([f"- The version in MLflow: {place}"] if place else []),
        f"- After {until:%Y-%m-%d %H:%M} UTC the run fails with nothing moved; `luthier promote {one}` decides then.",
        *([f"- It was {inert(note)}"] if note else []),
    ]
    shown = inert(verdict).replace("\n# ", "\n#### ")
    return "\n".join([*lines, "", f"###{shown}" if shown.startswith("# ") else shown])


def held(one: str, outcome: str, said: str) -> str:
    """What became of a version whose verdict is no promotion."""
    return f"{one} stays out of production: {outcome}. {said}".strip()


def awaiting(one: str, why: str = "") -> str:
    """What is to be done where nobody is asked in Prefect."""
    return f"{one} awaits approval: `luthier promote {one}`" + (f". Nobody is asked here: {why}" if why else "")


def settled(asked: DecisionConfig, standing: Standing) -> str:
    """What came of the decision, or of an earlier one."""
    one, because = f"{asked.name}/{asked.version}", f": {standing.why}" if standing.why else ""
    if standing.state == "refused":
        instead = f"what is in production stays; `luthier promote {one}` would still change that"
        return f"{one} was refused by {standing.by}, {standing.at}{because}; {instead}"
    if standing.state == "in production":
        by = f", by {standing.by}" if standing.by else ""
        return f"{one} is in production already{by}{because}; nothing was moved"
    before = f"{asked.name}/{standing.before}; `luthier rollback {asked.name}` returns to it"
    return f"{one} is in production, approved by {standing.by}{because}; before it was {before if standing.before else 'nothing'}"
