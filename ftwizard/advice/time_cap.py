"""Settings with which a plan finishes within some minutes, and what they give up."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from ftwizard.data.split import MIN_TRAIN_ROWS
from ftwizard.estimate import batching, plan_estimate
from ftwizard.estimate.batching import Lengths
from ftwizard.estimate.duration import COMPARISON_SHARE, RunSpeed
from ftwizard.estimate.plan_estimate import RecipeEstimate
from ftwizard.estimate.probe_cache import CachedProbe
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan
from ftwizard.quantity import Figure
from ftwizard.text import format_count, format_duration_range, format_epochs, make_visible

WORSE = "Expect a worse model: a look, not a result."
DEFAULT_MINUTES = 10.0
MAX_MINUTES = 10_000.0
EVALUATIONS, FEW_EVALUATIONS = 3, 2
"""Evaluations that are left, where there are more: on all rows, and on fewer. A run that is cut short
is evaluated once, at its end."""
WIDE = 4.0
"""Ratio between the ends of a range above which a measured speed would allow clearly more."""
MIN_ROWS, MIN_STEPS = 64, 8
"""Of the smallest useful run: enough to see the loss fall."""
MIN_LENGTH = 128
MAX_CUT_SHARE = 0.5
"""Share of truncated rows above which a shorter length is not worth a run."""
_MARGIN = 0.98
Estimator = Callable[[Plan], RecipeEstimate | None]
_SETTINGS = (
    "data.max_rows", "recipe.epochs", "recipe.max_steps", "recipe.max_length",
    "recipe.evaluation_steps", "recipe.gradient_accumulation", "budget.minutes", "budget.hours",
)  # fmt: skip
"""Settings that may change."""


class SettingChange(msgspec.Struct, frozen=True, kw_only=True):
    """A changed setting, named as in a plan: ``recipe.epochs``."""

    setting: str
    before: float | int | None
    after: float | int | None


class RunSize(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a run, by what a time limit reduces."""

    rows: int
    """Training rows, general ones included."""
    validation_rows: int
    epochs: float
    steps: int
    evaluations: int
    max_length: int
    cut: float
    """Share of the rows that are truncated."""
    seconds: Figure
    """Of the whole run without the comparison."""


