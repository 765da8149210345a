"""Child process of a grader, with limits on time and memory: scores for answers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.graders import child
from ftwizard.graders.grader_file import GraderFile, make_sample
from ftwizard.graders.limited_process import LimitedProcess, ProcessFailure
from ftwizard.text import format_bytes, make_visible

TIME_LIMIT_S = 20.0
"""For one answer. OpenAI allows two minutes, for which no training could wait."""
START_LIMIT_S = 60.0
"""For the imports of the file."""
MEMORY_BYTES = 2 * 10**9
"""As at OpenAI and Foundry."""
Problem = Literal["exception", "not_a_number", "nan", "timeout", "crashed"]


class Grade(msgspec.Struct, frozen=True, kw_only=True):
    """What a grader made of one answer: a score, or a problem."""

    score: float | None = None
    problem: Problem | None = None
    message: str = ""
    """What went wrong: ``KeyError: 'answer'``."""
    line: int | None = None
    """Line of the grader's file where it went wrong."""
    seconds: float = 0.0


class GraderProcess(LimitedProcess):
    """A grader that can be called; its process starts with the first answer.

    Use it as a context manager. After an answer that took too long, or a crash, the next answer gets
    a new process.
    """

    def __init__(
        self,
        grader: GraderFile,
        *,
        time_limit_s: float = TIME_LIMIT_S,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        super().__init__(
            child.__file__,
            [grader.path, str(memory_bytes)],
            start_limit_s=max(START_LIMIT_S, time_limit_s),
        )
        self.grader = grader
        self._time_limit_s = time_limit_s

    def grade(self, text: str, item: Mapping[str, Any]) -> Grade:
        """Return the score of an answer to a row.

        Raises FtwizardError if the file cannot be loaded.
        """
        request = json.dumps([make_sample(text), item]).encode() + b"\n"
        if not self.is_running:
            self._load()
        started = time.monotonic()
        try:
            answer = _convert(self.ask(request, self._time_limit_s))
        except ProcessFailure as failure:
            message = failure.message.replace("no answer", "no score")
            answer = Grade(problem=failure.problem, message=message)
        seconds = round(time.monotonic() - started, 4)
        return msgspec.structs.replace(answer, seconds=seconds)

    def _load(self) -> None:
        """Start the process and load the file; raise FtwizardError if that fails."""
        try:
            ready = _convert(self.start())
        except ProcessFailure as failure:
            ready = Grade(problem=failure.problem, message=failure.message)
        if ready.problem is not None:
            self.end()
            raise _make_load_error(self.grader, ready)


def _convert(line: bytes) -> Grade:
    """Return an answer of the child process, whose output the grader could have written into."""
    try:
        answer = msgspec.json.decode(line, type=Grade)
    except (msgspec.DecodeError, UnicodeError):
        return Grade(problem="crashed", message="its process wrote something else than a score")
    return msgspec.structs.replace(answer, message=make_visible(answer.message, child.MAX_MESSAGE))


def _make_load_error(grader: GraderFile, answer: Grade) -> FtwizardError:
    """Return the error for a file whose code fails before any answer is graded."""
    at = f" (line {answer.line})" if answer.line else ""
    name = make_visible(Path(grader.path).name, 100)
    hint = "Correct that line."
    if answer.message.startswith("ModuleNotFoundError"):
        hint = "Install the package here, or do without it: the grader runs alone, without your other files."
    elif answer.message.startswith("MemoryError"):
        hint = f"It may use {format_bytes(MEMORY_BYTES)}."
    elif answer.problem == "timeout":
        hint = "Do less outside of the function grade."
    return FtwizardError(f"{name} could not be loaded: {answer.message}{at}.", hint, code="grader")
