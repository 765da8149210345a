"""HTTP of the double: one address for all services, with moto behind it for S3, IAM and STS.

Bedrock, Lambda, quotas and prices are the double's own: moto's jobs never move, and check nothing.
"""

from __future__ import annotations

import io
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

from tests.doubles.aws import (
    control,
    converse,
    deployments,
    functions,
    jobs,
    models,
    policies,
    progress,
    quotas,
    storage,
)
from tests.doubles.aws.calls import Call, read_call
from tests.doubles.aws.errors import AwsError, Reply, make_plain_error, write_error
from tests.doubles.aws.scenario import ACCOUNT, USER, AwsFault, AwsScenario
from tests.doubles.aws.signatures import check_signature
from tests.doubles.aws.state import AwsRequest, AwsState

Environ = dict[str, Any]
Handler = Callable[[AwsState, Call], Reply]
HANDLERS: dict[str, Handler] = {
    **jobs.HANDLERS, **models.HANDLERS, **deployments.HANDLERS, **converse.HANDLERS,
    **functions.HANDLERS, **policies.HANDLERS, **quotas.HANDLERS,
}  # fmt: skip
MOTO = ("s3", "iam", "sts")
BEFORE = ("drop_request", "reply", "hold", "delay")
MAX_NOTED_BYTES = 20_000


class _SilentHandler(MotoRequestHandler):  # type: ignore[misc]
    """The handler of requests, without a log."""

    def log(self, *_: Any) -> None:
        pass


class AwsApp:
    """The services as one WSGI application."""

    def __init__(self, state: AwsState) -> None:
        self.state = state
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: Environ, start: Callable[..., Any]) -> Iterable[bytes]:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        data = environ["wsgi.input"].read(size)
        if len(data) < size:
            _drop(environ)
        method, uri = str(environ["REQUEST_METHOD"]), str(environ["REQUEST_URI"])
        if uri.startswith(control.PREFIX):
            document = json.loads(data) if data else None
            status, answer = control.respond(self.state, method, uri, document)
            reply = Reply(status, control.encode(answer), {"Content-Type": "application/json"})
            return _send(environ, start, reply)
        call = read_call(method, uri, _read_headers(environ), data)
        return self._serve(environ, start, call)

    def _serve(self, environ: Environ, start: Callable[..., Any], call: Call) -> Iterable[bytes]:
        state = self.state
        with state.lock:
            request = _record(state, call)
            progress.pass_time(state)
            fault = state.take_fault(call.name)
            request.fault = fault.action if fault else None
        if fault and fault.action in BEFORE:
            time.sleep(fault.delay_s)
            if fault.action == "hold":
                state.wait_for_release()
            elif fault.action == "drop_request":
                _drop(environ)
            elif fault.action == "reply":
                return self._send_fault(environ, start, call, fault, request)
        reply = self._act(environ, call)
        if fault and fault.action == "hold_reply":
            state.wait_for_release()
        if fault and fault.action == "drop_reply":
            _drop(environ)
        if fault and fault.action == "reply_after":
            return self._send_fault(environ, start, call, fault, request)
        request.status = reply.status
        return _send(environ, start, reply, is_cut=fault is not None and fault.action == "truncate")

    def _send_fault(
        self,
        environ: Environ,
        start: Callable[..., Any],
        call: Call,
        fault: AwsFault,
        request: AwsRequest,
    ) -> Iterable[bytes]:
        request.status = fault.status
        error = make_plain_error(call.service, fault.status, fault.code, fault.message)
        error.headers = dict(fault.headers)
        return _send(environ, start, self._write_error(call, error))

    def _write_error(self, call: Call, error: AwsError) -> Reply:
        is_head = call.method == "HEAD"
        return write_error(call.service, error, str(uuid.uuid4()), is_head=is_head)

    def _act(self, environ: Environ, call: Call) -> Reply:
        """Do what a request asks for."""
        state = self.state
        try:
            with state.lock:
                check_signature(call, state.scenario)
                _check_permission(state, call)
            if call.service == "s3":
                _check_bucket(state, call)
            if handler := HANDLERS.get(call.name):
                if call.name == "invoke":  # user code, which may take its time
                    return handler(state, call)
                with state.lock:
                    return handler(state, call)
            if call.service in MOTO:
                return self._ask_moto(environ, call)
            message = f"Unable to determine service/operation name of {call.method} {call.path}"
            raise AwsError(404, "UnknownOperationException", message)
        except AwsError as error:
            return self._write_error(call, error)

    def _ask_moto(self, environ: Environ, call: Call) -> Reply:
        own = {**environ, "wsgi.input": io.BytesIO(call.data)}
        chunks, status, headers = run_wsgi_app(self._moto, own, buffered=True)
        # The length of an answer to HEAD is the object's.
        left_out = ("connection",) if call.method == "HEAD" else ("connection", "content-length")
        fields = {name: value for name, value in headers.items() if name.lower() not in left_out}
        return Reply(int(status.split()[0]), b"".join(chunks), fields)


