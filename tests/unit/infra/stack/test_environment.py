"""stack.env says the same to a shell and to `luthier`, and never wins over what the environment says itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.stack import environment

VALUES = {
    "LUTHIER_STORE": "s3://luthier/store",
    "AWS_SECRET_ACCESS_KEY": "a b'c\"d$HOME#`e`\\",
    "AWS_SESSION_TOKEN": "",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    environment.write(tmp_path / "stack.env", VALUES)
    return tmp_path / "stack.env"


def test_a_shell_reads_what_was_written(file: Path) -> None:
    code = f"import json, os; print(json.dumps({{name: os.environ.get(name) for name in {list(VALUES)!r}}}))"
    script = f'set -a; . "{file}"; set +a; exec "{sys.executable}" -c "$0"'
    done = subprocess.run(["sh", "-c", script, code], capture_output=True, text=True, check=True, env={})
    assert json.loads(done.stdout) == VALUES
    assert environment.read(file) == VALUES


def test_the_file_is_its_owners(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_empty_environment_takes_all_of_it(file: Path) -> None:
    into = {"AWS_SESSION_TOKEN": "of another account"}
    assert environment.adopt(file, into)
    assert into == VALUES


@pytest.mark.parametrize("leads", environment.LEADS)
def test_an_environment_that_leads_elsewhere_takes_nothing_of_it(file: Path, leads: str) -> None:
    into = {leads: "elsewhere"}
    assert not environment.adopt(file, into)
    assert into == {leads: "elsewhere"}


def test_without_a_stack_nothing_is_taken(tmp_path: Path) -> None:
    into: dict[str, str] = {}
    assert not environment.adopt(tmp_path / "stack.env", into)
    assert not into
