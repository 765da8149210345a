"""What the monitor's chart shows: which measure, along what, how smooth; kept between views."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import replace
from typing import Literal

import msgspec

from ftwizard import settings
from ftwizard.jobs.events import count
from ftwizard.runs import Progress
from ftwizard.screens import palette, readings
from ftwizard.screens.widgets.chart import Line, Mark
from ftwizard.series import Series, Smoothed

Axis = Literal["step", "epoch", "minutes", "tokens"]
Pane = Literal["all", "chart", "gpus"]
AXES: tuple[Axis, ...] = ("step", "epoch", "minutes", "tokens")
AXIS_NAMES: dict[Axis, str] = {
    "step": "step", "epoch": "epoch", "minutes": "min", "tokens": "tokens",
}  # fmt: skip
PANES: tuple[Pane, ...] = ("all", "chart", "gpus")
"""What a key goes through."""
SMOOTHINGS = (0.6, 0.9, 0.97, 0.0)
"""Weights that a key goes through; 0 draws the raw values alone."""
LOSS = "loss"
NAMES = {
    "loss": "train",
    "eval_loss": "validation",
    "learning_rate": "learning rate",
    "grad_norm": "gradient norm",
    "mean_token_accuracy": "token accuracy",
    "eval_mean_token_accuracy": "validation accuracy",
    "tokens_per_s": "tokens/s",
    "padding_share": "share of padding",
    "wait_share": "share of waiting",
    "flops_share": "share of the card's FLOPs",
}
BESIDE = {"loss": "eval_loss", "mean_token_accuracy": "eval_mean_token_accuracy"}
"""Measures of the validation rows that are drawn with those of the training."""
NO_CHART = frozenset(("epoch", "tokens", "eval_runtime", "memory"))
MARKED = frozenset(("plateau", "spike"))
"""Findings that have a place on the curve though they are no trouble."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a person chose to see."""

    metric: str = LOSS
    axis: Axis = "step"
    smoothing: float = SMOOTHINGS[0]
    log_scale: bool = False
    pane: Pane = "all"
    """What has the screen to itself."""


def remembered() -> Look:
    """Return what was looked at last, the usual where nothing is kept."""
    try:
        return msgspec.json.decode((settings.home() / "view.json").read_bytes(), type=Look)
    except (OSError, msgspec.DecodeError):
        return Look()


def remember(look: Look) -> None:
    """Keep what is looked at for the next view; a disk that is full loses nothing but that."""
    path = settings.home() / "view.json"
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(look))


def metrics(progress: Progress) -> list[str]:
    """Return what can be charted of a run: the loss first, the rest by name."""
    drawn = {BESIDE[name] for name in BESIDE if name in progress.metrics}
    rest = sorted(
        name
        for name, series in progress.metrics.items()
        if len(series) and name not in drawn and name not in NO_CHART and name != LOSS
    )
    return [LOSS, *rest]


def axes(progress: Progress) -> list[Axis]:
    """Return along what a run can be drawn."""
    told: dict[Axis, bool] = {
        "step": True,
        "epoch": bool(len(progress.metrics.get("epoch", ()))),
        "minutes": len(progress.times) > 1,
        "tokens": bool(len(progress.metrics.get("tokens", ()))),
    }
    return [axis for axis in AXES if told[axis]]


def _findings(progress: Progress) -> list[Mark]:
    """Return marks of what was found where it began, else where it was said, the last at the end."""
    marks = []
    for event in progress.findings:
        since = count(event.get("since"))
        step = count(event.get("step")) if since is None else since
        is_marked = event.get("severity") != "info" or event.get("code") in MARKED
        if step is not None and is_marked:
            name = readings.finding_name(event) if "code" in event else ""
            marks.append(Mark(step, "finding", name=name))
    return sorted(marks, key=lambda mark: mark.x)


