"""What the failures of a request to an S3 server mean: worth another try, refused for good, or not there."""

import asyncio

import aiohttp
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from infra.errors import StoreRefused, Unreachable

_MISSING = {"NoSuchKey", "404", "NoSuchUpload", "InvalidRange", "416"}
_TAKEN = {"PreconditionFailed", "412"}
_AGAIN = {  # besides every status of 500 and above
    *("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded", "429"),
    *("ConditionalRequestConflict", "409", "OperationAborted"),
    *("IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"),
}
WEATHER = (
    *(HTTPClientError, BotoConnectionError, IncompleteReadError, ResponseParserError),
    *(CredentialRetrievalError, MetadataRetrievalError),  # a cloud's metadata service has bad moments too
    *(aiohttp.ClientError, asyncio.IncompleteReadError, ConnectionError, TimeoutError),
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


class Taken(Exception):
    """A conditional request found something already there, or something else there."""


def classify(error: ClientError, uri: str, bucket: str, what: str) -> None:
    """Return where another try may help; raise what the error means where it cannot."""
    code = str(error.response["Error"].get("Code", ""))
    if code in _AGAIN or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return
    if code in _TAKEN:
        raise Taken from error
    if code in _MISSING:
        raise FileNotFoundError(uri) from error
    if code == "NoSuchBucket":
        raise StoreRefused(
            "the bucket does not exist",
            place=uri,
            value=bucket,
            remedy="create it, or set LUTHIER_STORE to one that exists",
        ) from error
    said = f"{code}: {error.response['Error'].get('Message', '')}"
    raise denied(uri, said, what, _REMEDIES.get(code, "")) from error


def denied(uri: str, value: str, what: str, remedy: str = "") -> StoreRefused:
    """The error of a server that answered no."""
    return StoreRefused(
        f"the store refused {what.partition(' ')[0]}",
        place=uri,
        value=value,
        remedy=remedy
        or "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, the clock, and the rights to read, write, list and delete",
    )


def unreachable(uri: str, deadline_s: float, what: str, problem: Exception) -> Unreachable:
    """The error of a server that did not do its work in time, with what was last wrong with it."""
    return Unreachable(
        f"the store did not answer within {deadline_s:.0f} s ({what})",
        place=uri,
        value=f"{type(problem).__name__}: {problem}",
        remedy="check the server and AWS_ENDPOINT_URL; LUTHIER_STORE_DEADLINE_S sets how long to wait",
    )
