"""HTTP side of the service: keys, forms, faults, and the checks by the contract."""

from __future__ import annotations

import email.utils
import json
import re
import socket
import time
import urllib.parse
import uuid
from contextlib import suppress
from typing import Any

import msgspec

from tests.doubles.http_server import SilentHandler
from tests.doubles.openai_service import control
from tests.doubles.openai_service.contract import Violation, format_path, make_rejection
from tests.doubles.openai_service.errors import ServiceError, make_plain_error, mask_key
from tests.doubles.openai_service.routes import ROUTES, Call, Reply, find_route
from tests.doubles.openai_service.scenario import Fault
from tests.doubles.openai_service.state import Request, ServiceState

OPENAI_PREFIX = re.compile(r"/v1(?=/)")
FOUNDRY_PREFIX = re.compile(r"(/api/projects/[^/]+)?/openai/v1(?=/)")
NUMBERS = ("limit", "expires_after[seconds]")


class ServiceHandler(SilentHandler):
    """Answers the requests of one service."""

    state: ServiceState

    def do_POST(self) -> None:
        self.answer()

    def do_DELETE(self) -> None:
        self.answer()

    def answer(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has gone
            body = self._read()
            if body is None:
                self._drop()
            else:
                self._answer(body)

    def end_headers(self) -> None:
        """End the head of a reply, with the id that the service gives each request."""
        name = "apim-request-id" if self.state.foundry else "x-request-id"
        self.send_header(name, f"req_{uuid.uuid4().hex}")
        super().end_headers()

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the service's time, for the ``Date`` of a reply."""
        return email.utils.formatdate(self.state.now(), usegmt=True)

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
        query = read_query(query_text)
        if path.startswith(control.PREFIX):
            document = json.loads(body) if body else None
            self._send_document(*control.respond(self.state, self.command, path, document))
        else:
            self._serve(path, query, body)

    def _serve(self, path: str, query: dict[str, Any], body: bytes) -> None:
        state = self.state
        prefix = (FOUNDRY_PREFIX if state.foundry else OPENAI_PREFIX).match(path)
        target = (
            find_route(self.command, path[prefix.end() :], mantle=state.mantle) if prefix else None
        )
        fields, uploads, is_readable = self._read_body(body)
        with state.lock:
            route = target[0] if target else None
            request = self._record(path, route, query, fields, uploads)
            state.pass_time()
            fault = state.take_fault(route) if route else None
            request.fault = fault.action if fault else None
        if fault and fault.action in ("drop_request", "reply", "hold", "delay"):
            time.sleep(fault.delay_s)
            if fault.action == "hold":
                state.wait_for_release()
            elif fault.action == "drop_request":
                return self._drop()
            elif fault.action == "reply":
                return self._send_fault(fault, request)
        with state.lock:
            reply = self._act(target, query, fields if is_readable else None, uploads)
        if fault and fault.action == "hold_reply":
            state.wait_for_release()
        if fault and fault.action == "drop_reply":
            return self._drop()
        if fault and fault.action == "reply_after":
            return self._send_fault(fault, request)
        request.status = reply.status
        self._send_reply(reply, is_cut=fault is not None and fault.action == "truncate")

    def _record(
        self,
        path: str,
        route: str | None,
        query: dict[str, Any],
        fields: Any,
        uploads: dict[str, tuple[str, bytes]],
    ) -> Request:
        has_bearer, has_key = "Authorization" in self.headers, "api-key" in self.headers
        sizes = {
            name: {"filename": file, "bytes": len(data)} for name, (file, data) in uploads.items()
        }
        request = Request(
            number=len(self.state.requests),
            method=self.command,
            path=path,
            route=route,
            query=query,
            body={**fields, **sizes} if sizes else fields,
            auth={
                (True, True): "both",
                (True, False): "bearer",
                (False, True): "api-key",
                (False, False): "none",
            }[has_bearer, has_key],
            retry=int(self.headers.get("x-stainless-retry-count") or 0),
        )
        self.state.requests.append(request)
        return request

    def _read_body(self, body: bytes) -> tuple[Any, dict[str, tuple[str, bytes]], bool]:
        """Return the JSON or the fields of a form, the form's files, and whether it can be read."""
        kind = self.headers.get("Content-Type") or ""
        if not body:
            return None, {}, True
        if kind.startswith("multipart/form-data"):
            fields, uploads = read_form(body, kind)
            return fields, uploads, True
        try:
            return json.loads(body), {}, True
        except ValueError:
            return None, {}, False

    def _act(
        self,
        target: tuple[str, tuple[str, ...]] | None,
        query: dict[str, Any],
        body: Any,
        uploads: dict[str, tuple[str, bytes]],
    ) -> Reply:
        """Do what is asked; return the reply, or the service's error as one."""
        state = self.state
        try:
            self._check_key()
            if target is None:
                path = self.path.partition("?")[0]
                state.violations.append(Violation(path, "request", "", "there is no such route"))
                raise ServiceError(404, f"Invalid URL ({self.command} {path})")
            route, ids = target
            self._check_request(route, query, body, uploads)
            plain = tuple(urllib.parse.unquote(part) for part in ids)
            reply = ROUTES[route](
                Call(state=state, ids=plain, query=query, body=body, uploads=uploads)
            )
        except ServiceError as error:
            reply = Reply(
                status=error.status, document=error.write(state.foundry), headers=error.headers
            )
        if target:
            self._check_reply(target[0], reply)
        return reply

    def _check_key(self) -> None:
        state = self.state
        authorization = self.headers.get("Authorization") or ""
        key = authorization.removeprefix("Bearer ")
        if state.foundry:
            if state.scenario.key in (self.headers.get("api-key"), key):
                return
            raise ServiceError(
                401,
                "Access denied due to invalid subscription key or wrong API endpoint. Make sure to "
                "provide a valid key for an active subscription and use a correct regional API "
                "endpoint for your resource.",
            )
        if not key:
            raise ServiceError(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization "
                "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        if key != state.scenario.key:
            raise ServiceError(
                401,
                f"Incorrect API key provided: {mask_key(key)}. You can find your API key at "
                "https://platform.openai.com/account/api-keys.",
                code="invalid_api_key",
            )

    def _check_request(
        self,
        route: str,
        query: dict[str, Any],
        body: Any,
        uploads: dict[str, tuple[str, bytes]],
    ) -> None:
        """Raise ServiceError for a request that is against the official document, and note it."""
        if uploads:
            body = {**body, **dict.fromkeys(uploads, "")}
        errors = self.state.contract.find_request_errors(route, query, body)
        for error in errors:
            self.state.violations.append(
                Violation(route, "request", format_path(error), error.message[:500])
            )
        if errors:
            raise make_rejection(errors[0])

    def _check_reply(self, route: str, reply: Reply) -> None:
        """Note a reply that is against the official document, unless the scenario wants it so."""
        contract = self.state.contract
        if reply.is_odd or reply.data is not None:
            return
        if reply.chunks is not None:
            errors = [
                error for chunk in reply.chunks for error in contract.find_chunk_errors(chunk)
            ]
        else:
            errors = contract.find_response_errors(route, reply.status, reply.document)
        for error in errors:
            self.state.violations.append(
                Violation(route, "response", format_path(error), error.message[:500])
            )

    def _drop(self) -> None:
        """Close the connection without a reply."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send_fault(self, fault: Fault, request: Request) -> None:
        request.status = fault.status
        body = fault.body
        if body is None:
            body = make_plain_error(fault.status).write(self.state.foundry)
        if isinstance(body, str):
            self.send(fault.status, body.encode(), {"Content-Type": "text/html", **fault.headers})
        else:
            self._send_document(fault.status, body, fault.headers)

    def _send_document(
        self, status: int, document: Any, headers: dict[str, str] | None = None
    ) -> None:
        data = b"" if document is None else msgspec.json.encode(document)
        self.send(status, data, {"Content-Type": "application/json", **(headers or {})})

    def _send_reply(self, reply: Reply, *, is_cut: bool) -> None:
        headers = {"Content-Type": "application/json", **reply.headers}
        if reply.chunks is not None:
            lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in reply.chunks]
            data = "".join([*lines, "data: [DONE]\n\n"]).encode()
            headers["Content-Type"] = "text/event-stream"
        elif reply.data is not None:
            data = reply.data
        else:
            data = msgspec.json.encode(reply.document)
        if not is_cut:
            self.send(reply.status, data, headers)
            return
        self.send_response(reply.status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self._drop()


def read_query(text: str) -> dict[str, Any]:
    """Return a query as values: numbers as such, and ``metadata[key]=value`` as an object."""
    query: dict[str, Any] = {}
    for key, value in urllib.parse.parse_qsl(text, keep_blank_values=True):
        put_field(query, key, value)
    return query


def put_field(fields: dict[str, Any], key: str, value: str) -> None:
    """Put a field of a query or a form where the document has it."""
    plain: Any = value
    if key in NUMBERS and value.isdigit():
        plain = int(value)
    elif key == "metadata" and value == "null":
        plain = None
    if match := re.fullmatch(r"(\w+)\[([^\]]+)\]", key):
        fields.setdefault(match[1], {})[match[2]] = plain
    else:
        fields[key] = plain


def read_form(body: bytes, kind: str) -> tuple[dict[str, Any], dict[str, tuple[str, bytes]]]:
    """Return the fields of a form, and its files with their names."""
    match = re.search(r'boundary="?([^";]+)"?', kind)
    boundary = b"--" + (match[1].encode() if match else b"")
    fields: dict[str, Any] = {}
    uploads: dict[str, tuple[str, bytes]] = {}
    for part in (b"\r\n" + body).split(b"\r\n" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        text = head.decode()
        name = re.search(r'\bname="([^"]*)"', text)
        filename = re.search(r'\bfilename="([^"]*)"', text)
        if name and filename:
            uploads[name[1]] = (filename[1], content)
        elif name:
            put_field(fields, name[1], content.decode())
    return fields, uploads
