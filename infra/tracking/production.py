"""Which version of a model is in production: what MLflow's aliases say, and how they are moved."""

from infra.frozen import Frozen
from infra.tracking.lookup import Lookup, Version
from infra.tracking.versions import Versions

CHAMPION, PREVIOUS = "champion", "previous"
MOVED = "luthier.champion"  # tag of the model: the version to which Luthier has last moved the alias


class Production(Frozen):
    """The versions that the aliases mean, the one that Luthier last made the champion (None where it never did), and all
    that are known."""

    name: str
    champion: Version | None = None
    previous: Version | None = None
    moved: int | None = None
    known: tuple[Version, ...] = ()

    @property
    def by_hand(self) -> bool:
        """Whether somebody else has moved the alias since, or set or removed it."""
        return self.moved != (self.champion.number if self.champion else None)


def production(look: Lookup, name: str) -> Production:
    """What is so now."""
    known = look.versions(name=name)
    told = look.model_tags(name).get(MOVED, "")
    return Production(
        name=name,
        champion=next((one for one in known if CHAMPION in one.aliases), None),
        previous=next((one for one in known if PREVIOUS in one.aliases), None),
        moved=int(told) if told.isdigit() else None,
        known=tuple(known),
    )


def promote(aliases: Versions, now: Production, version: int, told: dict[str, str]) -> None:
    """Make a version the champion, and the champion the previous one; `told` become its tags.

    The champion moves after all else, so that a promotion that was cut off has not happened, and can be made again.
    """
    aliases.mark(now.name, told, version)
    if now.champion is not None and now.champion.number != version:
        aliases.point(now.name, PREVIOUS, now.champion.number)
    aliases.mark(now.name, {MOVED: str(version)})
    aliases.point(now.name, CHAMPION, version)


def swap(aliases: Versions, now: Production, champion: Version, previous: Version, told: dict[str, str]) -> None:
    """Make the previous version the champion again; what was the champion is the previous one, with `told` as tags."""
    aliases.mark(now.name, told, champion.number)
    aliases.mark(now.name, {MOVED: str(previous.number)})
    aliases.point(now.name, CHAMPION, previous.number)
    aliases.point(now.name, PREVIOUS, champion.number)
