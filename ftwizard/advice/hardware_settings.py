"""Settings that depend on the machine: method, attention kernel, precision, checkpointing."""

from __future__ import annotations

import msgspec

from ftwizard import text
from ftwizard.advice.recipe_rules import AdvisedValue, Method, advise_value, memory
from ftwizard.catalog.gpu_specs import GpuSpec, find_gpu
from ftwizard.estimate.memory import estimate_memory
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models.shapes import ModelShape

SAFE = 0.95
"""Share of a GPU's memory that an estimate may use."""


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


def advise(method: Method, facts: MachineInfo) -> tuple[AdvisedValue, ...]:
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
