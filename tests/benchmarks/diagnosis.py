"""Accuracy of the diagnosis on labeled loss curves: ``… diagnosis FOLDER [--show KIND]``.

FOLDER holds files {kind, label, onset_step, train, eval, extra, must_not}. Each curve is diagnosed
as it grows, at every evaluation, or at ten points if it has none. A pattern counts as found if any
verdict has it, and separately if the last verdict has it. Overfitting in any verdict on a curve
with another label is a false alarm. A label that is not one of our patterns (grok) counts for false
alarms only. The rule of “End-to-End Fine-Tuning Pipeline” is measured on the same curves: three
rising evaluations in a row while the training loss falls.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from ftwizard.diagnosis import PATTERN_NAMES, Curve, diagnose

RISES_TOO = {"epoch_staircase"}
"""Kinds with another label whose validation loss rises too, so that overfitting is correct."""


def main() -> int:
    """Print a row per kind: detections, false alarms and delay."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--show", default="", help="name the curves of this kind that fail")
    arguments.add_argument(
        "--without-epochs", action="store_true",
        help="hide the length of an epoch, which a run always has and a file may not",
    )  # fmt: skip
    arguments.add_argument("--only", default="", help="read only files whose names start with this")
    asked = arguments.parse_args()
    began = time.perf_counter()
    kinds: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for path in sorted(asked.folder.glob(asked.only + "*.json")):
        document = json.loads(path.read_text())
        kinds[document.get("kind", path.stem.rsplit("_", 1)[0])].append(
            _judged(document, epochs=not asked.without_epochs)
        )
    print(f"{'kind':24}{'n':>4}{'found':>8}{'at end':>8}{'forbidden':>11}{'false overfit':>15}"
          f"{'delay':>7}{'article':>9}  last verdicts")  # fmt: skip
    for kind, rows in kinds.items():
        _print(kind, rows)
        if kind == asked.show:
            for row in rows:
                if row["found"] is False or row["forbidden"] or row["false"]:
                    print("   ", row["id"], row["last"], row["forbidden"], row["false"])
    if len(kinds) > 1:
        labels = sorted({row["label"] for rows in kinds.values() for row in rows})
        for label in labels:
            of_all = [row for rows in kinds.values() for row in rows if row["label"] == label]
            if len({row["kind"] for row in of_all}) > 1:
                _print("all " + label, of_all)
    negatives = [row for rows in kinds.values() for row in rows if row["label"] != "overfit"]
    overfits = [row for rows in kinds.values() for row in rows if row["label"] == "overfit"]
    others = [row for row in negatives if row["kind"] not in RISES_TOO]
    without = f"with another label, without {', '.join(RISES_TOO)}:"
    for name, rows in (("with another label:", negatives), (without, others)):
        print(f"false overfit over {len(rows)} curves {name} {_percent(r['false'] for r in rows)}; "
              f"the article's rule {_percent(r['article'] for r in rows)}")  # fmt: skip
    returned = sum(row["returns"] for row in (*negatives, *overfits))
    print(f"verdicts that returned: {returned} on {len(negatives) + len(overfits)} curves")
    print(f"{time.perf_counter() - began:.1f} s", file=sys.stderr)
    return 0


def _print(kind: str, rows: list[dict[str, Any]]) -> None:
    n = len(rows)
    delays = [row["delay"] for row in rows if row["delay"] is not None]
    lasts = collections.Counter(row["last"] for row in rows).most_common(4)
    print(f"{kind:24}{n:4}{_percent(r['found'] for r in rows):>8}"
          f"{_percent(r['ends'] for r in rows):>8}"
          f"{_percent(bool(r['forbidden']) for r in rows):>11}"
          f"{_percent(r['false'] for r in rows):>15}"
          f"{median(delays) if delays else float('nan'):7.1f}"
          f"{_percent(r['article'] for r in rows):>9}  "
          + ", ".join(f"{name} {count}" for name, count in lasts))  # fmt: skip


def _percent(values: Iterable[bool | None]) -> str:
    """Format the share of true values, without None."""
    points = [item for item in values if item is not None]
    return f"{100 * fmean(points):.1f}%" if points else "–"


def _judged(case: dict[str, Any], *, epochs: bool) -> dict[str, Any]:
    curve = curve_of(case, epochs=epochs)
    last = curve.last_step
    at = [step for step, _ in curve.evals] or [last * k / 10 for k in range(1, 11)]
    text: dict[str, float] = {}
    verdict, patterns = diagnose(curve), []
    for step in at:
        verdict = diagnose(curve.until(step))
        patterns.append(verdict.pattern)
        for name in (verdict.pattern, *verdict.also):
            text.setdefault(name, step)
    label, wrong = case["label"], set(case.get("must_not", ()))
    allowed = {label, *case.get("also_acceptable", ())}
    ours = label in PATTERN_NAMES
    onset = case.get("onset_step")
    delay = None
    if label in text and onset is not None:
        delay = sum(onset < step <= text[label] for step in at)
    return {
        "id": case["id"],
        "kind": case.get("kind"),
        "label": label,
        "found": bool(allowed & set(text)) if ours else None,
        "ends": bool(allowed & {verdict.pattern, *verdict.also}) if ours else None,
        "last": verdict.pattern,
        "forbidden": sorted(
            (wrong - {"healthy", "plateau"} | ({"plateau"} & wrong if onset is None else set()))
            & set(text)
            | wrong & {verdict.pattern, *verdict.also}
        ),
        "returns": _count_returns(patterns),
        "false": "overfit" in set(text) - allowed,
        "delay": delay,
        "article": _article(case),
    }


def _count_returns(patterns: Sequence[str]) -> int:
    """Return how often a verdict comes back after another one replaced it."""
    changes = [name for name, _ in itertools.groupby(patterns)]
    return sum(name in changes[:index] for index, name in enumerate(changes))


def _article(case: dict[str, Any]) -> bool:
    evals = [value for _, value in _points(case["eval"])]
    train = _points(case["train"])
    for k in range(3, len(evals)):
        rises = all(evals[j] > evals[j - 1] for j in range(k - 2, k + 1))
        steps = [step for step, _ in case["eval"]][k - 3], [step for step, _ in case["eval"]][k]
        inside = [value for step, value in train if steps[0] <= step <= steps[1]]
        if rises and inside and inside[-1] < inside[0]:
            return True
    return False


def _points(pairs: list[list[Any]]) -> list[tuple[float, float]]:
    return [(step, float(value)) for step, value in pairs]


def curve_of(case: dict[str, Any], *, epochs: bool = True) -> Curve:
    """Return the curve of a file, with the details that a run would have."""
    extra, made = case.get("extra", {}), case.get("params", {})
    marks = _points(extra.get("epoch", [])) if epochs else []
    span = marks[-1][0] / marks[-1][1] if marks else None
    if epochs and made.get("epochs") and made.get("total"):
        span = made["total"] / made["epochs"]
    return Curve(
        train=_points(case["train"]),
        evals=_points(case["eval"]),
        learning_rate=_points(extra.get("learning_rate", [])),
        grad_norm=_points(extra.get("grad_norm", [])),
        scores={"accuracy": _points(extra["eval_accuracy"])} if "eval_accuracy" in extra else {},
        steps_per_epoch=span,
    )


if __name__ == "__main__":
    raise SystemExit(main())
