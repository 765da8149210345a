"""Fake Hugging Face Hub with one model, served over HTTP on loopback."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.doubles import http_server

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Files of the server, and the requests that it received."""

    def __init__(self, name: str, files: dict[str, bytes]) -> None:
        self.name = name
        self.files = files
        self.gated = False
        self.files_gated = False
        """As for gated models on the Hub: anyone may list the files, only readers may download them."""
        self.asked: list[str] = []
        self.url = ""


@contextmanager
def serve(name: str, files: dict[str, bytes]) -> Iterator[Hub]:
    """Serve one model repository until the block ends."""
    hub = Hub(name, files)

    class Handler(http_server.SilentHandler):
        def answer(self) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append(f"{self.command} {path}")
            if hub.gated or (hub.files_gated and "/resolve/" in path):
                self.send(403, b"{}", {"X-Error-Code": "GatedRepo"})
            elif path.startswith(f"/api/models/{hub.name}"):
                self.send(200, self._api(path), {"Content-Type": "application/json"})
            elif path.startswith(f"/{hub.name}/resolve/"):
                self._file(Path(path).name)
            else:
                self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def _api(self, path: str) -> bytes:
            if "/tree/" in path:
                tree: Any = [
                    {"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                    for n, d in hub.files.items()
                ]
                return json.dumps(tree).encode()
            siblings = [{"rfilename": n, "size": len(d)} for n, d in hub.files.items()]
            return json.dumps({"id": hub.name, "sha": COMMIT, "siblings": siblings}).encode()

        def _file(self, name: str) -> None:
            if name not in hub.files:
                self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            data = hub.files[name]
            headers = {
                "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
            }
            self.send(200, data, headers)

    with http_server.serve(Handler) as port:
        hub.url = f"http://127.0.0.1:{port}"
        yield hub
