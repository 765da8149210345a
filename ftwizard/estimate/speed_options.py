"""Settings that change how fast a plan trains and not what it learns, and the gains that a probe measured.

One plan is probed once per option. An option counts only if the loss and the gradient of the same
rows are those of the present setting, and if its gain is larger than what the present setting
differed from itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from ftwizard.hardware.hub_kernels import FLASH_ATTENTION
from ftwizard.plan.schema import Plan, Recipe
from ftwizard.quantity import Figure

SettingValue = bool | int | str
OptionState = Literal["measured", "impossible", "failed", "other_result"]
ATTENTIONS = ("sdpa", "eager", "flash_attention_2", FLASH_ATTENTION)
MIN_GAIN = 0.05
"""Gains below this are not worth a setting."""
MIN_STEPS_RATIO = 0.8
"""An option that leaves fewer steps per epoch than this trains otherwise: it is named, not chosen."""
LOSS_TOLERANCE = {"fp32": 1e-3, "bf16": 0.02, "fp16": 0.02}
GRADIENT_TOLERANCE = {"fp32": 5e-3, "bf16": 0.05, "fp16": 0.05}
"""Tolerated relative differences of the loss and of the gradient's norm. Rounding alone was measured
between sdpa and eager, padded and end to end: SmolLM2-135M in bf16 up to 0.3% of the loss and 0.2% of
the norm, a tiny model in fp32 below 0.001% and 0.01%."""


class LossCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Loss and gradient of a few rows before the first step, without dropout."""

    loss: float
    """Mean over trainable tokens, in nats; of preferences, the loss of the objective."""
    gradient_norm: float
    tokens: int
    """Tokens of the rows, without padding."""


class SpeedFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe reports besides its measurements, for a comparison."""

    attention: str
    """transformers' name for the attention of the loaded model."""
    checkpointing: bool
    impossible: dict[str, str]
    """Why ``attention`` of these names, or ``kernels``, cannot be used on this machine."""
    check: LossCheck
    steps_per_epoch: int


class SpeedOption(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the recipe to try; none for the present ones."""

    settings: dict[str, SettingValue] = {}
    reason: str = ""
    """Why it cannot be tried; empty if it can."""


class OptionResult(msgspec.Struct, frozen=True, kw_only=True):
    """An option and what it gained."""

    settings: dict[str, SettingValue]
    """Of the recipe; empty for the present ones."""
    state: OptionState
    reason: str = ""
    """Why it was not measured, or is refused."""
    tokens_per_s: Figure | None = None
    """Of trained rows: without padding."""
    memory: Figure | None = None
    gain: float | None = None
    """Relative to the present setting: 0.2 is 20% faster."""
    check: LossCheck | None = None
    steps_per_epoch: int | None = None
    batch_size: int | None = None
    gradient_accumulation: int | None = None

    @property
    def name(self) -> str:
        """Return the settings as lines of a plan are written, or ``present``."""
        return format_settings(self.settings) or "present"


class SpeedComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``ftwizard probe --compare``."""

    device: str
    precision: str
    attention: str
    """Of the present setting, as loaded."""
    options: list[OptionResult]
    """The present setting first."""
    noise: float
    """Relative difference between two measurements of the present setting."""
    fastest: dict[str, SettingValue]
    """Settings of the fastest option that trains the same; empty where nothing gains enough."""
    gain: float
    written: str | None = None
    """The new plan with these settings; None if none was asked for."""


def format_settings(settings: Mapping[str, SettingValue]) -> str:
    """Format settings as in a plan: ``padding_free: true``."""
    return ", ".join(
        f"{name}: {str(value).lower() if isinstance(value, bool) else value}"
        for name, value in settings.items()
    )


def with_settings(plan: Plan, settings: Mapping[str, Any]) -> Plan:
    """Return the plan with other settings of the recipe."""
    return msgspec.structs.replace(plan, recipe=msgspec.structs.replace(plan.recipe, **settings))


def list_options(recipe: Recipe, facts: SpeedFacts) -> Iterator[SpeedOption]:
    """Yield the options that differ from ``recipe``, each alone; the impossible ones with the reason."""
    for name in ATTENTIONS:
        if name not in (facts.attention, recipe.attention):
            yield SpeedOption(settings={"attention": name}, reason=facts.impossible.get(name, ""))
    if not recipe.kernels:
        yield SpeedOption(settings={"kernels": True}, reason=facts.impossible.get("kernels", ""))
    if facts.checkpointing:
        yield SpeedOption(settings={"gradient_checkpointing": False})
    other = "" if recipe.objective == "sft" else "only supervised rows are laid end to end"
    if not recipe.is_flat:
        alone = "a batch of one example has no padding" if recipe.batch_size == 1 else ""
        yield SpeedOption(settings={"padding_free": True}, reason=other or alone)
    if not recipe.packing:
        yield SpeedOption(settings={"packing": True}, reason=other)


def judge(
    result: OptionResult, present: OptionResult, speed: float, precision: str
) -> OptionResult:
    """Return a measured option with its gain, or refused because its loss or gradient differs.

    ``speed``: of the present setting, in tokens/s.
    """
    assert result.check and present.check and result.tokens_per_s
    replace = msgspec.structs.replace
    if reason := describe_difference(result.check, present.check, precision):
        return replace(result, state="other_result", reason=reason)
    return replace(result, gain=result.tokens_per_s.value / speed - 1)


def describe_difference(check: LossCheck, present: LossCheck, precision: str) -> str:
    """Return how the results of an option differ; empty if they do not."""
    for value, wanted, tolerance, name in (
        (check.loss, present.loss, LOSS_TOLERANCE[precision], "the loss"),
        (
            check.gradient_norm,
            present.gradient_norm,
            GRADIENT_TOLERANCE[precision],
            "the norm of the gradient",
        ),
    ):
        is_close = math.isclose(value, wanted, rel_tol=tolerance, abs_tol=1e-6)
        if not (is_close or (math.isnan(value) and math.isnan(wanted))):
            return f"{name} of the same rows is {value:.4g}, not {wanted:.4g}"
    return ""


def is_gain(result: OptionResult, noise: float) -> bool:
    """Return whether an option is faster by more than chance, in nearly as many steps per epoch."""
    return result.gain is not None and result.gain > max(MIN_GAIN, noise)


def trains_the_same(result: OptionResult, present: OptionResult) -> bool:
    """Return whether an option keeps about the number of steps per epoch."""
    if result.steps_per_epoch is None or present.steps_per_epoch is None:
        return False
    return result.steps_per_epoch >= MIN_STEPS_RATIO * present.steps_per_epoch


def combine(results: Sequence[OptionResult], noise: float) -> dict[str, SettingValue]:
    """Return the best value of each setting that gains alone; empty unless there are several.

    ``results``: the present setting first.
    """
    present, *options = results
    best: dict[str, OptionResult] = {}
    for result in options:
        if is_gain(result, noise) and trains_the_same(result, present):
            (name,) = result.settings
            layout = "layout" if name in ("packing", "padding_free") else name
            if layout not in best or (best[layout].gain or 0) < (result.gain or 0):
                best[layout] = result
    if len(best) < 2:
        return {}
    return {name: value for result in best.values() for name, value in result.settings.items()}


def choose_fastest(results: Sequence[OptionResult], noise: float) -> OptionResult | None:
    """Return the fastest option that trains the same; None if no gain is larger than chance."""
    present, *options = results
    gains = [r for r in options if is_gain(r, noise) and trains_the_same(r, present)]
    return max(gains, key=lambda result: result.gain or 0, default=None)
