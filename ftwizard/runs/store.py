"""Runs on disk: lookup by id, status and list."""

from __future__ import annotations

import contextlib
import math
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import locations, user_paths
from ftwizard.errors import FtwizardError
from ftwizard.jobs.allocation import Allocation
from ftwizard.jobs.clock import Instant
from ftwizard.jobs.folder import JobFolder, JobRecord, Parent, is_id
from ftwizard.jobs.liveness import Trouble
from ftwizard.jobs.status import Status, observe
from ftwizard.runs import hosted, objective_figures, prediction, rank_summary, remote
from ftwizard.runs.certificate import ResumeCertificate
from ftwizard.runs.prediction import RunFigures
from ftwizard.runs.progress import Progress
from ftwizard.runs.rank_summary import RankSummary
from ftwizard.runs.remote import RemoteSummary
from ftwizard.runs.reproduction import Reproduction
from ftwizard.runs.result import read_result
from ftwizard.runs.summary import read_progress
from ftwizard.runs.verdict import ShipVerdict, Verdict
from ftwizard.text import find_similar, make_visible

MAX_SUGGESTED = 3


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``ftwizard status --json``; None means unknown."""

    id: str
    state: str
    end_reason: str | None
    attempt: int
    phase: str | None
    step: int | None
    total_steps: int | None
    epoch: float | None
    loss: float | None
    eval_loss: float | None
    best_step: int | None
    best_eval_loss: float | None
    tokens_per_s: float | None
    eta_s: float | None
    started: float | None
    updated: float | None
    age_s: float | None
    """Seconds since the newest event."""
    silent_s: float | None
    """Seconds without progress; None once it has ended."""
    heartbeat_age_s: float | None
    troubles: tuple[Trouble, ...]
    """Why it may not be progressing, or not be supervised; empty if all is well."""
    folder: str
    work: dict[str, str | float] | msgspec.UnsetType = msgspec.UNSET
    """What a live run does within its phase: ``detail``, ``done`` of ``total``, and by ``slow_set``,
    ``slow_line``, ``slow_s`` and ``usual_s`` the item that takes far longer than others."""
    message: str | msgspec.UnsetType = msgspec.UNSET
    """What the run reported about its end, such as the error of a disk."""
    eval_reward: float | msgspec.UnsetType = msgspec.UNSET
    """The newest mean reward on validation prompts, of reinforcement."""
    best_eval_reward: float | msgspec.UnsetType = msgspec.UNSET
    """The highest one, that of ``best_step``."""
    objective: str | msgspec.UnsetType = msgspec.UNSET
    """``dpo``, ``kto`` or ``grpo``; absent in supervised fine-tuning."""
    figures: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    """The newest figures of that objective, by the metric of ``events.jsonl``."""
    parent: Parent | msgspec.UnsetType = msgspec.UNSET
    """The run that this run was branched from."""
    changes: dict[str, dict[str, tuple[Any, Any]]] | msgspec.UnsetType = msgspec.UNSET
    """Settings changed on resume, in ``ftwizard status --json``: by attempt, then by name, the old
    and the new value."""
    damaged: dict[str, dict[str, list[str]]] | msgspec.UnsetType = msgspec.UNSET
    """Checkpoints set aside on resume, in ``ftwizard status --json``: by attempt, then by name, the
    damaged files."""
    verdict: Verdict | msgspec.UnsetType = msgspec.UNSET
    """Whether it is better than its base, in ``ftwizard status --json`` of a compared run."""
    ship: ShipVerdict | msgspec.UnsetType = msgspec.UNSET
    """Whether to ship it, of a run that was evaluated."""
    slurm: Allocation | msgspec.UnsetType = msgspec.UNSET
    """The Slurm job of a run that a cluster trains."""
    remote: RemoteSummary | msgspec.UnsetType = msgspec.UNSET
    """The job of a hosted run."""
    reproduction: Reproduction | msgspec.UnsetType = msgspec.UNSET
    """How it compares with the run that it reproduces, in ``ftwizard status --json``."""
    ranks: RankSummary | msgspec.UnsetType = msgspec.UNSET
    """The processes that train together, of a run with several."""
    resumed: ResumeCertificate | msgspec.UnsetType = msgspec.UNSET
    """What the newest attempt continued with, in ``ftwizard status --json`` of a resumed run."""


_PROGRESS_FIELDS = (
    "phase", "step", "total_steps", "epoch", "best_step", "best_eval_loss", "tokens_per_s", "updated"
)  # fmt: skip

_WORK_FIELDS = ("detail", "done", "total", "slow_set", "slow_line", "slow_s", "usual_s")


class RunRecord(RunStatus, frozen=True, kw_only=True):
    """A run in ``ftwizard runs --json``: its status, prediction and actual values."""

    predicted: RunFigures | None
    """The prediction from before its first step."""
    actual: RunFigures | None
    """The actual values, once it finished."""
    error: dict[str, float | None] | None
    """Error of the prediction by name: 0.1 means 10% too high."""


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``ftwizard runs --json``."""

    runs: list[RunRecord]
    """Newest first."""


