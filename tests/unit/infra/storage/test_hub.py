"""Publishing to tests.hub, in a process of its own: the hub's client reads its environment when it is imported."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import Refused
from infra.storage.hub import fetched_as, require_id, require_token
from tests.hub import Hub, hub

pytestmark = pytest.mark.heavy

PUBLISH = """
import sys
from pathlib import Path
from infra.errors import LuthierError
from infra.storage.hub import publish

try:
    print(publish(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "private", "version 3"))
except LuthierError as error:
    print(error.report().model_dump_json())
"""
CARD = b"---\nlicense: mit\n---\n\n# card\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with hub() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "deep").mkdir(parents=True)
    for name, data in {
        "README.md": CARD,
        "config.json": b"{}",
        "model.safetensors": b"w" * 999,
        "deep/x": b"x",
    }.items():
        (made / name).write_bytes(data)
    return made


def publish(server: Hub, folder: Path, repo: str, who: str = "private", **environment: str) -> str:
    given = {"HF_TOKEN": "hf_writer", **environment}
    done = subprocess.run(
        [sys.executable, "-c", PUBLISH, str(folder), repo, who],
        env={**os.environ, **server.environment, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder.parent / "hf"), **given},
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[4],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_commit_holds_everything_and_stale_weights_go(server: Hub, folder: Path) -> None:
    assert "/commit/" in publish(server, folder, "acme/one")
    repo = server.repos["acme/one"]
    assert repo.private
    wanted = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert repo.files == {".gitattributes": b"", **wanted}
    assert repo.messages == ["initial commit", "version 3"]
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    publish(server, folder, "acme/one")
    assert "model.safetensors" not in repo.files
    assert repo.files["model-00001-of-00001.safetensors"] == b"w" * 999
    assert len(repo.messages) == 3


def test_a_private_model_does_not_go_where_everybody_reads(server: Hub, folder: Path) -> None:
    server.add("acme/open", {"README.md": b"theirs"})
    told = publish(server, folder, "acme/open")
    assert "everybody can read it" in told
    assert server.repos["acme/open"].files == {"README.md": b"theirs"}
    assert "/commit/" in publish(server, folder, "acme/open", "public")


@pytest.mark.parametrize(("token", "status"), [("hf_wrong", 401), ("hf_reader", 403)])
def test_a_token_without_rights_is_refused_and_not_shown(server: Hub, folder: Path, token: str, status: int) -> None:
    told = publish(server, folder, "acme/rights", HF_TOKEN=token)
    assert '"error":"Refused"' in told
    assert f"the hub answered {status}" in told
    assert token not in told
    assert "acme/rights" not in server.repos


def test_a_card_that_the_hub_refuses_costs_nothing(server: Hub, folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: Who Knows\n---\n")
    assert "license" in publish(server, folder, "acme/card")
    assert server.repos["acme/card"].messages == ["initial commit"]


def test_a_hub_that_is_away_is_worth_another_try(server: Hub, folder: Path) -> None:
    assert '"error":"Unreachable"' in publish(server, folder, "acme/away", HF_ENDPOINT="http://127.0.0.1:9")


@pytest.mark.parametrize("name", ["model", "a/b/c", "../x", "a/..", "a b/c", "a/b\n", "/b", "a/--b", "a/\x1b[2J", ""])
def test_names_that_are_no_hub_ids_are_refused(name: str) -> None:
    with pytest.raises(Refused, match="no id on a hub"):
        require_id(name)


def test_without_a_token_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(Refused, match="no token") as told:
        require_token()
    assert "HF_TOKEN" in told.value.remedy


def test_a_base_is_named_only_where_it_came_from_a_hub() -> None:
    assert fetched_as({"model_name_or_path": "org/base", "revision": "a" * 40}) == f"org/base@{'a' * 40}"
    for path in ("/models/base", "package://x/y.gguf", "s3://bucket/base", ""):
        assert fetched_as({"model_name_or_path": path}) == ""
