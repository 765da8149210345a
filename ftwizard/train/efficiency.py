"""Training efficiency: padding, time spent waiting for data, and GPU utilization."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from transformers import TrainerCallback

from ftwizard.catalog import gpu_specs
from ftwizard.estimate import plan_estimate
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Recipe
from ftwizard.train.moments import Moment, with_moment
from ftwizard.train.rank_group import ALONE, RankGroup

FIELDS = ("padding_share", "wait_share", "tokens_per_s", "flops_share")
"""Fields added to ``log`` events; each is absent if unknown."""
ADVICE_AFTER_STEPS = 20
"""Steps after which the finding is written; the first one, a warm-up, does not count."""
MIN_SAVING_RATIO = 0.15
"""Share of the time that a setting must save to be suggested."""
PEAK_UTILIZATION = {"lora": 0.5, "qlora": 0.45, "full": 0.5}
"""Share of a GPU's peak that training reaches with enough tokens per pass (QwenLM/Qwen,
README.md#profiling, on an A100: 43–53% from 1,024 tokens, 7–35% at 256 and 512)."""
SATURATING_TOKENS = 1024
"""Tokens per pass that reach this utilization."""


class StepUsage(msgspec.Struct):
    """Time and tokens of some steps."""

    seconds: float = 0.0
    """From fetching the first batch to the log, without evaluations and saves."""
    waited: float = 0.0
    """Seconds spent fetching data."""
    computed: int = 0
    """Tokens, including padding."""
    real: int = 0
    """Tokens without padding."""
    passes: int = 0

    def add(self, usage: StepUsage) -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(usage, name))

    @property
    def padding_share(self) -> float:
        """Return the share of computed tokens that are padding."""
        return max(0.0, 1 - self.real / self.computed) if self.computed else 0.0

    @property
    def wait_share(self) -> float:
        """Return the share of the time spent fetching data."""
        return self.waited / self.seconds if self.seconds else 0.0


class ComputeSpec(NamedTuple):
    """The computing power that a model needs and that its GPU has."""

    flops_per_token: float
    peak_flops_per_s: float

    def utilization(self, usage: StepUsage) -> float:
        """Return the used share of the GPU's peak in some time; padding counts as work."""
        return self.flops_per_token * usage.computed / usage.seconds / self.peak_flops_per_s


class EfficiencyAdvice(NamedTuple):
    """A way to save time."""

    saves: float
    """Largest share of the time saved."""
    message: str
    setting: str | None = None
    """The plan's setting with its value; None if it is not a setting."""


class EfficiencyCallback(TrainerCallback):
    """Adds ``FIELDS`` to the trainer's logs; it must come before the callback that records them."""

    def __init__(
        self, worker: Worker, recipe: Recipe, base: Path, group: RankGroup = ALONE
    ) -> None:
        """Set up the callback, in each process of ``group``: tokens are counted over all."""
        self._group = group
        self._events = worker.events
        self._recipe = recipe
        self._base = base
        self._spec: ComputeSpec | None = None
        self._current = StepUsage()
        self._total = StepUsage()
        self._began: float | None = None
        self._tokens = 0
        self._steps = 0

    def attach(self, trainer: Any) -> None:
        """Time the trainer's batch fetching and count its model's input."""
        fetch = trainer.get_batch_samples

        def fetch_timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            if self._began is None:
                self._began = began
            try:
                return fetch(*args, **kwargs)
            finally:
                self._current.waited += time.perf_counter() - began

        trainer.get_batch_samples = fetch_timed
        trainer.model.register_forward_pre_hook(self._count, with_kwargs=True)
        if spec := _compute_spec(trainer, self._recipe, self._base):
            peak = spec.peak_flops_per_s * self._group.size
            self._spec = spec._replace(peak_flops_per_s=peak)

    def _count(self, model: Any, _: Any, inputs: dict[str, Any]) -> None:
        import torch

        if self._began is None:  # passes before the first step are not of the training
            return
        # Passes of a reference model have no gradients; TRL does not count their tokens either.
        if model.training and torch.is_grad_enabled() and inputs.get("fused_lm_head"):
            self._current.computed += inputs["input_ids"].numel()
            self._current.passes += 1

    @with_moment
    def on_log(self, moment: Moment) -> None:
        logs = moment.logs
        if "loss" not in logs or self._began is None:
            return
        # The loss was read for the log, so the GPU has finished the step.
        usage, tokens = self._current, int(logs.get("num_tokens", 0))
        usage.seconds = time.perf_counter() - self._began
        usage.real, self._tokens = tokens - self._tokens, tokens
        usage.computed, usage.passes = map(self._group.sum, (usage.computed, usage.passes))
        self._current, self._began = StepUsage(), None
        logs |= compute_shares(usage, self._spec)
        self._steps += 1
        if 1 < self._steps <= ADVICE_AFTER_STEPS:
            self._total.add(usage)
        if self._steps == ADVICE_AFTER_STEPS:
            self._report(moment.step)

    def _report(self, step: int) -> None:
        advice = advise(self._total, self._recipe, self._spec)
        if advice is None:
            return
        setting = {"setting": advice.setting} if advice.setting else {}
        self._events.write_finding(
            "efficiency",
            advice.message,
            step=step,
            saves=round(advice.saves, 4),
            **setting,
            evidence=compute_shares(self._total, self._spec),
        )


