"""`luthier retire`: which versions leave, that no alias loses its version, and what is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.registered import Registered
    from tests.unit.pipelines.cli.conftest import Luthier

pytestmark = pytest.mark.heavy
NAME = "tiny-tickets"


def numbers(made: Registered) -> list[int]:
    return sorted(int(one.version) for one in made.client.search_model_versions(f"name = '{NAME}'"))


def test_old_versions_leave_when_told_to_and_none_that_an_alias_leads_to(
    tiny_tickets: Registered,
    tmp_path: Path,
    use: Callable[[Registered], None],
    luthier: Luthier,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from infra.tracking.versions import Versions  # noqa: PLC0415 - MLflow takes seconds
    from tests import jobs, registered  # noqa: PLC0415

    shutil.copytree(tiny_tickets.on.home, tmp_path / "home")
    made = registered.Registered(jobs.platform(tmp_path / "home"), tiny_tickets.room, dict(tiny_tickets.inputs))
    use(made)
    for number in range(3, 7):
        made.client.create_model_version(NAME, f"file:///{number}")
    made.client.set_registered_model_alias(NAME, "champion", "1")

    assert luthier("retire", NAME, "--keep", "2") == 0
    assert "2 of 6 versions would be retired" in capsys.readouterr().err
    assert numbers(made) == [1, 2, 3, 4, 5, 6]
    assert luthier("retire", NAME, "--keep", "2", "--delete") == 0
    assert numbers(made) == [1, 2, 5, 6], "1 is the champion, 2 the candidate"
    assert "luthier gc --unreferenced --delete" in capsys.readouterr().out
    assert luthier("retire", NAME, "--keep", "2", "--delete") == 0
    assert "nothing to retire" in capsys.readouterr().out
    assert Versions(made.on.tracking_uri).retire(NAME, [1, 5, 9]) == {5, 9}, "an alias leads to 1, and 9 was gone"
    assert luthier("retire", "nobody", "--keep", "2") == 2
