"""Rows that other tools log, as events of a run: names, steps and validation sets.

Tools name the same value differently: ``train/loss``, ``train_loss``, ``Loss/train``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ftwizard.jobs.events import Event, to_number

ALIASES: dict[str, tuple[str, ...]] = {
    "loss": ("loss", "train/loss", "training_loss", "loss/train", "train/step_loss", "train_loss_step",
             "train_loss", "batch_loss", "epoch_loss"),
    "eval_loss": ("eval_loss", "eval/loss", "validation_loss", "val_loss", "valid_loss", "val/loss",
                  "valid/loss", "validation/loss", "loss/val", "loss/valid", "loss/validation",
                  "loss/eval", "test_loss", "validation/epoch_loss"),
    "learning_rate": ("learning_rate", "lr", "train/learning_rate", "train/lr", "lr/train"),
    "grad_norm": ("grad_norm", "train/grad_norm", "gradient_norm", "grad/norm"),
    "epoch": ("epoch", "train/epoch"),
}  # fmt: skip
"""Names of a value, lower case with underscores, the most certain first."""
STEPS = (
    "step", "global_step", "train/global_step", "trainer/global_step", "_step", "iteration", "iter",
)  # fmt: skip
"""Names of the step, the most certain first."""
TIMES = ("_timestamp", "timestamp", "wall_time")
"""Names of the time in Unix seconds."""
FINAL = ("train_runtime", "train/train_runtime")
"""Names that only the summary at the end of a training has, whose loss is a mean."""
MAX_STEP = 1 << 53
MAX_FIELDS = 48
_SET_LOSS = re.compile("(?:eval|val|valid|validation)[_/](.+)_loss")
_IGNORED = frozenset((
    "_runtime", "total_flos", "train/total_flos", "walltime",
))  # fmt: skip
_SPEEDS = ("samples_per_second", "steps_per_second")
_BY_ALIAS = {
    alias: (name, rank) for name, aliases in ALIASES.items() for rank, alias in enumerate(aliases)
}


class RowConverter:
    """Converts rows to events one by one; it remembers which names the log uses."""

    def __init__(self) -> None:
        self._ranks: dict[str, int] = {}
        """Place of the alias in use, by the name of its value."""
        self._count = 0
        self._step_name: str | None = None
        self._set_losses: dict[str, float] = {}
        """Newest losses of validation sets, at the newest step that has any."""
        self._sets_step = 0

    def convert(self, row: Mapping[str, Any], t: float) -> list[Event]:
        """Return the events of a row; ``t`` is its time in Unix seconds, where it has none itself."""
        values = {
            normalize_name(name): value for name, value in row.items() if isinstance(name, str)
        }
        step = self._choose_step(values)
        if step is None or any(name in values for name in FINAL):
            return []
        own_t = next((n for name in TIMES if (n := to_number(values.get(name))) is not None), None)
        numbers = {
            name: number
            for name, value in values.items()
            if (number := to_number(value)) is not None and not _is_ignored(name)
        }
        tokens = to_number(values.get("num_tokens", values.get("train/num_tokens")))
        fields = self._name_fields(numbers)
        events = self._flush_sets(step, t)
        envelope = {"t": own_t if own_t is not None and math.isfinite(own_t) else t, "attempt": 1}
        evaluated = {name: value for name, value in fields.items() if name.startswith("eval_")}
        trained = {name: value for name, value in fields.items() if name not in evaluated}
        epoch = {"epoch": trained["epoch"]} if "epoch" in trained else {}
        if trained.keys() - {"epoch"}:
            counted = {"tokens": tokens} if tokens is not None else {}
            events.append(
                {"kind": "log", "step": step, "id": str(step), **envelope, **trained, **counted}
            )
        if evaluated:
            events.append({"kind": "eval", "step": step, **envelope, **epoch, **evaluated})
            self._keep_sets(step, evaluated)
        return events

    def flush(self, t: float) -> list[Event]:
        """Return what waits for further rows of the newest step."""
        return self._flush_sets(None, t)

    def _choose_step(self, values: Mapping[str, Any]) -> int | None:
        """Return the step of a row: its own, else its epoch where the log counts those, else its place."""
        self._count += 1
        for name in STEPS:
            number = to_number(values.get(name))
            if number is not None:
                self._step_name = name
                return int(number) if 0 <= number < MAX_STEP else None
        if self._step_name is not None:
            return None
        epoch = to_number(values.get("epoch"))
        if epoch is not None and epoch >= 0 and epoch == int(epoch):
            return int(epoch)
        return self._count

    def _name_fields(self, numbers: Mapping[str, float]) -> dict[str, float]:
        fields: dict[str, float] = {}
        for name, value in numbers.items():
            own, rank = _BY_ALIAS.get(name, ("", 0))
            if own and rank <= self._ranks.get(own, rank):
                self._ranks[own] = rank
                fields[own] = value
            elif len(fields) < MAX_FIELDS:
                fields.setdefault(_make_name(name), value)
        return fields

    def _keep_sets(self, step: int, evaluated: Mapping[str, float]) -> None:
        """Keep the losses of single validation sets, until the log is at another step."""
        if "eval_loss" in evaluated:
            return
        sets = {name: value for name, value in evaluated.items() if _SET_LOSS.fullmatch(name)}
        if sets:
            self._set_losses, self._sets_step = {**self._set_losses, **sets}, step

    def _flush_sets(self, step: int | None, t: float) -> list[Event]:
        """Return the mean loss of several validation sets, once the log is beyond their step."""
        if not self._set_losses or step == self._sets_step:
            return []
        losses, self._set_losses = list(self._set_losses.values()), {}
        mean = sum(losses) / len(losses)
        event = {"kind": "eval", "step": self._sets_step, "t": t, "attempt": 1, "eval_loss": mean}
        return [event]


def is_final(name: str) -> bool:
    """Return whether only the summary at the end of a training has a value of this name."""
    return normalize_name(name) in FINAL


def is_evaluation(name: str) -> bool:
    """Return whether a name is that of a value of validation data."""
    return _make_name(normalize_name(name)).startswith("eval_")


def normalize_name(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _make_name(name: str) -> str:
    """Return the name of a value in events: ``rewards/chosen`` becomes ``rewards_chosen``."""
    prefix, _, rest = name.partition("/")
    if prefix == "train" and rest:
        name = rest
    elif prefix in ("eval", "val", "valid", "validation") and rest:
        name = f"eval_{rest}"
    return name.replace("/", "_")


def _is_ignored(name: str) -> bool:
    if name.endswith("num_tokens"):
        return True
    return name in _IGNORED or name in STEPS or name in TIMES or name.endswith(_SPEEDS)
