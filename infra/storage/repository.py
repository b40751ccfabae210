"""A repository on a model hub, of a model or of a data set: its commits, its files, and one file at a time from it."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from infra.errors import Corrupt, Refused, Unreachable
from infra.storage.hub import online
from infra.storage.objects import sha256_of

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Repository:
    """One repository; `refused` is the error for what is wrong with it, `place` the field that names it.

    Honours HF_ENDPOINT and HF_TOKEN; a token that lies on the disk is not used. Every question raises Unreachable
    where the hub does not answer, and `refused` where it says no.
    """

    kind: Literal["model", "dataset"]
    id: str
    refused: type[Refused]
    place: str

    def commit(self, revision: str) -> str:
        """The commit (40 hex digits) that a branch or tag means now."""
        with online() as hub, self._answers(revision):
            api = hub.HfApi(endpoint=endpoint(), token=_token())
            return str(api.repo_info(self.id, revision=revision, repo_type=self.kind, timeout=30).sha)

    def files(self, at: str, *, deep: bool = False) -> "dict[str, RepoFile]":
        """The files at a commit by path; of the top folder alone unless it is `deep`."""
        with online() as hub, self._answers(at):
            api = hub.HfApi(endpoint=endpoint(), token=_token())
            listed = api.list_repo_tree(self.id, revision=at, repo_type=self.kind, recursive=deep)
            return {item.path: item for item in listed if isinstance(item, hub.hf_api.RepoFile)}

    def download(self, at: str, name: str) -> Path:
        """A file of a commit in the hub's own cache (HF_HOME); what is there already is not asked for."""
        with online() as hub, self._answers(at):
            return Path(
                hub.hf_hub_download(
                    self.id, name, revision=at, repo_type=self.kind, token=_token(), endpoint=endpoint()
                )
            )

    def here(self, at: str, name: str) -> Path | None:
        """A file of a commit where it lies in the hub's own cache; None where it was not fetched to this machine."""
        with online() as hub:
            found = hub.try_to_load_from_cache(self.id, name, revision=at, repo_type=self.kind)
        return Path(found) if isinstance(found, str) else None

    @contextmanager
    def _answers(self, revision: str) -> Iterator[None]:
        from huggingface_hub import errors  # noqa: PLC0415 - see online

        lost = (errors.LocalEntryNotFoundError, errors.HTTPError)  # type: ignore[attr-defined]  # of its HTTP library
        kind = {"model": "model", "dataset": "data set"}[self.kind]
        folder = {"model": "", "dataset": "datasets/"}[self.kind]
        where = f"{endpoint() or 'https://huggingface.co'}/{folder}{self.id}"
        try:
            yield
        except errors.GatedRepoError as error:
            remedy = "accept its licence on that page, then: export HF_TOKEN=hf_…"
            raise self._refused(f"the {kind} is gated", where, remedy) from error
        except errors.RevisionNotFoundError as error:
            raise self._refused(
                "there is no such revision", f"{where}@{revision}", "see its list of commits"
            ) from error
        except errors.RepositoryNotFoundError as error:
            remedy = f"check the name; a private {kind} needs a token that may read it: export HF_TOKEN=hf_…"
            raise self._refused(f"there is no such {kind}, or it is private", where, remedy) from error
        except errors.HfHubHTTPError as error:
            if error.response.status_code in (401, 403):
                remedy = f"HF_TOKEN must be valid and may read this {kind}"
                raise self._refused("the hub refuses the token", where, remedy) from error
            raise Unreachable("the hub does not serve", place=where, value=str(error)[:300]) from error
        except lost as error:
            remedy = "check the network and HF_ENDPOINT"
            raise Unreachable("the hub does not answer", place=where, value=str(error)[:300], remedy=remedy) from error

    def _refused(self, what: str, where: str, remedy: str) -> Refused:
        return self.refused(what, place=self.place, value=where, remedy=remedy)


def require_whole(path: Path, sha256: str) -> None:
    """Corrupt where a file in the hub's cache is not what the hub says it is; it is removed there."""
    if (found := sha256_of(path)[1]) != sha256:
        path.resolve().unlink()  # the next run fetches it anew
        raise Corrupt("a file did not arrive whole", place=path.name, value=f"sha256 {found}, not {sha256}")


def endpoint() -> str | None:
    """The hub that is set, None for its client's own."""
    return os.environ.get("HF_ENDPOINT")


def _token() -> str | bool:
    return os.environ.get("HF_TOKEN") or False  # False: not one that lies on the disk either
