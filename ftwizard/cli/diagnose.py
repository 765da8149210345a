"""``diagnose``: the verdict on a loss curve of a run or a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from ftwizard import user_paths
from ftwizard.cli import open_files, output, run_argument
from ftwizard.diagnosis import (
    PATTERN_NAMES,
    Curve,
    CurveVerdict,
    DiagnosisFinding,
    Pattern,
    describe_best,
    describe_former,
    describes_best,
    diagnose,
    get_mark,
    to_findings,
)
from ftwizard.diagnosis.curve import Value
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import default_run, loss_curves, store
from ftwizard.runs.curve_follower import CurveFollower
from ftwizard.runs.curve_sources import READ_KINDS, is_log, open_source
from ftwizard.runs.progress import Progress
from ftwizard.runs.summary import read_progress
from ftwizard.text import make_visible

CURVE_ENDINGS = (".json", ".jsonl", ".csv")
"""Endings of names that mean a file, not a run."""


class DiagnosisReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``ftwizard diagnose --json``; NaN and infinities become null."""

    pattern: Pattern
    also: tuple[Pattern, ...]
    onset_step: int | None
    best_step: int | None
    best_eval_loss: float | None
    best_on_disk: int | None
    best_eval_reward: float | msgspec.UnsetType = msgspec.UNSET
    """In reinforcement, the reward of the best evaluation: the one with the highest reward."""
    confidence: float | None
    """None where nothing was judged, as with too few evaluations."""
    evidence: Mapping[str, Value]
    action: str
    findings: list[DiagnosisFinding]


def run(arguments: argparse.Namespace) -> int:
    """Print the diagnosis of a curve."""
    curve, progress = _read_curve(arguments.run)
    verdict = diagnose(curve)
    listed = to_findings(verdict)
    document = DiagnosisReport(
        pattern=verdict.pattern,
        also=verdict.also,
        onset_step=verdict.onset_step,
        best_step=verdict.best_step,
        best_eval_loss=verdict.best_loss,
        best_on_disk=verdict.best_on_disk,
        best_eval_reward=msgspec.UNSET if verdict.best_reward is None else verdict.best_reward,
        confidence=verdict.confidence,
        evidence=verdict.evidence,
        action=listed[0].action,
        findings=listed,
    )
    former = describe_former(progress.findings) if progress else ""
    lines = _report_lines(curve, verdict, listed, former)
    output.print_report(arguments, document, lines)
    return 0


def _read_curve(name: str | None) -> tuple[Curve, Progress | None]:
    """Return the curve of a run (by id or folder) and its progress, or of a file.

    The run is preferred where a file has its name, too.
    """
    if name is None:
        return _from_run(run_argument.find(None, default_run.choose_shown))
    path = Path(name)
    if store.is_run(name):
        folder = store.find(name)
        if user_paths.exists(path) and not path.samefile(folder.path):
            kind = "folder" if user_paths.is_folder(path) else "file"
            print(
                f"Run {name}, not the {kind} of that name. To take that: ftwizard diagnose ./{name}",
                file=sys.stderr,
            )
        return _from_run(folder)
    is_other = user_paths.is_folder(path) and not (path / "job.json").is_file()
    if is_other or (user_paths.exists(path) and is_log(path)):
        return _from_source(path), None
    if user_paths.exists(path) and not user_paths.is_folder(path):
        return loss_curves.from_file(path), None
    if name.lower().endswith(CURVE_ENDINGS):
        open_files.require_file(name)
    return _from_run(store.find(name))


def _from_source(path: Path) -> Curve:
    """Return the curve in a folder, or in a file, of another tool that logs as it trains."""
    follower = CurveFollower(open_source(path))
    follower.read_all()
    if follower.source.damage:
        print(f"! {follower.source.damage}", file=sys.stderr)
    curve = follower.curve()
    if not (curve.train or curve.evals):
        raise FtwizardError(f"{make_visible(str(path), 200)} contains no loss curve.", READ_KINDS)
    return curve


def _from_run(folder: JobFolder) -> tuple[Curve, Progress]:
    progress = read_progress(folder)
    return loss_curves.from_progress(progress, folder), progress


def _report_lines(
    curve: Curve,
    verdict: CurveVerdict,
    listed: list[DiagnosisFinding],
    former: str,
) -> Iterator[str]:
    first, *rest = listed
    details = []
    if (sure := verdict.confidence) is not None:
        details.append(f"{100 * sure:.0f}% sure" if sure < 1 else "certain")
    if verdict.onset_step:
        details.append(f"since step {verdict.onset_step:,}")
    title = f"{get_mark(first)} {PATTERN_NAMES[first.code]}"
    yield f"{title} ({', '.join(details)})" if details else title
    if former:
        yield f"  {former}"
    yield f"  {first.message}"
    yield f"  → {first.action}"
    for finding in rest:
        yield f"{get_mark(finding)} {PATTERN_NAMES[finding.code]}: {finding.message}"
    if (best := describe_best(verdict)) and not any(map(describes_best, listed)):
        yield f"  {best}"
    counts = f"{len(curve.train):,} training and {len(curve.evals):,} validation losses"
    if rewards := curve.get_metric("reward"):
        counts = f"{len(rewards):,} rewards, {counts}"
    sets = make_visible(", ".join(curve.eval_sets), 200)
    mean = f" (each the mean of {sets})" if len(curve.eval_sets) > 1 else ""
    yield f"  {counts}{mean}, up to step {curve.last_step:,.0f}"
