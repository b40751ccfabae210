"""Using a registered version as a user types it: try, chat, pull, push; each with real models in real processes."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.storage.objects import sha256_of
from tests import registered
from tests.e2e.commands import BIN
from tests.hub import hub
from tests.registered import NAME, Registered

pytestmark = [pytest.mark.slow, pytest.mark.heavy]
FETCH = "import huggingface_hub as h, sys; print(h.snapshot_download(sys.argv[1], revision=sys.argv[2]))"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    made = registered.make(Path(tmp_path_factory.mktemp("using")) / "home")
    made.register()
    return made


def environment(made: Registered) -> dict[str, str]:
    return {**os.environ, "LUTHIER_HOME": str(made.on.home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def run(command: list[str], environment: dict[str, str], given: str = "", cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, env=environment, input=given, capture_output=True, text=True, check=False, cwd=cwd, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def luthier(made: Registered, *arguments: str, given: str = "") -> str:
    return run([str(BIN / "luthier"), *arguments], environment(made), given)


def test_base_and_tuned_model_answer_and_differ(made: Registered) -> None:
    arguments = ["--json", "--max-new-tokens", "8", "--system", "Sort the ticket."]
    told = json.loads(luthier(made, "try", f"{NAME}@candidate", "my red printer", "my badge", *arguments))
    assert told["base"] == "tiny-base"
    for answer in told["answers"]:
        assert answer["base"]["tokens"] == answer["tuned"]["tokens"] == 8
        assert answer["base"]["text"] != answer["tuned"]["text"]
    assert not list((made.on.home / "work").glob("try-*"))


@pytest.mark.proof
def test_a_chat_through_a_pipe_gives_each_line_an_answer(made: Registered) -> None:
    given = "my red printer\n/system Sort it.\nmy badge\n/exit\n"
    said = luthier(made, "chat", NAME, "--max-new-tokens", "5", "--temperature", "0", given=given)
    assert said.strip()


def test_a_chat_that_is_killed_leaves_no_process(made: Registered) -> None:
    chat = subprocess.Popen(
        [str(BIN / "luthier"), "chat", NAME, "--max-new-tokens", "900", "--temperature", "2"],
        env=environment(made),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert chat.stdin is not None
    assert chat.stdout is not None
    chat.stdin.write(b"my red printer\n")
    chat.stdin.flush()
    assert chat.stdout.read(1)  # it is answering
    below = psutil.Process(chat.pid).children(recursive=True)
    assert below
    chat.kill()
    chat.wait()
    _, alive = psutil.wait_procs(below, timeout=30)
    assert alive == []
    chat.stdin.close()
    chat.stdout.close()


def test_the_cards_snippet_runs_where_the_model_was_pulled(made: Registered, tmp_path: Path) -> None:
    luthier(made, "pull", NAME, str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text()
    (snippet,) = re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
    run([sys.executable, "-c", snippet.replace("256", "4")], environment(made), cwd=tmp_path / "out")


@pytest.mark.proof
def test_a_pull_that_is_killed_leaves_nothing_at_the_target(made: Registered, tmp_path: Path) -> None:
    target = tmp_path / "out"
    for wait_s in (0.0, 0.05, 0.2):
        pull = subprocess.Popen([str(BIN / "luthier"), "pull", NAME, str(target)], env=environment(made))
        end = time.monotonic() + 120
        while not list(tmp_path.iterdir()) and pull.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(wait_s)
        pull.kill()
        pull.wait()
        if target.exists():  # it was quicker than the kill, and then it is whole
            assert (target / "README.md").exists()
            assert (target / "model.safetensors").exists()
            break
    else:
        luthier(made, "pull", NAME, str(target))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.proof
def test_a_version_is_pushed_with_its_card_and_comes_back_the_same(made: Registered, tmp_path: Path) -> None:
    with hub() as server:
        own = {"HF_TOKEN": "hf_writer", "HF_HOME": str(tmp_path / "hf"), "LUTHIER_HOME": str(made.on.home)}
        ready = {**os.environ, **server.environment, **own}
        pushed = run([str(BIN / "luthier"), "push", f"{NAME}/1", "acme/tiny"], {**ready, "HF_HUB_OFFLINE": "1"})
        repo = server.repos["acme/tiny"]
        assert repo.private
        assert f"{NAME} 1 is at {server.endpoint}/acme/tiny/commit/" in pushed
        commit = repo.branches["main"]
        back = Path(run([sys.executable, "-c", FETCH, "acme/tiny", commit], ready).strip())
    older = made.on.store.find("registry", made.client.get_model_version(NAME, "1").tags["luthier.registration"])
    assert older is not None
    manifest = made.on.store.manifest(older.inputs["model"])
    for file in manifest.files:
        if file.path.startswith("model/"):
            assert sha256_of(back / file.path.removeprefix("model/"))[1] == file.sha256
    card = (back / "README.md").read_text()
    assert 'from_pretrained("acme/tiny"' in card
    assert "vllm serve acme/tiny" in card
    assert str(made.on.home) not in card
