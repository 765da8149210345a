"""Values for this model, data and machine, with reasons; and warnings before training."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Literal

import msgspec

from ftwizard import text
from ftwizard.advice.setting import setting
from ftwizard.catalog import Sourced, asset
from ftwizard.machine import Facts
from ftwizard.plan import MANY_EPOCHS, InsistName, Recipe

Method = Literal["lora", "qlora", "full"]
WarningCode = Literal[
    "rate-from-another-size", "rate-too-high", "rate-too-low", "many-epochs", "no-validation"
]
FAR = 10.0
"""A rate this many times the usual one, or one part in as many of it, is warned about."""
ANOTHER_SIZE = 1.5
"""Models whose sizes differ by more than this factor are of different sizes (SPEC H5)."""


class Advised(Sourced, frozen=True, kw_only=True):
    """A value for one setting, and why."""

    name: str
    value: str | float | bool | None
    reason: str


class EarlierRate(msgspec.Struct, frozen=True, kw_only=True):
    """The learning rate of an earlier run."""

    rate: float
    parameters: int | None
    """Parameters of its model; None where not known."""


class RecipeWarning(msgspec.Struct, frozen=True, kw_only=True):
    """Something to think about before training."""

    code: WarningCode
    message: str
    insist: InsistName | None = None
    """What the user must insist on by name; None where a look is enough."""


class _Rate(Sourced, frozen=True, kw_only=True):
    methods: tuple[Method, ...]
    up_to: float = math.inf
    value: float
    reason: str


class _Epochs(Sourced, frozen=True, kw_only=True):
    rows: int = msgspec.field(name="from")
    value: float
    reason: str


class _Said(Sourced, frozen=True, kw_only=True):
    reason: str


class _Memory(Sourced, frozen=True, kw_only=True):
    method: Method
    bytes: float


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    rates: tuple[_Rate, ...]
    epochs: tuple[_Epochs, ...]
    memory: tuple[_Memory, ...]
    processors: _Said


@functools.cache
def _table() -> _Table:
    return asset("recipe.toml", _Table)


def method_for(parameters: int | None, facts: Facts) -> Advised:
    """Advise a method that fits this machine, among those that the plan has."""
    if not facts.gpus:
        said = _table().processors
        return Advised(
            name="method", value="lora", reason=said.reason, as_of=said.as_of, source=said.source
        )
    offered = [choice.value for choice in setting("method").options]
    memory, smaller = facts.gpu_memory, "qlora" if "qlora" in offered else "lora"
    lora, qlora = _memory("lora"), _memory("qlora")
    if memory is None or parameters is None:
        value, reason = (
            smaller,
            "QLoRA needs the least memory; how much is needed is not known yet.",
        )
    else:
        need = parameters * lora.bytes
        value = "lora" if memory >= need else smaller
        reason = f"LoRA needs about {text.size(need)}, and the GPU has {text.size(memory)}."
        if memory < parameters * qlora.bytes:
            reason += " It is too small in 4 bit as well: take a smaller model."
    return Advised(name="method", value=value, reason=reason, as_of=lora.as_of, source=lora.source)


def learning_rate(method: Method, parameters: int | None) -> Advised:
    """Return the usual peak learning rate for a method and a model of so many parameters.

    Without a size it is that of the smallest models, which is the plan's own default.
    """
    rates = [one for one in _table().rates if method in one.methods]
    found = next(one for one in rates if (parameters or 0) <= one.up_to)
    unknown = "The model's size is not known yet. " if parameters is None else ""
    return Advised(
        name="learning_rate", value=found.value, reason=unknown + found.reason,
        as_of=found.as_of, source=found.source,
    )  # fmt: skip


def advise(
    method: Method, parameters: int | None, rows: int | None, facts: Facts
) -> tuple[Advised, ...]:
    """Advise the settings that depend on method, model, data and machine.

    ``parameters``: of the model; ``rows``: that are trained on; None where not known.
    """
    return (
        learning_rate(method, parameters),
        _epochs(rows),
        *_batch(method, parameters, rows, facts),
        _checkpointing(facts),
        _precision(method, facts),
    )


def _epochs(rows: int | None) -> Advised:
    found = [one for one in _table().epochs if one.rows <= (rows or 0)][-1]
    return Advised(
        name="epochs", value=found.value, reason=found.reason,
        as_of=found.as_of, source=found.source,
    )  # fmt: skip


def _batch(
    method: Method, parameters: int | None, rows: int | None, facts: Facts
) -> tuple[Advised, Advised]:
    """Aim at 16 rows a step (QLoRA's own), fewer where an epoch would have under 50 steps."""
    together = 16
    while rows is not None and together > 4 and rows < together * 50:
        together //= 2
    size, why = 4, setting("batch_size").reason
    if parameters is not None and facts.gpu_memory is not None:
        # Short of 1.75 times the least memory, activations of four rows are what no longer fits.
        tight = facts.gpu_memory < 1.75 * parameters * _memory(method).bytes
        size = 1 if tight else 4
        why = "One row a pass: memory is tight." if tight else "Four rows a pass fit this GPU."
    if rows is None or together == 16:
        steps = "16 rows a step, as in QLoRA's own runs."
    else:
        steps = f"{rows:,} rows are few: {together} a step, so that an epoch has enough steps."
    return _advised("batch_size", size, why), _advised(
        "gradient_accumulation", together // size, steps
    )


def _checkpointing(facts: Facts) -> Advised:
    where = "On: GPU memory is short." if facts.gpus else "Off: there is no GPU memory to save."
    return _advised("gradient_checkpointing", None, f"Automatic. {where}")


def _precision(method: Method, facts: Facts) -> Advised:
    """Say what the training's own choice comes to (``train.hardware.choose_precision``)."""
    if facts.gpus:
        other = "fp32" if method == "qlora" else "fp16, and fp32 for Gemma"
        reason = f"Automatic: bf16 where the GPU multiplies it, else {other}."
    else:
        name = "bf16, which these processors multiply" if facts.bfloat16_cpu else "fp32"
        reason = f"Automatic: {name}."
    return _advised("precision", "auto", reason)


def _advised(name: str, value: str | float | bool | None, reason: str) -> Advised:
    known = setting(name)
    return Advised(name=name, value=value, reason=reason, as_of=known.as_of, source=known.source)


def warnings(
    recipe: Recipe,
    parameters: int | None,
    earlier: EarlierRate | None = None,
    *,
    validates: bool = True,
) -> tuple[RecipeWarning, ...]:
    """Return what should be thought about before training with this recipe.

    ``parameters``: of the model, None where not known; ``earlier``: the rate of another run;
    ``validates``: whether any rows validate.
    """
    found = [*_rate_warnings(recipe, parameters, earlier)]
    if recipe.epochs > MANY_EPOCHS:
        found.append(
            RecipeWarning(
                code="many-epochs",
                message=f"{recipe.epochs:g} epochs mostly teach the rows by heart. Begin with "
                f"{MANY_EPOCHS} and look at the validation loss.",
                insist="many-epochs",
            )
        )
    if not validates:
        found.append(
            RecipeWarning(
                code="no-validation",
                message="Without validation rows nobody can see the model overfit. "
                "Set 10–20 % of the rows aside.",
                insist="no-validation",
            )
        )
    return tuple(found)


def _rate_warnings(
    recipe: Recipe, parameters: int | None, earlier: EarlierRate | None
) -> Iterator[RecipeWarning]:
    rate: float | None = recipe.learning_rate
    if rate is None:  # the usual one is taken
        return
    usual = learning_rate(recipe.method, parameters).value
    assert isinstance(usual, float)
    name = setting("method").option(recipe.method).label.partition(":")[0]
    if earlier and earlier.rate == rate and _differ(earlier.parameters, parameters):
        yield RecipeWarning(
            code="rate-from-another-size",
            message=f"{in_words(rate)} comes from a model of another size. Usual for this one, "
            f"with {name}: {in_words(usual)}.",
        )
    # A hair less than FAR: 2e-5 beside 2e-4 is what a rate for full fine-tuning looks like.
    if rate <= usual / FAR * 1.001:
        yield RecipeWarning(
            code="rate-too-low",
            message=f"{in_words(rate)} is far below the usual {in_words(usual)} of {name}: it may "
            "learn nothing.",
        )
    if rate >= usual * FAR * 0.999:
        yield RecipeWarning(
            code="rate-too-high",
            message=f"{in_words(rate)} is far above the usual {in_words(usual)} of {name}: "
            "training may diverge.",
        )


def in_words(rate: float) -> str:
    """Return a learning rate as it is written in a plan: ``2e-4``."""
    digits, _, power = f"{rate:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def _differ(one: int | None, other: int | None) -> bool:
    if not one or not other:
        return False
    return max(one, other) / min(one, other) > ANOTHER_SIZE


def _memory(method: Method) -> _Memory:
    return next(one for one in _table().memory if one.method == method)
