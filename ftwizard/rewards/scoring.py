"""Rewards of completions: packaged functions here, the user's own in a child process with limits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

import msgspec

from ftwizard.graders.limited_process import LimitedProcess, ProcessFailure
from ftwizard.rewards import child
from ftwizard.rewards.packaged import PACKAGED, check_options
from ftwizard.rewards.reward import Batch, Reward, RewardError
from ftwizard.rewards.trl_functions import REFERENCE, get_last_text
from ftwizard.text import format_bytes, format_duration, make_visible

START_LIMIT_S = 60.0
"""For the imports of the file."""
_GIVEN = ("prompts", "completions")

Problem = Literal[
    "exception", "memory", "not_a_list", "wrong_length", "not_a_number", "nan", "no_function",
    "timeout", "crashed",
]  # fmt: skip
_HINTS: dict[Problem, str] = {
    "exception": "Correct it, or return 0 for a completion that cannot be scored.",
    "not_a_list": "Return a list with a number, or None, for each completion.",
    "wrong_length": "Return exactly one reward for each completion, in their order.",
    "not_a_number": "Return a number, or None where the reward does not apply.",
    "nan": "Check divisions and logarithms; return 0 instead, or None where it does not apply.",
    "crashed": "Check what it loads, and that it does not end the process.",
}


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the child process."""

    rewards: list[float | None] | None = None
    problem: Problem | None = None
    message: str = ""
    line: int | None = None
    """Line of the user's file."""
    row: int | None = None
    """Index of the completion at which the function failed."""
    takes: list[str] = []
    needs: list[str] = []
    takes_all: bool = False


