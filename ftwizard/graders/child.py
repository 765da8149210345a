"""Program of the child process that runs a grader; it imports the standard library only.

Arguments: the grader's file, and its memory in bytes. It reads a line of JSON for each answer,
``[sample, item]``, and writes a line for each: ``{"score": …}``, or ``{"problem", "message", "line"}``.
The first line that it writes says whether the file could be loaded.
"""

import contextlib
import json
import os
import sys
import traceback

MAX_MESSAGE = 300


def main() -> None:
    """Load the grader, then grade until the input ends."""
    path, memory_bytes = sys.argv[1], int(sys.argv[2])
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what the grader prints must not be read as an answer
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    _limit(memory_bytes)

    def send(answer: dict[str, object]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    names: dict[str, object] = {"__name__": "grader", "__file__": path}
    try:
        with open(path, encoding="utf-8-sig") as file:
            code = compile(file.read(), path, "exec")
        exec(code, names)  # noqa: S102
    except BaseException as error:  # noqa: BLE001 (also what sys.exit raises)
        send(_describe(error, path))
        return
    send({"score": None})
    for line in requests:
        sample, item = json.loads(line)
        try:
            score = names["grade"](sample, item)  # type: ignore[operator]
            send(_convert(score))
        except BaseException as error:  # noqa: BLE001
            send(_describe(error, path))


def _limit(memory_bytes: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))


def _convert(score: object) -> dict[str, object]:
    """Return the score as a float, or why it is not one."""
    if isinstance(score, str | bytes) or not hasattr(score, "__float__"):
        kind = "None" if score is None else f"a value of type {type(score).__name__}"
        return {"problem": "not_a_number", "message": f"grade returned {kind}", "line": None}
    number = float(score)
    if number - number != 0:  # NaN and infinities
        return {"problem": "nan", "message": f"grade returned {number}", "line": None}
    return {"score": number}


def _describe(error: BaseException, path: str) -> dict[str, object]:
    """Return an error, with its last line in the file of the grader."""
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
    return {"problem": "exception", "message": text[:MAX_MESSAGE], "line": line}


if __name__ == "__main__":
    main()
