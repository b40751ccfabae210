"""Bad inputs as they lie on disk: each is refused where it can first be seen, or is one row that leaves the others alone.

The tables are in bad_rows.py (a row between good ones) and bad_files.py (everything else).
"""

import gc
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from infra.errors import LuthierError
from infra.storage.receipt import Receipt
from pipelines import recipe
from tasks.data import formats, stage
from tasks.data.config import DataConfig
from tasks.data.layouts import Shape
from tasks.data.rows import fingerprint
from tests import tiny
from tests.unit.tasks.data import bad_files, bad_rows
from tests.unit.tasks.data.bad_files import Bad
from tests.unit.tasks.data.conftest import Made, Make, receipt

pytestmark = pytest.mark.heavy

QUICKSTART = Path(__file__).parents[4] / "configs" / "quickstart.yaml"


@pytest.fixture(scope="module", autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def frozen(tokenizer: Any) -> None:
    """Each run ends with a collection of garbage, which would look through all libraries every time: half of the time."""
    gc.freeze()


def data_of(folder: Path, fields: Mapping[str, Any]) -> DataConfig:
    """The section of a recipe that lies in the folder, read as `luthier` reads it."""
    raw = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    raw["evaluate"]["include_path"] = str(QUICKSTART.parent / "tickets")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw | {"data": dict(fields)}), encoding="utf-8")
    return recipe.load(str(folder / "recipe.yaml")).data


