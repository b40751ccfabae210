import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
import sqlalchemy
import torch
import yaml
from mlflow import MlflowClient
from pydantic import ValidationError
from sqlalchemy.orm import Session
from transformers import AutoModelForCausalLM

from infra.errors import Unreachable
from infra.settings import Platform
from infra.storage.receipt import Receipt
from infra.tracking import flavor
from infra.tracking.database import REGISTRATION
from infra.tracking.versions import CONTENT, Versions
from tasks.registry import stage, worker
from tasks.registry.card import Card, readme, render
from tasks.registry.config import RegisterConfig
from tests import jobs, tiny

pytestmark = pytest.mark.heavy

GOLDEN = Path(__file__).parents[3] / "golden" / "model-card.md"
CONFIG = RegisterConfig(name="tickets")
CARD = Card(
    name="tickets",
    alias="candidate",
    base="SmolLM2-135M-Instruct",
    base_sha256="b" * 64,
    uri="s3://bucket/stages/merging/1/2",
    promote=True,
    failed=[],
    weights={"license": "apache-2.0", "architecture": "LlamaForCausalLM", "parameters": 134515008},
    data={"train_rows": 360, "validation_rows": 40, "dropped": 1},
    training={"method": "qlora", "steps": 62, "loss": 0.0321, "eval_loss": None},
    merge={"base": "dequantized", "dtype": "bfloat16", "kl": 4e-05, "top1": 1.0, "greedy_match": 0.9375},
    before={"tickets": {"exact_match": 0.0}},
    after={"tickets": {"exact_match": 0.985, "field_match": 0.99}},
    lineage={"model": "1" * 64, "dataset": "2" * 64},
)


def test_the_card_is_what_it_was() -> None:
    assert render(CARD) == GOLDEN.read_text(encoding="utf-8")


def test_a_card_tells_what_a_preference_objective_did() -> None:
    figures = {"objective": "dpo", "eval_rewards/margins": 1.23456}
    assert "- Training: qlora, dpo (held-out reward margin 1.235), 62 steps" in render(
        CARD.model_copy(update={"training": CARD.training | figures})
    )
    unknown = CARD.training | {"objective": "kto"}
    assert "qlora, kto (held-out reward margin –), 62" in render(CARD.model_copy(update={"training": unknown}))


def test_a_held_model_says_why_and_names_no_alias_to_load() -> None:
    text = render(CARD.model_copy(update={"promote": False, "failed": ["tickets exact_match: 0.1, asked ≥ 0.5"]}))
    assert "Verdict: **hold**" in text
    assert "\n- tickets exact_match: 0.1, asked ≥ 0.5" in text
    assert "@candidate" not in text


def test_a_card_tells_what_the_model_was_compared_with() -> None:
    row = {"task": "tickets", "metric": "exact_match", "n": 200, "incumbent": 0.9, "candidate": 0.92, "low": -0.01}
    row |= {"high": 0.05, "asked": "> production − 0.05", "p": 0.0012, "outcome": "passed"}
    told = {"outcome": "promote", "against": "tickets/3", "meaning": "It is good enough.", "compared": [row]}
    text = render(CARD.model_copy(update=told))
    assert "alias `candidate`.\n\nIt is good enough.\n\n| task | metric | documents | tickets/3 | this one |" in text
    assert "| tickets | exact_match | 200 | 0.9 | 0.92 | -0.01 … 0.05 | > production − 0.05 | 0.0012 | passed |" in text
    undecided = CARD.model_copy(update=told | {"promote": False, "outcome": "undecided"})
    assert "Verdict: **undecided**. Registered for inspection" in render(undecided)


def test_a_copys_card_has_front_matter_and_tells_no_place_of_ours() -> None:
    text = readme(CARD.model_copy(update={"base_model": "org/base@" + "a" * 40}), "acme/tickets")
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "org/base",
        "library_name": "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["luthier", "qlora"],
    }
    assert 'from_pretrained("acme/tickets"' in body
    assert "vllm serve acme/tickets" in body
    assert CARD.uri not in text


def test_an_adapters_card_says_which_base_it_belongs_on() -> None:
    text = readme(CARD, ".", adapter_of="tiny in float32")
    assert "They belong on tiny in float32." in text
    assert 'PeftModel.from_pretrained(base, ".")' in text
    assert "vllm" not in text


KEPT = {
    "base": "none",
    "dtype": "bfloat16",
    "quantization": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "rank": 16,
    "parity": "not merged",
}


def test_the_card_of_an_adapter_that_was_not_merged_says_so_and_how_its_base_is_held() -> None:
    text = render(CARD.model_copy(update={"merge": KEPT, "base_model": "org/base@" + "a" * 40}))
    assert "Merge: none. This is the adapter, of rank 16, to be loaded on its base in bfloat16, held in 4 bits" in text
    assert "Parity: not merged, so there was nothing to compare." in text
    assert "held = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4')" in text
    assert f'"org/base", revision="{"a" * 40}", dtype="bfloat16", quantization_config=held' in text
    assert 'mlflow.pyfunc.load_model("models:/tickets@candidate")' in text
    assert "vllm" not in text


