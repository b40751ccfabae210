"""Putting a folder on a model hub: whole or not at all, and never where more people can read it than was meant."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import Refused, Unreachable

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

log = logging.getLogger(__name__)

ID = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)  # organisation/name
_WEIGHTS = (".safetensors", ".safetensors.index.json")
_TOKEN = "HF_TOKEN"


def require_id(repo_id: str) -> str:
    """A hub id as it is; Refused where it is not of the form organisation/name."""
    if not ID.fullmatch(repo_id):
        raise Refused("that is no id on a hub", value=repo_id, remedy="organisation/name, of letters, digits and . _ -")
    return repo_id


def fetched_as(base: Mapping[str, object]) -> str:
    """organisation/name@commit of a base that came from a hub, from the config that pinned it; else empty."""
    name, revision = str(base.get("model_name_or_path", "")), base.get("revision")
    if not ID.fullmatch(name):  # paths in a resolved recipe are absolute
        return ""
    return f"{name}@{revision}" if revision else name


def require_token() -> str:
    """The token from the environment; Refused where there is none. One that is saved on disk is not looked for."""
    token = os.environ.get(_TOKEN, "")
    if not token:
        raise Refused(
            "there is no token for the hub",
            place=_TOKEN,
            remedy="make one that may write at https://huggingface.co/settings/tokens, and: export HF_TOKEN=hf_…",
        )
    return token


def publish(folder: Path, repo_id: str, private: bool, message: str) -> str:
    """Put a folder's files on the hub in one commit; its URL.

    A repository is made where there is none. Weights that it had and the folder has not are removed in that commit,
    because loaders would mix the two. Refused for a public repository where a private one was meant, and where the
    hub refuses; Unreachable where it does not answer. Honours HF_ENDPOINT.
    """
    token, endpoint = require_token(), os.environ.get("HF_ENDPOINT")
    with online() as client, _answers(endpoint or "https://huggingface.co"):
        api = client.HfApi(endpoint=endpoint, token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        known = api.model_info(repo_id)
        if private:
            _require_private(known)
        elif known.private:
            log.warning("%s was private before, and stays so: change that on the hub", repo_id)
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        stale = [one.rfilename for one in known.siblings or [] if one.rfilename.endswith(_WEIGHTS)]
        done = api.create_commit(
            repo_id,
            [
                *(client.CommitOperationDelete(name) for name in stale if name not in files),
                *(client.CommitOperationAdd(name, path) for name, path in files.items()),
            ],
            commit_message=message,
        )
    return str(done.commit_url)


@contextmanager
def online() -> Iterator[Any]:
    """The hub's client. Runs are offline, so that loading a folder never asks the hub; in this block it is asked."""
    import huggingface_hub  # noqa: PLC0415 - only those who name a hub need it
    from huggingface_hub import constants  # noqa: PLC0415

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, False
    try:
        yield huggingface_hub
    finally:
        constants.HF_HUB_OFFLINE = before


def _require_private(known: "ModelInfo") -> None:
    if not known.private:
        raise Refused(
            "the repository is there already, and everybody can read it",
            value=known.id,
            remedy="choose another name, or say --public if that is meant",
        )


@contextmanager
def _answers(endpoint: str) -> Iterator[None]:
    # HTTPError is that of whichever HTTP library this version of the client uses.
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]  # noqa: PLC0415

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        kind = Unreachable if status >= 500 or status == 429 else Refused
        raise kind(
            f"the hub answered {status}",
            place=endpoint,
            value=error.server_message or str(error).splitlines()[0],
            remedy="401 and 403: the token in HF_TOKEN must be valid and may write to that organisation",
        ) from error
    except (HTTPError, OSError) as error:
        raise Unreachable(
            "the hub does not answer as it should",
            place=endpoint,
            value=error,
            remedy="check the network and HF_ENDPOINT; a hub without xet storage needs HF_HUB_DISABLE_XET=1",
        ) from error
    except ValueError as error:
        raise Refused("the hub refuses the model card", place=endpoint, value=error) from error
    except RuntimeError as error:  # an upload's own error, wrapped
        raise Unreachable("a file could not be uploaded", place=endpoint, value=error.__cause__ or error) from error
