"""A base model on a hub: pinned by commit, fetched file by file, and only files that hold data."""

import logging
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

from infra.errors import BadModel
from infra.storage.objects import sha256_of
from infra.storage.receipt import FileEntry
from infra.storage.reference import Reference
from infra.storage.repository import COMMIT, Repository, require_whole
from tasks.base import origin

log = logging.getLogger(__name__)

_TEXT = ("*.json", "*.txt", "*.jinja", "*.model", "README.md", "LICEN[SC]E*", "NOTICE*", "COPYING*")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@lru_cache(maxsize=32)
def commit(repo_id: str, revision: str) -> str:
    """The commit (40 hex digits) that a branch or tag means now. A commit is its own answer, and asks nobody."""
    if COMMIT.fullmatch(revision):
        return revision
    found = _repository(repo_id).commit(revision)
    log.info("base: %s at %s is commit %s; `revision: %s` in the recipe keeps it so", repo_id, revision, found, found)
    return found


def fetch(repo_id: str, at: str, *, weights: bool, on_file: origin.OnFile) -> Path:
    """The folder that holds a commit's text files, and its weights if they are wanted; it lies in the hub's own cache
    (HF_HOME), so what is there already is not fetched again.

    Calls `on_file(name, number, count)` before each file. BadModel where there are only pickles or no access, Corrupt
    where a file of weights is not what the hub says it is, Unreachable where the hub does not answer.
    """
    repository = _repository(repo_id)
    known = repository.files(at)
    _require_safetensors(repo_id, list(known))
    texts = sorted(name for name in known if any(fnmatch(name, kind) for kind in _TEXT))
    folder = Path()
    for number, name in enumerate(texts):
        on_file(name, number, len(texts))
        folder = repository.download(at, name).parent
    shards = origin.shard_names(folder) if weights else []
    for number, name in enumerate(shards):
        on_file(name, number, len(shards))
        path, told = repository.download(at, name), known.get(name)
        if told and told.lfs:
            require_whole(path, told.lfs.sha256)
    return folder


def _repository(repo_id: str) -> Repository:
    return Repository("model", repo_id, BadModel, origin.PLACE)


def refer(repo_id: str, at: str, folder: Path) -> Reference:
    """The files of weights that the texts in `folder` ask for, with size and sha256 as the hub tells them, unfetched.

    One that the hub keeps as plain text of git has no sha256 there: it is small, and read. BadModel for one that is missing.
    """
    repository = _repository(repo_id)
    known = repository.files(at)
    entries = []
    for name in origin.shard_names(folder):
        told = known.get(name)
        if told is None:
            raise BadModel("a file with weights is missing", place=f"{repo_id}@{at}", value=name)
        sha = told.lfs.sha256 if told.lfs else sha256_of(repository.download(at, name))[1]
        entries.append(FileEntry(path=name, size=told.size, sha256=sha))
    return Reference(hub=repo_id, revision=at, files=entries)


def _require_safetensors(repo_id: str, names: list[str]) -> None:
    if any(name.endswith(".safetensors") for name in names):
        return
    pickles = sorted(name for name in names if any(fnmatch(name, pattern) for pattern in _PICKLES))
    raise BadModel(
        "the repository has no safetensors"
        + (", only pickles, and loading one runs the code in it" if pickles else ""),
        place=origin.PLACE,
        value=f"{repo_id}: {', '.join(pickles or names)[:200]}",
        remedy="choose a revision with safetensors, or convert the model where you trust it and name the folder",
    )
