"""What is applied to a Prefect server: once, by name, and patiently."""

from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
import yaml

from infra.errors import Refused, Unreachable
from pipelines import alarms, automations
from tests.script import Script, serving

PREFECT_YAML = """
deployments:
  - {name: quickstart, entrypoint: "flows/a.py:finetune"}
  - {name: nightly, entrypoint: pipelines.finetune.re_train, work_pool: {name: gpu}, parameters: {recipe: quickstart}}
"""


@pytest.fixture
def script(request: pytest.FixtureRequest) -> Iterator[Script]:
    with serving(*request.param) as server:
        yield server


def prefect(script: Script) -> automations.Server:
    return automations.Server(script.api, "user:password")


@pytest.mark.parametrize("script", [([503, 200], [])], indirect=True)
def test_a_server_that_is_busy_is_asked_again(script: Script) -> None:
    assert prefect(script).ask("automations/filter", {}) == []
    assert len(script.asked) == 2


@pytest.mark.parametrize("script", [([503], {})], indirect=True)
def test_one_that_stays_busy_is_given_up(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automations, "BUSY_S", 0.1)
    with pytest.raises(Unreachable, match="does not answer"):
        prefect(script).ask("automations/filter", {})


@pytest.mark.parametrize("script", [([422], {})], indirect=True)
def test_a_refusal_is_not_tried_again(script: Script) -> None:
    with pytest.raises(HTTPError):
        prefect(script).ask("automations/", {})
    assert len(script.asked) == 1


@pytest.mark.parametrize("script", [([404], {})], indirect=True)
def test_what_is_not_there_is_none(script: Script) -> None:
    assert prefect(script).ask("work_pools/luthier", method="GET") is None


SERVERS_OWN = {**alarms.gone(), "id": "1", "created": "today", "tags": []}


@pytest.mark.parametrize("script", [([200], [SERVERS_OWN])], indirect=True)
def test_an_automation_that_is_as_it_should_be_is_not_written_anew(script: Script) -> None:
    prefect(script).ensure_automation(alarms.gone())
    assert [asked[1] for asked in script.asked] == ["/api/automations/filter"]


@pytest.mark.parametrize(
    "script", [([200], [{**SERVERS_OWN, "enabled": False}, {**SERVERS_OWN, "id": "2"}])], indirect=True
)
def test_a_changed_one_is_put_right_and_a_second_one_removed(script: Script) -> None:
    prefect(script).ensure_automation(alarms.gone())
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
    assert automations.deployments(project) == ["finetune/quickstart", "re-train/nightly"]


def test_a_stanza_tells_where_its_flow_its_pool_and_its_parameters_are(project: Path) -> None:
    nightly = automations.stanzas(project)[1]
    assert (nightly.entrypoint, nightly.pool) == ("pipelines.finetune.re_train", "gpu")
    assert nightly.parameters == {"recipe": "quickstart"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("deployments: [{name: quickstart}]", "no entrypoint"),
        ("deployments: [quickstart]", "no entrypoint"),
        ("name: nothing else", "no entrypoint"),
        ("", "no entrypoint"),
        ("deployments: [", "not YAML"),
        (None, "no prefect.yaml"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(project: Path, text: str | None, what: str) -> None:
    (project / "prefect.yaml").unlink()
    if text is not None:
        (project / "prefect.yaml").write_text(text)
    with pytest.raises(Refused, match=what):
        automations.stanzas(project)


def test_the_pages_of_a_server_are_where_a_browser_finds_them() -> None:
    cloud = "https://api.prefect.cloud/api/accounts/me/workspaces/ours"
    assert automations.Server(cloud, "").pages == "https://app.prefect.cloud/account/me/workspace/ours"
    assert automations.Server("http://127.0.0.1:4200/api", "").pages == "http://127.0.0.1:4200"


def test_the_fingerprint_changes_with_the_stanzas_and_with_the_flows(project: Path) -> None:
    before = automations.fingerprint(project)
    assert automations.fingerprint(project) == before
    (project / "flows" / "a.py").write_text("one = 2")
    changed = automations.fingerprint(project)
    (project / "prefect.yaml").write_text(PREFECT_YAML + "# and a remark\n")
    assert len({before, changed, automations.fingerprint(project)}) == 3


@pytest.mark.parametrize("path", ["prefect.yaml", "docker/prefect.yaml", "pipelines/template/prefect.yaml"])
def test_no_deployment_has_a_limit_whose_lease_would_end_a_healthy_run(path: str) -> None:
    stanzas = yaml.safe_load((Path(__file__).parents[3] / path).read_text(encoding="utf-8"))["deployments"]
    assert stanzas
    assert not [stanza["name"] for stanza in stanzas if "concurrency_limit" in stanza]
