"""Fake Hugging Face Hub for data sets: its HTTP API on loopback.

It answers ``huggingface_hub`` and ``datasets`` as the Hub does, errors included. Without a token,
private and missing repositories both answer 401. A gated repository lists its files but serves
none. Unknown revisions and paths have their own error codes. A renamed repository redirects,
``tree`` is paginated, and large files are on another host, behind a redirect.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.doubles import http_server
from tests.doubles.hub_tree import blob_id, entries_of, is_large

TOKEN = "hf_of_somebody"
"""A token that the server knows."""
MESSAGES = {
    "RepoNotFound": "Repository not found",
    "RevisionNotFound": "Invalid rev id",
    "EntryNotFound": "Entry not found",
    "GatedRepo": "Access to this resource is restricted.",
}


@dataclass
class Repo:
    """A data set repository with all its commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    readers: set[str] = field(default_factory=set)
    """Tokens that may read the repository if it is gated or private."""

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def commit(self, files: dict[str, bytes]) -> str:
        """Make ``files`` the newest commit and return its hash."""
        listed = json.dumps([[n, hashlib.sha1(d).hexdigest()] for n, d in sorted(files.items())])
        sha = hashlib.sha1(f"{len(self.commits)}{listed}".encode()).hexdigest()
        self.commits[sha] = files
        return sha


MAX_WAIT_S = 300.0


