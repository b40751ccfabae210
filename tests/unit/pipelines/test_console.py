"""A process whose output nobody reads any more goes on."""

import os
import subprocess
import sys
from pathlib import Path

LOOP = """
import sys
from pathlib import Path
from pipelines.console import outlive_the_pipe
from rich.console import Console
outlive_the_pipe()
outlive_the_pipe()
console = Console(file=sys.stderr)
console.print("first")
Path(sys.argv[1]).read_bytes()  # until nobody reads
for number in range(5):
    console.print("x" * 80)
Path(sys.argv[2]).write_text("done")
"""


def test_a_broken_pipe_does_not_end_the_process(tmp_path: Path) -> None:
    gate, out = tmp_path / "gate", tmp_path / "out"
    os.mkfifo(gate)
    command = [sys.executable, "-c", LOOP, str(gate), str(out)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stderr.readline() == b"first\n"
    running.stdout.close()
    running.stderr.close()
    gate.write_bytes(b"go on")
    assert running.wait(60) == 0
    assert out.read_text() == "done"
