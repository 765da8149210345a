"""Loss curves of runs and of files from elsewhere, as a diagnosis reads them."""

from __future__ import annotations

import base64
import binascii
import contextlib
import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftwizard.diagnosis import Curve, Objective, Point
from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import number
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import Progress
from ftwizard.series import Series
from ftwizard.text import visible

MOST_BYTES = 1 << 28
MOST_STEPS = 1 << 53
"""Steps that a float tells apart."""
Row = Mapping[str, Any]
_LOSS = ("loss", "train_loss", "train/loss", "training_loss")
_EVAL = (
    "eval_loss", "valid_loss", "full_valid_loss", "validation_loss", "val_loss", "eval/loss",
)  # fmt: skip
_OF_A_SET = re.compile("eval[_/](.+)_loss")
_FULL = "full_valid_loss"
"""Of all validation rows; ``valid_loss`` beside it is of one batch of them."""
_STEP = ("step", "global_step", "train/global_step", "_step", "Step")
_RATE = ("learning_rate", "lr", "train/learning_rate")
_NORM = ("grad_norm", "train/grad_norm")
_SCORES = (
    "eval_mean_token_accuracy", "eval_accuracy", "full_valid_mean_token_accuracy",
    "full_valid_accuracy", "valid_mean_token_accuracy", "valid_accuracy", "eval/accuracy",
)  # fmt: skip
_FILLED = (
    "valid_loss", "valid_mean_token_accuracy", "valid_accuracy",
    "full_valid_loss", "full_valid_mean_token_accuracy", "full_valid_accuracy",
)  # fmt: skip
"""Columns of a result file in which some services write -1 where no validation ran."""
_FORMS = (
    "It reads a run's folder or events.jsonl, transformers' trainer_state.json, the result file of "
    "an OpenAI job, and any CSV, TSV, JSON or JSON Lines with step, loss and eval_loss."
)
_KNOWN = {*_LOSS, *_EVAL, *_STEP, *_RATE, *_NORM, *_SCORES, "epoch"}
_Read = tuple[Curve, list[str]]
"""A curve, and the names of all columns that it was sought in."""


def of_progress(progress: Progress, folder: JobFolder | None = None) -> Curve:
    """Return the curve of a run; with its folder, what of its checkpoints is on disk."""
    metrics = progress.metrics
    checkpoints = sorted(progress.checkpoints)
    if folder is not None:
        there = folder.path / "checkpoints"
        checkpoints = [step for step in checkpoints if (there / f"checkpoint-{step}").is_dir()]
    return Curve(
        train=_points(metrics["loss"]),
        evals=_points(metrics["eval_loss"]),
        learning_rate=_points(metrics.get("learning_rate")),
        grad_norm=_points(metrics.get("grad_norm")),
        scores={name: _points(metrics[name]) for name in _SCORES if name in metrics},
        total_steps=progress.total_steps,
        steps_per_epoch=_steps_per_epoch(_points(metrics.get("epoch"))),
        vocabulary=progress.vocabulary,
        accumulation=progress.accumulation,
        objective=_objective(metrics),
        checkpoints=checkpoints,
    )


def of_file(path: Path) -> Curve:
    """Return the curve that a file from elsewhere holds.

    Raises FtwizardError for a file that is none of those it knows.
    """
    text = _text(path)
    for read in (_of_json, _of_lines, _of_csv):
        if (found := read(text)) is not None:
            break
    curve, names = found or (Curve([]), [])
    if not (curve.train or curve.evals):
        said = f" Its columns: {visible(', '.join(names), 200)}." if names else ""
        raise FtwizardError(f"{visible(str(path), 200)} holds no loss curve.{said}", _FORMS)
    return curve


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FtwizardError(f"{visible(str(path), 200)} is too large for a curve.", _FORMS)
        data = path.read_bytes()
    except OSError as error:
        raise FtwizardError(
            f"{visible(str(path), 200)} cannot be read: {error.strerror}."
        ) from None
    # OpenAI's API returns a job's result file in Base64.
    with contextlib.suppress(binascii.Error, ValueError):
        data = base64.b64decode(data.strip(), validate=True)
    return data.decode("utf-8-sig", "replace")


def _of_json(text: str) -> _Read | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if isinstance(found, list):
        return _of_named(found)
    if not isinstance(found, dict):
        return None
    if isinstance(rows := found.get("log_history"), list):
        return _of_named(rows, total_steps=_count(found.get("max_steps")))
    if isinstance(found.get("train"), list):
        return _of_pairs(found), list(found)
    return _of_named(_rows_of_columns(found) or [found])


def _rows_of_columns(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of lists of values by name, such as the history that Keras keeps.

    An empty list where none of them is of losses.
    """
    columns = {name: values for name, values in found.items() if isinstance(values, list)}
    if not any(_plain(name) in (*_LOSS, *_EVAL) for name in columns):
        return []
    length = max(map(len, columns.values()), default=0)
    return [
        {name: values[place] for name, values in columns.items() if place < len(values)}
        for place in range(length)
    ]


def _of_named(rows: list[Any], total_steps: int | None = None) -> _Read:
    """Return the curve of a file's rows, whose names may be as on a page: Training Loss."""
    found = [row for row in rows if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in found for name in row))
    other = {name: to for name in names if (to := _plain(name)) in _KNOWN and to not in names}
    if other:
        found = [{other.get(name, name): value for name, value in row.items()} for row in found]
    return of_rows(found, total_steps), names


