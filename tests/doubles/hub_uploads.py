"""Fake Hugging Face Hub that takes uploads, served over HTTP on loopback.

It keeps repositories and large files, and refuses what the Hub refuses: a token that is unknown, one
that may only read, one without rights to a namespace, a commit of large files that were not sent.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.doubles import http_server

USER = "ada"
TOKENS = {
    "hf_write": {"role": "write", "displayName": "laptop"},
    "hf_read": {"role": "read", "displayName": "reader"},
    "hf_fine": {"role": "fineGrained", "displayName": "fine"},  # may write to no repository
}
COMMIT = "fedcba9876543210fedcba9876543210fedcba98"


class UploadHub:
    """Repositories by name, and what was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.cards: dict[str, dict[str, Any]] = {}
        """Models to read: ``license`` and ``gated``."""
        self.objects: dict[str, bytes] = {}
        """Large files by SHA-256."""
        self.asked: list[str] = []
        self.refuses: str | None = None
        """A file whose large object is not taken."""
        self.url = ""


@contextmanager
def serve() -> Iterator[UploadHub]:
    """Serve an empty Hub until the block ends."""
    hub = UploadHub()

    class Handler(http_server.SilentHandler):
        def do_POST(self) -> None:
            self.answer()

        def do_PUT(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = self.path.partition("?")[0]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.asked.append(f"{self.command} {path}")
            if path.startswith("/objects/"):
                self._put_object(path.rpartition("/")[2], body)
                return
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            status, answer = respond(hub, token, self.command, path, body)
            headers = {"Content-Type": "application/json"}
            if status == 404:
                headers["X-Error-Code"] = "RepoNotFound"
            self.send(status, json.dumps(answer).encode(), headers)

        def _put_object(self, oid: str, body: bytes) -> None:
            is_refused = hub.refuses is not None and hub.refuses.encode() in body
            if is_refused or hashlib.sha256(body).hexdigest() != oid:
                self.send(400, b"", {})
                return
            hub.objects[oid] = body
            self.send(200, b"", {})

    with http_server.serve(Handler) as port:
        hub.url = f"http://127.0.0.1:{port}"
        yield hub


def respond(hub: UploadHub, token: str, command: str, path: str, body: bytes) -> tuple[int, Any]:
    """Return status and document of one request."""
    access = TOKENS.get(token)
    if access is None:
        return 401, {"error": "Invalid credentials in Authorization header"}
    if path == "/api/whoami-v2":
        return 200, {"name": USER, "type": "user", "orgs": [], "auth": {"accessToken": access}}
    if command == "GET":
        return _read_model(hub, path.removeprefix("/api/models/"))
    if "/paths-info/" in path:
        return 200, []
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    document = {} if path.endswith("/commit/main") else json.loads(body)
    if access["role"] != "write":
        return 403, {"error": "You don't have the rights to create a model under this namespace"}
    if path == "/api/repos/create":
        name = f"{document.get('organization') or USER}/{document['name']}"
        if not name.startswith(f"{USER}/"):
            return 403, {"error": f"You don't have the rights to create a model under {name}"}
        hub.repositories[name] = {".gitattributes": b""}
        hub.private[name] = document.get("visibility") == "private" or bool(document.get("private"))
        return 200, {"url": f"{hub.url}/{name}"}
    if "/preupload/" in path:
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in document["files"]
        ]
        return 200, {"files": modes}
    if path.endswith("/info/lfs/objects/batch"):
        return 200, {
            "transfer": "basic",
            "objects": [_name_action(hub, o) for o in document["objects"]],
        }
    return _commit(hub, path.removeprefix("/api/models/").removesuffix("/commit/main"), body)


def _name_action(hub: UploadHub, large: dict[str, Any]) -> dict[str, Any]:
    oid = {"oid": large["oid"], "size": large["size"]}
    if large["oid"] in hub.objects:
        return oid
    return oid | {"actions": {"upload": {"href": f"{hub.url}/objects/{large['oid']}"}}}


def _read_model(hub: UploadHub, name: str) -> tuple[int, dict[str, Any]]:
    if card := hub.cards.get(name):
        data = {"cardData": {"license": card["license"]}, "gated": card["gated"]}
        return 200, {"id": name, "sha": COMMIT, "siblings": [], "private": False, **data}
    if name not in hub.repositories:
        return 404, {"error": "Repository not found"}
    siblings = [{"rfilename": file} for file in hub.repositories[name]]
    return 200, {"id": name, "sha": COMMIT, "siblings": siblings, "private": hub.private[name]}


def _commit(hub: UploadHub, name: str, body: bytes) -> tuple[int, dict[str, Any]]:
    files: dict[str, bytes] = {}
    for line in filter(None, body.decode().splitlines()):
        entry = json.loads(line)
        value = entry["value"]
        if entry["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            if value["oid"] not in hub.objects:
                return 400, {"error": f"large file {value['path']} was not sent"}
            files[value["path"]] = hub.objects[value["oid"]]
    hub.repositories[name] |= files
    return 200, {"commitUrl": f"{hub.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
