"""Any S3 server as a store: every call bounded, retried until the deadline, and lost replies recognised."""

import asyncio
import base64
import contextlib
import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import aiohttp
import fsspec.asyn
import s3fs
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError
from fsspec.exceptions import FSTimeoutError

from infra.errors import Corrupt, LuthierError, StoreRefused, Unreachable
from infra.storage.objects import BLOCK, file_blocks

log = logging.getLogger(__name__)

T = TypeVar("T")

_MISSING = {"NoSuchKey", "404", "NoSuchUpload", "InvalidRange", "416"}
_TAKEN = {"PreconditionFailed", "412"}
_AGAIN = {  # besides every status of 500 and above
    *("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded", "429"),
    *("ConditionalRequestConflict", "409", "OperationAborted"),
    *("IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"),
}
_WEATHER = (
    *(HTTPClientError, BotoConnectionError, IncompleteReadError, ResponseParserError),
    *(CredentialRetrievalError, MetadataRetrievalError),  # a cloud's metadata service has bad moments too
    *(FSTimeoutError, aiohttp.ClientError, ConnectionError, TimeoutError, asyncio.IncompleteReadError),
)
_REMEDIES = {  # what a code of S3 means for who set it up; others get the general remedy
    "InvalidAccessKeyId": "the server does not know the key in AWS_ACCESS_KEY_ID: is it this server's?",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID, or a proxy changes requests",
    "RequestTimeTooSkewed": "set this machine's clock (timedatectl, chronyc tracking): S3 allows 15 minutes",
    "AccessDenied": "give the key the right that is named, on the bucket and all below the prefix (docs/connect.md)",
    **dict.fromkeys(
        ("AuthorizationHeaderMalformed", "PermanentRedirect", "301", "IllegalLocationConstraintException"),
        "the bucket is in another region: set AWS_DEFAULT_REGION to it",
    ),
    **dict.fromkeys(
        ("ExpiredToken", "InvalidToken", "TokenRefreshRequired"),
        "the session is over: get new credentials, AWS_SESSION_TOKEN among them",
    ),
}
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # AWS's rule, which also keeps user:password@host out


