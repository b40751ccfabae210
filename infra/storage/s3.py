"""Any S3 server as a store: every call bounded, retried until the deadline, and lost replies recognised."""

import asyncio
import base64
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import fsspec.asyn
import s3fs
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from fsspec.exceptions import FSTimeoutError

from infra.errors import Corrupt, StoreRefused, Unreachable
from infra.storage.objects import BLOCK, file_blocks

T = TypeVar("T")

_MISSING = {"NoSuchKey", "404", "NoSuchUpload"}
_TAKEN = {"PreconditionFailed", "412"}
_AGAIN = {
    *("500", "502", "503", "504", "InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"),
    *(
        "ConditionalRequestConflict",
        "409",
        "OperationAborted",
        "IncompleteBody",
        "BadDigest",
        "XAmzContentSHA256Mismatch",
    ),
}
_WEATHER = (
    FSTimeoutError,
    BotoCoreError,
    aiohttp.ClientError,
    ConnectionError,
    TimeoutError,
    asyncio.IncompleteReadError,
)


class S3Objects:
    """Objects below `s3://bucket/prefix`. Credentials and endpoint come from the provider chain, never from arguments.

    `deadline_s` bounds each operation with all its retries; `request_s` one request, which is the only thing that
    ends a PUT to a server that swallows it (botocore's read timeout does not cover the wait for 100-continue).
    """

    def __init__(self, uri: str, deadline_s: float = 180.0, request_s: float = 60.0) -> None:
        self.uri = uri.rstrip("/")
        self.bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
        self.prefix = prefix + "/" if prefix else ""
        self.deadline_s, self.request_s = deadline_s, request_s
        self.fs = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
        self.fs.retries = 1  # ours are below, and know the deadline

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
        found: dict[str, int] = {}
        more: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=self.prefix + prefix, **more)
            found |= {item["Key"].removeprefix(self.prefix): int(item["Size"]) for item in page.get("Contents", [])}
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def blocks(self, key: str) -> Iterator[bytes]:
        size = self.size(key)
        if size is None:
            raise FileNotFoundError(f"{self.uri}/{key}")
        for start in range(0, size, BLOCK):
            stop = min(start + BLOCK, size)
            block = self._body(key, {"Range": f"bytes={start}-{stop - 1}"})
            if block is None or len(block) != stop - start:
                raise Corrupt("an object changed or vanished while it was read", place=f"{self.uri}/{key}")
            yield block

    def upload(self, path: Path, key: str) -> tuple[int, str]:
        size = path.stat().st_size
        if size <= BLOCK:
            data = path.read_bytes()
            self.put(key, data)
            return size, hashlib.sha256(data).hexdigest()
        return size, self._multipart(path, key, size)

    def delete(self, key: str) -> None:
        self._call("delete_object", Key=self._key(key))

    def _multipart(self, path: Path, key: str, size: int) -> str:
        name, sha = self._key(key), hashlib.sha256()
        upload = self._call("create_multipart_upload", Key=name)["UploadId"]
        try:
            parts = []
            for number, block in enumerate(file_blocks(path), 1):
                sha.update(block)
                part = self._call(
                    "upload_part", Key=name, UploadId=upload, PartNumber=number, Body=block, **_checked(block)
                )
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
            # The upload is gone: completed by a request whose reply was lost, or aborted by someone. HEAD tells.
            with contextlib.suppress(FileNotFoundError):
                self._call("complete_multipart_upload", Key=name, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            self._call("abort_multipart_upload", Key=name, UploadId=upload)
            raise
        if self.size(key) != size:
            raise Unreachable("a multipart upload did not arrive whole", place=f"{self.uri}/{key}", value=size)
        return sha.hexdigest()

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
        end = time.monotonic() + self.deadline_s
        pause = 0.2
        while True:
            left = end - time.monotonic()
            try:
                result: T = fsspec.asyn.sync(self.fs.loop, call, timeout=max(min(self.request_s, left), 0.1))
                return result
            except (NoCredentialsError, PartialCredentialsError) as error:
                raise _denied(self.uri, str(error)) from error
            except _WEATHER as error:
                problem: BaseException = error
            except (OSError, ClientError) as error:
                problem = error
                self._classify(error)
            if time.monotonic() + pause > end:
                raise Unreachable(
                    f"the store did not answer within {self.deadline_s:.0f} s ({what})",
                    place=self.uri,
                    value=f"{type(problem).__name__}: {problem}",
                    remedy="check the server and AWS_ENDPOINT_URL; LUTHIER_STORE_DEADLINE_S sets how long to wait",
                ) from problem
            time.sleep(pause)
            pause = min(pause * 2, 10.0)

    def _classify(self, error: OSError | ClientError) -> None:
        """Return where another try may help; raise what the error means where it cannot."""
        cause = error if isinstance(error, ClientError) else error.__cause__
        if not isinstance(cause, ClientError):
            raise error
        code = str(cause.response["Error"].get("Code", ""))
        if code in _AGAIN:
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
        raise _denied(self.uri, f"{code}: {cause.response['Error'].get('Message', '')}") from error


class _Taken(Exception):
    """A conditional write found something already there."""


def _denied(uri: str, value: str) -> StoreRefused:
    return StoreRefused(
        "the store refused the request",
        place=uri,
        value=value,
        remedy="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, the clock, and the rights to read, write, list and delete",
    )


def _checked(data: bytes) -> dict[str, str]:
    # The server compares, so that a flipped bit on the way is an error there and not an artifact here.
    return {"ChecksumSHA256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