def compute_shares(usage: StepUsage, spec: ComputeSpec | None) -> dict[str, float]:
    """Return the known ``FIELDS`` of some steps."""
    shares: dict[str, float] = {}
    if usage.computed and usage.real > 0:
        shares["padding_share"] = round(usage.padding_share, 4)
    if usage.seconds:
        shares["wait_share"] = round(usage.wait_share, 4)
        if usage.real > 0:
            shares["tokens_per_s"] = round(usage.real / usage.seconds, 2)
        if spec:
            shares["flops_share"] = round(spec.utilization(usage), 4)
    return shares


def advise(usage: StepUsage, recipe: Recipe, spec: ComputeSpec | None) -> EfficiencyAdvice | None:
    """Return the advice that saves the most time; None if none saves enough."""
    padding, waiting = usage.padding_share, usage.wait_share
    packing = EfficiencyAdvice(
        padding,
        f"{padding:.0%} of computed tokens are padding. recipe.packing would save about that much "
        "time, if the model supports it.",
        "recipe.packing: true",
    )
    data = EfficiencyAdvice(
        waiting,
        f"Training waits for data {waiting:.0%} of the time. Check whether other programs keep the "
        "CPU or the disk busy.",
    )
    can_pack = recipe.objective == "sft" and not recipe.packing
    advice = [packing, data] if can_pack else [data]
    if spec and usage.seconds and usage.passes and (larger := _enlarge_batch(usage, recipe, spec)):
        advice.append(larger)
    best = max(advice, key=lambda item: item.saves)
    return best if best.saves > MIN_SAVING_RATIO else None


def _enlarge_batch(usage: StepUsage, recipe: Recipe, spec: ComputeSpec) -> EfficiencyAdvice | None:
    """Return advice for passes too small for the GPU.

    A pass n times as large takes less than n times as long, up to the utilization that enough
    tokens reach.
    """
    tokens = usage.computed / usage.passes
    if tokens >= SATURATING_TOKENS:
        return None
    factor = 2 ** math.ceil(math.log2(SATURATING_TOKENS / tokens))
    saving = 1 - max(
        1 / factor, min(1.0, spec.utilization(usage) / PEAK_UTILIZATION[recipe.method])
    )
    batch, accumulation = recipe.batch_size * factor, recipe.gradient_accumulation
    same_steps = (
        f" with gradient_accumulation {accumulation // factor} for the same steps"
        if accumulation % factor == 0
        else ""
    )
    return EfficiencyAdvice(
        saving,
        f"Passes of {tokens:,.0f} tokens leave the GPU underused. Batch size ×{factor} would save "
        f"up to {saving:.0%} of the time, if memory allows (recipe.batch_size {batch}{same_steps}).",
        f"recipe.batch_size: {batch}",
    )


def flops_per_token(parameters: int, method: str, *, checkpointing: bool) -> float:
    """Return the floating-point operations of a step per token, two per weight and pass.

    Passes are forward and input gradients, weight gradients for a full fine-tune (Kaplan et al.
    2020), and a second forward where activations are recomputed.
    """
    return (6.0 if method == "full" else 4.0) * parameters + 2.0 * parameters * checkpointing


def _compute_spec(trainer: Any, recipe: Recipe, base: Path) -> ComputeSpec | None:
    """Return the model's and the GPU's figures; None if either is unknown.

    The GPU's peak is for 16-bit products, so there is none for training in 32 bit.
    """
    import torch

    if not torch.cuda.is_available() or not (trainer.args.bf16 or trainer.args.fp16):
        return None
    device = torch.cuda.get_device_properties(trainer.args.device)
    card = gpu_specs.find_gpu(device.name, device.total_memory)
    shape = plan_estimate.read_shape(base)
    if card is None or card.tflops is None or shape is None:
        return None
    # Input embeddings are looked up, not multiplied; tied ones also serve as the output layer.
    weights = shape.active - (0 if shape.tied else shape.vocabulary * shape.hidden)
    recomputes = bool(
        getattr(trainer.args, "activation_checkpointing", False)
        or getattr(trainer.args, "gradient_checkpointing", False)
    )
    return ComputeSpec(
        flops_per_token(weights, recipe.method, checkpointing=recomputes), card.tflops * 1e12
    )
