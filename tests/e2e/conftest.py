"""One stack, and one finished run on it, for all end-to-end tests that need servers: both take a minute to make."""

from collections.abc import Iterator

import pytest

from tests.e2e import tickets
from tests.e2e.stack import SERVICES, Stack, begin, finish


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack of the session, started by its first user; tests ask for `stack`."""
    stack = begin(tmp_path_factory.mktemp("stack") / "home")
    try:
        said = stack("up")
        assert "up after" in said
        assert "s3 is up after" in said
        yield stack
    finally:
        if stack.folder.state().services:  # no test has ended it; its ports may be another's by now
            finish(stack)


@pytest.fixture
def stack(shared: Stack) -> Stack:
    """The stack with all services up, whatever an earlier test has killed or ended."""
    return healed(shared)


@pytest.fixture(scope="session")
def finished(shared: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of the deployment with a recipe of a tiny model, on the shared stack; what was said while it was watched."""
    recipe = tickets.write(tmp_path_factory.mktemp("tickets"))
    return healed(shared).shell(f"prefect deployment run finetune/quickstart --watch --param 'recipe={recipe}'", 480)


def healed(stack: Stack) -> Stack:
    """The stack with all of its services; `up` is only called where one is missing."""
    if len(stack.folder.state().alive()) < len(SERVICES):
        stack("up")
    return stack
