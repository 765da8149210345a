"""Rewards as a plan names them: a function, its weight, its options and its limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.text import make_visible

MAX_REWARDS = 20
_FILE = re.compile(r"(?P<path>.+\.py):(?P<name>[^\W\d]\w*)\Z", re.DOTALL)


class Reward(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reward function of a plan."""

    function: str
    """A packaged function, such as ``numeric_answer``, or one of your own: ``rewards.py:my_reward``."""
    weight: float = 1.0
    """Factor of its rewards in the sum."""
    options: dict[str, Any] = {}
    """Options of a packaged function, such as ``{max: 50}``."""
    time_limit_s: float = 60.0
    """Seconds in which your own function must score a batch; then the training ends."""
    memory_gb: float = 4.0
    """Memory that the process of your own function may use."""

    @property
    def file(self) -> Path | None:
        """Return the user's file; None for a packaged function."""
        match = _FILE.match(self.function)
        return Path(match["path"]) if match else None

    @property
    def name(self) -> str:
        """Return the name of the function, without its file."""
        match = _FILE.match(self.function)
        return match["name"] if match else self.function

    @property
    def shown(self) -> str:
        """Return the function as it is shown: ``my_reward (rewards.py)``."""
        file = self.file
        name = make_visible(self.name, 60)
        return f"{name} ({make_visible(file.name, 60)})" if file else name


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Completions to score, each with its prompt and the columns of its row."""

    prompts: Sequence[list[dict[str, Any]]]
    """Messages."""
    completions: Sequence[str]
    columns: Mapping[str, Sequence[Any]]
    """Other columns of the rows, among them ``reference_answer``."""
    lines: Sequence[int]
    """Lines of the rows in their file, for messages."""


class RewardError(FtwizardError):
    """A reward function that cannot be used: which, at which row, and what to do."""

    def __init__(
        self, reward: Reward, problem: str, message: str, hint: str, line: int | None = None
    ) -> None:
        super().__init__(f"The reward {reward.shown} {message}.", hint, code="reward")
        self.reward = reward
        self.problem = problem
        self.row_line = line
        """Line of the row at which it failed."""
        self._arguments = (reward, problem, message, hint, line)

    def __reduce__(self) -> tuple[type[RewardError], tuple[Any, ...]]:
        """Return what another process makes the error of."""
        return type(self), self._arguments


def name_uniquely(rewards: Sequence[Reward]) -> list[str]:
    """Return a name for each reward; functions of one name are numbered: ``length_limit_2``."""
    names: list[str] = []
    for reward in rewards:
        count = sum(other.name == reward.name for other in rewards[: len(names)])
        names.append(f"{reward.name}_{count + 1}" if count else reward.name)
    return names