def laid(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def lower(monkeypatch: pytest.MonkeyPatch, limits: Mapping[str, float]) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(name if name.startswith("infra.") else f"tasks.data.{name}", value)


def test_there_are_many_and_all_are_different() -> None:
    assert len(bad_rows.ROWS) + len(bad_files.INPUTS) >= 160
    assert len({name for name, *_ in bad_rows.ROWS} | {bad.name for bad in bad_files.INPUTS}) == len(
        bad_rows.ROWS
    ) + len(bad_files.INPUTS)
    assert len({(within, row) for _, within, row, _ in bad_rows.ROWS}) == len(bad_rows.ROWS)
    assert {within for _, within, *_ in bad_rows.ROWS} == set(bad_rows.FILES)


# Rows


@dataclass(frozen=True)
class Prepared:
    """What was made of a file of bad rows between good ones."""

    summary: dict[str, Any]
    texts: list[str]
    quarantine: dict[str, dict[str, str]]
    report: str


def prepared(made: Made, tokenizer: Any) -> Prepared:
    lines = (made.folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert len({bad["place"] for bad in found}) == len(found)
    return Prepared(
        made.summary,
        [tokenizer.decode(ids.tolist()) for side in ("train", "validation") for ids in made.split(side)[0]],
        {bad["place"]: bad for bad in found},
        (made.folder / "report.md").read_text(encoding="utf-8"),
    )


@pytest.fixture(scope="module")
def known() -> dict[str, Prepared]:
    """What the first row of each kind of file has had made, for the others of that kind."""
    return {}


@pytest.fixture
def of_kind(
    make: Make, tmp_path: Path, tokenizer: Any, known: dict[str, Prepared], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Prepared]:
    """All rows of a kind of file, prepared in one run."""

    def run(kind: str) -> Prepared:
        if kind not in known:
            within = bad_rows.FILES[kind]
            bad = [row for _, at, row, _ in bad_rows.ROWS if at == kind]
            laid(tmp_path, {within.file: within.bytes_of(bad), **within.beside})
            lower(monkeypatch, within.limits)
            data = data_of(tmp_path, {"train_files": [within.file], "max_bad_rows": 1, **within.fields})
            known[kind] = prepared(make(**data.model_dump(exclude_unset=True)), tokenizer)
        return known[kind]

    return run


@pytest.mark.parametrize(("kind", "number", "reason"), bad_rows.numbered())
def test_a_bad_row_is_set_aside_with_its_place_and_reason(
    of_kind: Callable[[str], Prepared], kind: str, number: int, reason: str
) -> None:
    within = bad_rows.FILES[kind]
    place = f"{within.file}:{len(within.head) + 2 + 2 * number}"
    told = of_kind(kind).quarantine[place]
    assert reason in told["reason"]
    assert len(told["reason"]) < 1000
    assert set(told) == {"place", "reason", "sample"}


@pytest.mark.parametrize("kind", bad_rows.FILES)
def test_good_rows_beside_bad_ones_are_prepared_and_all_are_accounted_for(
    of_kind: Callable[[str], Prepared], kind: str
) -> None:
    found, bad = of_kind(kind), sum(at == kind for _, at, *_ in bad_rows.ROWS)
    told = found.summary
    assert told["rows"] == told["train_rows"] + told["validation_rows"] + told["dropped"] + told["bad"]
    assert (told["rows"], told["bad"], told["dropped"]) == (2 * bad + 1, bad, 0)
    assert len(found.quarantine) == bad
    assert len(found.texts) == bad + 1
    assert all(any(str(number) in text for text in found.texts) for number in range(bad + 1))
    first = next(iter(found.quarantine.values()))
    assert f"`{first['place']}`" in found.report


# All else


def bare(folder: Path) -> Path:
    (folder / "chat_template.jinja").unlink()
    return folder


def settings(folder: Path, **changed: Any) -> Path:
    path = folder / "tokenizer_config.json"
    kept = {name: value for name, value in (json.loads(path.read_text()) | changed).items() if value is not None}
    path.write_text(json.dumps(kept))
    return folder


def without(folder: Path, name: str, instead: bytes | None = None) -> Path:
    (folder / name).unlink()
    if instead is not None:
        (folder / name).write_bytes(instead)
    return folder


TOKENIZERS: dict[str, Callable[[Path], Path]] = {
    "no template": bare,
    "no eos": lambda folder: settings(folder, eos_token=None),
    "no tokenizer.json": lambda folder: without(folder, "tokenizer.json"),
    "no JSON": lambda folder: without(folder, "tokenizer.json", b'{"version": "1.0", '),
    "another JSON": lambda folder: without(folder, "tokenizer.json", b"[]"),
    "no settings": lambda folder: without(folder, "tokenizer_config.json", b"{"),
    "nothing": lambda folder: without(without(folder, "tokenizer.json"), "tokenizer_config.json"),
}


def overlapping(data: DataConfig, folder: Path) -> tuple[Receipt, Path]:
    """What the overlap step would hand on had every row held a question of the evaluation."""
    (source,) = data.sources(validation=False)
    rows = [found.row for file in source.files for found in formats.read(Path(file), "rows", Shape())]
    folder.mkdir()
    np.save(folder / "rows.npy", np.array([fingerprint(row) for row in rows if row], np.uint64))
    summary = {"rows_hit": len(rows), "rows_sha256": "f" * 64}
    return receipt(folder).model_copy(update={"stage": "overlap", "summary": summary}), folder


def seen_at(make: Make, folder: Path, bad: Bad, tokenizer: Path) -> str:
    """Read the recipe, then see what it names, then do the work; raises what each does, with where it was as a note."""
    seen = "recipe"
    try:
        data = data_of(folder, {"train_files": [next(iter(bad.files), "none")], **bad.fields})
        seen = "step"
        stage.step(data, receipt(tokenizer))
        seen = "work"
        overlap = overlapping(data, folder / "overlap") if data.decontamination == "drop" else None
        make(tokenizer=tokenizer, overlap=overlap, **data.model_dump(exclude_unset=True))
    except LuthierError as error:
        error.add_note(seen)
        raise
    return "nowhere"


@pytest.mark.parametrize("bad", bad_files.INPUTS, ids=lambda bad: bad.name)
def test_a_bad_input_is_refused_where_it_is_first_seen(
    make: Make, tmp_path: Path, bad: Bad, monkeypatch: pytest.MonkeyPatch, tokenizer_folder: Path
) -> None:
    laid(tmp_path, bad.files)
    lower(monkeypatch, bad.limits)
    tokenizer = tokenizer_folder
    if bad.tokenizer:
        tokenizer = TOKENIZERS[bad.tokenizer](tiny.tokenizer(tmp_path / "tokenizer"))
    with pytest.raises(LuthierError) as caught:
        seen_at(make, tmp_path, bad, tokenizer)
    error = caught.value
    assert (type(error), error.__notes__) == (bad.error, [bad.seen])
    assert error.place == bad.place
    assert bad.reason in f"{error.what}\n{error.value}"
    assert bad.remedy in error.remedy
    assert error.remedy
    assert error.value or bad.silent, "the value is told"
    assert str(tmp_path) not in error.what + error.place + error.remedy
