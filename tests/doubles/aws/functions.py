"""Lambda: functions that are files of Python, run in this process with their time limit."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import importlib.util
import io
import json
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.doubles.aws.calls import Call
from tests.doubles.aws.errors import AwsError, Reply, missing, write_json
from tests.doubles.aws.scenario import ACCOUNT, AwsFunction

if TYPE_CHECKING:
    from tests.doubles.aws.state import AwsState

MAX_PAYLOAD_BYTES = 6 * 1024**2
MAX_LOG_BYTES = 4096
_LOADING = threading.Lock()


@dataclasses.dataclass
class Outcome:
    """What a function returned, or how it failed."""

    value: Any = None
    error: str = ""
    kind: str = ""
    trace: list[str] = dataclasses.field(default_factory=list)
    log: str = ""


def find(state: AwsState, identifier: str, region: str = "") -> tuple[str, AwsFunction]:
    """Return name and function; ``identifier`` is a name or an ARN."""
    parts = identifier.split(":")
    name = parts[6] if identifier.startswith("arn:") and len(parts) > 6 else parts[0]
    function = state.scenario.functions.get(name)
    if function is None or (region and function.region != region):
        arn = f"arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"
        raise missing(f"Function not found: {arn}")
    return name, function


def run(state: AwsState, identifier: str, event: Any) -> Outcome:
    """Call a function as Lambda does, and note the event."""
    name, function = find(state, identifier)
    state.invocations.append((name, event))
    outcome = Outcome(
        error=f"Task timed out after {function.timeout_s:.2f} seconds", kind="Sandbox.Timedout"
    )
    results: list[Outcome] = []
    thread = threading.Thread(target=lambda: results.append(_call(function, event)), daemon=True)
    thread.start()
    thread.join(function.timeout_s)
    return results[0] if results else outcome


def _call(function: AwsFunction, event: Any) -> Outcome:
    outcome = Outcome()
    log = io.StringIO()
    try:
        with contextlib.redirect_stdout(log):
            handler = getattr(_load(Path(function.path)), function.handler)
            value = handler(json.loads(json.dumps(event)), None)
        outcome.value = json.loads(json.dumps(value))
    except Exception as error:  # noqa: BLE001 (whatever the user's code raises)
        outcome.error, outcome.kind = str(error) or "error", type(error).__name__
        outcome.trace = traceback.format_exc().splitlines()
    outcome.log = log.getvalue()
    return outcome


def _load(path: Path) -> Any:
    """Load a file as a module, with the modules next to it, as if for the first time."""
    with _LOADING:
        before = set(sys.modules)
        sys.path.insert(0, str(path.parent))
        try:
            spec = importlib.util.spec_from_file_location("lambda_function", path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(path.parent))
            for name in set(sys.modules) - before:
                file = getattr(sys.modules[name], "__file__", None)
                if file and Path(file).parent == path.parent:
                    del sys.modules[name]
        return module


def invoke(state: AwsState, call: Call) -> Reply:
    """Answer Invoke."""
    name, function = find(state, call.target, call.region)
    if len(call.data) > MAX_PAYLOAD_BYTES:
        message = f"Request must be smaller than {MAX_PAYLOAD_BYTES} bytes"
        raise AwsError(413, "RequestTooLargeException", message)
    if call.data and call.body is None:
        message = "Could not parse request body into json"
        raise AwsError(400, "InvalidRequestContentException", message)
    kind = call.headers.get("x-amz-invocation-type", "RequestResponse")
    if kind == "DryRun":
        return Reply(204)
    if function.state != "Active":
        message = f"The function {name} is in the state {function.state}."
        raise AwsError(502, "ResourceNotReadyException", message)
    outcome = run(state, name, call.body)
    headers = {"Content-Type": "application/json", "X-Amz-Executed-Version": "$LATEST"}
    if call.headers.get("x-amz-log-type") == "Tail":
        tail = outcome.log.encode()[-MAX_LOG_BYTES:]
        headers["X-Amz-Log-Result"] = base64.b64encode(tail).decode()
    if not outcome.error:
        return Reply(200, json.dumps(outcome.value).encode(), headers)
    headers["X-Amz-Function-Error"] = "Unhandled"
    failure = {
        "errorMessage": outcome.error, "errorType": outcome.kind, "stackTrace": outcome.trace,
    }  # fmt: skip
    return Reply(200, json.dumps(failure).encode(), headers)


def describe(state: AwsState, call: Call) -> Reply:
    """Answer GetFunctionConfiguration."""
    name, function = find(state, call.target, call.region)
    arn = f"arn:aws:lambda:{function.region}:{ACCOUNT}:function:{name}"
    return write_json(
        {
            "FunctionName": name, "FunctionArn": arn, "Runtime": function.runtime,
            "Role": f"arn:aws:iam::{ACCOUNT}:role/grader", "Timeout": function.timeout_s,
            "Handler": f"{Path(function.path).stem}.{function.handler}", "MemorySize": 128,
            "State": function.state, "LastUpdateStatus": "Successful",
            "LastModified": "2026-11-01T00:00:00.000+0000",
        }
    )  # fmt: skip


HANDLERS = {"invoke": invoke, "get_function_configuration": describe}
