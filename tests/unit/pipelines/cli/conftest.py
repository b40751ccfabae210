from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines import cli

if TYPE_CHECKING:
    from tests.registered import Registered

Luthier = Callable[..., int]


@pytest.fixture(scope="session")
def tiny_tickets(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    """Version 1 held, version 2 promoted to candidate; tests may add to it and change nothing."""
    from tests import registered  # noqa: PLC0415 - MLflow takes seconds, and most tests here need none

    return registered.held_and_promoted(tmp_path_factory.mktemp("registered"))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Registered], None]:
    """Makes a registered model's home the one that the command finds."""

    def here(made: Registered) -> None:
        for name in ("LUTHIER_STORE", "MLFLOW_TRACKING_URI"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("LUTHIER_HOME", str(made.on.home))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))

    return here


@pytest.fixture
def own(tmp_path: Path, use: Callable[[Registered], None]) -> Registered:
    """One that a test may spoil."""
    from tests import registered  # noqa: PLC0415 - see above

    made = registered.make(tmp_path / "home")
    made.register()
    use(made)
    return made


@pytest.fixture
def luthier(tiny_tickets: Registered, use: Callable[[Registered], None], monkeypatch: pytest.MonkeyPatch) -> Luthier:
    """The command in this process, where the shared versions are unless a test took its own; its exit status."""
    use(tiny_tickets)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["luthier", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    return run
