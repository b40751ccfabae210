"""The page for newcomers, command by command, in one shell, as they would type it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.proof
ROOT = Path(__file__).parents[2]


def test_every_command_of_the_first_hour_works(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")
    commands = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(commands) >= 5
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / "prefect.yaml").symlink_to(ROOT / "prefect.yaml")
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LUTHIER_", "PREFECT_"))}
    environment = plain | {"HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "".join(commands)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
    finally:
        luthier = str(ROOT / ".venv" / "bin" / "luthier")
        subprocess.run([luthier, "down"], cwd=tmp_path, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "shelf version 1" in done.stdout
    assert (tmp_path / "taken-away" / "model.safetensors").exists()
    assert re.search(r"tuned", done.stdout)
