"""What can be refused of a recipe in a moment, before anything is fetched or made."""

from pipelines.recipe import Recipe
from tasks.data import peek
from tasks.data import stage as data
from tasks.training import stage as training


def checked(recipe: Recipe) -> Recipe:
    """The recipe, if its files are there, its training arguments known, and its rows of the kind that its objective trains
    on, as far as their first lines tell; else what a stage would refuse later."""
    data.check(recipe.data)
    training.check(recipe.train)
    for file, kind in peek.kinds(recipe.data).items():
        training.require_kind(recipe.train, kind, file)
    return recipe
