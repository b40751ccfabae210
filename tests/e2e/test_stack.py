"""The stack with its real servers: up, healed after kill -9, closed to strangers, and gone after down."""

import base64
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

import psutil
import pytest

from infra.stack import environment, ports, postgres
from infra.stack.health import call
from infra.stack.state import Folder, State
from infra.stack.supervise import ROLES
from pipelines.automations import FAILED, GONE
from tests.s3 import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.s3]

ROOT = Path(__file__).parents[2]
LUTHIER = Path(sys.executable).parent / "luthier"


@dataclass(frozen=True)
class Stack:
    """A stack in a home of its own, handled by the command line as a person would."""

    home: Path

    def __call__(self, *arguments: str, status: int = 0, **extra: str) -> str:
        """`luthier …`; its output, once the exit status is as expected."""
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("LUTHIER_", "PREFECT_", "AWS_"))
        }
        done = subprocess.run(
            [str(LUTHIER), *arguments],
            env={**own, "LUTHIER_HOME": str(self.home), "HF_HUB_OFFLINE": "1", **extra},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == status, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout + done.stderr

    @property
    def folder(self) -> Folder:
        return Folder(self.home)

    @property
    def variables(self) -> dict[str, str]:
        return environment.read(self.folder.env)

    def pids(self) -> dict[str, int]:
        """The process of each service, once all are up."""
        lines = json.loads(self("status", "--json"))
        return {line["service"]: line["pid"] for line in lines}

    def processes(self) -> list[psutil.Process]:
        """Everything that carries this stack's mark, or works in its home."""
        mark = self.folder.state().stack
        return [process for process in psutil.process_iter() if mark in _environment(process)]


def _environment(process: psutil.Process) -> str:
    try:
        return str(process.environ().get("LUTHIER_STACK", ""))
    except (psutil.Error, OSError):
        return ""


def begin(home: Path) -> Stack:
    """A stack on ports that nobody else uses: as if they had been remembered."""
    stack = Stack(home)
    stack.folder.keep(State(ports=dict(zip(ROLES, free_ports(len(ROLES)), strict=True))))
    return stack


def finish(stack: Stack) -> None:
    state = stack.folder.state()
    stack("down")
    assert not stack.processes()
    assert not [role for role, port in state.ports.items() if not ports.free(port)]
    assert not list(Path("/tmp").glob(f"seaweedfs-*-grpc-{state.ports['s3'] + 10000}.sock"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = begin(tmp_path_factory.mktemp("stack") / "home")
    try:
        said = stack("up")
        assert "up after" in said
        assert "s3 is up after" in said
        yield stack
    finally:
        finish(stack)


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


def mlflow(stack: Stack, path: str, body: Any = None) -> Any:
    """A request of the admin: POST with a body, GET without."""
    known = stack.variables
    auth = f"{known['MLFLOW_TRACKING_USERNAME']}:{known['MLFLOW_TRACKING_PASSWORD']}"
    method = "GET" if body is None else "POST"
    return call(f"{known['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/{path}", auth, body, method)


def models(stack: Stack) -> list[str]:
    return [model["name"] for model in mlflow(stack, "registered-models/search").get("registered_models", [])]


def test_a_version_may_only_come_from_our_store(stack: Stack) -> None:
    mlflow(stack, "registered-models/create", {"name": "tiny"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        mlflow(stack, "model-versions/create", {"name": "tiny", "source": "s3://elsewhere/model"})
    assert refused.value.code == 400
    source = f"{stack.variables['LUTHIER_STORE']}/stages/merging/key/attempt"
    assert (
        mlflow(stack, "model-versions/create", {"name": "tiny", "source": source})["model_version"]["source"] == source
    )


def test_the_deployment_the_pool_and_one_automation_are_there(stack: Stack) -> None:
    stack("up")
    api, auth = stack.variables["PREFECT_API_URL"], stack.variables["PREFECT_API_AUTH_STRING"]
    assert call(f"{api}/deployments/name/finetune/quickstart", auth, method="GET")["work_pool_name"] == "luthier"
    names = [automation["name"] for automation in call(f"{api}/automations/filter", auth, {})]
    assert names == [GONE]


def test_with_an_address_to_notify_failures_are_told_to_it(stack: Stack) -> None:
    address = "http://127.0.0.1:9/hush-hush-hush"
    for _ in range(2):
        assert address not in stack("up", LUTHIER_NOTIFY_URL=address)
    api, auth = stack.variables["PREFECT_API_URL"], stack.variables["PREFECT_API_AUTH_STRING"]
    assert {automation["name"] for automation in call(f"{api}/automations/filter", auth, {})} == {GONE, FAILED}
    assert len(call(f"{api}/automations/filter", auth, {})) == 2


def test_other_commands_find_the_stack_by_themselves(stack: Stack) -> None:
    said = stack("plan", "quickstart")
    assert f"using the stack of {stack.folder.env}" in said
    assert stack.variables["MLFLOW_TRACKING_URI"] in said
    elsewhere = stack("plan", "quickstart", LUTHIER_STORE=f"file://{stack.home}/store")
    assert "using the stack" not in elsewhere
    assert stack.variables["MLFLOW_TRACKING_URI"] not in elsewhere


@pytest.mark.parametrize("victim", ["s3", "mlflow", "worker", "prefect"])
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
        for name in ("s3", "prefect", "mlflow", "worker"):
            assert f"{name} is down" in said
        assert not stack.processes()
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
        mlflow(stack, "registered-models/create", {"name": "kept"})
        pids = stack.pids()
        password = stack.folder.credentials().postgres
        assert not [process for process in stack.processes() if password in " ".join(process.cmdline())]
        os.kill(pids["postgres"], SIGKILL)
        assert re.findall(r"^  (\w+) starts", stack("up"), re.MULTILINE) == ["postgres"]
        assert models(stack) == ["kept"]
        refused = stack("up", LUTHIER_DATABASE="sqlite", status=2)
        assert "another database" in refused
    finally:
        finish(stack)
        shutil.rmtree(home)
