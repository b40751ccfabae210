"""Files of data sets on a hub: `hf://datasets/org/name@revision/path`, as huggingface_hub's file system writes them."""

import json
import logging
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from fsspec.utils import glob_translate

from infra import settings
from infra.errors import BadData, BadRecipe
from infra.frozen import canonical, digest
from infra.storage import hub
from infra.storage.objects import LocalObjects
from infra.storage.repository import COMMIT, Repository, endpoint, require_whole
from infra.storage.sources import SHA256, Listed

log = logging.getLogger(__name__)

SCHEME = "hf://"
_NAME = re.compile(
    r"hf://datasets/(?P<id>[^/@]+/[^/@]+)(?:@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+))?(?:/(?P<path>.*))?"
)


def at_commit(name: str, place: str) -> str:
    """The name with the commit that its branch or tag means now (main where it names none); a commit asks nobody."""
    repo_id, revision, path = split(name, place)
    return f"hf://datasets/{repo_id}@{_commit(repo_id, revision, place)}/{path}".rstrip("/")


def listed(name: str, place: str) -> list[Listed]:
    """The files that a name means: one, those below a folder, those that match a glob, or all of the data set.

    Asks the hub for the files of a commit once; they never change. BadData where it says no, Unreachable where it
    does not answer.
    """
    repo_id, revision, path = split(name, place)
    at = _commit(repo_id, revision, place)
    prefix = f"hf://datasets/{repo_id}@{at}/"
    meant = re.compile(glob_translate(path)) if re.search(r"[*?\[]", path) else None
    return [
        Listed(prefix + file, size, stamp)
        for file, (size, stamp) in _files(repo_id, at, place).items()
        if (meant.match(file) if meant else not path or file == path or file.startswith(path.rstrip("/") + "/"))
        if not any(part.startswith(".") for part in file.split("/"))
    ]


def fetched(uri: str, stamp: str) -> Path:
    """A listed file in the hub's own cache, compared with the hash that the hub has of it; Corrupt where they differ."""
    repo_id, at, path = split(uri, uri)
    found = _repository(repo_id, uri).download(at, path)
    if stamp.startswith(SHA256):
        require_whole(found, stamp.removeprefix(SHA256))
    return found


def split(name: str, place: str) -> tuple[str, str, str]:
    """Id, revision and path inside; BadRecipe where it is no name of this form."""
    match = _NAME.fullmatch(name)
    if match is None or not hub.ID.fullmatch(match["id"]):
        raise BadRecipe(
            "that is no data set on a hub",
            place=place,
            value=name,
            remedy="hf://datasets/organisation/name@revision/path; a / in a branch's name is written %2F",
        )
    return match["id"], unquote(match["revision"] or "main"), match["path"] or ""


@lru_cache(maxsize=32)
def _commit(repo_id: str, revision: str, place: str) -> str:
    if COMMIT.fullmatch(revision):
        return revision
    found = _repository(repo_id, place).commit(revision)
    log.info(
        "%s: %s at %s is commit %s; hf://datasets/%s@%s keeps it so", place, repo_id, revision, found, repo_id, found
    )
    return found


def _files(repo_id: str, at: str, place: str) -> dict[str, tuple[int, str]]:
    """Size and stamp of each file of a commit, from this machine's memory where it was asked before."""
    memory = LocalObjects(settings.load().home)
    key = f"hub/{digest([endpoint(), repo_id, at])}.json"
    known = memory.get(key)
    if known is None:
        told = _repository(repo_id, place).files(at, deep=True)
        files = {
            path: (file.size, SHA256 + file.lfs.sha256 if file.lfs else f"git:{file.blob_id}")
            for path, file in told.items()
        }
        memory.put(key, canonical(files))
        return files
    return {path: (size, stamp) for path, (size, stamp) in json.loads(known).items()}


def _repository(repo_id: str, place: str) -> Repository:
    return Repository("dataset", repo_id, BadData, place)
