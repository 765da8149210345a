"""Where the time of a step goes: padding, waiting for data, and a card that is not kept busy."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftwizard import forecast
from ftwizard.catalog import gpus
from ftwizard.jobs.worker import Worker
from ftwizard.plan import Recipe

FIELDS = ("padding_share", "wait_share", "tokens_per_s", "flops_share")
"""Of ``log`` events; each only where it is known."""
LOOKED_AT = 20
"""Steps after which the finding is written; the first, in which libraries prepare themselves, does
not count."""
WORTH = 0.15
"""Share of the time that a setting must save to be named."""
BUSY = {"lora": 0.5, "qlora": 0.45, "full": 0.5}
"""Share of a card's peak that training reaches with enough tokens in a pass (QwenLM/Qwen,
README.md#profiling, on an A100: 43 to 53 % from 1,024 tokens on, 7 to 35 % at 256 and 512)."""
ENOUGH = 1024
"""Tokens of such a pass."""


class Spent(msgspec.Struct):
    """What some steps took."""

    seconds: float = 0.0
    """From the fetching of the first batch to the log: without evaluations and saves."""
    waited: float = 0.0
    """Seconds of them in which data was fetched."""
    computed: int = 0
    """Tokens, padding included."""
    real: int = 0
    """Tokens without padding."""
    passes: int = 0

    def add(self, other: Spent) -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def padding(self) -> float:
        """Return the share of the computed tokens that are padding."""
        return max(0.0, 1 - self.real / self.computed) if self.computed else 0.0

    @property
    def waiting(self) -> float:
        """Return the share of the time in which data was fetched."""
        return self.waited / self.seconds if self.seconds else 0.0


class Speed(NamedTuple):
    """What a model on a card comes to."""

    flops: float
    """Of one token."""
    peak: float
    """Of the card, a second."""

    def share(self, spent: Spent) -> float | None:
        """Return the share of the peak that was used; padding is multiplied like the rest."""
        if not spent.seconds:
            return None
        return self.flops * spent.computed / spent.seconds / self.peak


class Advice(NamedTuple):
    """What would save time."""

    saves: float
    """Share of the time, at most."""
    message: str
    setting: str | None = None
    """Of the plan, with its value; None where it is none of ours."""


class Efficiency(TrainerCallback):
    """Adds ``FIELDS`` to the trainer's logs; it must come before what writes these down."""

    def __init__(self, worker: Worker, recipe: Recipe, base: Path) -> None:
        self._events = worker.events
        self._recipe = recipe
        self._base = base
        self._speed: Speed | None = None
        self._now = Spent()
        self._all = Spent()
        self._began: float | None = None
        self._tokens = 0
        self._steps = 0

    def attach(self, trainer: Any) -> None:
        """Time the trainer's fetching of batches and count what its model is given."""
        fetch = trainer.get_batch_samples

        def timed(*given: Any, **more: Any) -> Any:
            began = time.perf_counter()
            if self._began is None:
                self._began = began
            try:
                return fetch(*given, **more)
            finally:
                self._now.waited += time.perf_counter() - began

        trainer.get_batch_samples = timed
        trainer.model.register_forward_pre_hook(self._count, with_kwargs=True)
        self._speed = _speed(trainer, self._recipe, self._base)

    def _count(self, model: Any, _: Any, given: dict[str, Any]) -> None:
        if model.training and given.get("fused_lm_head"):
            self._now.computed += given["input_ids"].numel()
            self._now.passes += 1

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if logs is None or "loss" not in logs or self._began is None:
            return
        # The loss was read for the log, so that a GPU has done its steps.
        spent, tokens = self._now, int(logs.get("num_tokens", 0))
        spent.seconds = time.perf_counter() - self._began
        spent.real, self._tokens = tokens - self._tokens, tokens
        self._now, self._began = Spent(), None
        logs |= shares(spent, self._speed)
        self._steps += 1
        if 1 < self._steps <= LOOKED_AT:
            self._all.add(spent)
        if self._steps == LOOKED_AT:
            self._say(state.global_step)

    def _say(self, step: int) -> None:
        said = advice(self._all, self._recipe, self._speed)
        if said is None:
            return
        self._events.write(
            "finding",
            code="efficiency",
            severity="info",
            step=step,
            message=said.message,
            saves=round(said.saves, 4),
            **({"setting": said.setting} if said.setting else {}),
            evidence=shares(self._all, self._speed),
        )


