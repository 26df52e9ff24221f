"""SeaweedFS, an S3 with Object Lock, on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.test_anchor.live_witness import wait_for


@dataclass
class Buckets:
    """SeaweedFS on loopback: S3 with Object Lock; it holds against clients, not against its operator."""

    url: str
    client: Any

    def make(self, name: str, *, locks: bool = True) -> str:
        """Make a bucket."""
        self.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locks)
        return name


@contextmanager
def running(weed: str, boto3: Any) -> Iterator[Buckets]:
    """Run it in a folder of its own, for which it needs no root, while the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="tracebus-s3-"))
    (folder / "data").mkdir()
    identity = {
        "name": "admin",
        "credentials": [{"accessKey": "admin", "secretKey": "secret"}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = _free_ports(8)
    url = f"http://127.0.0.1:{ports['s3.port']}"
    command = [weed, "-logtostderr=true", "server", *_weed_options(folder, ports)]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(f"{url}/healthz", process)
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="admin",
            aws_secret_access_key="secret",
        )
        made = Buckets(url, client)
        _patiently(lambda: made.make("evidence"))
        _patiently(lambda: client.put_object(Bucket="evidence", Key="first", Body=b"x"))
        yield made
    finally:
        process.kill()  # nothing of it is to be kept, and to end in order takes it long
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


_WEED_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"),
)


def _free_ports(count: int) -> dict[str, int]:
    taken = [socket.socket() for _ in range(count)]
    for each in taken:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return dict(zip(_WEED_PORTS, ports, strict=True))


def _weed_options(folder: Path, ports: dict[str, int]) -> list[str]:
    return [
        *(f"-{name}={port}" for name, port in ports.items()),
        *(f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-filer.disableHttp"),
        *("-s3", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-s3.localSocket={folder / 's3.sock'}", f"-filer.localSocket={folder / 'filer.sock'}"),
        *(
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=50",
            "-volume.preStopSeconds=0",
        ),
    ]


def _patiently(work: Callable[[], object], seconds: float = 30) -> None:
    """Do what a server that is starting may refuse, until it does not."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            work()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
