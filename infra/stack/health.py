"""Whether a server really does its work: asked by a request, with the credentials it should take."""

import base64
import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

from infra.stack.state import Credentials

ASK_S = 5.0
SILENT_S = 120.0


def answers(url: str, timeout_s: float = ASK_S) -> bool:
    """Whether an address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as reply:
            return bool(reply.status == 200)
    except (OSError, ValueError):  # URLError is an OSError; a half-started server may talk nonsense
        return False


def authorization(auth: str) -> dict[str, str]:
    """The header for `user:password` or `Bearer key`; none where there is neither."""
    if not auth.strip(":"):
        return {}
    basic = f"Basic {base64.b64encode(auth.encode()).decode()}"
    return {"Authorization": auth if auth.startswith("Bearer ") else basic}


def call(url: str, auth: str, body: Any = None, method: str = "POST", timeout_s: float = 30.0) -> Any:
    """A JSON request with `user:password` or `Bearer key`; None where the server has no such thing (404).

    Raises urllib.error.HTTPError for every other refusal, OSError where nobody answers.
    """
    headers = {**authorization(auth), "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            text = reply.read()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    return json.loads(text) if text else {}


def bucket_ready(endpoint: str, bucket: str, secrets: Credentials) -> bool:
    """Whether the bucket can be used with our key: SeaweedFS calls itself healthy some moments before."""
    import botocore.session  # noqa: PLC0415 - slow to import, and only needed here
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    client = botocore.session.Session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=secrets.s3_key,
        aws_secret_access_key=secrets.s3_secret,
        config=Config(connect_timeout=2, read_timeout=ASK_S, retries={"total_max_attempts": 1}),
    )
    try:
        client.head_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError):
        return False
    return True


def heard_from(api: str, auth: str, pool: str, worker: str, since: float) -> bool:
    """Whether a Prefect worker has told its server of itself, lately and since it was started."""
    try:
        workers = call(f"{api}/work_pools/{pool}/workers/filter", auth, {}, timeout_s=ASK_S) or []
    except OSError:
        return False
    beats = [entry["last_heartbeat_time"] for entry in workers if entry["name"] == worker]
    if not beats or not beats[0]:
        return False
    at = datetime.fromisoformat(beats[0].replace("Z", "+00:00"))
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.timestamp() >= max(since, time.time() - SILENT_S)
