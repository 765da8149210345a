"""Program of the child process that runs a reward function; it imports the standard library only.

Arguments: the file, the name of its function, and its memory in bytes. It writes a line of JSON on how
the file was loaded, then reads a line for each batch, ``{"prompts", "completions", "columns"}``, and
writes one: ``{"rewards": […]}``, or ``{"problem", "message", "line", "row"}``. ``row`` is the index of
the completion at which the function fails.
"""

import contextlib
import functools
import inspect
import json
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

MAX_MESSAGE = 300
MAX_SEARCH_S = 5.0
"""For the search for the row at which a function fails."""


class BadRewards(Exception):
    """What a function returned that cannot be used as rewards."""

    def __init__(self, problem: str, message: str, row: "int | None" = None) -> None:
        super().__init__(message)
        self.problem, self.message, self.row = problem, message, row


def main() -> None:
    """Load the function, then score batches until the input ends."""
    path, name, memory_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what the function prints must not be read as rewards
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    _end_with_parent()
    _limit(memory_bytes)
    own_pid = os.getpid()

    def send(answer: "dict[str, object]") -> None:
        if os.getpid() != own_pid:  # a process that the function forked, and that returned from it
            os._exit(0)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120
    names: dict[str, object] = {"__name__": "rewards", "__file__": path}
    try:
        with open(path, encoding="utf-8-sig") as file:
            code = compile(file.read(), path, "exec")
        exec(code, names)  # noqa: S102
        function = names.get(name)
        send(_describe_function(function))
    except BaseException as error:  # noqa: BLE001 (also what sys.exit raises)
        send(_describe(error, path))
        return
    for line in requests:
        batch = json.loads(line)
        try:
            send({"rewards": _score(function, batch)})
        except BaseException as error:  # noqa: BLE001
            answer = _describe(error, path)
            if answer["row"] is None and answer["problem"] == "exception":
                answer["row"] = _find_row(function, batch)
            send(answer)


def _end_with_parent() -> None:
    """Let the kernel end this process when the training's ends."""
    with contextlib.suppress(Exception):
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def _limit(memory_bytes: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))


def _describe_function(function: object) -> "dict[str, object]":
    """Return which arguments a function needs and takes."""
    if not callable(function):
        return {"problem": "no_function", "message": "", "line": None, "row": None}
    parameters = list(inspect.signature(function).parameters.values())
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return {
        "takes": [p.name for p in named],
        "needs": [p.name for p in named if p.default is p.empty]
        + [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty],
        "takes_all": any(p.kind is p.VAR_KEYWORD for p in parameters),
    }


def _score(function: object, batch: "dict[str, object]") -> "list[float | None]":
    """Return the rewards of a batch; raise BadRewards, or what the function raises."""
    arguments = {**batch["columns"], **{k: batch[k] for k in ("prompts", "completions")}}  # type: ignore[dict-item]
    parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        taken = {p.name for p in parameters}
        arguments = {key: value for key, value in arguments.items() if key in taken}
    result = function(**arguments)  # type: ignore[operator]
    if inspect.iscoroutine(result):
        result = _make_runner().run(result)
    return _convert(result, len(batch["completions"]))  # type: ignore[arg-type]


@functools.cache
def _make_runner() -> "asyncio.Runner":
    """Return the event loop of all batches, as a client or a semaphore of the file belongs to one."""
    import asyncio

    return asyncio.Runner()


def _convert(result: object, count: int) -> "list[float | None]":
    if hasattr(result, "tolist"):  # of NumPy and PyTorch
        result = result.tolist()
    if not isinstance(result, list | tuple):
        kind = "None" if result is None else f"a value of type {type(result).__name__}"
        raise BadRewards("not_a_list", f"it returned {kind}")
    if len(result) != count:
        rewards = "1 reward" if len(result) == 1 else f"{len(result)} rewards"
        raise BadRewards("wrong_length", f"it returned {rewards} for {count} completions")
    return [_convert_one(value, row) for row, value in enumerate(result)]


def _convert_one(value: object, row: int) -> "float | None":
    if value is None:
        return None
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        raise BadRewards("not_a_number", f"it returned a value of type {type(value).__name__}", row)
    number = float(value)
    if number - number != 0:  # NaN and infinities
        raise BadRewards("nan", f"it returned {number}", row)
    return number


def _find_row(function: object, batch: "dict[str, object]") -> "int | None":
    """Return the first completion for which the function fails alone."""
    end = time.monotonic() + MAX_SEARCH_S
    prompts, completions, columns = batch["prompts"], batch["completions"], batch["columns"]
    for row in range(len(completions)):  # type: ignore[arg-type]
        if time.monotonic() > end:
            return None
        alone: dict[str, object] = {
            "prompts": [prompts[row]],  # type: ignore[index]
            "completions": [completions[row]],  # type: ignore[index]
            "columns": {key: [values[row]] for key, values in columns.items()},  # type: ignore[attr-defined]
        }
        try:
            _score(function, alone)
        except BaseException:  # noqa: BLE001
            return row
    return None


def _describe(error: BaseException, path: str) -> "dict[str, object]":
    """Return an error, with its last line in the file."""
    if isinstance(error, BadRewards):
        return {"problem": error.problem, "message": error.message, "line": None, "row": error.row}
    line, detail = None, ""
    if isinstance(error, SyntaxError) and error.filename == path:
        line, detail = error.lineno, error.msg  # its text has file and line once more
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == path:
            line = frame.lineno
    text = type(error).__name__
    with contextlib.suppress(Exception):
        detail = detail or str(error)
        text = f"{text}: {detail}" if detail else text
    problem = "memory" if isinstance(error, MemoryError) else "exception"
    return {"problem": problem, "message": text[:MAX_MESSAGE], "line": line, "row": None}


if __name__ == "__main__":
    main()
