from pathlib import Path

import pytest

from tests import registered
from tests.registered import Registered


@pytest.fixture(scope="session")
def tiny_tickets(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    """Version 1 held, version 2 promoted to candidate; tests may add to it and change nothing."""
    made = registered.make(Path(tmp_path_factory.mktemp("registered")) / "home")
    made.register(promote=False)
    made.inputs["model"] = registered.again(made)
    made.register()
    return made
