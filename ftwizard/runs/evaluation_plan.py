"""What a plan's evaluation will ask, before it runs: the items of each set, and what they can show."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Literal

import msgspec

from ftwizard.plan.schema import Gate, Plan
from ftwizard.runs import describe_evaluation
from ftwizard.runs.evaluation import SetResult
from ftwizard.text import format_count, make_visible

PackagedSet = Literal["general", "safety"]
MAX_ITEMS_GPU, MAX_ITEMS_CPU, MAX_ITEMS_ENDPOINT = 400, 120, 100
"""Items of a set where the plan names no number: on a GPU, on a CPU, and where all models are asked over the
network, and every answer may be billed. Packaged sets are asked whole, if less does not decide."""

WANTED_GAIN = 0.1
"""Gain that the test rows are measured by before there is a gate."""
MAX_ASKING_S = 1800.0
"""Longest that a model which answers only a few requests a minute is asked, where the plan names no
number of items."""


class SetProblem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that cannot be used."""

    line: int
    code: str
    message: str
    fix: str


class SetCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A set of the user, read without asking any model."""

    file: str
    """As the plan names it: a path, or ``lm-eval:TASK``."""
    items: int | None = None
    """None for a task of lm-eval, and for a file that cannot be used."""
    scorers: dict[str, int] = {}
    """Items by scorer, the most frequent first."""
    error: str = ""
    """Why the file as a whole cannot be used."""
    hint: str = ""
    problems: list[SetProblem] = []

    @property
    def is_usable(self) -> bool:
        return not (self.error or self.problems)


class SetsReport(msgspec.Struct, frozen=True, kw_only=True):
    """Output of ``eval --check --json``."""

    sets: list[SetCheck]


@functools.cache
def count_packaged(name: PackagedSet) -> int:
    """Return the items of a packaged set."""
    file = files("ftwizard").joinpath("assets", "evaluation", f"{name}.jsonl")
    return sum(1 for line in file.read_bytes().splitlines() if line.strip())


def describe_check(checked: SetCheck) -> Iterator[str]:
    """Yield a line for a set that can be used, else one for each thing that is wrong with it."""
    name = make_visible(checked.file, 200)
    if checked.is_usable:
        scorers = ", ".join(f"{scorer} {count:,}" for scorer, count in checked.scorers.items())
        about = (
            "a task of lm-eval" if checked.items is None else format_count(checked.items, "item")
        )
        yield f"✓ {name}: {about}{f' ({scorers})' if scorers else ''}"
        return
    count = format_count(len(checked.problems), "item")
    yield f"✗ {checked.error or f'{name}: {count} cannot be used'}"
    for problem in checked.problems:
        yield f"  line {problem.line}: {problem.message} ({problem.fix})"
    if checked.hint:
        yield f"  {checked.hint}"


def fit_items(sizes: Iterable[int], limit: int, per_minute: float | None) -> int:
    """Return how many items of each set a model is asked at most.

    ``sizes``: items of each set. ``limit``: of a set, for a model that answers at any pace.
    ``per_minute``: requests that this one answers; None where they are not counted.
    """
    if not per_minute:  # a quota of 0 says nothing about the pace: the platform refuses by itself
        return limit
    budget, counts = per_minute * MAX_ASKING_S / 60, list(sizes)
    while limit > 1 and sum(min(count, limit) for count in counts) > budget:
        limit -= 1
    return limit


def draw_counts(items: Mapping[str, int | None], limit: int) -> dict[str, int | None]:
    """Return how many items of each set are asked; None where their number is unknown."""
    return {name: n if n is None else min(n, limit) for name, n in items.items()}


def describe_rows_power(rows: int, gain: float = WANTED_GAIN) -> str:
    """Describe what so many test rows can show, and how many could show ``gain``."""
    return describe_evaluation.describe_set_power(
        "target", SetResult(n=rows, arms={}), Gate(gain=gain)
    )


def describe_powers(counts: Mapping[str, int | None], gate: Gate) -> list[str]:
    """Describe for each set what its items can show of the gain or loss that the gate names."""
    results = {name: SetResult(n=n, arms={}) for name, n in counts.items() if n is not None}
    return describe_evaluation.describe_powers(results, gate)


def describe_gate(plan: Plan) -> str:
    """Describe the gate of a plan on a line."""
    gain, general, safety = (
        f"{share * 100:g}"
        for share in (plan.gate.gain, plan.gate.max_general_loss, plan.gate.max_safety_loss)
    )
    stops = ", stops before training without that much to gain"
    rule = stops if plan.evaluate.requires_headroom else ""
    return (
        f"a gain of {gain} points on the task; at most {general} lost in general, {safety} in safety"
        f"{rule}"
    )