class Charted:
    """The lines of a look at a run. What was made of a series before is gone on with, not redone."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self._smoothed: dict[tuple[str, float], tuple[Series, Smoothed]] = {}
        self._along: dict[tuple[int, Axis], tuple[Series, Series]] = {}

    def lines(self, progress: Progress, *, plain: bool = False) -> list[Line]:
        """Return the lines to draw; nothing of a measure that the run does not have.

        ``plain`` leaves out the raw values behind a smoothed line.
        """
        name = self.look.metric if self.look.metric in progress.metrics else LOSS
        raw = progress.metrics[name]
        beside = progress.metrics.get(BESIDE.get(name, ""))
        label, smoothing = NAMES.get(name, name), self.look.smoothing
        lines = []
        if smoothing:
            if not plain:
                lines.append(Line("", self._placed(raw, progress), palette.TRAIN, "faint"))
            smooth = self._smooth(name, raw, progress)
            lines.append(Line(label, self._placed(smooth, progress), palette.TRAIN, "solid"))
        else:
            lines.append(Line(label, self._placed(raw, progress), palette.TRAIN, "solid"))
        if beside is not None:
            words = "validation" if name == LOSS else NAMES.get(BESIDE[name], BESIDE[name])
            placed = self._placed(beside, progress)
            lines.append(Line(words, placed, palette.VALIDATION, "dashed", "◆"))
        return lines

    def place(self, step: float, progress: Progress) -> float | None:
        """Return where a step stands on the axis; None where the run does not tell."""
        if self.look.axis == "step":
            return step
        by = self._by(progress)
        found = by.nearest(step) if by is not None else None
        return None if found is None else self._measure(found[1], by)

    def marks(self, progress: Progress) -> list[Mark]:
        """Return checkpoints, the best evaluation and what was found, each where it stands."""
        marks = [Mark(step, "checkpoint") for step in progress.checkpoints]
        if progress.best_step is not None:
            marks.append(Mark(progress.best_step, "best"))
        marks += _findings(progress)
        placed = ((self.place(mark.x, progress), mark) for mark in marks)
        return [replace(mark, x=x) for x, mark in placed if x is not None]

    def x_end(self, progress: Progress) -> float | None:
        """Return where x will end, None where that is not known."""
        return progress.total_steps if self.look.axis == "step" else None

    def _smooth(self, name: str, raw: Series, progress: Progress) -> Series:
        if name == LOSS and self.look.smoothing == SMOOTHINGS[0]:
            return progress.smoothed
        key = name, self.look.smoothing
        source, smooth = self._smoothed.get(key, (raw, None))
        if smooth is None or source is not raw or len(smooth) > len(raw):
            smooth = Smoothed(self.look.smoothing)
            self._smoothed[key] = raw, smooth
        for index in range(max(0, len(smooth) - 1), len(raw)):
            smooth.append(*raw[index])
        return smooth

    def _placed(self, series: Series, progress: Progress) -> Series:
        """Return a series over steps as one along the axis."""
        by = self._by(progress)
        if self.look.axis == "step" or by is None:
            return series
        key = id(series), self.look.axis
        source, kept = self._along.get(key, (series, Series()))
        if source is not series or len(kept) > len(series):
            kept = Series()
        self._along[key] = series, kept
        for index in range(max(0, len(kept) - 1), len(series)):
            step, value = series[index]
            found = by.nearest(step)
            x = self._measure(found[1], by) if found else step
            if index >= len(kept) and kept.last_x is not None and x <= kept.last_x:
                x = math.nextafter(kept.last_x, math.inf)  # a clock that was set back
            kept.append(max(x, kept.last_x or x), value)
        return kept

    def _by(self, progress: Progress) -> Series | None:
        return {
            "step": None,
            "epoch": progress.metrics.get("epoch"),
            "minutes": progress.times,
            "tokens": progress.metrics.get("tokens"),
        }[self.look.axis]

    def _measure(self, value: float, by: Series | None) -> float:
        """Return a value of the axis as it is drawn: of time, the minutes since the first step."""
        if self.look.axis == "minutes" and by is not None and len(by):
            return (value - by[0][1]) / 60
        return value
