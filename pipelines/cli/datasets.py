"""Finding the dataset that is meant: by a recipe, by its key in the store, or by the version that was trained on it."""

import re

from infra import settings
from infra.errors import BadRecipe, Refused
from infra.settings import Platform
from infra.storage.receipt import Receipt
from pipelines import plan
from pipelines import recipe as recipes
from pipelines.cli import versions

KEY = re.compile(
    r"(?:.*/)?data/([0-9a-f]{64})(?:/.*)?|(?:data/)?([0-9a-f]{8,64})"
)  # a place in the store, or a beginning


def find(what: str) -> Receipt:
    """A committed dataset; Refused says what to run, or to write, where there is none."""
    platform = settings.load().platform()
    if key := KEY.fullmatch(what):
        return _by_key(platform, key[1] or key[2])
    try:
        recipes.find(what)
    except BadRecipe:
        if what.endswith((".yaml", ".yml")):
            raise
        return _of_version(what)
    return _of_recipe(platform, what)


def _by_key(platform: Platform, start: str) -> Receipt:
    top = "stages/data/"
    keys = sorted({name.removeprefix(top).split("/")[0] for name in platform.store.objects.list(top + start)})
    if len(keys) > 1:
        raise Refused("several datasets have keys that start so", value=", ".join(keys), remedy="give more of the key")
    manifest = platform.store.find("data", keys[0]) if keys else None
    if manifest is None:
        raise Refused(
            "no dataset has such a key",
            place=platform.store.uri,
            value=start,
            remedy="`luthier plan` and `luthier show` tell the keys of datasets",
        )
    return platform.store.receipt(manifest)


def _of_recipe(platform: Platform, what: str) -> Receipt:
    planned = {stage.name: stage for stage in plan.plan(recipes.load(what), platform)}
    receipt = planned["data"].receipt
    if receipt is None:
        raise Refused(
            "the dataset of this recipe is not made yet",
            place=what,
            value=planned["data"].key or "its tokenizer is not pinned yet",
            remedy=f"`luthier run {what}` makes it; a run that is ended after its data stage goes on there",
        )
    return receipt


def _of_version(what: str) -> Receipt:
    found = versions.find(what).input("dataset")
    if found is None:
        raise Refused(
            "the dataset of this version is not in the store any more",
            place=what,
            remedy="run the recipe that made it again",
        )
    return found
