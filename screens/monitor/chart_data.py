"""Chart settings and data of the monitor: metric, x axis and smoothing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import msgspec

from ftwizard import locations
from ftwizard.jobs.events import to_count
from ftwizard.jobs.folder import read_json
from ftwizard.runs import objective_figures
from ftwizard.runs.progress import Progress
from ftwizard.screens import palette
from ftwizard.screens.chart.widget import ChartLine, Mark
from ftwizard.screens.monitor import readings
from ftwizard.timeseries import DEFAULT_WEIGHT, Series, Smoothed

Axis = Literal["step", "epoch", "minutes", "tokens"]
Pane = Literal["all", "chart", "gpus"]
AXIS_NAMES: dict[Axis, str] = {
    "step": "step", "epoch": "epoch", "minutes": "min", "tokens": "tokens",
}  # fmt: skip
PANES: tuple[Pane, ...] = ("all", "chart", "gpus")
"""In the order that a key cycles through."""
SMOOTHINGS = (DEFAULT_WEIGHT, 0.9, 0.97, 0.0)
"""EMA weights that a key cycles through; 0 draws only the raw values."""
LOSS = "loss"
NAMES = {
    "loss": "train",
    "eval_loss": "validation",
    "learning_rate": "learning rate",
    "grad_norm": "grad norm",
    "mean_token_accuracy": "token accuracy",
    "eval_mean_token_accuracy": "validation accuracy",
    "tokens_per_s": "tokens/s",
    "padding_share": "padding share",
    "wait_share": "data wait share",
    "flops_share": "MFU",
    **objective_figures.METRIC_NAMES,
}
VALIDATION_METRICS = {
    "loss": "eval_loss",
    "mean_token_accuracy": "eval_mean_token_accuracy",
    "reward": "eval_reward",
    "rewards_accuracies": "eval_rewards_accuracies",
    "rewards_margins": "eval_rewards_margins",
}
"""Validation metrics that are drawn with the training metric."""
UNCHARTED = frozenset((
    "epoch", "tokens", "eval_runtime", "memory", "memory_on_gpu",
    "eval_rows", "eval_step_noise", "eval_rise", "eval_rise_low", "eval_rise_high",
))  # fmt: skip
EXACT_METRICS = frozenset(("learning_rate", "eval_general_logp"))
"""Metrics without noise: never smoothed."""
MARKED_PATTERNS = frozenset(("plateau", "spike"))
"""Findings that are marked on the curve although their severity is info."""


class ChartSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The user's choices. Those that suit one run only, metric and scale, are not stored."""

    metric: str | None = None
    """None: the one that shows how the run goes, the loss or the reward."""
    axis: Axis = "step"
    smoothing: float = SMOOTHINGS[0]
    log_scale: bool = False
    pane: Pane = "all"
    """The pane that fills the screen."""


def load_settings() -> ChartSettings:
    """Return the settings of the last view, or the defaults."""
    stored = read_json(locations.home_folder() / "view.json", ChartSettings) or ChartSettings()
    return msgspec.structs.replace(stored, metric=None, log_scale=False)


def save_settings(chart_settings: ChartSettings) -> None:
    """Store the settings for the next view; a full disk is ignored."""
    path = locations.home_folder() / "view.json"
    with contextlib.suppress(OSError):
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.encode(chart_settings))


def list_metrics(progress: Progress) -> list[str]:
    """Return the metrics that can be charted: the main one, the loss, those of the objective, and the
    rest by name."""
    metrics = progress.metrics
    drawn = {part for name, part in _list_partners() if name in metrics}
    charted = {name for name, series in metrics.items() if len(series)} - drawn - UNCHARTED
    main = objective_figures.get_main_metric(progress)
    first = dict.fromkeys((main, LOSS, *objective_figures.METRIC_NAMES))
    ordered = [name for name in first if name in charted or name in (main, LOSS)]
    return [*ordered, *sorted(charted - first.keys())]


def _list_partners() -> list[tuple[str, str]]:
    """Return the metrics that are drawn with another one, after its name."""
    return [*VALIDATION_METRICS.items(), *objective_figures.PARTNERS.items()]


def list_axes(progress: Progress) -> list[Axis]:
    counts: dict[Axis, int] = {
        "step": 1,
        "epoch": len(progress.metrics.get("epoch", ())),
        "minutes": len(progress.times) - 1,
        "tokens": len(progress.metrics.get("tokens", ())),
    }
    return [axis for axis, count in counts.items() if count > 0]


def _mark_findings(progress: Progress) -> list[Mark]:
    """Return a mark at the onset of each finding, else where it was reported, sorted by step."""
    marks = []
    for event in progress.findings:
        since = to_count(event.get("since"))
        step = to_count(event.get("step")) if since is None else since
        is_marked = event.get("severity") != "info" or event.get("code") in MARKED_PATTERNS
        if step is not None and is_marked:
            name = readings.finding_name(event) if "code" in event else ""
            marks.append(Mark(step, "finding", name=name))
    return sorted(marks, key=lambda mark: mark.x)


