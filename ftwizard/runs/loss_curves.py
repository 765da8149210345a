"""Loss curves from runs and from files of other tools, as input of a diagnosis."""

from __future__ import annotations

import base64
import binascii
import contextlib
import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ftwizard import user_paths
from ftwizard.diagnosis import Curve, Point
from ftwizard.diagnosis.curve import RowEvidence
from ftwizard.diagnosis.rows import Change
from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import to_count, to_number
from ftwizard.jobs.folder import JobFolder
from ftwizard.objectives import OBJECTIVE_METRICS, guess_objective, to_metric_name, to_objective
from ftwizard.runs import remote, watched
from ftwizard.runs.logged_rows import ALIASES, STEPS, normalize_name
from ftwizard.runs.progress import Progress
from ftwizard.text import make_visible
from ftwizard.timeseries import Series

MAX_BYTES = 1 << 28
MAX_STEPS = 1 << 53
"""Steps above are not exact as floats."""
Row = Mapping[str, Any]
_FULL_EVAL = "full_valid_loss"
"""Loss on all validation rows; ``valid_loss`` next to it is of one batch."""
_EVAL = (*ALIASES["eval_loss"], _FULL_EVAL)
_EVAL_SET_LOSS = re.compile("eval[_/](.+)_loss")
_SCORES = (
    "eval_mean_token_accuracy", "eval_accuracy", "full_valid_mean_token_accuracy",
    "full_valid_accuracy", "valid_mean_token_accuracy", "valid_accuracy", "eval/accuracy",
)  # fmt: skip
_ROW_EVIDENCE = ("eval_rows", "eval_step_noise", "eval_rise", "eval_rise_low", "eval_rise_high")
_PREFERENCE_SCORE = "eval_rewards_accuracies"
_PADDED = (
    "valid_loss", "valid_mean_token_accuracy", "valid_accuracy",
    "full_valid_loss", "full_valid_mean_token_accuracy", "full_valid_accuracy",
)  # fmt: skip
"""Columns of a result file in which some services write -1 for steps without validation."""
_SUPPORTED = (
    "Supported: a run's folder or events.jsonl, transformers' trainer_state.json, an OpenAI result "
    "file, and any CSV, TSV, JSON or JSON Lines with step, loss and eval_loss."
)
_KNOWN_NAMES = {
    *STEPS,
    *_SCORES,
    _FULL_EVAL,
    *(name for names in ALIASES.values() for name in names),
}
_ReadResult = tuple[Curve, list[str]]
"""A curve, and the names of all columns in the file."""


def from_progress(progress: Progress, folder: JobFolder | None = None) -> Curve:
    """Return the curve of a run; with its folder, only checkpoints on disk are listed."""
    metrics = progress.metrics
    steps = sorted(progress.checkpoints)
    if folder is not None:
        on_disk = {path.name for path in folder.checkpoints.glob("checkpoint-*")}
        steps = [step for step in steps if f"checkpoint-{step}" in on_disk]
        if script := watched.read(folder):  # they are in a folder of its own
            steps = watched.list_saved_steps(script)
        if record := remote.read(folder):  # those that the platform keeps, and can be asked
            steps = sorted(kept.step for kept in record.checkpoints if kept.model)
    return Curve(
        train=_to_points(metrics["loss"]),
        evals=_to_points(metrics["eval_loss"]),
        learning_rate=_to_points(metrics.get("learning_rate")),
        grad_norm=_to_points(metrics.get("grad_norm")),
        scores={
            name: _to_points(metrics[name])
            for name in (*_SCORES, _PREFERENCE_SCORE)
            if name in metrics
        },
        metrics={
            name: _to_points(series)
            for name, series in metrics.items()
            if OBJECTIVE_METRICS.fullmatch(name)
        },
        total_steps=progress.total_steps,
        steps_per_epoch=_get_steps_per_epoch(_to_points(metrics.get("epoch"))),
        vocabulary=progress.vocabulary,
        accumulation=progress.accumulation,
        objective=to_objective(progress.objective) or guess_objective(metrics),
        checkpoints=steps,
        row_evidence=_read_row_evidence(
            {name: _to_points(metrics.get(name)) for name in _ROW_EVIDENCE}
        ),
        rows_per_step=progress.rows_per_step,
        usual_rate=progress.usual_rate,
        mixes_rows=progress.mixes_rows,
    )


def from_file(path: Path) -> Curve:
    """Read the curve in a file of another tool.

    Raises FtwizardError for an unsupported file.
    """
    text = _read_text(path)
    for read in (_from_json, _from_json_lines, _from_csv):
        if (result := read(text)) is not None:
            break
    curve, names = result or (Curve([]), [])
    if not (curve.train or curve.evals or curve.get_metric("reward")):
        columns = f" Its columns: {make_visible(', '.join(names), 200)}." if names else ""
        raise FtwizardError(
            f"{make_visible(str(path), 200)} contains no loss curve.{columns}", _SUPPORTED
        )
    return curve


def _read_text(path: Path) -> str:
    name = make_visible(str(path), 200)
    try:
        data = user_paths.read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise FtwizardError(f"{name} could not be read: {error.strerror}.") from None
    # OpenAI's API returns a job's result file in Base64.
    with contextlib.suppress(binascii.Error, ValueError):
        data = base64.b64decode(data.strip(), validate=True)
    return data.decode("utf-8-sig", "replace")


def _from_json(text: str) -> _ReadResult | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if isinstance(content, list):
        return _from_named_rows(content)
    if not isinstance(content, dict):
        return None
    if isinstance(rows := content.get("log_history"), list):
        return _from_named_rows(rows, total_steps=to_count(content.get("max_steps")) or None)
    return _from_named_rows(_transpose(content) or [content])


