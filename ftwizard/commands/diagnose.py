"""``diagnose``: the verdict on a loss curve, of a run or from a file."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from ftwizard import curves, file_names, runs
from ftwizard.commands import output
from ftwizard.diagnosis import (
    IN_WORDS,
    Curve,
    Finding,
    Verdict,
    best_in_words,
    diagnose,
    findings,
    mark,
)
from ftwizard.errors import FtwizardError
from ftwizard.text import visible


def run(arguments: argparse.Namespace) -> int:
    """Say what a curve shows."""
    curve = _curve(arguments.run)
    verdict = diagnose(curve)
    found = findings(verdict)
    if arguments.json:
        output.print_json(document(verdict, found))
        return 0
    _print(curve, verdict, found)
    return 0


def document(verdict: Verdict, found: list[Finding]) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    return {
        "pattern": verdict.pattern,
        "also": list(verdict.also),
        "onset_step": verdict.onset_step,
        "best_step": verdict.best_step,
        "best_eval_loss": _plain(verdict.best_loss),
        "best_on_disk": verdict.best_on_disk,
        "confidence": verdict.confidence,
        "evidence": {name: _plain(value) for name, value in verdict.evidence.items()},
        "action": found[0].action,
        "findings": [
            {
                "code": one.code,
                "severity": one.severity,
                "step": one.step,
                "message": one.message,
                "action": one.action,
                "actions": list(one.actions),
                "confidence": round(one.confidence, 3),
                "evidence": {name: _plain(value) for name, value in one.evidence.items()},
            }
            for one in found
        ],
    }


def _curve(name: str) -> Curve:
    """Return the curve of a run by its id, its folder, or of a file."""
    path = Path(name)
    if file_names.exists(path) and not (path / "job.json").is_file():
        if path.is_dir():
            raise FtwizardError(
                f"{visible(name, 200)} is a folder, and no run's.",
                "Name a run, or a file such as trainer_state.json.",
            )
        return curves.of_file(path)
    folder = runs.find(name)
    return curves.of_progress(runs.progress(folder), folder)


def _print(curve: Curve, verdict: Verdict, found: list[Finding]) -> None:
    out = output.console()
    first, *rest = found
    sure = f"{100 * verdict.confidence:.0f} % sure" if verdict.confidence < 1 else "certain"
    since = f", since step {verdict.onset_step:,}" if verdict.onset_step else ""
    output.say(out, f"{mark(first)} {IN_WORDS[first.code]} ({sure}{since})")
    output.say(out, f"  {first.message}", f"  → {first.action}")
    for one in rest:
        output.say(out, f"{mark(one)} {IN_WORDS[one.code]}: {one.message}")
    if (best := best_in_words(verdict)) and not any(best in one.message for one in found):
        output.say(out, f"  {best}")
    steps = f"{len(curve.train):,} training and {len(curve.evals):,} validation losses"
    sets = visible(", ".join(curve.eval_sets), 200)
    mean = f" (each the mean of {sets})" if len(curve.eval_sets) > 1 else ""
    output.say(out, f"  {steps}{mean}, to step {curve.last_step:,.0f}")


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