class ChartData:
    """Lines and marks of a run under some settings. Derived series are extended, not rebuilt."""

    def __init__(self, chart_settings: ChartSettings) -> None:
        self.settings = chart_settings
        self._derived: dict[tuple[object, object], tuple[Series, Series]] = {}

    def lines(self, progress: Progress, *, plain: bool = False) -> list[ChartLine]:
        """Return the lines to draw: of the main metric if the run lacks the chosen one.

        ``plain`` leaves out the raw values behind a smoothed line.
        """
        name = self.settings.metric
        if name is None or name not in progress.metrics:
            name = objective_figures.get_main_metric(progress)
        raw = progress.metrics[name]
        validation = progress.metrics.get(VALIDATION_METRICS.get(name, ""))
        partner = progress.metrics.get(objective_figures.PARTNERS.get(name, ""))
        label = NAMES.get(name) or objective_figures.name_metric(name)
        smoothing = 0.0 if name in EXACT_METRICS else self.settings.smoothing
        lines = []
        if smoothing and not plain:
            lines.append(ChartLine("", self._along_axis(raw, progress), palette.TRAIN, "faint"))
        main = self._along_axis(self._smooth(name, raw, progress) if smoothing else raw, progress)
        # Two long names side by side leave no room for more words.
        label = f"{label}, smoothed" if smoothing and partner is None else label
        lines.append(ChartLine(label, main, palette.TRAIN, "solid"))
        if partner is not None:
            other = objective_figures.PARTNERS[name]
            smooth = self._smooth(other, partner, progress) if smoothing else partner
            series = self._along_axis(smooth, progress)
            lines.append(ChartLine(NAMES[other], series, palette.VALIDATION, "dashed"))
        if validation is not None:
            label = NAMES[VALIDATION_METRICS[name]]
            series = self._along_axis(validation, progress)
            lines.append(ChartLine(label, series, palette.VALIDATION, "dashed", "◆"))
        return lines

    def locate(self, step: float, progress: Progress) -> float | None:
        """Return the position of a step on the x axis, None if unknown."""
        if self.settings.axis == "step":
            return step
        axis = self._axis_series(progress)
        point = axis.nearest(step) if axis is not None else None
        return None if point is None else self._to_axis_value(point[1], axis)

    def marks(self, progress: Progress) -> list[Mark]:
        marks = [Mark(step, "checkpoint") for step in progress.checkpoints]
        if progress.best_step is not None:
            marks.append(Mark(progress.best_step, "best"))
        marks += _mark_findings(progress)
        located = ((self.locate(mark.x, progress), mark) for mark in marks)
        return [replace(mark, x=x) for x, mark in located if x is not None]

    def x_end(self, progress: Progress) -> float | None:
        return progress.total_steps if self.settings.axis == "step" else None

    def _derive(
        self, key: tuple[object, object], source: Series, make: Callable[[], Series]
    ) -> Series:
        """Return the series derived from ``source`` so far, or a new one if that was replaced."""
        origin, derived = self._derived.get(key, (None, source))
        if origin is not source or len(derived) > len(source):
            derived = make()
        self._derived[key] = source, derived
        return derived

    def _smooth(self, name: str, raw: Series, progress: Progress) -> Series:
        if name == LOSS and self.settings.smoothing == DEFAULT_WEIGHT:
            return progress.smoothed
        weight = self.settings.smoothing
        smooth = self._derive((name, weight), raw, lambda: Smoothed(weight))
        for index in range(max(0, len(smooth) - 1), len(raw)):
            smooth.append(*raw[index])
        return smooth

    def _along_axis(self, series: Series, progress: Progress) -> Series:
        """Convert a series over steps to one along the chosen axis."""
        axis = self._axis_series(progress)
        if axis is None:
            return series
        converted = self._derive((id(series), self.settings.axis), series, Series)
        for index in range(max(0, len(converted) - 1), len(series)):
            step, value = series[index]
            point = axis.nearest(step)
            x = self._to_axis_value(point[1], axis) if point else step
            last_x = converted.last_x
            if index >= len(converted) and last_x is not None and x <= last_x:
                x = math.nextafter(last_x, math.inf)  # the axis stood still
            converted.append(max(x, last_x or x), value)
        return converted

    def _axis_series(self, progress: Progress) -> Series | None:
        axis = self.settings.axis
        if axis == "step":
            return None
        return progress.times if axis == "minutes" else progress.metrics.get(axis)

    def _to_axis_value(self, value: float, axis: Series | None) -> float:
        """Return an axis value as drawn: times become minutes since the first step."""
        if self.settings.axis == "minutes" and axis is not None and len(axis):
            return (value - axis[0][1]) / 60
        return value
