"""The stack with its real servers: up, healed after kill -9, closed to strangers, and gone after down."""

import base64
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from signal import SIGKILL

import psutil
import pytest

from infra.stack import ports, postgres
from pipelines.alarms import FAILED, GONE, WAITING
from tests.e2e.stack import SERVICES, Stack, assert_gone, begin, finish

pytestmark = [pytest.mark.slow, pytest.mark.s3]


def test_up_tells_the_addresses_and_no_secret(stack: Stack) -> None:
    said = stack("up")
    assert "already up" in said
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL"):
        assert stack.variables[name].removesuffix("/api") in said
    assert not [secret for secret in secrets(stack) if secret in said]


def test_a_second_up_changes_nothing_and_is_quick(stack: Stack) -> None:
    before, begun = stack.pids(), time.monotonic()
    assert "starts" not in stack("up")
    assert time.monotonic() - begun < 20
    assert stack.pids() == before


def secrets(stack: Stack) -> list[str]:
    """Every secret of the stack; the S3 key's id is a name, which the server writes into its log."""
    kept = stack.folder.credentials().model_dump(exclude={"s3_key"}).values()
    return [part for value in kept for part in value.split(":") if len(part) > 12]


def test_no_secret_is_on_a_command_line_in_a_log_or_in_a_file_of_others(stack: Stack) -> None:
    hidden = secrets(stack)
    assert len(hidden) >= 6
    lines = [" ".join(process.cmdline()) for process in stack.processes()]
    assert len(lines) >= 4
    assert not [line for line in lines if any(secret in line for secret in hidden)]
    told = {
        path
        for path in stack.home.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in hidden)
    }
    assert {path.name for path in told} == {"stack.env", "credentials.json", "mlflow-auth.ini", "security.toml"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in told} == {0o600}
    assert stat.S_IMODE((stack.folder.root / "s3").stat().st_mode) == 0o700


def refusal(url: str, auth: str | None = None, host: str | None = None) -> int:
    """The status of a request that must not succeed."""
    token = base64.b64encode(auth.encode()).decode() if auth else None
    headers = {**({"Authorization": f"Basic {token}"} if token else {}), **({"Host": host} if host else {})}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)
    return refused.value.code


def test_strangers_are_refused_by_every_server(stack: Stack) -> None:
    known, at = stack.variables, stack.folder.state().ports
    experiments = f"{known['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/search?max_results=1"
    assert refusal(f"{known['AWS_ENDPOINT_URL']}/luthier?list-type=2") == 403
    assert refusal(f"{known['PREFECT_API_URL']}/work_pools/luthier") == 401
    assert refusal(f"{known['PREFECT_API_URL']}/work_pools/luthier", "luthier:guess") == 401
    assert refusal(experiments) == 401
    assert refusal(experiments, "admin:password1234") == 401
    assert refusal(experiments, f"admin:{known['MLFLOW_TRACKING_PASSWORD']}", host="evil.example") == 403
    assert refusal(f"http://{ports.HOST}:{at['s3-filer']}/buckets/luthier/") == 401


def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    pids = {process.pid for process in stack.processes()}
    listening = {
        link.laddr.ip for link in psutil.net_connections("inet") if link.pid in pids and link.status == "LISTEN"
    }
    assert listening == {ports.HOST}


def test_a_version_may_only_come_from_our_store(stack: Stack) -> None:
    stack.mlflow("registered-models/create", {"name": "tiny"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        stack.mlflow("model-versions/create", {"name": "tiny", "source": "s3://elsewhere/model"})
    assert refused.value.code == 400
    source = f"{stack.variables['LUTHIER_STORE']}/stages/merging/key/attempt"
    assert (
        stack.mlflow("model-versions/create", {"name": "tiny", "source": source})["model_version"]["source"] == source
    )


def ours(stack: Stack) -> list[str]:
    """The names of Luthier's automations; deployments with triggers have others."""
    names = [str(automation["name"]) for automation in stack.prefect("automations/filter", {})]
    return sorted(name for name in names if name.startswith("luthier: "))


def test_the_deployment_the_pool_and_one_automation_are_there(stack: Stack) -> None:
    stack("up")
    assert stack.prefect("deployments/name/finetune/quickstart")["work_pool_name"] == "luthier"
    assert ours(stack) == [GONE]


def test_with_an_address_to_notify_failures_and_approvals_are_told_to_it(stack: Stack) -> None:
    address = "http://127.0.0.1:9/hush-hush-hush"
    for _ in range(2):
        assert address not in stack("up", LUTHIER_NOTIFY_URL=address)
    assert ours(stack) == sorted([GONE, FAILED, WAITING])


def test_other_commands_find_the_stack_by_themselves(stack: Stack) -> None:
    said = stack("plan", "quickstart")
    assert f"using the stack of {stack.folder.env}" in said
    assert stack.variables["MLFLOW_TRACKING_URI"] in said
    elsewhere = stack("plan", "quickstart", LUTHIER_STORE=f"file://{stack.home}/store")
    assert "using the stack" not in elsewhere
    assert stack.variables["MLFLOW_TRACKING_URI"] not in elsewhere


@pytest.mark.parametrize("victim", SERVICES)
def test_after_kill_9_up_heals_it_and_leaves_the_others_alone(stack: Stack, victim: str) -> None:
    before = stack.pids()
    os.kill(before[victim], SIGKILL)
    assert re.search(rf"{victim}\s+dead", stack("status", status=1))
    said = stack("up")
    assert re.findall(r"^  (\w+) starts", said, re.MULTILINE) == [victim]
    after = stack.pids()
    assert {name for name in after if after[name] != before[name]} == {victim}


def test_down_ends_all_of_it_and_keeps_data_ports_and_secrets(stack: Stack) -> None:
    kept, chosen = stack.folder.credentials(), stack.folder.state().ports
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        said = stack("down")
        for name in SERVICES:
            assert f"{name} is down" in said
        assert_gone(stack)
        assert bystander.poll() is None
        assert not stack.folder.env.exists()
        assert "nothing was up" in stack("down")
        assert stack("status", status=1).count("not started") == 4
        assert stack.folder.credentials() == kept
        assert stack.folder.state().ports == chosen
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.proof
@pytest.mark.skipif(
    not shutil.which("initdb") and not list(postgres.DEBIAN.glob("*/bin/initdb")), reason="there is no Postgres here"
)
def test_on_postgres_both_servers_keep_their_data_over_its_kill_9() -> None:
    home = Path(tempfile.mkdtemp(prefix="luthier-stack-"))
    home.chmod(0o755)  # where we are root, Postgres runs as another user, who must get in
    stack = begin(home / "home")
    try:
        assert "postgres is up" in stack("up", LUTHIER_DATABASE="postgres")
        stack.mlflow("registered-models/create", {"name": "kept"})
        pids = stack.pids()
        password = stack.folder.credentials().postgres
        assert not [process for process in stack.processes() if password in " ".join(process.cmdline())]
        os.kill(pids["postgres"], SIGKILL)
        assert re.findall(r"^  (\w+) starts", stack("up"), re.MULTILINE) == ["postgres"]
        kept = stack.mlflow("registered-models/search")["registered_models"]
        assert [model["name"] for model in kept] == ["kept"]
        refused = stack("up", LUTHIER_DATABASE="sqlite", status=2)
        assert "another database" in refused
    finally:
        finish(stack)
        shutil.rmtree(home)
