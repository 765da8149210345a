"""Recommended recipe values for a model, data and machine, and warnings before training."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ftwizard import text
from ftwizard.advice import data_settings
from ftwizard.advice.recipe_rules import SAFE, AdvisedValue, advise_value, memory, table
from ftwizard.advice.setting_help import setting
from ftwizard.catalog.gpu_specs import GpuSpec, find_gpu
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.memory import estimate_memory
from ftwizard.estimate.report import RecipeWarning
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import MANY_EPOCHS, Method, Recipe

FAR = 10.0
"""Ratio between a learning rate and the usual one, in either direction, that causes a warning."""
ANOTHER_SIZE = 1.5
"""Ratio of parameters above which two models count as different sizes."""


class EarlierRate(msgspec.Struct, frozen=True, kw_only=True):
    """The learning rate of an earlier run."""

    rate: float
    parameters: int | None
    """Of its model; None if unknown."""


def advise_learning_rate(method: Method, parameters: int | None) -> AdvisedValue:
    """Advise the usual peak learning rate for a method and a number of parameters.

    Without a size it is the rate of the smallest models, which is the plan's default.
    """
    rates = [rate for rate in table().rates if method in rate.methods]
    rule = next(rate for rate in rates if (parameters or 0) <= rate.up_to)
    unknown = "Model size unknown. " if parameters is None else ""
    return rule.advise("learning_rate", rule.value, unknown + rule.reason)


def advise(
    method: Method,
    parameters: int | None,
    rows: int | None,
    facts: MachineInfo,
    *,
    lengths: LengthDistribution | None = None,
    shape: ModelShape | None = None,
    context: int | None = None,
) -> tuple[AdvisedValue, ...]:
    """Advise the settings that depend on method, model, data and machine.

    ``parameters``: of the model; ``rows``: number of training examples; ``lengths``: of the rows of
    the checked file (``estimate.batches.lengths`` of a check's ``tokens``); ``context``: the model's
    context length in tokens. None if unknown; advice that depends on it is then left out.
    """
    spread = lengths if lengths is None or rows is None else lengths.scaled(rows)
    case = data_settings.RowsCase(
        method=method, parameters=parameters, rows=rows, facts=facts, lengths=spread, shape=shape,
        context=context,
    )  # fmt: skip
    return (
        advise_learning_rate(method, parameters),
        *data_settings.advise(case),
        *_advise_automatic(method, facts),
    )


def advise_report_to() -> AdvisedValue:
    """Advise where metrics go: only to the run folder."""
    return advise_value("report_to", "report", None)


def advise_method(
    parameters: int | None,
    facts: MachineInfo,
    *,
    shape: ModelShape | None = None,
    length: int = 1024,
) -> AdvisedValue:
    """Advise a method that fits this machine.

    With ``shape``, memory is estimated for one row of ``length`` tokens; without it, from the
    minimum bytes per parameter.
    """
    if not facts.gpus:
        return advise_value("method", "processors", "lora")
    free = facts.gpu_free
    if shape is not None and free is not None:
        return _that_fits(shape, length, free, _has(facts))
    lora, qlora = memory("lora"), memory("qlora")
    value, reason = "qlora", "QLoRA needs the least memory. How much is not known yet."
    if free is not None and parameters is not None:
        need = parameters * lora.bytes
        value = "lora" if free >= need else "qlora"
        reason = f"LoRA needs about {text.format_bytes(need)}; the GPU has {_has(facts)}."
        if free < parameters * qlora.bytes:
            reason += " 4-bit does not fit either: choose a smaller model."
    return AdvisedValue(
        name="method", value=value, reason=reason, as_of=lora.as_of, source=lora.source
    )


def _has(facts: MachineInfo) -> str:
    """Describe the GPU memory that no other program uses."""
    whole, free = facts.gpu_memory or 0, facts.gpu_free or 0
    return text.format_bytes(free) + (" free" if free < whole else "")


def _that_fits(shape: ModelShape, length: int, here: int, has: str) -> AdvisedValue:
    """Advise LoRA if even the upper end of its estimate for one row fits, else QLoRA."""
    setup = TrainingSetup(method="lora", batch_size=1, length=length)
    lora, qlora = (
        estimate_memory(shape, variant).peak.highest
        for variant in (setup, msgspec.structs.replace(setup, method="qlora"))
    )
    value = "lora" if lora <= here * SAFE else "qlora"
    advised = advise_value("method", "method-fits", value, lora=text.format_bytes(lora), here=has)
    reason = advised.reason
    if lora > here * SAFE:
        reason += f" QLoRA needs up to {text.format_bytes(qlora)}."
    if qlora > here * SAFE:
        reason += " Choose a smaller model or a larger GPU."
    return msgspec.structs.replace(advised, reason=reason)


def _advise_automatic(method: Method, facts: MachineInfo) -> tuple[AdvisedValue, ...]:
    """Predict the run's automatic choices on this machine (see ``train.hardware``)."""
    # The catalog's entry of the largest GPU; None if it is not listed.
    largest = max(facts.gpus, key=lambda gpu: gpu.memory or 0, default=None)
    here = find_gpu(largest.name, largest.memory) if largest else None
    where = "checkpointing-gpu" if facts.gpus else "checkpointing-processors"
    checkpointing = advise_value("gradient_checkpointing", where, None)
    return (checkpointing, _precision(method, facts, here), _attention(facts, here))


def _precision(method: Method, facts: MachineInfo, here: GpuSpec | None) -> AdvisedValue:
    fallback = "fp32" if method == "qlora" else "fp16, and fp32 for Gemma"
    if not facts.gpus:
        kind = "bf16, which this CPU supports" if facts.bfloat16_cpu else "fp32"
        return advise_value("precision", "precision-processors", "auto", kind=kind)
    if here is None:
        return advise_value("precision", "precision-unknown", "auto", other=fallback)
    if here.bf16:
        return _by_card("precision", here, f"bf16, which {here.name} supports")
    return _by_card("precision", here, f"{fallback}: {here.name} does not support bf16")


def _attention(facts: MachineInfo, here: GpuSpec | None) -> AdvisedValue:
    if not facts.gpus:
        return advise_value("attention", "attention-processors", "auto")
    if here is not None and not here.flash:
        return _by_card("attention", here, f"sdpa: flash-attn 2 does not run on {here.name}")
    if not facts.flash_attn:
        return advise_value("attention", "attention-missing", "auto")
    if here is None:
        return advise_value("attention", "attention-unknown", "auto")
    return _by_card(
        "attention", here,
        f"flash attention if the model supports it: flash-attn is installed and {here.name} runs it",
    )  # fmt: skip


def _by_card(name: str, here: GpuSpec, words: str) -> AdvisedValue:
    """Return an automatic choice whose source is the GPU's datasheet."""
    return AdvisedValue(
        name=name, value="auto", reason=f"Automatic: {words}.", as_of=here.as_of,
        source=f"{here.name}: {here.source} (compute capability {here.capability:g})",
    )  # fmt: skip


def warnings(
    recipe: Recipe,
    parameters: int | None,
    earlier: EarlierRate | None = None,
    *,
    validates: bool = True,
    falling: bool = False,
) -> tuple[RecipeWarning, ...]:
    """Return warnings about a recipe before training.

    ``parameters``: of the model, None if unknown; ``earlier``: the learning rate of another run;
    ``validates``: whether there is a validation set; ``falling``: whether the validation loss of an
    earlier run on the same rows was still falling when it ended.
    """
    raised = [*_rate_warnings(recipe, parameters, earlier)]
    if recipe.epochs > MANY_EPOCHS and not falling:
        message = (
            f"{recipe.epochs:g} epochs usually lead to memorization. Start with {MANY_EPOCHS} and "
            "check the validation loss."
        )
        raised.append(RecipeWarning(code="many-epochs", message=message, allow="many-epochs"))
    if not validates:
        message = (
            "Without validation data, overfitting goes unnoticed. Set aside 10–20% of the rows."
        )
        raised.append(RecipeWarning(code="no-validation", message=message, allow="no-validation"))
    return tuple(raised)


def _rate_warnings(
    recipe: Recipe, parameters: int | None, earlier: EarlierRate | None
) -> Iterator[RecipeWarning]:
    rate: float | None = recipe.learning_rate
    if rate is None:  # the run uses the usual one
        return
    usual = advise_learning_rate(recipe.method, parameters).value
    assert isinstance(usual, float)
    name = setting("method").option(recipe.method).name
    own, normal = format_learning_rate(rate), format_learning_rate(usual)
    if earlier and earlier.rate == rate and _differ(earlier.parameters, parameters):
        message = (
            f"{own} comes from a model of another size. Usual for this size with {name}: {normal}."
        )
        yield RecipeWarning(code="rate-from-another-size", message=message)
    # Tolerates rounding: 2e-5 instead of 2e-4 is a typical learning rate for full fine-tuning.
    if rate <= usual / FAR * 1.001:
        message = f"{own} is far below the usual {normal} for {name}: the model may learn nothing."
        yield RecipeWarning(code="rate-too-low", message=message)
    if rate >= usual * FAR * 0.999:
        message = f"{own} is far above the usual {normal} for {name}: training may diverge."
        yield RecipeWarning(code="rate-too-high", message=message)


def format_learning_rate(rate: float) -> str:
    """Format a learning rate as in a plan: ``2e-4``."""
    digits, _, power = f"{rate:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def _differ(size: int | None, other_size: int | None) -> bool:
    if not size or not other_size:
        return False
    return max(size, other_size) / min(size, other_size) > ANOTHER_SIZE