def shares(spent: Spent, speed: Speed | None) -> dict[str, float]:
    """Return ``FIELDS`` of some steps, those that are known."""
    found: dict[str, float] = {}
    if spent.computed and spent.real > 0:
        found["padding_share"] = round(spent.padding, 4)
    if spent.seconds:
        found["wait_share"] = round(spent.waiting, 4)
        if spent.real > 0:
            found["tokens_per_s"] = round(spent.real / spent.seconds, 2)
        used = speed.share(spent) if speed else None
        if used is not None:
            found["flops_share"] = round(used, 4)
    return found


def advice(spent: Spent, recipe: Recipe, speed: Speed | None) -> Advice | None:
    """Return what saves the most time; None if nothing is worth it."""
    found = [_padding(spent, recipe), _waiting(spent), _idle(spent, recipe, speed)]
    best = max((one for one in found if one), key=lambda one: one.saves, default=None)
    return best if best and best.saves > WORTH else None


def _padding(spent: Spent, recipe: Recipe) -> Advice | None:
    if recipe.packing:
        return None
    share = spent.padding
    return Advice(
        share,
        f"{share:.0%} of the computed tokens are padding: recipe.packing would save about that, "
        "where the model can keep packed rows apart.",
        "recipe.packing: true",
    )


def _waiting(spent: Spent) -> Advice:
    share = spent.waiting
    return Advice(
        share,
        f"It waits {share:.0%} of the time for data: see whether other programs keep the "
        "processors or the disk busy.",
    )


def _idle(spent: Spent, recipe: Recipe, speed: Speed | None) -> Advice | None:
    """Passes too small for the card: as many times larger ones take less than as many times as
    long, until it multiplies as fast as it does with enough tokens."""
    used = speed.share(spent) if speed else None
    if used is None or not spent.passes:
        return None
    tokens = spent.computed / spent.passes
    if tokens >= ENOUGH:
        return None
    times = 2 ** math.ceil(math.log2(ENOUGH / tokens))
    worth = 1 - max(1 / times, min(1.0, used / BUSY[recipe.method]))
    batch, accumulation = recipe.batch_size * times, recipe.gradient_accumulation
    instead = (
        f" and gradient_accumulation {accumulation // times} make the same steps"
        if accumulation % times == 0
        else ""
    )
    return Advice(
        worth,
        f"Passes of {tokens:,.0f} tokens leave the card idle: batch size ×{times} would save up to "
        f"{worth:.0%} of the time, if memory allows (recipe.batch_size {batch}{instead}).",
        f"recipe.batch_size: {batch}",
    )


def flops_a_token(parameters: int, method: str, *, checkpointing: bool) -> float:
    """Return the products and sums of a token's step: two a weight and run through it.

    Forward and the gradient of the inputs always, of the weights if all are trained (Kaplan et
    al. 2020), and forward once more where activations are recomputed.
    """
    return (6.0 if method == "full" else 4.0) * parameters + 2.0 * parameters * checkpointing


def _speed(trainer: Any, recipe: Recipe, base: Path) -> Speed | None:
    """Return what the model on this card comes to; None where either is not known.

    A card's peak is that of 16-bit products: nothing is said of training in 32 bit.
    """
    import torch

    if not torch.cuda.is_available() or not (trainer.args.bf16 or trainer.args.fp16):
        return None
    here = torch.cuda.get_device_properties(trainer.args.device)
    card, shape = gpus.card(here.name, here.total_memory), forecast.shape(base)
    if card is None or shape is None:
        return None
    # Input embeddings are looked up, not multiplied by; tied ones are the output layer too.
    weights = shape.active - (0 if shape.tied else shape.vocabulary * shape.hidden)
    recomputes = bool(
        getattr(trainer.args, "activation_checkpointing", False)
        or getattr(trainer.args, "gradient_checkpointing", False)
    )
    return Speed(
        flops_a_token(weights, recipe.method, checkpointing=recomputes), card.tflops * 1e12
    )
