"""Settings that depend on the machine: method, attention kernel, precision, checkpointing."""

from __future__ import annotations

import msgspec

from ftwizard import text
from ftwizard.advice.recipe_rules import Advised, Method, memory, said
from ftwizard.advice.setting_help import setting
from ftwizard.catalog.gpu_specs import Card
from ftwizard.catalog.gpu_specs import card as card_of
from ftwizard.estimate import memory as estimate
from ftwizard.estimate.training_setup import Setup
from ftwizard.hardware.machine import Facts
from ftwizard.models.shapes import Shape

SAFE = 0.95
"""Share of a GPU's memory that an estimate may use."""
_WAYS: tuple[Method, ...] = ("lora", "qlora")


def card(facts: Facts) -> Card | None:
    """Look up a machine's largest GPU in the catalog; None if it is not listed."""
    largest = max(facts.gpus, key=lambda gpu: gpu.memory or 0, default=None)
    return card_of(largest.name, largest.memory) if largest else None


def method_for(
    parameters: int | None, facts: Facts, *, shape: Shape | None = None, length: int = 1024
) -> Advised:
    """Advise a method that fits this machine.

    With ``shape``, memory is estimated for one row of ``length`` tokens; without it, from the
    minimum bytes per parameter.
    """
    if not facts.gpus:
        return said("method", "processors", "lora")
    free = facts.gpu_free
    if shape is not None and free is not None:
        return _that_fits(shape, length, free, _has(facts))
    offered = [choice.value for choice in setting("method").options]
    memory_here, smaller = free, "qlora" if "qlora" in offered else "lora"
    lora, qlora = memory("lora"), memory("qlora")
    if memory_here is None or parameters is None:
        value, reason = (
            smaller,
            "QLoRA needs the least memory. The amount is not known yet.",
        )
    else:
        need = parameters * lora.bytes
        value = "lora" if memory_here >= need else smaller
        reason = f"LoRA needs about {text.size(need)}; the GPU has {_has(facts)}."
        if memory_here < parameters * qlora.bytes:
            reason += " 4-bit does not fit either: choose a smaller model."
    return Advised(name="method", value=value, reason=reason, as_of=lora.as_of, source=lora.source)


def _has(facts: Facts) -> str:
    """Describe the GPU memory that no other program uses."""
    whole, free = facts.gpu_memory or 0, facts.gpu_free or 0
    return text.size(free) + (" free" if free < whole else "")


def _that_fits(shape: Shape, length: int, here: int, has: str) -> Advised:
    """Advise LoRA if even the upper end of its estimate for one row fits, else QLoRA."""
    peaks = {
        method: estimate.estimate(shape, Setup(method=method, batch_size=1, length=length)).peak
        for method in _WAYS
    }
    lora, qlora = (peak.high or peak.value for peak in peaks.values())
    value = "lora" if lora <= here * SAFE else "qlora"
    advised = said("method", "method-fits", value, lora=text.size(lora), here=has)
    reason = advised.reason
    if lora > here * SAFE:
        reason += f" QLoRA needs up to {text.size(qlora)}."
    if qlora > here * SAFE:
        reason += " Choose a smaller model or a larger GPU."
    return msgspec.structs.replace(advised, reason=reason)


def advise(method: Method, facts: Facts) -> tuple[Advised, ...]:
    """Predict the run's automatic choices on this machine (see ``train.hardware``)."""
    here = card(facts)
    return (_checkpointing(facts), _precision(method, facts, here), _attention(facts, here))


def _checkpointing(facts: Facts) -> Advised:
    where = "checkpointing-gpu" if facts.gpus else "checkpointing-processors"
    return said("gradient_checkpointing", where, None)


def _precision(method: Method, facts: Facts, here: Card | None) -> Advised:
    fallback = "fp32" if method == "qlora" else "fp16, and fp32 for Gemma"
    if not facts.gpus:
        kind = "bf16, which this CPU supports" if facts.bfloat16_cpu else "fp32"
        return said("precision", "precision-processors", "auto", kind=kind)
    if here is None:
        return said("precision", "precision-unknown", "auto", other=fallback)
    if here.bf16:
        return _by_card("precision", here, f"bf16, which {here.name} supports")
    return _by_card("precision", here, f"{fallback}: {here.name} does not support bf16")


def _attention(facts: Facts, here: Card | None) -> Advised:
    if not facts.gpus:
        return said("attention", "attention-processors", "auto")
    if here is not None and not here.flash:
        return _by_card("attention", here, f"sdpa: flash-attn 2 does not run on {here.name}")
    if not facts.flash_attn:
        return said("attention", "attention-missing", "auto")
    if here is None:
        return said("attention", "attention-unknown", "auto")
    return _by_card(
        "attention", here,
        f"flash attention if the model supports it: flash-attn is installed and {here.name} runs it",
    )  # fmt: skip


def _by_card(name: str, here: Card, words: str) -> Advised:
    """Return an automatic choice whose source is the GPU's datasheet."""
    return Advised(
        name=name, value="auto", reason=f"Automatic: {words}.", as_of=here.as_of,
        source=f"{here.name}: {here.source} (compute capability {here.capability:g})",
    )  # fmt: skip