def with_changes(status: RunStatus, folder: JobFolder) -> RunStatus:
    """Return a status with what was changed and set aside when the run was resumed."""
    attempts = [folder.read_attempt(number) for number in range(2, folder.newest_attempt() + 1)]
    changes = {str(attempt.number): attempt.changes for attempt in attempts if attempt.changes}
    damaged = {str(attempt.number): attempt.damaged for attempt in attempts if attempt.damaged}
    return msgspec.structs.replace(
        status, changes=changes or msgspec.UNSET, damaged=damaged or msgspec.UNSET
    )


def _or_unset(value: float | None) -> float | msgspec.UnsetType:
    return msgspec.UNSET if value is None else value


def find(run: str) -> JobFolder:
    """Find a run by its id, a unique prefix of it, or a path.

    Raises FtwizardError that suggests the closest id.
    """
    root = locations.runs_folder()
    path = Path(run)
    if "/" in run and user_paths.exists(path / "job.json"):
        return JobFolder(path.absolute())
    ids = [folder.id for folder in list_runs()]
    if run in ids:
        return JobFolder(root / run)
    matches = [run_id for run_id in ids if run_id.startswith(run)] if run else []
    if len(matches) == 1:
        return JobFolder(root / matches[0])
    if matches:
        raise FtwizardError(
            f"“{make_visible(run, 70)}” matches {len(matches)} runs.",
            f"Choose one: {', '.join(matches[:5])}",
        )
    hint = _suggest(run, ids[::-1]) or "List them with: ftwizard runs"
    raise FtwizardError(f"Run “{make_visible(run, 70)}” was not found in {root}.", hint)


def _suggest(run: str, ids: Sequence[str]) -> str:
    """Return the ids, newest first, that a mistyped one may mean, as a question; empty if none does.

    Those that contain it, else the nearest one, else one that begins like it.
    """
    lower = run.lower()
    if lower and (containing := [run_id for run_id in ids if lower in run_id.lower()]):
        return f"Did you mean {' or '.join(containing[:MAX_SUGGESTED])}?"
    by_beginning = {run_id[: len(run)]: run_id for run_id in reversed(ids)}
    near = find_similar(run, ids) or by_beginning.get(find_similar(run, by_beginning) or "")
    return f"Did you mean {near}?" if near else ""


def is_run(name: str) -> bool:
    """Return whether ``name`` is the whole id of a run."""
    return is_id(name) and (locations.runs_folder() / name / "job.json").is_file()


def list_runs() -> list[JobFolder]:
    """Return all readable runs, oldest first."""
    root = locations.runs_folder()
    if not root.is_dir():
        locations.require_folder(root)
        return []
    runs: list[tuple[int, str]] = []
    for path in root.iterdir():
        try:
            job = (path / "job.json").stat()
        except OSError:  # not a run, being removed, or another user's
            continue
        if is_id(path.name) and stat.S_ISREG(job.st_mode):
            runs.append((job.st_mtime_ns, path.name))
    return [JobFolder(root / name) for _, name in sorted(runs)]


def read_status(folder: JobFolder) -> RunStatus:
    return make_status(folder, observe(folder), read_progress(folder))


