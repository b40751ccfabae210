"""The tree of errors. The type alone decides what happens next: Refused and Corrupt stop, Lost is tried again."""

from typing import Any, ClassVar

from infra.frozen import Frozen


class LuthierError(Exception):
    """What went wrong, and, as far as they are known, the place, the value and the remedy.

    The text is made to be read by a person on one screen; `report()` is the same for a machine.
    """

    retry: ClassVar[bool] = False

    def __init__(self, what: str, *, place: str = "", value: object = None, remedy: str = "") -> None:
        self.what, self.place, self.remedy = what, place, remedy
        self.value = "" if value is None else str(value)[:400]
        super().__init__(what)

    def __str__(self) -> str:
        parts = [("where", self.place), ("value", self.value), ("remedy", self.remedy)]
        return "\n".join([self.what, *(f"  {name + ':':8}{text}" for name, text in parts if text)])

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword-only fields do not survive pickling by default, and Prefect pickles them.
        return (revive, (self.report(),))

    def report(self) -> "ErrorReport":
        """The error as a value that crosses processes."""
        return ErrorReport(
            error=type(self).__name__, what=self.what, place=self.place, value=self.value, remedy=self.remedy
        )


class ErrorReport(Frozen):
    """An error on its way from a worker to its stage."""

    error: str
    what: str
    place: str = ""
    value: str = ""
    remedy: str = ""


class Refused(LuthierError):
    """The input is wrong: trying again changes nothing."""


class BadRecipe(Refused):
    """A field of the recipe, or a combination of fields."""


class BadModel(Refused):
    """The base model is not what it should be: hash, files, licence, architecture."""


class BadData(Refused):
    """Rows, files or masks that must not be trained on."""


class BadTemplate(Refused):
    """A chat template that cannot give exact masks."""


class BadTraining(Refused):
    """The run made something unusable: NaN, an empty or untouched adapter."""


class BadMerge(Refused):
    """The merged model does not behave like the adapter it came from."""


class BadTask(Refused):
    """An evaluation task that does not exist, is not trusted, or gave no score."""


class BadNodes(Refused):
    """Nodes that cannot train together: other versions, a network that there is not."""


class StoreRefused(Refused):
    """The store cannot be used as it is: rights, bucket, or no conditional writes."""


class Corrupt(LuthierError):
    """Bytes differ from what was committed. Never used silently; the artifact is made again or an older one taken."""


class Cancelled(LuthierError):
    """Somebody ended the work from outside, and means it: not started again by itself."""


class Lost(LuthierError):
    """Something went away: process, node, network, store. The next try may find it again."""

    retry = True


class OutOfMemory(Lost):
    """The device or the machine ran out of memory."""


class Adapted(OutOfMemory):
    """Out of memory, and what needs less was remembered: the stage relaunches by itself and goes on with that."""


class Preempted(Lost):
    """Told to leave (exit 75): the stage relaunches and resumes by itself."""


class NodeLost(Preempted):
    """One of several nodes went away in the middle: the stage relaunches and resumes by itself."""


class LinkLost(NodeLost):
    """Nodes that live do not reach each other any more: the stage relaunches and resumes by itself."""


class Unreachable(Lost):
    """A service did not answer before its deadline."""


class Crashed(Lost):
    """A worker ended without saying why, or with an error nobody foresaw."""


def revive(report: ErrorReport) -> LuthierError:
    """The error that a report was made of; an unknown class comes back as Crashed."""
    kinds = {kind.__name__: kind for kind in _tree(LuthierError)}
    kind = kinds.get(report.error, Crashed)
    return kind(report.what, place=report.place, value=report.value or None, remedy=report.remedy)


def _tree(kind: type[LuthierError]) -> list[type[LuthierError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in _tree(child))]
