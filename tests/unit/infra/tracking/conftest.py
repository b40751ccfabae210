import pytest

from tests import registered
from tests.registered import Registered


@pytest.fixture(scope="session")
def tiny_tickets(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    """Version 1 held, version 2 promoted to candidate; tests may add to it and change nothing."""
    return registered.held_and_promoted(tmp_path_factory.mktemp("registered"))
