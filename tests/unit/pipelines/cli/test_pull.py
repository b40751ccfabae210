"""`luthier pull`: a folder that is whole, checked and loadable, or nothing at all."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.storage.objects import sha256_of
from tests import registered
from tests.artifacts import place
from tests.registered import NAME, Registered

pytestmark = pytest.mark.heavy

Luthier = Callable[..., int]
Use = Callable[[Registered], None]


def test_the_merged_model_its_tokenizer_and_its_card(
    luthier: Luthier, tiny_tickets: Registered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    assert luthier("pull", f"{NAME}/2", str(target)) == 0
    manifest = tiny_tickets.on.store.manifest(tiny_tickets.inputs["model"])
    wanted = {
        file.path.removeprefix("model/"): file.sha256 for file in manifest.files if file.path.startswith("model/")
    }
    assert {path.name for path in target.iterdir()} == {*wanted, "README.md"}
    assert {name: sha256_of(target / name)[1] for name in wanted} == wanted
    card = (target / "README.md").read_text()
    assert card.startswith("---\n")
    assert "vllm serve ." in card
    assert "file://" not in card
    assert f'from_pretrained("{target}")' in capsys.readouterr().out
    (target / "config.json").write_text("{}")  # a copy of one's own: the store and the cache do not change with it
    assert luthier("pull", f"{NAME}/2", str(tmp_path / "again")) == 0
    assert (tmp_path / "again" / "config.json").read_text() != "{}"


def test_the_adapter_alone_and_which_base_it_belongs_on(
    luthier: Luthier, tiny_tickets: Registered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    assert luthier("pull", NAME, str(target), "--adapter") == 0
    names = {path.name for path in target.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not {"training.json", "model.safetensors"} & names
    assert json.loads((target / "adapter_config.json").read_bytes()) == registered.ADAPTER
    assert (target / "chat_template.jinja").read_text(encoding="utf-8") == registered.TRAINED_TEMPLATE
    shown = capsys.readouterr().out
    weights = tiny_tickets.on.store.manifest(tiny_tickets.inputs["adapter"]).inputs["weights"]
    assert f"tiny-base in float32 (content sha256 {weights.content_sha256}), in 4 bits" in shown
    assert weights.uri in shown


def test_an_adapter_of_a_model_from_a_hub_names_it_at_its_commit(luthier: Luthier, use: Use, tmp_path: Path) -> None:
    made = registered.make(tmp_path / "home", base="org/base", revision="a" * 40)
    made.register()
    use(made)
    assert luthier("pull", NAME, str(tmp_path / "out"), "--adapter") == 0
    told = json.loads((tmp_path / "out" / "adapter_config.json").read_bytes())
    assert (told["base_model_name_or_path"], told["revision"]) == ("org/base", "a" * 40)
    assert "base_model: org/base\n" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("more", [(), ("--adapter",)])
def test_a_version_that_was_not_merged_is_its_adapter_with_what_loads_it_exactly(
    luthier: Luthier, use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    made = registered.make(tmp_path / "home", base="org/base", revision="a" * 40, merged=False)
    made.register()
    use(made)
    assert luthier("pull", NAME, str(tmp_path / "out"), *more) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "README.md"} <= names
    assert "model.safetensors" not in names
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: peft" in card
    assert f'from_pretrained("org/base", revision="{"a" * 40}", dtype="float32", quantization_config=held' in card
    assert "Parity: not merged" in card
    assert "It belongs on base in float32" in capsys.readouterr().out


def test_a_full_fine_tune_has_no_adapter(
    luthier: Luthier, use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = registered.make(tmp_path / "home", method="full")
    made.register()
    use(made)
    assert luthier("pull", NAME, str(tmp_path / "out"), "--adapter") == 2
    assert "no adapter" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_anything_in_it_is_refused(
    luthier: Luthier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("mine")
    assert luthier("pull", NAME, str(tmp_path)) == 2
    assert "something at the target" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_model_that_was_changed_in_the_store_never_gets_out(
    own: Registered, luthier: Luthier, use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use(own)
    at = place(own.on.store, own.inputs["model"], "model/model.safetensors")
    data = bytearray(own.on.store.objects.get(at) or b"")
    data[-1] ^= 1
    own.on.store.objects.put(at, bytes(data))
    shutil.rmtree(own.on.home / "cache")
    assert luthier("pull", NAME, str(tmp_path / "out")) == 2
    assert "not what was committed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    assert luthier("pull", NAME, str(tmp_path / "out")) == 2, "it is condemned now"
    assert "not in the store" in capsys.readouterr().err


def test_an_unknown_version_is_one_screen(luthier: Luthier, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier("pull", "tikets", str(tmp_path / "out")) == 2
    shown = capsys.readouterr().err
    assert f"{NAME}/2 @candidate" in shown
    assert "Traceback" not in shown
