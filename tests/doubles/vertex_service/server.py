"""HTTP side of the double: logins, faults, and what goes to Cloud Storage."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from tests.doubles.http_server import SilentHandler
from tests.doubles.openai_service.scenario import Fault
from tests.doubles.vertex_service import control
from tests.doubles.vertex_service.bucket import (
    Answer,
    check_permission,
    describe_bucket,
    list_permissions,
)
from tests.doubles.vertex_service.errors import ServiceError, StorageError, make_plain_error
from tests.doubles.vertex_service.login import TokenRefused
from tests.doubles.vertex_service.routes import Call, Stream, check_access, find_route
from tests.doubles.vertex_service.state import ServiceState, VertexRequest

_JSON = {"Content-Type": "application/json; charset=UTF-8"}
_STORAGE = (
    ("GET", r"/storage/v1/b", "list_buckets"),
    ("POST", r"/storage/v1/b", "create_bucket"),
    ("GET", r"/storage/v1/projects/()[^/]+/serviceAccount", "get_service_account"),
    ("GET", r"/storage/v1/b/([^/]+)/iam/testPermissions", "test_permissions"),
    ("GET", r"/storage/v1/b/([^/]+)/o", "list_objects"),
    ("GET", r"/download/storage/v1/b/([^/]+)/o/[^/]+", "download"),
    ("GET", r"/storage/v1/b/([^/]+)/o/[^/]+", "get_object"),
    ("DELETE", r"/storage/v1/b/([^/]+)/o/[^/]+", "delete_object"),
    ("GET", r"/storage/v1/b/([^/]+)", "get_bucket"),
    ("POST", r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o", "upload"),
    ("PUT", r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o", "upload_part"),
    ("PUT", r"/upload/resumable/()[^/]+", "upload_part"),
)
_IS_STORAGE = re.compile(r"/(storage|upload|download|resumable|b)/")


class ServiceHandler(SilentHandler):
    """Answers the requests of one double."""

    state: ServiceState

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def do_DELETE(self) -> None:
        self.answer()

    def do_PATCH(self) -> None:
        self.answer()

    def answer(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has gone
            body = self._read()
            if body is None:
                self._drop()
            else:
                self._answer(body)

    def _read(self) -> bytes | None:
        """Return the body of the request; None if the client left before its end."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            return body if len(body) == size else None
        chunks = []
        while head := self.rfile.readline().split(b";")[0].strip():
            size = int(head, 16)
            chunks.append(self.rfile.read(size))
            if self.rfile.readline() == b"\r\n" and size == 0:
                return b"".join(chunks)
        return None

    def _answer(self, body: bytes) -> None:
        path, _, query_text = self.path.partition("?")
        if path.startswith(control.PREFIX):
            document = json.loads(body) if body else None
            self._send(control.respond(self.state, self.command, path, document))
            return
        call, act = self._find_call(path, urllib.parse.parse_qs(query_text), body)
        state = self.state
        with state.lock:
            request = self._record(path, call, urllib.parse.parse_qs(query_text), body)
            state.pass_time()
            fault = state.take_fault(call) if call else None
            request.fault = fault.action if fault else None
        is_storage = _IS_STORAGE.match(path) is not None
        if fault and fault.action in ("drop_request", "reply", "hold", "delay"):
            time.sleep(fault.delay_s)
            if fault.action == "hold":
                state.wait_for_release()
            elif fault.action == "drop_request":
                return self._drop()
            elif fault.action == "reply":
                return self._send_fault(fault, request, is_storage)
        with state.lock:
            answer = act()
        if fault and fault.action == "hold_reply":
            state.wait_for_release()
        if fault and fault.action == "drop_reply":
            return self._drop()
        if fault and fault.action == "reply_after":
            return self._send_fault(fault, request, is_storage)
        request.status = answer[0]
        self._send(answer, is_cut=fault is not None and fault.action == "truncate")

    def _record(
        self, path: str, call: str | None, query: dict[str, list[str]], body: bytes
    ) -> VertexRequest:
        document: Any = f"{len(body)} bytes" if body else None
        if body and "json" in self.headers.get("Content-Type", "") and not _IS_STORAGE.match(path):
            with suppress(ValueError):
                document = json.loads(body)
        request = VertexRequest(
            number=len(self.state.requests), method=self.command, path=path, call=call,
            query={name: values[-1] for name, values in query.items()}, body=document,
            has_login="Authorization" in self.headers,
        )  # fmt: skip
        self.state.requests.append(request)
        return request

    def _find_call(
        self, path: str, query: dict[str, list[str]], body: bytes
    ) -> tuple[str | None, Callable[[], Answer]]:
        """Return the name of a call, and a function that answers it."""
        if path == "/token":
            return "token", lambda: self._issue_token(body)
        if _IS_STORAGE.match(path):
            call, bucket = find_storage_call(self.command, path, query)
            return call, lambda: self._answer_storage(call, bucket, query, body)
        route = find_route(self.command, path)
        name = route[0] if route else None
        return name, lambda: self._answer_vertex(route, query, body)

    # Calls

    def _issue_token(self, body: bytes) -> Answer:
        form = dict(urllib.parse.parse_qsl(body.decode()))
        try:
            return write_document(self.state.logins.issue(form))
        except TokenRefused as refusal:
            return write_document(refusal.document, refusal.status)

    def _answer_vertex(self, route: Any, query: dict[str, list[str]], body: bytes) -> Answer:
        try:
            self.state.logins.check(self.headers.get("Authorization"))
            if route is None:
                raise ServiceError(
                    404, "The requested URL was not found on this server.", html=True
                )
            _, permission, action, groups = route
            check_access(self.state, groups, permission)
            plain = {key: urllib.parse.unquote(value or "") for key, value in groups.items()}
            document = action(Call(self.state, plain, query, read_document(body)))
        except ServiceError as error:
            return write_error(error)
        if isinstance(document, Stream):
            if query.get("alt") == ["sse"]:
                lines = [f"data: {json.dumps(chunk)}\r\n\r\n" for chunk in document.chunks]
                return 200, "".join(lines).encode(), {"Content-Type": "text/event-stream"}
            return write_document(document.chunks)
        return write_document(document)

    def _answer_storage(
        self, name: str, bucket_name: str, query: dict[str, list[str]], body: bytes
    ) -> Answer:
        state = self.state
        bucket = state.scenario.buckets.get(bucket_name)
        authorization = self.headers.get("Authorization")
        try:
            if authorization or state.scenario.needs_login_to_bucket:
                state.logins.check(authorization)
            if bucket_name:
                check_permission(name, bucket_name, bucket)
        except ServiceError as error:
            return write_error(StorageError(error.code, error.message))
        if name == "get_service_account":
            account = f"service-{state.scenario.project_number}@gs-project-accounts.iam.gserviceaccount.com"
            return write_document({"kind": "storage#serviceAccount", "email_address": account})
        if name == "test_permissions":
            if not state.storage.has_bucket(f"gs://{bucket_name}"):
                return write_error(StorageError(404, "The specified bucket does not exist."))
            return write_document(list_permissions(query, bucket))
        headers = {key: value for key, value in self.headers.items() if key != "Authorization"}
        status, data, answered = state.storage.forward(self.command, self.path, body, headers)
        if name == "get_bucket" and status == 200:
            data = describe_bucket(data, bucket)
        if status == 404 and name == "upload":
            return write_error(StorageError(404, "The specified bucket does not exist."))
        return status, data, answered

    # Replies

    def _drop(self) -> None:
        """Close the connection without a reply."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send_fault(self, fault: Fault, request: VertexRequest, is_storage: bool) -> None:
        request.status = fault.status
        body = fault.body
        if body is None:
            body = make_plain_error(fault.status, storage=is_storage).write()
        if isinstance(body, str):
            self._send(
                (fault.status, body.encode(), {"Content-Type": "text/html", **fault.headers})
            )
        else:
            status, data, headers = write_document(body, fault.status)
            self._send((status, data, {**headers, **fault.headers}))

    def _send(self, answer: Answer, *, is_cut: bool = False) -> None:
        status, data, headers = answer
        if not is_cut:
            self.send(status, data, headers)
            return
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self._drop()


def find_storage_call(method: str, path: str, query: dict[str, list[str]]) -> tuple[str, str]:
    """Return the name of a call of Cloud Storage, and its bucket; ``storage`` for all others."""
    for each, pattern, name in _STORAGE:
        match = re.fullmatch(pattern, path)
        if match and method == each:
            if name == "get_object" and query.get("alt") == ["media"]:
                name = "download"
            return name, match[1] if match.re.groups else ""
    return "storage", ""


def read_document(body: bytes) -> Any:
    """Return the JSON of a body, None if it is empty; raise ServiceError."""
    try:
        return json.loads(body) if body else None
    except ValueError:
        raise ServiceError(400, "Invalid JSON payload received. Unexpected token.") from None


def write_document(document: Any, status: int = 200) -> Answer:
    """Return JSON as an answer."""
    return status, msgspec.json.encode(document), dict(_JSON)


def write_error(error: ServiceError) -> Answer:
    """Return an error as an answer."""
    body = error.write()
    if isinstance(body, str):
        return error.code, body.encode(), {"Content-Type": "text/html; charset=UTF-8"}
    return write_document(body, error.code)
