"""A base model on a hub: pinned by commit, fetched file by file, and only files that hold data."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import BadModel, Corrupt, Unreachable
from infra.storage.hub import online
from infra.storage.objects import sha256_of
from tasks.base import origin

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

log = logging.getLogger(__name__)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TEXT = ("*.json", "*.txt", "*.jinja", "*.model", "README.md", "LICEN[SC]E*", "NOTICE*", "COPYING*")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@lru_cache(maxsize=32)
def commit(repo_id: str, revision: str) -> str:
    """The commit (40 hex digits) that a branch or tag means now. A commit is its own answer, and asks nobody."""
    if _COMMIT.fullmatch(revision):
        return revision
    with online() as hub, _answers(repo_id, revision):
        api = hub.HfApi(endpoint=_endpoint(), token=_token())
        found = str(api.model_info(repo_id, revision=revision, timeout=30).sha)
    log.info("base: %s at %s is commit %s; `revision: %s` in the recipe keeps it so", repo_id, revision, found, found)
    return found


def fetch(repo_id: str, at: str, *, weights: bool, on_file: origin.OnFile) -> Path:
    """The folder that holds a commit's text files, and its weights if they are wanted; it lies in the hub's own cache
    (HF_HOME), so what is there already is not fetched again.

    Calls `on_file(name, number, count)` before each file. BadModel where there are only pickles or no access, Corrupt
    where a file of weights is not what the hub says it is, Unreachable where the hub does not answer.
    """
    known = _files(repo_id, at)
    _require_safetensors(repo_id, list(known))
    texts = sorted(name for name in known if any(fnmatch(name, kind) for kind in _TEXT))
    folder = Path()
    for number, name in enumerate(texts):
        on_file(name, number, len(texts))
        folder = _download(repo_id, at, name).parent
    shards = origin.shard_names(folder) if weights else []
    for number, name in enumerate(shards):
        on_file(name, number, len(shards))
        _require_whole(_download(repo_id, at, name), known.get(name))
    return folder


def _download(repo_id: str, at: str, name: str) -> Path:
    with online() as hub, _answers(repo_id, at):
        return Path(hub.hf_hub_download(repo_id, name, revision=at, token=_token(), endpoint=_endpoint()))


def _require_whole(path: Path, told: "RepoFile | None") -> None:
    lfs = told and told.lfs
    if lfs and (found := sha256_of(path)[1]) != lfs.sha256:
        path.resolve().unlink()  # the next run fetches it anew
        raise Corrupt("a file did not arrive whole", place=path.name, value=f"sha256 {found}, not {lfs.sha256}")


def _files(repo_id: str, at: str) -> "dict[str, RepoFile]":
    with online() as hub, _answers(repo_id, at):
        listed = hub.HfApi(endpoint=_endpoint(), token=_token()).list_repo_tree(repo_id, revision=at)
        return {item.path: item for item in listed if isinstance(item, hub.hf_api.RepoFile)}


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


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _token() -> str | bool:
    return os.environ.get("HF_TOKEN") or False  # False: not one that lies on the disk either


@contextmanager
def _answers(repo_id: str, revision: str) -> Iterator[None]:
    from huggingface_hub import errors  # noqa: PLC0415 - see online

    lost = (errors.LocalEntryNotFoundError, errors.HTTPError)  # type: ignore[attr-defined]  # of its HTTP library
    where = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/{repo_id}"
    try:
        yield
    except errors.GatedRepoError as error:
        remedy = "accept its licence on that page, then: export HF_TOKEN=hf_…"
        raise _refused("the model is gated", where, remedy) from error
    except errors.RevisionNotFoundError as error:
        raise _refused("there is no such revision", f"{where}@{revision}", "see its list of commits") from error
    except errors.RepositoryNotFoundError as error:
        remedy = "check the name; a private model needs a token that may read it: export HF_TOKEN=hf_…"
        raise _refused("there is no such model, or it is private", where, remedy) from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            remedy = "HF_TOKEN must be valid and may read this model"
            raise _refused("the hub refuses the token", where, remedy) from error
        raise Unreachable("the hub does not serve", place=where, value=str(error)[:300]) from error
    except lost as error:
        raise Unreachable(
            "the hub does not answer", place=where, value=str(error)[:300], remedy="check the network and HF_ENDPOINT"
        ) from error


def _refused(what: str, where: str, remedy: str) -> BadModel:
    return BadModel(what, place=origin.PLACE, value=where, remedy=remedy)
