"""The moment at which transformers' trainer calls a callback."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments


@dataclass(frozen=True)
class Moment:
    """The trainer's settings, state and values at one event."""

    args: TrainingArguments
    state: TrainerState
    control: TrainerControl
    values: dict[str, Any]
    """What the event adds: ``model``, ``logs``, ``metrics``, ``eval_dataloader``."""

    @property
    def step(self) -> int:
        """Return the optimizer steps so far."""
        return self.state.global_step

    @property
    def logs(self) -> dict[str, Any]:
        """Return the logged values, which a callback may add to; empty at other events."""
        return self.values.get("logs") or {}

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the results of an evaluation; empty at other events."""
        return self.values.get("metrics") or {}

    @property
    def validates(self) -> bool:
        """Return whether the training evaluates validation data."""
        strategy = self.args.eval_strategy
        return str(getattr(strategy, "value", strategy)) != "no"

    @property
    def vocabulary(self) -> int | None:
        """Return the model's vocabulary size; None without a model."""
        model = self.values.get("model")
        return None if model is None else int(model.config.get_text_config().vocab_size)


def with_moment(handle: Callable[[Any, Moment], None]) -> Callable[..., TrainerControl]:
    """Let a callback's method take a ``Moment``, whose ``control`` it may change."""

    @functools.wraps(handle)
    def call(
        self: Any, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        **values: Any,
    ) -> TrainerControl:  # fmt: skip
        handle(self, Moment(args, state, control, values))
        return control

    return call
