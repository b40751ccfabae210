"""What a run would be made of that the version in production was not: nothing, where every key is the same."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from infra.errors import Corrupt, LuthierError
from infra.frozen import Frozen
from infra.launch.step import Step
from infra.printable import line
from infra.storage.receipt import Manifest
from infra.storage.store import Store
from pipelines.again import Made, came_out_equal
from pipelines.recipe import Recipe
from tasks.data.changes import Since
from tasks.merging import stage as merging
from tasks.registry.rivals import Judged, Rivals
from tasks.training import stage as training

MERGED = ("weights", "tokenizer", "adapter", "dataset")
SHOWN = 20  # of the reasons: a prefix may have thousands of new files


@dataclass(frozen=True)
class News:
    """`line` says since which version there is nothing new, or why there is; `reasons` name what differs. `since` is the
    version in production with its data, where the record of it is there."""

    new: bool
    line: str
    reasons: tuple[str, ...] = ()
    since: Since | None = None

    def page(self) -> str:
        """It as Markdown."""
        # In a block: reasons quote names of files and values of fields.
        listed = [line(reason).replace("`", "'") for reason in self.reasons[:SHOWN]]
        more = len(self.reasons) - len(listed)
        block = ["", "```text", *listed, *([f"and {more} more"] if more else []), "```"] if listed else []
        return "\n".join([f"# {self.line}", *block])


def look(recipe: Recipe, rivals: Rivals, store: Store) -> News:
    """Compare the keys of a recipe's stages with those of the version in production, and with those of later ones that were
    turned down beside it. Sources are listed, nothing is made."""
    champion, name = rivals.champion, recipe.register_as.name
    if champion is None:
        return News(True, f"Of {name} no version is in production that could be compared with")
    try:
        made = _made(store, champion)
    except Corrupt as gone:
        return News(True, f"What {champion.version} was made of is not known any more: {gone.what}")
    since = Since(version=champion.version, dataset=made.records["model"].inputs["dataset"])
    reasons = tuple(differences(recipe, made, store))
    if not reasons:
        why = "which is in production" if recipe.gate.incumbent.version is None else "as gate.incumbent.version says"
        return News(False, f"Nothing new since {champion.version}, {why}", since=since)
    for judged in rivals.turned_down:
        if _is_equal(recipe, store, judged):
            told = f"Nothing new since {judged.version}, which was {judged.outcome} beside {champion.version}"
            return News(False, told, reasons, since)
    return News(True, f"Something is new since {champion.version}", reasons, since)


def differences(recipe: Recipe, made: Made, store: Store | None = None) -> Iterator[str]:
    """In words, what of a recipe is not what a version was made of; nothing where a run would make that version again.

    Each stage's key is computed with the inputs that the version had, so the first that differ are told, and not all that
    follows from them. What `store` knows to come out the same, as of rows that were only written anew, does not differ.
    """
    adapter, model = made.records["adapter"], made.records["model"]
    yield from made.changed(recipe, store)
    yield from _decontamination(recipe, made.records["dataset"])
    trained = partial(training.step, recipe.train, adapter.inputs["weights"], adapter.inputs["dataset"])
    if not _is_same(store, trained, adapter):
        yield from _fields("train", adapter.config, recipe.train)
    merged = partial(merging.step, recipe.merge, *(model.inputs[one] for one in MERGED))
    if not _is_same(store, merged, model):
        yield from _fields("merge", model.config, recipe.merge)
    # A run puts the version that it found into the gate's config.
    judged, asked = dict(made.records["verdict"].config), recipe.gate.against(None)
    judged["incumbent"] = {**_section(judged, "incumbent"), "version": asked.incumbent.version}
    if judged != asked.model_dump(mode="json"):
        yield from _fields("gate", judged, asked)
    if made.records["version"].config != recipe.register_as.model_dump(mode="json"):
        yield from _fields("register", made.records["version"].config, recipe.register_as)


def _made(store: Store, judged: Judged) -> Made:
    record = store.newest("registry", judged.registration) if judged.registration else None
    model = record.inputs.get("model") if record else None
    if record is None or model is None:
        raise Corrupt("the store has no record of its registration", value=judged.version)
    return Made.of(store, record)


def _is_equal(recipe: Recipe, store: Store, judged: Judged) -> bool:
    try:
        return next(differences(recipe, _made(store, judged), store), None) is None
    except Corrupt:  # then a run finds out
        return False


def _is_same(store: Store | None, step: Callable[[], Step], then: Manifest) -> bool:
    """Whether a step has come out as it had; one that is refused with the inputs of then is another."""
    try:
        return came_out_equal(store, step(), then)
    except LuthierError:
        return False


def _decontamination(recipe: Recipe, dataset: Manifest) -> Iterator[str]:
    """Whether rows are left out as they were: the key has which, and that is only known once they are looked for."""
    then, now = dataset.config, recipe.data
    drops = "drop" in (then.get("decontamination"), now.decontamination)
    for field in ("decontamination", "decontamination_ngram"):
        if drops and then.get(field) != getattr(now, field):
            yield f"data.{field}: {then.get(field)} → {getattr(now, field)}"


def _fields(section: str, then: Mapping[str, Any], config: Frozen) -> Iterator[str]:
    """Each field that differs and matters, or that something else does: a stage that makes something else of the same."""
    now = config.model_dump(mode="json")
    fields = [name for name in config.material() if then.get(name) != now[name]]
    yield from (f"{section}.{name}: {then.get(name)} → {now[name]}" for name in fields)
    if not fields:
        yield f"{section}: this Luthier makes something else of the same"


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return dict(found) if isinstance(found, dict) else {}