def _transpose(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Convert columns (lists of values by name, as in Keras) to rows; none if no column is a loss."""
    columns = {name: values for name, values in content.items() if isinstance(values, list)}
    if not any(normalize_name(name) in (*ALIASES["loss"], *_EVAL) for name in columns):
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip_longest(*columns.values())]


def _from_named_rows(rows: list[Any], total_steps: int | None = None) -> _ReadResult:
    """Read the curve in rows whose names may be written for people: Training Loss."""
    valid = [row for row in rows if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in valid for name in row))
    renamed = {
        name: to
        for name in names
        if (to := normalize_name(name)) in _KNOWN_NAMES and to not in names
    }
    rows = [{renamed.get(name, name): value for name, value in row.items()} for row in valid]
    return from_rows(rows, total_steps), names


def _from_json_lines(text: str) -> _ReadResult | None:
    rows = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    if not rows or not all(isinstance(row, dict) for row in rows):
        return None
    if any(row.get("kind") in ("log", "eval") for row in rows):
        progress = Progress()
        progress.feed(rows)
        return from_progress(progress), []
    return _from_named_rows(rows)


def _from_csv(text: str) -> _ReadResult | None:
    head = text.partition("\n")[0]
    delimiter = max(",\t;", key=head.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    except csv.Error:
        return None
    # With semicolons as delimiters, a comma is the decimal point.
    comma = "," if delimiter == ";" else None
    curve, names = _from_named_rows(
        [{name: _parse_cell(cell, comma) for name, cell in row.items() if name} for row in rows]
    )
    # Plain text has a first line too.
    is_table = len(names) > 1 and all(name.isprintable() for name in names)
    return curve, names if is_table else []


def _parse_cell(cell: Any, comma: str | None) -> Any:
    try:
        return float(cell.replace(comma, ".") if comma and cell else cell)
    except (TypeError, ValueError):
        return None


def from_rows(rows: Iterable[Any], total_steps: int | None = None) -> Curve:
    """Read the curve in rows of named numbers, such as a trainer's ``log_history``."""
    valid = [row for row in rows if isinstance(row, dict)]
    names = {name for row in valid for name in row}

    def points(candidates: tuple[str, ...]) -> list[Point]:
        name = next((candidate for candidate in candidates if candidate in names), None)
        if name is None:
            return []
        return _sort_points(
            (step, value)
            for index, row in enumerate(valid)
            if name in row
            and (value := to_number(row[name])) is not None
            and not (value == -1 and name in _PADDED)
            and (step := _get_step(row, index)) is not None
        )

    full = points((_FULL_EVAL,))
    use_full = len(full) > 1
    evals = full if use_full else points(_EVAL) or full
    sets = {} if evals else _find_eval_sets(names)
    metrics = {
        metric: points((name,))
        for name in sorted(names)
        if (metric := to_metric_name(name)) is not None
    }
    return Curve(
        train=points(ALIASES["loss"]),
        evals=_average([points((name,)) for name in sets.values()]) if sets else evals,
        eval_sets=list(sets),
        learning_rate=points(ALIASES["learning_rate"]),
        grad_norm=points(ALIASES["grad_norm"]),
        scores={
            **{
                name: points((name,))
                for name in _SCORES
                if name in names and not (use_full and name.startswith("valid_"))
            },
            **{name: metrics[name] for name in metrics if name == _PREFERENCE_SCORE},
        },
        metrics=metrics,
        total_steps=total_steps,
        steps_per_epoch=_get_steps_per_epoch(points(ALIASES["epoch"])),
        objective=guess_objective(names),
        row_evidence=_read_row_evidence({name: points((name,)) for name in _ROW_EVIDENCE}),
    )


def _read_row_evidence(columns: Mapping[str, list[Point]]) -> list[RowEvidence]:
    """Read the evidence of each evaluation that has a count of rows and the noise of steps."""
    counts, noises, *changes = (dict(columns[name]) for name in _ROW_EVIDENCE)
    return [
        RowEvidence(
            step,
            int(count),
            noises[step],
            Change(*(column[step] for column in changes))
            if all(step in column for column in changes)
            else None,
        )
        for step, count in counts.items()
        if step in noises and math.isfinite(count)
    ]


def _find_eval_sets(names: set[str]) -> dict[str, str]:
    """Return the column of the loss of each validation set, by the name of the set.

    Trainers log the runtime of a set too; if they do, a loss without one is only a loss component.
    """
    columns = {
        match[1]: name for name in sorted(names) if (match := _EVAL_SET_LOSS.fullmatch(name))
    }
    timed = {key: name for key, name in columns.items() if f"{name[:-4]}runtime" in names}
    return timed or columns


def _average(sets: list[list[Point]]) -> list[Point]:
    """Average series at each step that all of them have."""
    values = [dict(points) for points in sets]
    return [
        (step, sum(losses[step] for losses in values) / len(values))
        for step, _ in sets[0]
        if all(step in losses for losses in values)
    ]


def _get_step(row: Row, index: int) -> float | None:
    name = next((name for name in (*STEPS, "Step") if name in row), None)
    return index + 1 if name is None else to_number(row[name])


def _sort_points(points: Iterable[Point]) -> list[Point]:
    """Sort points by step; the last value of a step counts, and invalid steps are dropped."""
    return sorted((step, value) for step, value in dict(points).items() if abs(step) < MAX_STEPS)


def _get_steps_per_epoch(epochs: list[Point]) -> float | None:
    """Return the steps per epoch by the trainer's own count of epochs."""
    started = [(step, epoch) for step, epoch in epochs if epoch > 0]
    return started[-1][0] / started[-1][1] if started else None


def _to_points(series: Series | None) -> list[Point]:
    return [] if series is None else [series[index] for index in range(len(series))]
