"""What a job writes to the bucket: its metrics by step, and how many rows it rejected."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping

from ftwizard.providers.base import JobEvent
from ftwizard.providers.fields import read_number
from ftwizard.text import make_visible

METRICS = "metrics.csv"
"""End of the names of the tables of metrics."""
MANIFEST = "manifest.report.csv"
"""End of the names of the tables of accepted and rejected rows."""
MAX_BYTES = 50 * 2**20
"""Size of a table that is read."""
MAX_COLUMNS = 64
_STEP, _EPOCH = "step_number", "epoch_number"
_NAMES = {
    "training_loss": "loss",
    "validation_loss": "eval_loss",
    _EPOCH: "epoch",
    "learning_rate": "learning_rate",
    "critic/rewards/mean": "reward",
    "actor/grad_norm": "grad_norm",
}
"""Our names of columns; other ones keep theirs."""
_VALIDATION_REWARD = re.compile(r"val-\w+/rewards?/mean")
_EVALUATED = "validation"


def read_metrics(tables: Mapping[str, bytes]) -> list[JobEvent]:
    """Return the metrics of all steps from the tables in the job's folder, by key.

    A table has several lines of a step, whose mean counts. Steps are counted from 0 there, and from
    1 here.
    """
    steps: dict[int, dict[str, float]] = {}
    for key in sorted(tables):
        if key.endswith(METRICS):
            for step, metrics in _read_table(tables[key], is_evaluated=_EVALUATED in key):
                steps.setdefault(step, {}).update(metrics)
    shift = 1 if 0 in steps else 0
    return [
        JobEvent(id=f"result-{step + shift}", type="result", step=step + shift, metrics=steps[step])
        for step in sorted(steps)
        if steps[step]
    ]


def _read_table(content: bytes, *, is_evaluated: bool) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield each step with the means of its lines."""
    sums: dict[int, dict[str, tuple[float, int]]] = {}
    for row in _read_rows(content):
        step = read_number(row.get(_STEP))
        if step is None or not math.isfinite(step) or not 0 <= step < 2**53:
            continue
        columns = sums.setdefault(int(step), {})
        for name, text in list(row.items())[:MAX_COLUMNS]:
            number = read_number(text)
            if name == _STEP or number is None or not math.isfinite(number):
                continue
            ours = _name_column(name, is_evaluated=is_evaluated)
            total, count = columns.get(ours, (0.0, 0))
            columns[ours] = (total + number, count + 1)
    for step, columns in sums.items():
        yield step, {name: total / count for name, (total, count) in columns.items()}


def _name_column(name: str, *, is_evaluated: bool) -> str:
    """Return our name of a column; one of a validation table that is not ours begins with ``eval_``."""
    if name in _NAMES:
        return _NAMES[name]
    if _VALIDATION_REWARD.match(name):
        return "eval_reward"
    shown = make_visible(name, 60)
    return f"eval_{shown}" if is_evaluated and not shown.startswith("eval_") else shown


def _read_rows(content: bytes) -> Iterator[dict[str, str]]:
    """Yield the rows of a table; what comes before damage is kept."""
    text = content.decode("utf-8-sig", "replace").replace("\0", "")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            yield {
                name.strip(): value.strip()
                for name, value in row.items()
                if isinstance(name, str) and isinstance(value, str)
            }
    except csv.Error:
        return


def count_rejected(tables: Mapping[str, bytes]) -> tuple[int, int]:
    """Return how many rows Bedrock rejected, and how many it read."""
    rejected = total = 0
    for key, content in tables.items():
        if key.endswith(MANIFEST):
            for row in _read_rows(content):
                rejected += _read_count(row, "rejectedRecordCount")
                total += _read_count(row, "totalProcessedRecordCount")
    return rejected, total


def _read_count(row: Mapping[str, str], name: str) -> int:
    number = read_number(row.get(name))
    return int(number) if number is not None and math.isfinite(number) and number > 0 else 0