def _read_headers(environ: Environ) -> dict[str, str]:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = environ[name]
    return headers


def _record(state: AwsState, call: Call) -> AwsRequest:
    is_small = len(call.data) <= MAX_NOTED_BYTES and call.service != "s3"
    request = AwsRequest(
        number=len(state.requests), service=call.service, region=call.region, call=call.name,
        method=call.method, path=call.path, body=call.body if is_small else None,
        size=len(call.data), attempt=call.headers.get("amz-sdk-request", ""),
        agent=call.headers.get("user-agent", ""),
    )  # fmt: skip
    state.requests.append(request)
    return request


def _check_permission(state: AwsState, call: Call) -> None:
    """Raise AwsError for an action that the caller may not take."""
    if call.action not in state.scenario.denied or call.name == "get_caller_identity":
        return
    resource = f"arn:aws:s3:::{call.bucket}" if call.service == "s3" else call.target or "*"
    code = "AccessDenied" if call.service in MOTO else "AccessDeniedException"
    raise AwsError(
        403, code,
        f"User: {USER} is not authorized to perform: {call.action} on resource: {resource} because "
        f"no identity-based policy allows the {call.action} action",
    )  # fmt: skip


def _check_bucket(state: AwsState, call: Call) -> None:
    """Raise AwsError for a bucket of another owner than expected, or of another region."""
    owner = state.scenario.foreign_buckets.get(call.bucket, ACCOUNT)
    expected = call.headers.get("x-amz-expected-bucket-owner", owner)
    region = storage.get_region(call.bucket)
    if region is None:
        return
    if expected != owner:
        raise AwsError(403, "AccessDenied", "Access Denied")
    if call.region != region and call.name != "get_bucket_location":
        raise AwsError(
            301, "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified "
            "endpoint. Please send all future requests to this endpoint.",
            {"x-amz-bucket-region": region},
        )  # fmt: skip


def _drop(environ: Environ) -> NoReturn:
    """Close the connection without a reply."""
    with suppress(OSError):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("dropped")


def _send(
    environ: Environ, start: Callable[..., Any], reply: Reply, *, is_cut: bool = False
) -> Iterable[bytes]:
    """Send a reply; half of it, if it is to be cut."""
    headers = {name.lower(): value for name, value in reply.headers.items()}
    headers = {"content-length": str(len(reply.body)), **headers}
    if reply.status in (204, 304):
        headers.pop("content-length")
    start(f"{reply.status} Double", list(headers.items()))
    return _send_half(environ, reply.body) if is_cut else [reply.body]


def _send_half(environ: Environ, body: bytes) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    _drop(environ)


@contextmanager
def run_server(scenario: AwsScenario, port: int = 0) -> Iterator[tuple[str, AwsState]]:
    """Serve in a thread until the block ends; yield the address and the state.

    What moto holds is the process's: a server forgets what an earlier one had, and two at once share
    their buckets and roles.
    """
    state = AwsState(scenario)
    storage.prepare(scenario)
    server = make_server(
        "127.0.0.1", port, AwsApp(state), threaded=True, request_handler=_SilentHandler
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", state
    finally:
        state.release()
        server.shutdown()
        thread.join()
        server.server_close()
