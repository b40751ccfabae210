"""A signal is heard by all ranks one step later; there may be no time to save, and a busy writer is not waited for."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from infra.launch.lifeline import GRACE_S
from tasks.training.behind import Behind
from tasks.training.checkpoints import STOPPED
from tasks.training.stopping import Agreement

pytestmark = pytest.mark.heavy


class Steps:
    """A Trainer's loop as a callback sees it."""

    def __init__(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self.state = SimpleNamespace(is_world_process_zero=True, is_local_process_zero=True, global_step=0)
        agreement.on_train_begin(None, self.state, None)

    def step(self, should_save: bool = False) -> tuple[bool, bool]:
        """Whether it is saved, and stopped, after one step more."""
        self.state.global_step += 1
        control = SimpleNamespace(should_save=should_save, should_training_stop=False)
        self.agreement.on_step_end(None, self.state, control)
        return control.should_save, control.should_training_stop

    def end(self) -> None:
        self.agreement.on_train_end(None, self.state, None)


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    before = signal.getsignal(signal.SIGTERM)
    yield Steps(Agreement(Behind(tmp_path, rank=0, ranks_here=1), tmp_path))
    signal.signal(signal.SIGTERM, before)
    dist.destroy_process_group()


def test_after_the_signal_it_saves_and_stops_one_step_later(steps: Steps, tmp_path: Path) -> None:
    assert steps.step() == (False, False)
    os.kill(os.getpid(), signal.SIGTERM)
    assert steps.step() == (False, False)
    assert steps.step() == (True, True)
    steps.end()
    assert (tmp_path / STOPPED).exists()


def test_it_does_not_save_what_would_not_be_ready_in_time(steps: Steps) -> None:
    steps.agreement._behind.last_s = GRACE_S
    os.kill(os.getpid(), signal.SIGTERM)
    steps.step()
    assert steps.step(should_save=True) == (False, True)


def test_a_save_while_the_last_one_is_under_way_is_skipped_and_counted(steps: Steps, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "checkpoint-1"
    folder.mkdir(parents=True)
    assert steps.step(should_save=True) == (False, False)
    folder.rmdir()
    assert steps.step(should_save=True) == (True, False)
    steps.end()
    assert [path.name for path in tmp_path.glob("skipped-*")] == ["skipped-1"]
    assert not (tmp_path / STOPPED).exists()
