"""`luthier verify`: everything that a version hangs on, read again; what is bad told by name, and marked only on demand."""

import json
from collections.abc import Callable

import pytest

from infra.storage import layout
from tests.artifacts import place
from tests.registered import NAME, Registered

pytestmark = pytest.mark.heavy

Luthier = Callable[..., int]
Use = Callable[[Registered], None]
Said = pytest.CaptureFixture[str]


def test_a_whole_version_and_a_whole_store_are_said_to_be(luthier: Luthier, capsys: Said) -> None:
    assert luthier("verify", NAME) == 0
    assert "all as committed" in capsys.readouterr().out
    assert luthier("verify", "--all", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bad"] == []
    assert told["artifacts"] >= 11
    assert told["bytes"] > 100_000


def test_what_is_to_be_verified_is_said_or_all_of_it(luthier: Luthier, capsys: Said) -> None:
    for arguments in ((), (NAME, "--all")):
        assert luthier("verify", *arguments) == 2
        assert "--all" in capsys.readouterr().err


def test_a_flipped_byte_far_up_the_chain_is_told_and_marked_only_on_demand(
    own: Registered, luthier: Luthier, use: Use, capsys: Said
) -> None:
    use(own)
    weights = own.on.store.manifest(own.inputs["model"]).inputs["weights"]
    spoilt = place(own.on.store, weights, "model.safetensors")
    whole = own.on.store.objects.get(spoilt)
    assert whole is not None
    own.on.store.objects.put(spoilt, whole[:-1] + bytes([whole[-1] ^ 1]))
    assert luthier("verify", NAME, "--json") == 1
    (bad,) = json.loads(capsys.readouterr().out)["bad"]
    assert bad["key"] == spoilt
    assert {len(bad["expected"]), len(bad["actual"])} == {64}
    assert own.on.store.find("weights", weights.key) is not None
    assert luthier("verify", NAME, "--condemn") == 1
    assert "1 marked" in capsys.readouterr().out
    assert own.on.store.find("weights", weights.key) is None
    assert own.on.store.find("merging", own.inputs["model"].key) is not None


def test_tags_that_say_something_else_than_the_records_are_told_and_a_model_that_is_gone(
    own: Registered, luthier: Luthier, use: Use, capsys: Said
) -> None:
    use(own)
    tags = ("luthier.content_sha256", "luthier.dataset_sha256", "luthier.base_sha256")
    for tag in tags:
        own.client.set_model_version_tag(NAME, "1", tag, "0" * 64)
    assert luthier("verify", "--all") == 1
    said = capsys.readouterr().out
    assert [f"{NAME}/1 {tag}" in said for tag in tags] == [True] * 3
    gone = layout.manifest("merging", own.inputs["model"].key, 1)
    own.on.store.objects.delete(gone)
    assert luthier("verify", NAME) == 1
    assert "no commit record" in capsys.readouterr().out
    assert luthier("verify", "train-00000000") == 2