class Scorer:
    """A reward that can be called. Use it as a context manager: it may have a process."""

    def __init__(self, reward: Reward) -> None:
        """Set up the reward; raise FtwizardError for one that cannot be used."""
        self.reward = reward
        self._process: _RewardProcess | None = None
        if reward.file is None:
            check_options(reward.name, reward.options)
        else:
            self._process = _RewardProcess(reward, reward.file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process of the function."""
        if self._process is not None:
            self._process.close()

    @property
    def printed(self) -> str:
        """Return the beginning of what the function printed."""
        return self._process.printed if self._process else ""

    def score(self, batch: Batch) -> list[float | None]:
        """Return a reward for each completion, None where it does not apply. Raises RewardError."""
        if self._process is not None:
            return self._process.score(batch)
        packaged, options = PACKAGED[self.reward.name], self.reward.options
        references = batch.columns.get(REFERENCE) or [""] * len(batch.completions)
        return [
            packaged.score(completion, reference or "", get_last_text(prompt), options)
            for completion, reference, prompt in zip(
                batch.completions, references, batch.prompts, strict=True
            )
        ]


@contextlib.contextmanager
def open_scorers(rewards: Sequence[Reward]) -> Iterator[list[Scorer]]:
    """Yield a scorer for each reward, and end their processes. Raises FtwizardError."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Scorer(reward)) for reward in rewards]


def sum_rewards(rewards: Sequence[Reward], values: Sequence[float | None]) -> float | None:
    """Return the weighted sum of one completion's rewards; None if none applies."""
    terms = [
        reward.weight * value
        for reward, value in zip(rewards, values, strict=True)
        if value is not None
    ]
    return sum(terms) if terms else None


class _RewardProcess:
    """The process of a user's function, which lives as long as the training."""

    def __init__(self, reward: Reward, path: Path) -> None:
        if not path.is_file():
            raise RewardError(
                reward, "no_file", f"has no file: {make_visible(str(path), 200)} does not exist",
                "Correct the path before the colon: rewards.py:my_reward.",
            )  # fmt: skip
        self._reward = reward
        memory_bytes = round(reward.memory_gb * 1e9)
        self._process = LimitedProcess(
            child.__file__,
            [str(path.absolute()), reward.name, str(memory_bytes)],
            start_limit_s=max(START_LIMIT_S, reward.time_limit_s),
        )
        self._columns: set[str] | None = None
        """Columns that the function was checked with."""
        self._loaded = _Answer()

    @property
    def printed(self) -> str:
        return self._process.printed

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._process.__exit__(None, None, None)

    def score(self, batch: Batch) -> list[float | None]:
        request = {
            "prompts": batch.prompts,
            "completions": [[{"role": "assistant", "content": c}] for c in batch.completions],
            "columns": batch.columns,
        }
        if not self._process.is_running:
            self._load()
        self._require_columns(batch)
        try:
            line = self._process.ask(
                msgspec.json.encode(request) + b"\n", self._reward.time_limit_s
            )
        except ProcessFailure as failure:
            answer = _Answer(problem=failure.problem, message=failure.message)
        else:
            answer = self._decode(line)
        if answer.rewards is None or len(answer.rewards) != len(batch.completions):
            raise self._make_error(answer, batch)
        return answer.rewards

    def _decode(self, line: bytes) -> _Answer:
        """Return an answer of the process, whose output the function could have written into."""
        try:
            return msgspec.json.decode(line, type=_Answer)
        except (msgspec.DecodeError, UnicodeError):
            self._process.end()
            return _Answer(
                problem="crashed", message="its process wrote something else than rewards"
            )

    def _load(self) -> None:
        try:
            self._loaded = self._decode(self._process.start())
        except ProcessFailure as failure:
            self._loaded = _Answer(problem=failure.problem, message=failure.message)
        problem = self._loaded.problem
        if problem is None:
            return
        self._process.end()
        if problem == "no_function":
            raise RewardError(
                self._reward, problem, "is not a function of that file",
                f"Define it: def {self._reward.name}(completions, {REFERENCE}, **kwargs)",
            )  # fmt: skip
        raise self._make_load_error(self._loaded)

    def _make_load_error(self, answer: _Answer) -> RewardError:
        at = f" (line {answer.line})" if answer.line else ""
        hint = "Correct that line."
        if answer.message.startswith("ModuleNotFoundError"):
            hint = "Install the package here, or do without it."
        elif answer.problem == "memory" or answer.problem == "crashed":
            hint = self._suggest_memory()
        elif answer.problem == "timeout":
            hint = "Do less outside of the function."
        message = make_visible(answer.message, child.MAX_MESSAGE)
        return RewardError(
            self._reward, answer.problem or "", f"could not be loaded: {message}{at}", hint
        )

    def _require_columns(self, batch: Batch) -> None:
        """Raise RewardError if the function needs an argument that the rows do not have."""
        columns = set(batch.columns)
        if columns == self._columns:
            return
        missing = [n for n in self._loaded.needs if n not in columns and n not in _GIVEN]
        if missing:
            have = ", ".join(map(_shorten, [*_GIVEN, *sorted(columns)]))
            raise RewardError(
                self._reward,
                "missing_column",
                f"needs the argument “{_shorten(missing[0])}”, which is not a column of the rows",
                f"Use one of: {have}. The right answer is {REFERENCE}.",
            )
        self._columns = columns

    def _suggest_memory(self) -> str:
        limit = format_bytes(round(self._reward.memory_gb * 1e9))
        return f"It may use {limit}. Use less, or raise memory_gb of this reward."

    def _make_error(self, answer: _Answer, batch: Batch) -> RewardError:
        reward, problem = self._reward, answer.problem or "crashed"
        row = answer.row if answer.row is not None and answer.row < len(batch.lines) else None
        line = batch.lines[row] if row is not None else None
        message = make_visible(answer.message, child.MAX_MESSAGE)
        code_line = f" (its line {answer.line})" if answer.line else ""
        at = f", for the row at line {line:,}" if line is not None else ""
        hint = _HINTS.get(problem, "")
        if problem == "timeout":
            limit = format_duration(reward.time_limit_s)
            first, last = min(batch.lines), max(batch.lines)
            message = (
                f"was too slow: no rewards for {len(batch.completions)} completions after {limit}, for"
                f" rows at lines {first:,} to {last:,}"
            )
            return RewardError(
                reward, problem, message, "Do less in it, or raise time_limit_s of this reward."
            )
        if problem == "memory":
            message = f"ran out of memory{code_line}{at}"
            return RewardError(reward, problem, message, self._suggest_memory(), line)
        happened = {"exception": "raised ", "crashed": "crashed: "}.get(problem, "failed: ")
        return RewardError(reward, problem, f"{happened}{message}{code_line}{at}", hint, line)


def _shorten(name: str) -> str:
    return make_visible(name, 60)