class Hub:
    """Repositories of the server, requests that it received, and faults that it simulates."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        self.asked: list[str] = []
        self.status: int | None = None
        """Status of every answer, if set: 429 or 503."""
        self.breaks_after: int | None = None
        """Number of bytes of a file after which the connection breaks, if set."""
        self.is_open = threading.Event()
        """While it is not set, no file is sent."""
        self.is_open.set()
        self.page = 1000
        self.url = ""
        self.elsewhere = ""
        """URL of another host that serves large files; no token may be sent to it."""

    def add(self, name: str, files: dict[str, bytes]) -> Repo:
        repo = self.repos.setdefault(name, Repo())
        repo.commit(files)
        return repo


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(code)
        self.status, self.code = status, code
        self.message = message or MESSAGES.get(code, "")


class _Handler(http_server.SilentHandler):
    hub: Hub

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._form = parse_qs(self.rfile.read(length).decode())
        url = urlsplit(self.path)
        self._query = parse_qs(url.query)
        self.hub.asked.append(f"{self.command} {url.path}")
        if "/resolve/" in url.path:
            self.hub.is_open.wait(timeout=MAX_WAIT_S)
        try:
            if self.hub.status:
                raise _Refused(self.hub.status, message="Too much")
            self._route(url.path.lstrip("/").split("/"))
        except _Refused as refused:
            body = json.dumps({"error": refused.message}).encode()
            headers = {"X-Error-Message": refused.message}
            if refused.code:
                headers["X-Error-Code"] = refused.code
            if refused.status == 429:
                headers["RateLimit"] = '"api";r=0;t=77'
            self.send(refused.status, body, headers)

    def _route(self, parts: list[str]) -> None:
        match parts:
            case ["api", "datasets", owner, name, *rest]:
                repo = self._repo(f"{owner}/{name}", lambda new: ["api", "datasets", new, *rest])
                if repo:
                    self._api(f"{owner}/{name}", repo, rest)
            case ["datasets", owner, name, "resolve", revision, *path]:
                tail = ["resolve", revision, *path]
                repo = self._repo(f"{owner}/{name}", lambda new: ["datasets", new, *tail])
                if repo:
                    self._resolve(repo, unquote(revision), unquote("/".join(path)))
            case ["lfs", sha]:
                self._blob(sha)
            case _:
                raise _Refused(404, message="Sorry, we can't find the page you are looking for.")

    def _token(self) -> str | None:
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if not kind:
            return None
        accepted = {TOKEN}.union(*(repo.readers for repo in self.hub.repos.values()))
        if token not in accepted:
            raise _Refused(401, message="Invalid credentials in Authorization header")
        return token

    def _repo(self, name: str, moved: Any) -> Repo | None:
        """Return a repository that may be seen, or None when the answer was a redirect."""
        token = self._token()
        if new := self.hub.renamed.get(name):
            query = urlsplit(self.path).query
            location = "/" + "/".join(moved(new)) + (f"?{query}" if query else "")
            self.send(307, b"", {"Location": location})
            return None
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and token not in repo.readers):
            if token is None:  # do not reveal whether the repository exists
                raise _Refused(401, message="Invalid username or password.")
            raise _Refused(404, "RepoNotFound")
        return repo

    def _files(self, repo: Repo, revision: str) -> tuple[str, dict[str, bytes]]:
        sha = repo.head if revision == "main" else revision
        if sha not in repo.commits:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha, repo.commits[sha]

    def _check_gate(self, repo: Repo) -> None:
        token = self._token()
        if repo.gated and token not in repo.readers:
            raise _Refused(401 if token is None else 403, "GatedRepo")

    def _api(self, name: str, repo: Repo, rest: list[str]) -> None:
        match self.command, rest:
            case "GET", [] | ["revision", _]:
                sha, files = self._files(repo, unquote(rest[1]) if rest else "main")
                info = {
                    "_id": "621ffdd236468d709f181d58", "id": name, "sha": sha, "tags": [],
                    "private": repo.private, "gated": "auto" if repo.gated else False,
                    "disabled": False, "downloads": 0, "likes": 0,
                    "siblings": [{"rfilename": path} for path in files],
                }  # fmt: skip
                self._json(info)
            case "GET", ["tree", revision, *path]:
                _, files = self._files(repo, unquote(revision))
                self._tree(files, unquote("/".join(path)))
            case "POST", ["paths-info", revision]:
                _, files = self._files(repo, unquote(revision))
                entries = entries_of(files)
                wanted = self._form.get("paths")
                if not wanted:
                    raise _Refused(400, message='"paths" is required')
                self._json([entries[path] for path in wanted if path in entries])
            case _:
                raise _Refused(404, message="Sorry, we can't find the page you are looking for.")

    def _tree(self, files: dict[str, bytes], folder: str) -> None:
        entries = entries_of(files)
        if folder and entries.get(folder, {}).get("type") != "directory":
            raise _Refused(404, "EntryNotFound", f'"{folder}" does not exist')
        prefix = f"{folder}/" if folder else ""
        below = [e for path, e in entries.items() if path.startswith(prefix)]
        if self._query.get("recursive") != ["true"]:
            below = [e for e in below if "/" not in e["path"].removeprefix(prefix)]
        begin = int(self._query.get("cursor", ["0"])[0])
        headers = {}
        if begin + self.hub.page < len(below):
            url = urlsplit(self.path)
            query = "&".join(f"{k}={v[0]}" for k, v in self._query.items() if k != "cursor")
            following = f"{self.hub.url}{url.path}?{query}&cursor={begin + self.hub.page}"
            headers["Link"] = f'<{following}>; rel="next"'
        self._json(below[begin : begin + self.hub.page], headers)

    def _resolve(self, repo: Repo, revision: str, path: str) -> None:
        if self.command == "POST":
            raise _Refused(405)
        self._check_gate(repo)
        sha, files = self._files(repo, revision)
        commit = {"X-Repo-Commit": sha}
        if path not in files:
            self.send(404, b"Entry not found", {
                "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", **commit
            })  # fmt: skip
            return
        data = files[path]
        if not is_large(path):
            etag = f'"{blob_id(data)}"'
            self._bytes(data, {"ETag": etag, "Accept-Ranges": "bytes", **commit})
            return
        large = hashlib.sha256(data).hexdigest()
        self.send(302, b"", {
            "Location": f"{self.hub.elsewhere}/lfs/{large}", "X-Linked-Size": str(len(data)),
            "X-Linked-ETag": f'"{large}"', **commit,
        })  # fmt: skip

    def _blob(self, sha: str) -> None:
        if self.headers.get("Authorization"):  # as S3: one kind of signature only
            raise _Refused(400, message="Only one auth mechanism allowed")
        for repo in self.hub.repos.values():
            for files in repo.commits.values():
                for data in files.values():
                    if hashlib.sha256(data).hexdigest() == sha:
                        self._bytes(data, {"ETag": f'"{sha}"', "Accept-Ranges": "bytes"})
                        return
        raise _Refused(403, message="AccessDenied")

    def _bytes(self, data: bytes, headers: dict[str, str]) -> None:
        begin = 0
        if (wanted := self.headers.get("Range", "")).startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin = int(first)
            if begin >= len(data):
                self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            end = min(int(last or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {begin}-{end}/{len(data)}"
            data = data[begin : end + 1]
        self.send(206 if wanted else 200, data, headers)

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send(200, body, {"Content-Type": "application/json", **(headers or {})})

    def send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        super().send(status, data, {"RateLimit": '"api";r=499;t=295', **headers})

    def write(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        limit = self.hub.breaks_after
        if limit is not None and status in (200, 206) and "ETag" in headers and len(data) > limit:
            self.wfile.write(data[:limit])
            self.close_connection = True
            return
        self.wfile.write(data)


@contextmanager
def serve() -> Iterator[Hub]:
    """Serve data sets until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with http_server.serve(handler) as port:
        hub.url = f"http://127.0.0.1:{port}"
        hub.elsewhere = f"http://localhost:{port}"
        yield hub
