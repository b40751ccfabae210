"""Any S3 server as a store: every call bounded, retried until the deadline, and lost replies recognised.

s3fs does everything but move the blocks of large objects, for which threads of botocore take half of its time.
"""

import base64
import contextlib
import hashlib
import logging
import re
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import aiobotocore.session
import botocore.session
import fsspec.asyn
import s3fs
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader, create_loader

from infra.errors import Corrupt, LuthierError, StoreRefused, Unreachable
from infra.memory import share_heaps
from infra.storage.objects import BLOCK, PIECE, file_blocks
from infra.storage.tries import Request, Tries
from infra.storage.weather import Taken

log = logging.getLogger(__name__)

T = TypeVar("T")

ABORT_S = 5.0  # who leaves has little time; `luthier gc` finds what stays
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # AWS's rule, which also keeps user:password@host out


class S3Objects:
    """Objects below `s3://bucket/prefix`. Credentials and endpoint come from the provider chain, never from arguments.

    `deadline_s` bounds each operation with all its retries; `request_s` one request, also one whose answer comes drop by
    drop, which no timeout of a socket would end.
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
        self._tries = Tries(self.uri, self.bucket, deadline_s, request_s)

    @cached_property
    def fs(self) -> s3fs.S3FileSystem:
        """This process's own, made when it is first needed, so that bad settings are refused like bad answers."""
        session = aiobotocore.session.get_session()
        session.register_component("data_loader", _loader())
        fs = s3fs.S3FileSystem(
            session=session, use_listings_cache=False, skip_instance_cache=True, config_kwargs=self._settings()
        )
        fs.retries = 1
        return fs

    @cached_property
    def client(self) -> Any:
        """What moves blocks: half of what that costs in s3fs is asyncio's copying (decision 0026)."""
        share_heaps()  # a thread for each try, each with blocks
        session = botocore.session.get_session()
        session.register_component("data_loader", _loader())
        return session.create_client("s3", config=Config(**self._settings()))

    def _settings(self) -> dict[str, Any]:
        # One layer of retries, ours below: it knows the deadline and what a refused condition means. Every body has a
        # checksum in a signed header; to hash it for the signature too would cost as much again.
        retries, signed = {"total_max_attempts": 1}, {"payload_signing_enabled": False}
        times = {"connect_timeout": self.request_s, "read_timeout": self.request_s}
        return {"retries": retries, "s3": signed, **times}

    def get(self, key: str) -> bytes | None:
        async def read() -> bytes:
            reply = await self.fs._call_s3("get_object", Bucket=self.bucket, Key=self._key(key))
            async with reply["Body"] as body:
                return bytes(await body.read())

        try:
            return self._tries.done((partial(self._ask, read), f"get {key}"))
        except FileNotFoundError:
            return None

    def put(self, key: str, data: bytes) -> None:
        self._put(key, data, hashlib.sha256(data).digest())

    def create(self, key: str, data: bytes) -> bool:
        # An empty conditional write would overwrite on some servers, and could not be told from another's.
        if not data:
            raise ValueError("a commit record is never empty")
        try:
            self._put(key, data, hashlib.sha256(data).digest(), IfNoneMatch="*")
        except Taken:
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
        ranges = [(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
        asked = (self._reading(key, {"Range": f"bytes={start}-{stop - 1}", **same}) for start, stop in ranges)
        with contextlib.closing(self._tries.in_order(asked)) as read:
            for start, stop in ranges:
                try:
                    pieces = next(read)
                except (Taken, FileNotFoundError):
                    pieces = ()
                if sum(map(len, pieces)) != stop - start:
                    raise Corrupt("an object changed or vanished while it was read", place=f"{self.uri}/{key}")
                yield from pieces

    def upload(self, path: Path, key: str) -> tuple[int, str]:
        if path.stat().st_size > BLOCK:
            return self.in_parts(path, key)
        data = path.read_bytes()
        sha = hashlib.sha256(data)
        self._put(key, data, sha.digest())
        return len(data), sha.hexdigest()

    def delete(self, key: str) -> None:
        self._call("delete_object", Key=self._key(key))

    def clock(self) -> datetime:
        """What time the server says it is, refused or not; Unreachable where it does not answer."""
        try:
            reply = self._call("list_objects_v2", Prefix=self.prefix, MaxKeys=1)
        except (StoreRefused, FileNotFoundError) as error:
            said = error.__cause__
            if not isinstance(said, ClientError):
                raise
            reply = said.response
        return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"])

    def in_parts(self, path: Path, key: str) -> tuple[int, str]:
        """Store a file as a multipart upload, whatever its size; size and sha256."""
        name = self._key(key)
        upload = self._call("create_multipart_upload", Key=name, ChecksumAlgorithm="CRC32")["UploadId"]
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
        sha, size, parts = hashlib.sha256(), 0, list[dict[str, Any]]()

        def blocks() -> Iterator[Request[dict[str, Any]]]:
            nonlocal size
            for number, block in enumerate(file_blocks(path, BLOCK), 1):
                sha.update(block)
                size += len(block)
                # The whole file's sha256 is for readers; the server needs only to see that this part came as it was sent.
                parts.append({"PartNumber": number, "ChecksumCRC32": _base64(zlib.crc32(block).to_bytes(4, "big"))})
                told = {"Bucket": self.bucket, "Key": name, "UploadId": upload, **parts[-1]}
                yield partial(self.client.upload_part, Body=block, **told), f"upload_part {name}"

        for number, reply in enumerate(self._tries.in_order(blocks())):
            parts[number]["ETag"] = reply["ETag"]
        return size, sha.hexdigest(), parts

    def _abort(self, name: str, upload: str) -> None:
        """Leave no incomplete upload behind; called while an error is on its way, which must stay the one reported."""
        seconds = min(ABORT_S, self.deadline_s)
        request = self._request("abort_multipart_upload", Key=name, UploadId=upload)
        try:
            Tries(self.uri, self.bucket, seconds, seconds).done(request)
        except FileNotFoundError:
            return
        except LuthierError as error:
            log.warning("an incomplete upload of %s/%s stays on the server: %s", self.bucket, name, error)

    def _key(self, key: str) -> str:
        return self.prefix + key

    def _put(self, key: str, data: bytes, sha: bytes, **condition: str) -> None:
        # The server compares, so that a flipped bit on the way is an error there and not an artifact here.
        self._call("put_object", Key=self._key(key), Body=data, ChecksumSHA256=_base64(sha), **condition)

    def _reading(self, key: str, more: dict[str, str]) -> Request[Sequence[bytes]]:
        def read() -> Sequence[bytes]:
            reply = self.client.get_object(Bucket=self.bucket, Key=self._key(key), **more)
            with contextlib.closing(reply["Body"]) as body:
                return list(iter(partial(body.read, PIECE), b""))

        return read, f"get {key}"

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self._tries.done(self._request(method, **arguments))

    def _request(self, method: str, **arguments: Any) -> Request[dict[str, Any]]:
        async def call() -> dict[str, Any]:
            reply: dict[str, Any] = await self.fs._call_s3(method, Bucket=self.bucket, **arguments)
            return reply

        return partial(self._ask, call), f"{method} {arguments.get('Key', arguments.get('Prefix', ''))}"

    def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Have s3fs do it in its loop; what the server said stays botocore's error, which tells more than s3fs's."""
        try:
            result: T = fsspec.asyn.sync(self.fs.loop, call)
        except OSError as error:
            if isinstance(error.__cause__, ClientError):
                raise error.__cause__ from None
            raise
        return result


@cache
def _loader() -> Loader:
    """What botocore knows of S3, read from disk once a process."""
    return create_loader()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
