"""What torch sees, and what is made of it."""

import pytest

from infra.doctor import devices

GOOD = {
    "torch": "2.13.0",
    "cuda": "13.0",
    "cards": 2,
    "gpus": ["A (80 GiB)", "A (80 GiB)"],
    "full": [],
    "ranks": 2,
    "backend": "nccl",
    "problem": "",
}


@pytest.mark.slow
@pytest.mark.heavy
def test_processes_of_this_machine_hear_each_other() -> None:
    found = devices.devices()
    assert [finding.check for finding in found] == ["devices", "collectives"]
    assert found[1].state == "ok", found[1]


def test_two_gpus_that_work() -> None:
    assert [finding.state for finding in devices.judge(GOOD)] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("change", "said", "remedy"),
    [
        ({"gpus": []}, "2 GPU(s), but torch 2.13.0 sees none", "driver"),
        ({"full": ["A (80 GiB)"]}, "hardly any memory is free on A", "CUDA_VISIBLE_DEVICES"),
        ({"problem": "DistBackendError: NCCL error"}, "nccl: DistBackendError", "NCCL_DEBUG"),
    ],
)
def test_gpus_that_do_not(change: dict[str, object], said: str, remedy: str) -> None:
    found = [finding for finding in devices.judge(GOOD | change) if finding.state != "ok"]
    assert len(found) == 1
    assert said in found[0].said
    assert remedy in found[0].remedy


def test_no_gpu_is_no_fault() -> None:
    assert devices.judge(GOOD | {"cards": 0, "gpus": [], "backend": "gloo"})[0].state == "note"