class S3Objects:
    """Objects below `s3://bucket/prefix`. Credentials and endpoint come from the provider chain, never from arguments.

    `deadline_s` bounds each operation with all its retries; `request_s` one request, which is the only thing that
    ends a PUT to a server that swallows it (botocore's read timeout does not cover the wait for 100-continue).
    """

    def __init__(self, uri: str, deadline_s: float = 180.0, request_s: float = 60.0) -> None:
        self.uri = uri.rstrip("/")
        self.bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
        self.prefix = prefix + "/" if prefix else ""
        if not _BUCKET.fullmatch(self.bucket):
            raise StoreRefused(
                "that is no bucket of an S3 store",
                place="LUTHIER_STORE",
                remedy="use s3://bucket or s3://bucket/prefix; the server goes into AWS_ENDPOINT_URL, credentials into AWS_*",
            )
        self.deadline_s, self.request_s = deadline_s, request_s
        # One layer of retries, ours below: it knows the deadline and what a refused condition means.
        config = {"retries": {"total_max_attempts": 1}, "read_timeout": request_s}
        self.fs = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True, config_kwargs=config)
        self.fs.retries = 1

    def get(self, key: str) -> bytes | None:
        return self._body(key, {})

    def put(self, key: str, data: bytes) -> None:
        self._call("put_object", Key=self._key(key), Body=data, **_checked(data))

    def create(self, key: str, data: bytes) -> bool:
        # An empty conditional write would overwrite (s3fs), and could not be told from another's.
        if not data:
            raise ValueError("a commit record is never empty")
        try:
            self._call("put_object", Key=self._key(key), Body=data, IfNoneMatch="*", **_checked(data))
        except _Taken:
            # Refused: by another, or by our own earlier request whose reply was lost. The bytes tell.
            return self.get(key) == data
        return True

    def size(self, key: str) -> int | None:
        try:
            return int(self._call("head_object", Key=self._key(key))["ContentLength"])
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> dict[str, int]:
        return {key: size for key, (size, _) in self.entries(prefix).items()}

    def entries(self, prefix: str) -> dict[str, tuple[int, str]]:
        """Size and ETag by key, as `list`; an object whose ETag is the same holds the same bytes."""
        found: dict[str, tuple[int, str]] = {}
        more: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=self.prefix + prefix, **more)
            for item in page.get("Contents", []):
                found[item["Key"].removeprefix(self.prefix)] = (int(item["Size"]), str(item["ETag"]))
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def blocks(self, key: str, etag: str = "") -> Iterator[bytes]:
        """See Objects.blocks; Corrupt where the object changes meanwhile, or is not the one of the ETag given."""
        size = self.size(key)
        if size is None:
            raise FileNotFoundError(f"{self.uri}/{key}")
        same = {"IfMatch": etag} if etag else {}
        for start in range(0, size, BLOCK):
            stop = min(start + BLOCK, size)
            try:
                block = self._body(key, {"Range": f"bytes={start}-{stop - 1}", **same})
            except _Taken:
                block = None
            if block is None or len(block) != stop - start:
                raise Corrupt("an object changed or vanished while it was read", place=f"{self.uri}/{key}")
            yield block

    def upload(self, path: Path, key: str) -> tuple[int, str]:
        if path.stat().st_size > BLOCK:
            return self.in_parts(path, key)
        data = path.read_bytes()
        self.put(key, data)
        return len(data), hashlib.sha256(data).hexdigest()

    def delete(self, key: str) -> None:
        self._call("delete_object", Key=self._key(key))

    def clock(self) -> datetime:
        """What time the server says it is, refused or not; Unreachable where it does not answer."""
        try:
            reply = self._call("list_objects_v2", Prefix=self.prefix, MaxKeys=1)
        except (StoreRefused, FileNotFoundError) as error:
            said = error.__cause__.__cause__ if isinstance(error.__cause__, OSError) else error.__cause__
            if not isinstance(said, ClientError):
                raise
            reply = said.response
        return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"])

    def in_parts(self, path: Path, key: str) -> tuple[int, str]:
        """Store a file as a multipart upload, whatever its size; size and sha256."""
        name = self._key(key)
        upload = self._call("create_multipart_upload", Key=name, ChecksumAlgorithm="SHA256")["UploadId"]
        try:
            size, sha, parts = self._parts(path, name, upload)
            # No such upload: completed by a request whose reply was lost, or aborted by someone. HEAD tells.
            with contextlib.suppress(FileNotFoundError):
                self._call("complete_multipart_upload", Key=name, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            self._abort(name, upload)
            raise
        if self.size(key) != size:
            raise Unreachable("a multipart upload did not arrive whole", place=f"{self.uri}/{key}", value=size)
        return size, sha

    def _parts(self, path: Path, name: str, upload: str) -> tuple[int, str, Sequence[dict[str, Any]]]:
        sha, size, parts = hashlib.sha256(), 0, []
        for number, block in enumerate(file_blocks(path), 1):
            sha.update(block)
            size += len(block)
            checked = _checked(block)
            part = self._call("upload_part", Key=name, UploadId=upload, PartNumber=number, Body=block, **checked)
            parts.append({"PartNumber": number, "ETag": part["ETag"], **checked})
        return size, sha.hexdigest(), parts

    def _abort(self, name: str, upload: str) -> None:
        """Leave no incomplete upload behind; called while an error is on its way, which must stay the one reported."""
        try:
            self._call("abort_multipart_upload", Key=name, UploadId=upload)
        except FileNotFoundError:
            return
        except LuthierError as error:
            log.warning("an incomplete upload of %s/%s stays on the server: %s", self.bucket, name, error)

    def _key(self, key: str) -> str:
        return self.prefix + key

    def _body(self, key: str, more: dict[str, str]) -> bytes | None:
        async def read() -> bytes:
            reply = await self.fs._call_s3("get_object", Bucket=self.bucket, Key=self._key(key), **more)
            async with reply["Body"] as stream:
                return bytes(await stream.read())

        try:
            return self._bounded(read, f"get {key}")
        except FileNotFoundError:
            return None

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        async def call() -> dict[str, Any]:
            reply: dict[str, Any] = await self.fs._call_s3(method, Bucket=self.bucket, **arguments)
            return reply

        return self._bounded(call, f"{method} {arguments.get('Key', arguments.get('Prefix', ''))}")

    def _bounded(self, call: Callable[[], Awaitable[T]], what: str) -> T:
        """Try until it works, until another try cannot help, or until the deadline: then Unreachable says what was last."""
        end = time.monotonic() + self.deadline_s
        pause, problem = 0.2, cast(Exception | None, None)
        while True:
            left = max(end - time.monotonic(), 0.1)
            try:
                result: T = fsspec.asyn.sync(self.fs.loop, call, timeout=min(self.request_s, left))
                return result
            except FSTimeoutError as error:
                problem = problem or error  # a try cut short by the deadline says less than the one before
            except _WEATHER as error:
                problem = error
            except (BotoCoreError, ValueError) as error:  # no credentials, no such profile, an endpoint that is no URL
                raise _denied(self.uri, str(error), what) from error
            except (OSError, ClientError) as error:
                self._classify(error, what)
                problem = error
            if time.monotonic() + pause > end:
                raise self._unreachable(what, problem) from problem
            time.sleep(pause)
            pause = min(pause * 2, 10.0)

    def _unreachable(self, what: str, problem: Exception) -> Unreachable:
        return Unreachable(
            f"the store did not answer within {self.deadline_s:.0f} s ({what})",
            place=self.uri,
            value=f"{type(problem).__name__}: {problem}",
            remedy="check the server and AWS_ENDPOINT_URL; LUTHIER_STORE_DEADLINE_S sets how long to wait",
        )

    def _classify(self, error: OSError | ClientError, what: str) -> None:
        """Return where another try may help; raise what the error means where it cannot."""
        cause = error if isinstance(error, ClientError) else error.__cause__
        if not isinstance(cause, ClientError):
            raise error
        code = str(cause.response["Error"].get("Code", ""))
        if code in _AGAIN or cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
            return
        if code in _TAKEN:
            raise _Taken from error
        if code in _MISSING:
            raise FileNotFoundError(self.uri) from error
        if code == "NoSuchBucket":
            raise StoreRefused(
                "the bucket does not exist",
                place=self.uri,
                value=self.bucket,
                remedy="create it, or set LUTHIER_STORE to one that exists",
            ) from error
        said = f"{code}: {cause.response['Error'].get('Message', '')}"
        raise _denied(self.uri, said, what, _REMEDIES.get(code, "")) from error


class _Taken(Exception):
    """A conditional write found something already there."""


def _denied(uri: str, value: str, what: str, remedy: str = "") -> StoreRefused:
    return StoreRefused(
        f"the store refused {what.partition(' ')[0]}",
        place=uri,
        value=value,
        remedy=remedy
        or "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, the clock, and the rights to read, write, list and delete",
    )


def _checked(data: bytes) -> dict[str, str]:
    # The server compares, so that a flipped bit on the way is an error there and not an artifact here.
    return {"ChecksumSHA256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
