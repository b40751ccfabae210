from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.registered import Registered


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    """Version 1 held, version 2 promoted to candidate; tests that change anything take a copy."""
    from tests import registered  # noqa: PLC0415 - MLflow takes seconds

    return registered.held_and_promoted(tmp_path_factory.mktemp("registered"))