def _of_pairs(found: dict[str, Any]) -> Curve:
    """Return the curve of lists of pairs of step and value, by name."""
    extra = found.get("extra")
    more: dict[str, Any] = extra if isinstance(extra, dict) else {}

    def pairs(said: Any) -> list[Point]:
        rows = said if isinstance(said, list) else []
        return _in_order(
            (step, value)
            for one in rows
            if isinstance(one, list) and len(one) == 2
            if (step := number(one[0])) is not None and (value := number(one[1])) is not None
        )

    return Curve(
        train=pairs(found.get("train")),
        evals=pairs(found.get("eval")),
        learning_rate=pairs(more.get("learning_rate")),
        grad_norm=pairs(more.get("grad_norm")),
        scores={name: pairs(more[name]) for name in _SCORES if name in more},
        steps_per_epoch=_steps_per_epoch(pairs(more.get("epoch"))),
    )


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _of_lines(text: str) -> _Read | None:
    rows = []
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    if not rows or not all(isinstance(row, dict) for row in rows):
        return None
    if any(row.get("kind") in ("log", "eval") for row in rows):
        progress = Progress()
        progress.feed([row for row in rows if isinstance(row, dict)])
        return of_progress(progress), []
    return _of_named(rows)


def _of_csv(text: str) -> _Read | None:
    head = text.partition("\n")[0]
    between = max(",\t;", key=head.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter=between))
    except csv.Error:
        return None
    # Where a semicolon is between cells, a comma is the decimal point.
    comma = "," if between == ";" else None
    curve, names = _of_named(
        [{name: _cell(cell, comma) for name, cell in row.items() if name} for row in rows]
    )
    # Text that is no table has a first line too.
    is_table = len(names) > 1 and all(name.isprintable() for name in names)
    return curve, names if is_table else []


def _cell(cell: Any, comma: str | None) -> Any:
    try:
        return float(cell.replace(comma, ".") if comma and cell else cell)
    except (TypeError, ValueError):
        return None


def of_rows(rows: Iterable[Any], total_steps: int | None = None) -> Curve:
    """Return the curve of rows of named numbers, such as a trainer's ``log_history``."""
    found = [row for row in rows if isinstance(row, dict)]
    names = {name for row in found for name in row}

    def points(among: tuple[str, ...]) -> list[Point]:
        name = next((one for one in among if one in names), None)
        if name is None:
            return []
        return _in_order(
            (step, value)
            for place, row in enumerate(found)
            if name in row
            and (value := number(row[name])) is not None
            and not (value == -1 and name in _FILLED)
            and (step := _step(row, place)) is not None
        )

    full = points((_FULL,))
    by_full = len(full) > 1
    evals = full if by_full else points(_EVAL) or full
    sets = {} if evals else _sets(names)
    return Curve(
        train=points(_LOSS),
        evals=_mean([points((name,)) for name in sets.values()]) if sets else evals,
        eval_sets=list(sets),
        learning_rate=points(_RATE),
        grad_norm=points(_NORM),
        scores={
            name: points((name,))
            for name in _SCORES
            if name in names and not (by_full and name.startswith("valid_"))
        },
        total_steps=total_steps,
        steps_per_epoch=_steps_per_epoch(points(("epoch", "train/epoch"))),
        objective=_objective(names),
    )


def _sets(names: set[str]) -> dict[str, str]:
    """Return the loss's name of each of several validation sets, by the set's name.

    A trainer logs a set's runtime too; where it does, a loss without one is a part of a loss.
    """
    found = {match[1]: name for name in sorted(names) if (match := _OF_A_SET.fullmatch(name))}
    timed = {key: name for key, name in found.items() if f"{name[:-4]}runtime" in names}
    return timed or found


def _mean(sets: list[list[Point]]) -> list[Point]:
    """Return the mean of series at each step that all of them have."""
    values = [dict(points) for points in sets]
    return [
        (step, sum(one[step] for one in values) / len(values))
        for step, _ in sets[0]
        if all(step in one for one in values)
    ]


def _step(row: Row, place: int) -> float | None:
    name = next((one for one in _STEP if one in row), None)
    return place + 1 if name is None else number(row[name])


def _in_order(points: Iterable[Point]) -> list[Point]:
    """Return the points by their steps, the last value of each step that is one."""
    return sorted((step, value) for step, value in dict(points).items() if abs(step) < MOST_STEPS)


def _objective(names: Iterable[str]) -> Objective:
    known = set(names)
    if {"reward", "completions/mean_length"} & known or "reward_std" in known:
        return "reinforcement"
    return "preference" if any(name.startswith("rewards/") for name in known) else "supervised"


def _steps_per_epoch(epochs: list[Point]) -> float | None:
    """Return a trainer's own measure: of the rows that it was given, packed or not."""
    told = [(step, epoch) for step, epoch in epochs if epoch > 0]
    return told[-1][0] / told[-1][1] if told else None


def _count(value: Any) -> int | None:
    found = number(value)
    return int(found) if found is not None and 0 < found < MOST_STEPS else None


def _points(series: Series | None) -> list[Point]:
    return [] if series is None else [series[index] for index in range(len(series))]
