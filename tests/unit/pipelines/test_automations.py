"""What is applied to a Prefect server: once, by name, and patiently."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from infra.errors import Refused, Unreachable
from pipelines import automations

PREFECT_YAML = """
deployments:
  - {name: quickstart, entrypoint: "flows/a.py:finetune"}
  - {name: nightly, entrypoint: "flows/a.py:retrain"}
"""


class Script(ThreadingHTTPServer):
    """A server that answers with given statuses in turn, the last one for ever, and keeps what it was asked."""

    def __init__(self, statuses: list[int], reply: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses, self.reply = statuses, reply
        self.asked: list[tuple[str, str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Script

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, json.loads(body) if body else None))
        status = self.server.statuses[min(len(self.server.asked), len(self.server.statuses)) - 1]
        text = json.dumps(self.server.reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def script(request: pytest.FixtureRequest) -> Iterator[Script]:
    server = Script(*request.param)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def prefect(script: Script) -> automations.Server:
    return automations.Server(f"http://127.0.0.1:{script.server_port}/api", "user:password")


@pytest.mark.parametrize("script", [([503, 200], [])], indirect=True)
def test_a_server_that_is_busy_is_asked_again(script: Script) -> None:
    assert prefect(script).ask("automations/filter", {}) == []
    assert len(script.asked) == 2


@pytest.mark.parametrize("script", [([503], {})], indirect=True)
def test_one_that_stays_busy_is_given_up(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automations, "BUSY_S", 0.1)
    with pytest.raises(Unreachable, match="does not take its settings"):
        prefect(script).ask("automations/filter", {})


@pytest.mark.parametrize("script", [([422], {})], indirect=True)
def test_a_refusal_is_not_tried_again(script: Script) -> None:
    with pytest.raises(HTTPError):
        prefect(script).ask("automations/", {})
    assert len(script.asked) == 1


@pytest.mark.parametrize("script", [([404], {})], indirect=True)
def test_what_is_not_there_is_none(script: Script) -> None:
    assert prefect(script).ask("work_pools/luthier", method="GET") is None


SERVERS_OWN = {**automations.gone(), "id": "1", "created": "today", "tags": []}


@pytest.mark.parametrize("script", [([200], [SERVERS_OWN])], indirect=True)
def test_an_automation_that_is_as_it_should_be_is_not_written_anew(script: Script) -> None:
    prefect(script).ensure_automation(automations.gone())
    assert [asked[1] for asked in script.asked] == ["/api/automations/filter"]


@pytest.mark.parametrize(
    "script", [([200], [{**SERVERS_OWN, "enabled": False}, {**SERVERS_OWN, "id": "2"}])], indirect=True
)
def test_a_changed_one_is_put_right_and_a_second_one_removed(script: Script) -> None:
    prefect(script).ensure_automation(automations.gone())
    assert [(asked[0], asked[1]) for asked in script.asked[1:]] == [
        ("DELETE", "/api/automations/2"),
        ("PUT", "/api/automations/1"),
    ]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "prefect.yaml").write_text(PREFECT_YAML)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "a.py").write_text("one = 1")
    return tmp_path


def test_deployments_are_named_as_prefect_names_them(project: Path) -> None:
    assert automations.deployments(project) == ["finetune/quickstart", "retrain/nightly"]


def test_a_stanza_without_entrypoint_is_refused(project: Path) -> None:
    (project / "prefect.yaml").write_text("deployments: [{name: quickstart}]")
    with pytest.raises(Refused, match="no entrypoint"):
        automations.deployments(project)


def test_the_fingerprint_changes_with_the_stanzas_and_with_the_flows(project: Path) -> None:
    before = automations.fingerprint(project)
    assert automations.fingerprint(project) == before
    (project / "flows" / "a.py").write_text("one = 2")
    changed = automations.fingerprint(project)
    (project / "prefect.yaml").write_text(PREFECT_YAML + "# and a remark\n")
    assert len({before, changed, automations.fingerprint(project)}) == 3