def test_the_card_of_an_adapter_whose_base_is_on_no_hub_asks_for_a_folder() -> None:
    text = render(CARD.model_copy(update={"merge": {**KEPT, "quantization": None}}))
    assert 'from_pretrained("<a folder with that base>", dtype="bfloat16", device_map="auto")' in text
    assert 'model_config={"base_model_name_or_path": "<a folder with that base>"}' in text


def test_a_licence_cannot_add_to_the_front_matter() -> None:
    hostile = CARD.model_copy(update={"weights": {**CARD.weights, "license": "mit\n---\n# <script>\nlicense: other"}})
    front = readme(hostile, ".").split("\n---\n", 1)[0].removeprefix("---\n")
    assert yaml.safe_load(front)["license"].startswith("mit\n---")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a/b"},
        {"name": ""},
        {"name": "x", "alias": "latest"},
        {"name": "x", "alias": "v1"},
        {"name": "x", "alias": "champion"},
    ],
)
def test_names_that_mlflow_would_choke_on_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        RegisterConfig(**wrong)


class Run:
    """The receipts that a registration needs, on a platform with a fresh MLflow database."""

    def __init__(self, room: Path, database: Path) -> None:
        self.on: Platform = jobs.platform(room)
        self.room = room
        shutil.copyfile(database, room / "mlflow.db")
        weights = self._keep("weights", {"w": "x"}, CARD.weights, config={"model_name_or_path": "/some/where/tiny"})
        self.inputs = {
            "model": self._model(weights),
            "verdict": self._verdict(True),
            "scores": self._keep("evaluation", {"results.json": "{}"}, {"scores": CARD.after}),
            "baseline": self._keep("evaluation", {"results.json": "{ }"}, {"scores": CARD.before}),
            "adapter": self._keep("training", {"a": "x"}, {**CARD.training, "mlflow_run_id": None}),
            "dataset": self._keep("data", {"report.html": "<p>", "report.json": "{}", "d": "x"}, CARD.data),
        }

    def _keep(self, name: str, files: dict[str, str], summary: object, config: object = None) -> Receipt:
        folder = self.room / "files" / f"{name}-{len(list(self.room.rglob('*')))}"
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file).write_text(text)
        return jobs.keep(self.on, name, folder, summary, config=config)  # type: ignore[arg-type]

    def _verdict(self, promote: bool) -> Receipt:
        verdict = {"promote": promote, "failed": []}
        return self._keep("gate", {"verdict.json": json.dumps(verdict)}, verdict)

    def _model(self, weights: Receipt) -> Receipt:
        folder = self.room / "merged"
        model = tiny.model(tiny.tokenizer(folder / "model"))
        tiny.tokenizer(folder / "components" / "tokenizer")
        assert model == folder / "model"
        flavor.write(folder, "0" * 64)
        return jobs.keep(self.on, "merging", folder, CARD.merge, {"weights": weights})

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.on.tracking_uri)

    def hold(self) -> None:
        self.inputs["verdict"] = self._verdict(False)

    def register(self) -> Receipt:
        return jobs.made(self.on, "registry", CONFIG, self.inputs, worker.work)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables; making them takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def run(tmp_path: Path, database: Path) -> Run:
    return Run(tmp_path, database)


def test_registering_twice_gives_one_version_and_adds_nothing(run: Run) -> None:
    first, second = run.register(), run.register()
    assert first.content_sha256 == second.content_sha256
    assert first.summary == second.summary
    assert first.summary["version"] == 1
    (version,) = run.client.search_model_versions("name = 'tickets'")
    assert version.source == run.inputs["model"].uri
    assert version.tags[CONTENT] == run.inputs["model"].content_sha256
    assert version.tags["luthier.verdict"] == "promote"
    assert version.tags[REGISTRATION] == "0" * 64
    assert Card.model_validate_json(run.on.store.read(first, "card.json")).after == CARD.after
    assert version.tags["luthier.dataset_sha256"] == run.inputs["dataset"].content_sha256
    assert version.description == run.on.store.read(first, "card.md").decode()
    assert run.client.get_model_version_by_alias("tickets", "candidate").version == version.version
    history = run.client.get_metric_history(str(first.summary["run_id"]), "tuned/tickets/exact_match")
    assert [point.value for point in history] == [0.985]
    shown = run.client.list_artifacts(str(first.summary["run_id"]), "data")
    assert [item.path for item in shown] == ["data/report.html", "data/report.json"]
    assert first.summary["report"] == f"runs:/{first.summary['run_id']}/data/report.html"


