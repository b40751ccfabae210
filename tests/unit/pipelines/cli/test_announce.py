"""`luthier data announce` sends one event that names the place, and tells where it cannot."""

from pathlib import Path

import pytest

from infra.errors import Refused
from pipelines.cli import announce
from tests.script import serving


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, luthier_home: Path) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("where", ["s3://bucket/rows/2026-11/", "rows"])
def test_one_event_names_the_place(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving([200, 204], {}) as server:
        monkeypatch.setenv("PREFECT_API_URL", server.api)
        announce.announce(where)
    path, body = server.asked[1][1:]
    assert path == "/api/events"
    (event,) = body
    assert event["event"] == "luthier.data.new"
    place = where if "://" in where else str(tmp_path / where)
    assert event["resource"] == {"prefect.resource.id": place, "prefect.resource.name": where}
    assert f"announced {place}" in capsys.readouterr().out


def test_without_a_server_and_without_events_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="no Prefect server is named"):
        announce.announce("s3://bucket/rows/")
    with serving([404], {}) as server:
        monkeypatch.setenv("PREFECT_API_URL", server.api)
        with pytest.raises(Refused, match="takes no events") as refused:
            announce.announce("s3://bucket/rows/")
    assert refused.value.remedy == "prefect event emit luthier.data.new --resource-id s3://bucket/rows/"