def make_status(folder: JobFolder, job: Status, progress: Progress) -> RunStatus:
    """Combine a job's state and its progress."""
    record = remote.read(folder)
    objective = objective_figures.get_objective(progress)
    age_s = _measure_age(job, progress)
    work = {} if job.state == "ended" else {name: getattr(progress, name) for name in _WORK_FIELDS}
    has_eta = job.state != "ended" and progress.phase in ("training", "evaluating")
    has_eta &= record is not None or progress.is_moving(age_s)  # a platform reports as it likes
    return RunStatus(
        id=folder.id,
        **{name: getattr(job, name) for name in ("state", "end_reason", "attempt", "started")},
        **{name: getattr(progress, name) for name in _PROGRESS_FIELDS},
        loss=_finite(progress.loss),
        eval_loss=_finite(progress.eval_loss),
        eta_s=progress.eta_s if has_eta else None,
        silent_s=_round(job.liveness.silent_s),
        heartbeat_age_s=_round(job.liveness.heartbeat_age_s),
        troubles=job.liveness.troubles,
        folder=str(folder.path),
        work={name: value for name, value in work.items() if value is not None} or msgspec.UNSET,
        message=job.message or msgspec.UNSET,
        eval_reward=_or_unset(progress.eval_reward),
        best_eval_reward=_or_unset(progress.best_eval_reward),
        age_s=age_s,
        objective=msgspec.UNSET if objective == "sft" else objective,
        figures=objective_figures.read_figures(progress) or msgspec.UNSET,
        parent=read_parent(folder) or msgspec.UNSET,
        slurm=job.allocation or msgspec.UNSET,
        remote=remote.summarize(record) if record else msgspec.UNSET,
        ship=_read_ship(folder, job),
        ranks=rank_summary.summarize(progress) or msgspec.UNSET,
    )


def _read_ship(folder: JobFolder, job: Status) -> ShipVerdict | msgspec.UnsetType:
    from ftwizard.runs.evaluation_files import find_newest  # loads the plan

    newest = find_newest(folder) if job.state == "ended" else None
    return newest.evaluation.verdict if newest else msgspec.UNSET


def _measure_age(job: Status, progress: Progress) -> float | None:
    last = progress.alive.last
    if last is None:
        return None
    is_newest = progress.attempt == job.attempt  # an earlier attempt may be of an earlier boot
    return last.measure_age(job.now() if is_newest else Instant(time.time()))


def iterate_records(folders: Iterable[JobFolder] | None = None) -> Iterator[RunRecord]:
    """Yield records lazily: of all runs, or of ``folders`` in their order."""
    for folder in list_runs()[::-1] if folders is None else folders:
        with contextlib.suppress(OSError):
            yield read_record(folder)


def read_record(folder: JobFolder, progress: Progress | None = None) -> RunRecord:
    """Read the record of a run; ``progress``: its events, if already read."""
    status = make_status(folder, observe(folder), progress or read_progress(folder))
    compared = None
    if status.state == "ended" and (result := read_result(folder)):
        compared = result.prediction
    elif record := remote.read(folder):  # what a job cost is also known of one without a result
        compared = hosted.compare_with_prediction(folder, record)
    return RunRecord(
        **msgspec.structs.asdict(status),
        predicted=compared.predicted if compared else prediction.read_prediction(folder),
        actual=compared.actual if compared else None,
        error=compared.error if compared else None,
    )


def read_parent(folder: JobFolder) -> Parent | None:
    """Return the parent of a run; None without one, or if ``job.json`` is unreadable."""
    job = read_job(folder)
    return job.parent if job else None


def read_job(folder: JobFolder) -> JobRecord | None:
    """Read ``job.json``; None if it is missing or unreadable."""
    try:
        return folder.read_job()
    except (OSError, FtwizardError):
        return None


def make_id(name: str) -> str:
    """Return an id for a new run from a name and the time: ``tickets-1124-143205``."""
    ascii_name = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)
    stem = ascii_name.strip("-_.")[:40] or "run"
    return f"{stem}-{time.strftime('%m%d-%H%M%S')}"


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None