def test_what_changed_in_the_data_stays_with_the_version(run: Run) -> None:
    run.inputs["diff"] = run._keep("diff", {"diff.html": "<p>", "diff.md": "#", "diff.json": "{}"}, {"added": 3})
    made = run.register()
    version = run.client.get_model_version("tickets", str(made.summary["version"]))
    assert version.tags["luthier.data_diff"] == f"{run.inputs['diff'].uri}/diff.html"
    shown = run.client.list_artifacts(str(made.summary["run_id"]), "data")
    assert [item.path for item in shown] == ["data/diff.html", "data/report.html", "data/report.json"]
    drawn = run.on.store.read(made, "lineage.svg").decode()
    assert "What changed in the rows" in drawn


def test_a_held_model_is_registered_but_moves_no_alias(run: Run) -> None:
    run.hold()
    receipt = run.register()
    assert receipt.summary["promoted"] is False
    assert receipt.summary["alias"] is None
    (version,) = run.client.search_model_versions("name = 'tickets'")
    assert version.tags["luthier.verdict"] == "hold"
    assert not run.client.get_registered_model("tickets").aliases


def test_a_changed_verdict_is_brought_to_the_same_version(run: Run) -> None:
    promoted = run.register()
    run.hold()
    assert run.register().summary["version"] == promoted.summary["version"]
    (version,) = run.client.search_model_versions("name = 'tickets'")
    assert version.tags["luthier.verdict"] == "hold"
    assert "**hold**" in version.description


def test_a_wiped_server_is_filled_again(run: Run, database: Path) -> None:
    run.register()
    mlflow.tracking._tracking_service.utils._get_store(run.on.tracking_uri).engine.dispose()
    shutil.copyfile(database, run.room / "mlflow.db")
    assert run.register().summary["version"] == 1
    assert len(run.client.search_model_versions("name = 'tickets'")) == 1


def test_the_curve_of_the_training_is_the_run_of_the_version(run: Run) -> None:
    trained = run.client.create_run(run.client.create_experiment("luthier")).info.run_id
    run.inputs["adapter"] = run._keep("training", {"a": "y"}, {**CARD.training, "mlflow_run_id": trained})
    assert run.register().summary["run_id"] == trained
    assert run.client.get_run(trained).data.metrics["parity/top1"] == 1.0


def test_a_version_loads_back_with_the_same_logits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.register()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", run.on.tracking_uri)
    ids = torch.arange(9)[None]
    plain = AutoModelForCausalLM.from_pretrained(run.room / "merged" / "model")(ids).logits
    loaded = mlflow.transformers.load_model("models:/tickets@candidate")
    assert torch.equal(loaded.model(ids).logits, plain)
    service = mlflow.pyfunc.load_model("models:/tickets/1")
    assert torch.equal(service.get_raw_model().model(ids).logits, plain)


RACE = """
import sys
from infra.tracking.versions import CONTENT, Versions
uri = sys.argv[1]
versions = Versions(uri)
print("ready", flush=True)
sys.stdin.readline()
number = versions.ensure("raced", "file:///somewhere", {CONTENT: "c" * 64}, None, "card")
versions.point("raced", "candidate", number)
print(number)
"""


@pytest.mark.slow
def test_two_at_once_make_one_version_and_the_alias(run: Run) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, run.on.tracking_uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    told = [racer.communicate(timeout=120)[0].strip() for racer in racers]
    (version,) = run.client.search_model_versions("name = 'raced'")
    assert told == [str(version.version)] * 2
    assert run.client.get_model_version_by_alias("raced", "candidate").version == version.version


def test_an_alias_set_by_another_between_the_look_and_the_write(run: Run) -> None:
    versions = Versions(run.on.tracking_uri)
    number = versions.ensure("raced", "file:///somewhere", {CONTENT: "c" * 64}, None, "card")

    @sqlalchemy.event.listens_for(Session, "before_flush", once=True)
    def the_other(*_: object) -> None:
        with closing(sqlite3.connect(run.room / "mlflow.db")) as database, database:
            columns = "(workspace, name, alias, version)"
            database.execute(
                f"insert into registered_model_aliases {columns} values ('default', 'raced', 'candidate', 7)"
            )

    versions.point("raced", "candidate", number)
    assert run.client.get_model_version_by_alias("raced", "candidate").version == number


def test_a_later_creator_deletes_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = Versions(run.on.tracking_uri)
    first = versions.ensure("raced", "file:///somewhere", {CONTENT: "c" * 64}, None, "card")
    # The first look of the second racer comes before the other has written.
    looks = iter([lambda *_: [], versions._find])
    monkeypatch.setattr(versions, "_find", lambda *what: next(looks)(*what))  # noqa: PLW0108
    assert versions.ensure("raced", "file:///somewhere", {CONTENT: "c" * 64}, None, "card") == first
    assert len(run.client.search_model_versions("name = 'raced'")) == 1


def test_a_server_that_is_away_is_said_to_be(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unreachable, match="MLflow"):
        Versions("http://127.0.0.1:9").ensure_run(None, "luthier/x", "c" * 64)


def test_registration_runs_every_time(run: Run) -> None:
    assert stage.step(CONFIG, **run.inputs).always
