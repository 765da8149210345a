"""HTTP of the double: requests to it, faults, and its control routes.

Control: ``GET /_control/requests``, ``GET /_control/jobs``, ``GET /_control/endpoints``,
``POST /_control/scenario`` with fields to change, ``POST /_control/faults`` with one or more faults,
``POST /_control/jobs/ID`` with ``{"status": …}``, ``DELETE /_control/faults``,
``GET /_control/waiting`` (requests held back), ``POST /_control/release``.
"""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from tests.doubles.http_server import SilentHandler, serve
from tests.doubles.together_service.answer import Answer
from tests.doubles.together_service.scenario import Fault, Scenario
from tests.doubles.together_service.service import TogetherService


@contextmanager
def serve_together(scenario: Scenario | None = None, port: int = 0) -> Iterator[TogetherService]:
    """Serve until the block ends."""
    service = TogetherService(scenario)

    class Handler(SilentHandler):
        def answer(self) -> None:
            self._handle(b"")

        def do_POST(self) -> None:
            self._handle(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        do_PUT = do_PATCH = do_DELETE = do_POST

        def _handle(self, data: bytes) -> None:
            split = urlsplit(self.path)
            query = dict(parse_qsl(split.query))
            body = _read_body(data, self.headers.get("Content-Type", ""))
            if split.path.startswith("/_control/"):
                return self._reply(_control(service, self.command, split.path, body))
            authorization = self.headers.get("Authorization")
            with service.lock:
                service.requests.append(
                    {
                        "method": self.command, "path": split.path, "query": query,
                        "body": body if not isinstance(body, bytes) else f"{len(body)} bytes",
                        "authorization": authorization,
                    }
                )  # fmt: skip
                fault = _take_fault(service.scenario, self.command, split.path) or Fault()
            if fault.hold == "before":
                service.wait_for_release()
            if fault.drop == "before":
                return self._drop()
            if fault.status is not None and not fault.acts:
                return self._reply(_fail(fault))
            with service.lock:
                content = data if split.path.startswith("/_storage/") else body
                reply = service.answer(self.command, split.path, query, content, authorization)
            if fault.hold == "after":
                service.wait_for_release()
            if fault.drop == "after":
                return self._drop()
            if fault.status is not None:
                return self._reply(_fail(fault))
            return self._reply(reply, half=fault.drop == "half")

        def _drop(self) -> None:
            self.close_connection = True

        def _reply(self, reply: Answer, *, half: bool = False) -> None:
            body = reply.body
            data = (
                body
                if isinstance(body, bytes)
                else b""
                if body is None
                else json.dumps(body).encode()
            )
            headers = {"Content-Type": "application/json", **reply.headers}
            start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            status = reply.status
            if start and isinstance(body, bytes) and status == 200:
                data, status = data[int(start[1]) :], 206
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if half:
                    self.send_response(status)
                    for key, value in {**headers, "Content-Length": str(len(data))}.items():
                        self.send_header(key, value)
                    self.end_headers()
                    self.wfile.write(data[: len(data) // 2])
                    self.wfile.flush()
                    self._drop()
                else:
                    self.send(status, data, headers)

    with serve(Handler, port) as bound:
        service.address = f"http://127.0.0.1:{bound}"
        try:
            yield service
        finally:
            service.release()


def _read_body(data: bytes, content_type: str) -> Any:
    """Read JSON or a form; the SDK announces a file by a form."""
    if not data:
        return None
    if content_type.startswith("multipart/form-data") and "boundary" in content_type:
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
            b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + data
        )
        return {
            part.get_param("name", header="content-disposition"): part.get_content()
            for part in message.iter_parts()
        }
    try:
        return json.loads(data)
    except ValueError:
        return data


def _take_fault(scenario: Scenario, method: str, path: str) -> Fault | None:
    for fault in scenario.faults:
        if fault.times > 0 and fault.method in ("", method) and re.search(fault.path, path):
            if fault.skip:
                fault.skip -= 1
                return None
            fault.times -= 1
            return fault
    return None


def _fail(fault: Fault) -> Answer:
    assert fault.status is not None
    error = {"message": f"Simulated error {fault.status}.", "type": "server_error", "code": None}
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    body = {"error": error} if fault.body is None else fault.body
    return Answer(status=fault.status, body=body, headers=headers)


def _control(service: TogetherService, method: str, path: str, body: Any) -> Answer:
    """Answer a control route."""
    with service.lock:
        match (method, path.removeprefix("/_control/").split("/")):
            case ("GET", ["requests"]):
                return Answer(body=service.requests)
            case ("GET", ["jobs"]):
                return Answer(
                    body=[job.whole() | {"request": job.request} for job in service.jobs.values()]
                )
            case ("GET", ["endpoints"]):
                return Answer(body=[item.whole() for item in service.registry.endpoints.values()])
            case ("POST", ["scenario"]):
                changed = msgspec.convert(
                    {**msgspec.to_builtins(service.scenario), **body}, Scenario
                )
                for name in body:
                    setattr(service.scenario, name, getattr(changed, name))
                return Answer(body={})
            case ("POST", ["faults"]):
                faults = body if isinstance(body, list) else [body]
                service.scenario.faults += msgspec.convert(faults, list[Fault])
                return Answer(body={})
            case ("DELETE", ["faults"]):
                service.scenario.faults.clear()
                return Answer(body={})
            case ("GET", ["files"]):
                return Answer(body=[file.to_json() for file in service.files.values()])
            case ("GET", ["waiting"]):
                return Answer(body=service.waiting)
            case ("POST", ["release"]):
                service.release()
                return Answer(body={})
            case ("POST", ["jobs", job_id]) if job_id in service.jobs:
                service.jobs[job_id].forced = body["status"]
                return Answer(body=service.jobs[job_id].whole())
    return Answer(status=404, body={"error": {"message": "No such control route"}})