class TimeCap(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that finishes within some minutes."""

    minutes: float
    fits: bool
    """False: ``plan`` is the smallest useful run, and takes longer."""
    plan: Plan
    changes: tuple[SettingChange, ...]
    whole: RunSize
    """The plan as it was."""
    capped: RunSize
    compares: bool
    """Whether a part of the time is for the comparison."""
    smaller_model: str = ""
    """A smaller model whose smallest useful run fits; empty if none is known, or none is needed."""


def cap_plan(
    plan: Plan, minutes: float, lengths: Lengths, estimate: Estimator, *, margin: float = 1.0
) -> TimeCap | None:
    """Reduce a plan until the upper end of its estimate is within ``minutes``, keeping what matters
    most for quality: first fewer evaluations, then fewer epochs, rows, steps, and a shorter length.

    ``lengths``: of all rows of the plan. ``margin``: share of the time to plan with, below 1 where
    an exact count showed more than ``estimate`` does. None if the time is unknown.
    """
    search = _Search(plan, minutes, lengths, estimate, margin)
    whole = search.measure(plan)
    if whole is None:
        return None
    fits, reduced = search.reduce(whole)
    capped = search.measure(reduced)
    if capped is None:
        return None
    return TimeCap(
        minutes=minutes, fits=fits, plan=reduced, changes=tuple(_list_changes(plan, reduced)),
        whole=whole, capped=capped, compares=plan.finish.compare,
    )  # fmt: skip


class _Search:
    """The search for the largest run that fits."""

    def __init__(
        self, plan: Plan, minutes: float, lengths: Lengths, estimate: Estimator, margin: float
    ) -> None:
        self._lengths, self._estimate = lengths, estimate
        budget = msgspec.structs.replace(plan.budget, minutes=minutes, hours=None)
        self._plan = msgspec.structs.replace(plan, budget=budget)
        self._limit = limit_seconds(minutes, compares=plan.finish.compare) * margin

    def measure(self, plan: Plan) -> RunSize | None:
        """Return the size of a plan; None if its time is unknown."""
        estimate = self._estimate(plan)
        seconds = (estimate.whole or estimate.time) if estimate else None
        if estimate is None or seconds is None:
            return None
        rows = plan_estimate.sample_lengths(plan, self._lengths)
        train, validation = rows.get("train"), rows.get("validation")
        steps = round(estimate.steps.value)
        return RunSize(
            rows=train.rows if train else 0, validation_rows=validation.rows if validation else 0,
            epochs=min(plan.recipe.epochs, steps / estimate.steps_per_epoch),
            steps=steps, evaluations=estimate.evaluations, max_length=plan.recipe.max_length,
            cut=estimate.cut.value, seconds=seconds,
        )  # fmt: skip

    def reduce(self, whole: RunSize) -> tuple[bool, Plan]:
        """Return whether a run fits, and the largest that does, else the smallest useful one."""
        plan, epochs = self._plan, self._plan.recipe.epochs
        if self._fits(plan):
            return True, plan
        for fewer in (epochs, *range(math.ceil(epochs) - 1, 0, -1)):
            if self._fits(candidate := self._resize(EVALUATIONS, epochs=float(fewer))):
                return True, candidate
        own_rows = round(whole.rows * (1 - plan.data.mix.share))
        candidate = plan
        for length in self._list_lengths():
            # Few rows leave few steps, unless each step uses fewer.
            sizes: dict[str, Any] = {
                "epochs": min(epochs, 1.0), "max_length": length, "gradient_accumulation": 1,
            }  # fmt: skip
            least = min(own_rows, MIN_ROWS)
            fewest = self._resize(FEW_EVALUATIONS, max_rows=least, **sizes)
            if self._fits(fewest):
                return True, self._grow(FEW_EVALUATIONS, "max_rows", least, own_rows, sizes)
            sizes["max_rows"] = least
            size = self.measure(fewest)
            steps = size.steps if size else MIN_STEPS
            candidate = self._resize(1, max_steps=min(MIN_STEPS, steps), **sizes)
            if self._fits(candidate):
                return True, self._grow(1, "max_steps", min(MIN_STEPS, steps), steps, sizes)
        return False, candidate

    def _list_lengths(self) -> Iterator[int]:
        """Yield the max length of the plan, then shorter ones that leave most rows whole."""
        length = self._plan.recipe.max_length
        yield length
        train = self._lengths.get("train")
        if train is None or not train.buckets:
            return
        length = min(length, math.ceil(train.buckets[-1].upto)) // 2
        while length >= MIN_LENGTH and batching.cut_share(train, length) <= MAX_CUT_SHARE:
            yield length
            length //= 2

    def _grow(
        self, evaluations: int, name: str, least: int, most: int, sizes: Mapping[str, Any]
    ) -> Plan:
        """Return the plan with the largest ``name`` that fits; ``least`` does, ``most`` does not."""
        low, high = least, most
        while high - low > 1:
            middle = (low + high) // 2
            fits = self._fits(self._resize(evaluations, **sizes, **{name: middle}))
            low, high = (middle, high) if fits else (low, middle)
        return self._resize(evaluations, **sizes, **{name: max(least, _round_down(low))})

    def _resize(self, evaluations: int, *, max_rows: int | None = None, **recipe: Any) -> Plan:
        """Return the plan with other sizes, and not more than ``evaluations``."""
        plan = self._plan
        if max_rows is not None:
            data = msgspec.structs.replace(plan.data, max_rows=max(max_rows, MIN_TRAIN_ROWS))
            plan = msgspec.structs.replace(plan, data=data)
        resized = msgspec.structs.replace(
            plan, recipe=msgspec.structs.replace(plan.recipe, **recipe)
        )
        size = self.measure(resized)
        if size is None or size.evaluations <= evaluations:
            return resized
        every = math.ceil(size.steps / evaluations)
        settings = msgspec.structs.replace(resized.recipe, evaluation_steps=every)
        return msgspec.structs.replace(resized, recipe=settings)

    def _fits(self, plan: Plan) -> bool:
        size = self.measure(plan)
        return size is not None and size.seconds.highest <= self._limit


def _round_down(count: int) -> int:
    """Return the number with two significant digits, and not above ``count``."""
    unit = int(10 ** max(0, len(str(count)) - 2))
    return count // unit * unit


def _list_changes(before: Plan, after: Plan) -> Iterator[SettingChange]:
    for setting in _SETTINGS:
        old, new = (operator.attrgetter(setting)(plan) for plan in (before, after))
        if old != new:
            yield SettingChange(setting=setting, before=old, after=new)


def cap_on_machine(
    plan: Plan,
    minutes: float,
    lengths: Lengths,
    shape: ModelShape | None,
    facts: MachineInfo,
    *,
    speeds: tuple[RunSpeed, ...] = (),
    probe: CachedProbe | None = None,
    margin: float = 1.0,
) -> TimeCap | None:
    """Reduce a plan as ``cap_plan`` does, with the time that this machine takes.

    ``speeds`` of earlier runs and ``probe`` are used as in an estimate. Where nothing fits, a smaller
    model is looked for in the catalog. None if the time is unknown.
    """

    def estimate(candidate: Plan) -> RecipeEstimate | None:
        return plan_estimate.estimate_plan(
            candidate, lengths, shape, facts, speeds=speeds, probe=probe
        )

    cap = cap_plan(plan, minutes, lengths, estimate, margin=margin)
    if cap is None or cap.fits or shape is None:
        return cap
    for name, smaller in plan_estimate.list_smaller_models(shape):
        other = plan_estimate.estimate_plan(cap.plan, lengths, smaller, facts)
        if other and find_margin(other, minutes, compares=cap.compares) == 1:
            return msgspec.structs.replace(cap, smaller_model=name)
    return cap


def limit_seconds(minutes: float, *, compares: bool) -> float:
    """Return the seconds for everything but the comparison."""
    return minutes * 60 * (1 - COMPARISON_SHARE if compares else 1.0)


def find_margin(counted: RecipeEstimate | None, minutes: float, *, compares: bool) -> float:
    """Return the ``margin`` with which a plan that was counted exactly fits; 1 if it does."""
    seconds = (counted.whole or counted.time) if counted else None
    excess = seconds.highest / limit_seconds(minutes, compares=compares) if seconds else 0.0
    return _MARGIN / excess if excess > 1 else 1.0


def describe_losses(cap: TimeCap) -> list[str]:
    """Describe what a plan gives up to finish in time, a line each; empty if nothing."""
    before, after, lines = cap.whole, cap.capped, list[str]()
    if after.rows < before.rows:
        lines.append(f"{after.rows:,} of {before.rows:,} rows, drawn by kind and length")
    if after.steps < before.steps and after.epochs < before.epochs:
        lines.append(f"{_format_epochs(after.epochs)} of {format_epochs(before.epochs)}")
    if any(change.setting == "recipe.max_steps" for change in cap.changes):
        lines.append(f"ends after {format_count(after.steps, 'step')}")
    if after.max_length < before.max_length:
        lines.append(
            f"max length {after.max_length:,} of {before.max_length:,} tokens: "
            f"{after.cut:.0%} of the rows are truncated"
        )
    if after.evaluations < before.evaluations:
        lines.append(
            f"{format_count(after.evaluations, 'evaluation')} of {before.evaluations:,}"
            + _describe_validation(before, after)
        )
    return lines


def _describe_validation(before: RunSize, after: RunSize) -> str:
    if after.validation_rows >= before.validation_rows:
        return ""
    return f", on {after.validation_rows:,} of {before.validation_rows:,} validation rows"


def _format_epochs(epochs: float) -> str:
    return f"{epochs:.2g}" if epochs < 1 else f"{epochs:g}"


def describe_outcome(cap: TimeCap) -> str:
    """Describe in a sentence or two whether the plan fits, and what that means."""
    seconds = cap.capped.seconds
    takes = format_duration_range(seconds.lowest, seconds.highest)
    more = ", without the comparison" if cap.compares else ""
    if not cap.fits:
        least = f"Even {format_count(cap.capped.steps, 'step')} on {cap.capped.rows:,} rows take"
        return f"{least} {takes} here{more}. {_describe_help(cap)}"
    if not describe_losses(cap):
        return f"The whole run fits: {takes}{more}."
    measure = ""
    if cap.capped.rows < cap.whole.rows and seconds.highest > WIDE * seconds.lowest:
        measure = " A probe measures the speed, and may allow more rows."
    return f"It takes {takes}{more}. {WORSE}{measure}"


def _describe_help(cap: TimeCap) -> str:
    limit = limit_seconds(cap.minutes, compares=cap.compares)
    probe = "It may fit: a probe measures the speed. " if cap.capped.seconds.lowest <= limit else ""
    if cap.smaller_model:
        return f"{probe}A smaller model would fit: {make_visible(cap.smaller_model, 100)}."
    return f"{probe}Shorter rows, a smaller model or a GPU would help."
