"""Settings that follow from the machine: method, kernels, precision, what is recomputed."""

from __future__ import annotations

import msgspec

from ftwizard import text
from ftwizard.advice.setting import setting
from ftwizard.advice.tables import Advised, Method, memory, said
from ftwizard.catalog.gpus import Card
from ftwizard.catalog.gpus import card as card_of
from ftwizard.estimate import memory as estimate
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Shape
from ftwizard.machine import Facts

SAFE = 0.95
"""Of a GPU's memory."""
_WAYS: tuple[Method, ...] = ("lora", "qlora")


def card(facts: Facts) -> Card | None:
    """Return the largest GPU of a machine as the catalogue knows it; None if it does not."""
    largest = max(facts.gpus, key=lambda one: one.memory or 0, default=None)
    return card_of(largest.name, largest.memory) if largest else None


def method_for(
    parameters: int | None, facts: Facts, *, shape: Shape | None = None, length: int = 1024
) -> Advised:
    """Advise a method that fits this machine, among those that the plan has.

    ``shape``: of the model, where it is known, so that memory is estimated for one row of
    ``length`` tokens; else it goes by the least that a parameter takes.
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
            "QLoRA needs the least memory; how much is needed is not known yet.",
        )
    else:
        need = parameters * lora.bytes
        value = "lora" if memory_here >= need else smaller
        reason = f"LoRA needs about {text.size(need)}, and the GPU has {_has(facts)}."
        if memory_here < parameters * qlora.bytes:
            reason += " 4 bit does not fit either: take a smaller model."
    return Advised(name="method", value=value, reason=reason, as_of=lora.as_of, source=lora.source)


def _has(facts: Facts) -> str:
    """Say what the GPU has, where it is known: of it what no other program holds."""
    whole, free = facts.gpu_memory or 0, facts.gpu_free or 0
    return text.size(free) + (" free" if free < whole else "")


def _that_fits(shape: Shape, length: int, here: int, has: str) -> Advised:
    """Advise LoRA where one row of it surely fits, else QLoRA."""
    peaks = {
        way: estimate.estimate(shape, Setup(method=way, batch_size=1, length=length)).peak
        for way in _WAYS
    }
    lora, qlora = (one.high or one.value for one in peaks.values())
    value = "lora" if lora <= here * SAFE else "qlora"
    found = said("method", "method-fits", value, lora=text.size(lora), here=has)
    reason = found.reason
    if lora > here * SAFE:
        reason += f" QLoRA needs up to {text.size(qlora)}."
    if qlora > here * SAFE:
        reason += " Take a smaller model, or a larger GPU."
    return msgspec.structs.replace(found, reason=reason)


def advise(method: Method, facts: Facts) -> tuple[Advised, ...]:
    """Say what the run's automatic choices come to on this machine (``train.hardware``)."""
    here = card(facts)
    return (_checkpointing(facts), _precision(method, facts, here), _attention(facts, here))


def _checkpointing(facts: Facts) -> Advised:
    where = "checkpointing-gpu" if facts.gpus else "checkpointing-processors"
    return said("gradient_checkpointing", where, None)


def _precision(method: Method, facts: Facts, here: Card | None) -> Advised:
    other = "fp32" if method == "qlora" else "fp16, and fp32 for Gemma"
    if not facts.gpus:
        kind = "bf16, which these processors multiply" if facts.bfloat16_cpu else "fp32"
        return said("precision", "precision-processors", "auto", kind=kind)
    if here is None:
        return said("precision", "precision-unknown", "auto", other=other)
    if here.bf16:
        return _by_card("precision", here, f"bf16, which {here.name} multiplies")
    return _by_card("precision", here, f"{other}: {here.name} does not multiply bf16")


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
        f"flash attention where the model has it: flash-attn is there, and {here.name} runs it",
    )  # fmt: skip


def _by_card(name: str, here: Card, words: str) -> Advised:
    """Return an automatic choice that follows from what the card's maker says of it."""
    return Advised(
        name=name, value="auto", reason=f"Automatic: {words}.", as_of=here.as_of,
        source=f"{here.name}: {here.source} (compute capability {here.capability:g})",
    )  # fmt: skip
