"""Descriptions of a run for every view: its state, its end and its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ftwizard.jobs import clock
from ftwizard.jobs.allocation import Allocation
from ftwizard.jobs.ending import END_NAMES, GOOD_END_REASONS, NEXT_STEP, describe_end_reason
from ftwizard.jobs.folder import JobFolder, Parent
from ftwizard.jobs.liveness import Trouble
from ftwizard.jobs.status import Status
from ftwizard.quantity import Figure
from ftwizard.runs import (
    checkpoints,
    exports,
    hosted,
    merge_proof,
    remote,
    reproduction,
    verdict,
    watched,
)
from ftwizard.runs.prediction import PredictionResult
from ftwizard.runs.progress import Progress
from ftwizard.runs.result import RunResult, TrainResult, read_result, read_trained
from ftwizard.runs.store import RunStatus
from ftwizard.runs.verdict import Measure, Verdict
from ftwizard.slurm import job_states
from ftwizard.slurm.client import Placement
from ftwizard.text import (
    format_age,
    format_bytes,
    format_count,
    format_dollars,
    format_duration,
    make_visible,
)

COST_UNKNOWN = "unknown: train with --price machine=USD, the hourly price of this machine"
MEASURED = "measured over its last steps"
"""Basis of the remaining time, which is no longer an estimate after the first steps."""
MAX_SHOWN_LINES = 5
"""Line numbers of rows left out."""
PHASE_NAMES = {"tokenising": "tokenizing"}
"""Phases whose text differs from their name in events."""
SLOW_STEP_S = 5.0
"""Time without news from which a step says how long it takes."""
NEAR_S = 5.0
"""Time until a start that counts as at once."""
NEVER_S = 10 * 365 * 86_400.0
"""Time from which a start counts as never. Slurm names a year like 6109 for a partition that does not
allow the account or user of the job."""
RESUMABLE = frozenset(
    ("stopped", "killed", "out_of_memory", "disk_full", "disk_error", "crashed", "lost")
)
"""End reasons after which a run can continue from its newest checkpoint."""
MAX_VALUE_WIDTH = 120
"""Cells of a setting's value."""
MARKS = {"finished": "✓", "early_stopped": "✓", "stopped": "■", "refused": "✗"}


def describe_end(folder: JobFolder, status: Status) -> list[str]:
    """Describe how a run ended and what to do next, a line each."""
    reason = status.end_reason or "lost"
    title = f"{MARKS.get(reason, '✗')} Run {folder.id} {describe_end_reason(reason)}."
    return [title, *describe_next_step(folder, status)]


def describe_next_step(folder: JobFolder, status: Status) -> list[str]:
    """Describe the details of a run's end and what to do next, a line each."""
    reason = status.end_reason or "lost"
    lines = []
    if status.message:
        lines.append(make_visible(status.message, 600))
    if reason == "stopped" and (weights := describe_kept_weights(folder)):
        lines.append(weights)
    # Only our own text is a format string: braces in a command's hint mean nothing.
    next_step = NEXT_STEP.get(reason, "").format(
        id=folder.id, folder=folder.path, begin=describe_begin(folder)
    )
    if record := remote.read(folder):
        next_step = hosted.describe_next(folder.id, record, reason) or next_step
    next_step = watched.describe_next(folder, reason) or next_step
    next_step = status.hint or next_step
    if reason == "early_stopped" and status.message:  # it says why, such as a limit of time
        next_step = status.hint or watched.describe_next(folder, reason)
    if next_step:
        lines.append(make_visible(next_step, 600))
    if reason == "refused" and (kept := checkpoints.all_complete(folder.checkpoints)):
        lines.append(
            f"After that, continue from step {kept[-1].step:,}: ftwizard resume {folder.id}"
        )
    return lines


def describe_begin(folder: JobFolder) -> str:
    """Describe where a resumed run would begin, by what is on disk: ``Continue from step 40``."""
    trained = read_trained(folder)
    if trained and trained.reason in GOOD_END_REASONS:
        return "The training is complete. Continue with what follows it"
    if kept := checkpoints.all_complete(folder.checkpoints):
        return f"Continue from step {kept[-1].step:,}"
    return "No checkpoint was saved. Start again"


def describe_kept_weights(folder: JobFolder) -> str:
    """Describe which weights a stopped run kept and where; empty if there are none."""
    trained = read_trained(folder)
    if not trained:
        return ""
    path = folder.adapter
    if trained.method == "full":
        path = folder.checkpoints / f"checkpoint-{trained.step}"
    which = "newest" if trained.eval_loss is None else "best"
    return f"The {which} weights (step {trained.step}) are in {path}." if path.is_dir() else ""


def describe_parent(parent: Parent) -> str:
    """Describe a child run's parent: ``one, from step 40: learning_rate 0.0002 → 0.0001``."""
    start = f"from step {parent.step}" if parent.step else "from the start"
    if not parent.changes:
        return f"{make_visible(parent.id, 64)}, with the same settings"
    changes = {name.removeprefix("recipe."): pair for name, pair in parent.changes.items()}
    return f"{make_visible(parent.id, 64)}, {start}: {describe_changes(changes)}"


def describe_changes(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """Describe changed settings: ``budget.hours not set → 2, samples.count 3 → 5``."""
    return ", ".join(
        f"{make_visible(name, 60)} {format_setting(old)} → {format_setting(new)}"
        for name, (old, new) in changes.items()
    )


def format_setting(value: Any) -> str:
    """Format the value of a setting as in a plan; ``not set`` for None."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{make_visible(', '.join(map(str, value)), MAX_VALUE_WIDTH)}]"
    return make_visible(str(value), MAX_VALUE_WIDTH) or "empty"


def describe_outcome(folder: JobFolder, status: Status) -> list[str]:
    """Describe the end of a run and its results as lines of text."""
    lines = describe_end(folder, status)
    result, evaluated = read_result(folder), _describe_evaluation(folder)
    if evaluated or (result and result.end_reason in GOOD_END_REASONS):
        reasons = evaluated.reasons if evaluated else []
        lines = [describe_verdict(folder), *(f"  {reason}" for reason in reasons), *lines]
    if record := remote.read(folder):
        lines += [f"{label:<12} {text}" for label, text in hosted.list_facts(folder, record)]
    if result:
        lines += [f"{label:<12} {text}" for label, text in describe_result(folder, result)]
    if evaluated:
        lines += evaluated.details
    if read_trained(folder) or (record and record.tuned_model):
        lines += ["", *_list_next(folder)]
    if compared := reproduction.compare(folder):
        lines += ["", *reproduction.describe(compared)]
    return lines


def _list_next(folder: JobFolder) -> Iterator[str]:
    """Yield what exists of the model, what is next, and what stands in the way."""
    from ftwizard.runs import next_steps, step_problems  # load the plan

    for problem in step_problems.list_problems(folder, next_steps.find_next(folder)):
        yield f"{problem.subject:<12} {problem.mark} {problem.message} {problem.hint}".rstrip()
    for name, text in next_steps.list_lines(folder):
        yield f"{name:<12} {text}"


def describe_verdict(folder: JobFolder) -> str:
    """Describe, with a mark, whether to ship the tuned model, and whether it is better than its base."""
    evaluated = _describe_evaluation(folder)
    return evaluated.verdict if evaluated else f"? {verdict.describe(None)}"


class _EvaluationText(NamedTuple):
    """The evaluation of a run in words."""

    verdict: str
    """With whether it helped."""
    reasons: list[str]
    """Besides whether it helped."""
    details: list[str]


def _describe_evaluation(folder: JobFolder) -> _EvaluationText | None:
    from ftwizard.runs import describe_evaluation, evaluation_files  # load the plan

    newest = evaluation_files.find_newest(folder)
    if newest is None:
        return None
    evaluation = newest.evaluation
    reasons = [reason for reason in evaluation.reasons if reason.name != "target"]
    in_doubt = evaluation.verdict == "cannot_tell"
    helped = verdict.describe(evaluation.target, after_doubt=in_doubt)
    return _EvaluationText(
        f"{describe_evaluation.describe_verdict(evaluation)}. {helped}",
        [
            describe_evaluation.describe_reason(reason, evaluation)
            for reason in reasons[: describe_evaluation.MAX_REASONS]
        ],
        [
            *(["", *format_measures(evaluation.target)] if evaluation.target else []),
            *describe_evaluation.list_details(evaluation, folder.id),
        ],
    )


def describe_result(folder: JobFolder, result: RunResult) -> list[tuple[str, str]]:
    """Return labels and texts of a run's results: rows, weights and prediction."""
    rows: list[tuple[str, str]] = []
    if result.training:
        rows += _list_weights(folder, result, result.training)
    if folder.card.is_file():
        from ftwizard.runs import next_steps  # loads the plan

        rows.append(("card", next_steps.describe_card(folder)))
    has_adapter = result.training is not None and result.training.method != "full"
    if has_adapter or result.merged or _is_served(folder, result):
        rows.append(("chat", f"ftwizard chat {folder.id} --base"))
    if compared := result.prediction:
        rows += list_measured(result, compared)
    return rows


def _is_served(folder: JobFolder, result: RunResult) -> bool:
    """Return whether a tuned model answers at its platform."""
    if result.remote is None or result.remote.model is None:
        return False
    from ftwizard.runs import hosted, remote  # the views of local runs begin without them

    record = remote.read(folder)
    return record is None or hosted.can_be_asked(record)


def _list_weights(
    folder: JobFolder, result: RunResult, training: TrainResult
) -> Iterator[tuple[str, str]]:
    best = f"best, step {training.step}"
    if trained := describe_trained_rows(training):
        yield "rows", trained
    has_adapter = training.method != "full"
    if has_adapter:
        yield "adapter", f"{folder.adapter} ({best})"
    if merged := result.merged:
        label, which = ("merged", "") if has_adapter else ("model", f"{best}, ")
        details = f"{which}{format_bytes(merged.size_bytes)}, {merged.dtype}"
        yield label, f"{folder.merged} ({details})"
        if proof := merge_proof.read_proof(folder.merged):
            yield "proof", merge_proof.format_verdict(proof)
        for path, record in exports.iterate_records(folder.exports):
            yield "export", f"{path} ({record.form})"
        yield "serve", f"ftwizard serve {folder.id}"


def list_measured(result: RunResult, compared: PredictionResult) -> list[tuple[str, str]]:
    """Return labels and texts of what a run took; the cost of a hosted run is among its job's facts."""
    share = result.training.completed_share if result.training and not result.remote else 1.0
    rows = describe_prediction(compared, share)
    return [row for row in rows if row[0] != "cost"] if result.remote else rows


def describe_prediction(compared: PredictionResult, share: float = 1.0) -> list[tuple[str, str]]:
    """Return labels and texts of the training's time, memory and cost, with their predictions.

    ``share`` is the share of completed steps: time and cost are predicted for these.
    """
    rows = []
    for name, label, write in (
        ("seconds", "training", format_duration),
        ("peak_memory", "memory", format_bytes),
        ("cost", "cost", format_dollars),
    ):
        actual: Figure | None = getattr(compared.actual, name)
        if actual is None:
            if name == "cost" and compared.actual.seconds:
                rows.append((label, COST_UNKNOWN))
            continue
        predicted: Figure | None = getattr(compared.predicted, name)
        error = compared.error.get(name)
        text = write(actual.value)
        if predicted and error is not None:
            scope = ""
            if share < 1 and name in ("seconds", "cost"):
                predicted, scope = predicted.scaled(share, predicted.source), " for these steps"
            percent = round(abs(error) * 100)
            verdict = f"{percent}% too {'high' if error > 0 else 'low'}" if percent else "exact"
            text += f" (predicted {format_range(predicted, write)}{scope}, {verdict})"
        rows.append((label, text))
    return rows


def format_range(figure: Figure, write: Callable[[float], str]) -> str:
    """Format a figure's range with ``write``, or its value if it has no range."""
    if figure.low is None or figure.high is None:
        return write(figure.value)
    low, high = write(figure.low), write(figure.high)
    return low if low == high else f"{low} – {high}"


def are_all_trained(training: TrainResult) -> bool:
    return training.rows.get("train_given") == training.rows.get("train_used")


def describe_trained_rows(training: TrainResult) -> str:
    """Describe what each part of the rows was for, and which were left out; empty if unknown."""
    counts = training.rows
    if not {"train_given", "train_used"} <= counts.keys():
        return ""
    total, used = counts["train_given"], counts["train_used"]
    parts = [f"{used:,} of {format_count(total, 'row')} trained on"]
    available = counts.get("train_available", total)
    if available > total:
        parts = [f"{used:,} of {format_count(available, 'row')} trained on (data.max_rows)"]
    elif used == total:
        parts = [f"all {format_count(total, 'row')} trained on"]
    roles = (("validation", "for validation"), ("test", "for the test"))
    aside = [f"{rows:,} {role}" for part, role in roles if (rows := counts.get(f"{part}_used"))]
    if aside:
        parts.append(f"besides, {' and '.join(aside)}")
    if mixed := counts.get("mix_used"):
        parts.append(f"{format_count(mixed, 'general row')} mixed in")
    for part, noun in (
        ("train", "row"), ("mix", "general row"), ("validation", "validation row"),
        ("test", "test row"),
    ):  # fmt: skip
        missing = counts.get(f"{part}_given", 0) - counts.get(f"{part}_used", 0)
        if missing:
            lines = training.left_out.get(part, [])
            numbers = ", ".join(map(str, lines[:MAX_SHOWN_LINES]))
            more = "…" if missing > MAX_SHOWN_LINES else ""
            where = f" (line{'' if missing == 1 else 's'} {numbers}{more})" if lines else ""
            parts.append(f"{format_count(missing, noun)} left out, no trainable tokens{where}")
    if unreadable := sum(training.unreadable.values()):
        parts.append(f"{format_count(unreadable, 'unreadable row')} skipped")
    return "; ".join(parts)


def format_measures(judged: Verdict) -> list[str]:
    """Format what was measured of base and tuned model on the test rows as a small text table."""
    heading = f"On {format_count(judged.rows, 'test example')}"
    lines = [f"{heading:<33}base     tuned"]
    for change in judged.evidence:
        if change.measure in _MEASURES and change.span is None:
            name, write = _MEASURES[change.measure]
            lines.append(f"  {name:<28}{write(change.base):>7}   {write(change.tuned):>7}")
    return lines if len(lines) > 1 else []


_format_share = "{:.0%}".format
_MEASURES: dict[Measure, tuple[str, Callable[[float], str]]] = {
    "match": ("right answers", _format_share), "fields": ("right JSON fields", _format_share),
    "loss": ("test loss", "{:.3f}".format), "chrf": ("chrF, likeness to expected", "{:.1f}".format),
    "score": ("mean score", _format_share), "ranked": ("wanted above unwanted", _format_share),
    "preferred": ("prefers the chosen answer", _format_share),
}  # fmt: skip


def format_phase(phase: str) -> str:
    return make_visible(PHASE_NAMES.get(phase, phase), 40)


def describe_state(status: RunStatus, progress: Progress | None = None) -> str:
    """Describe the state of a run: ``✓ finished``, ``running: training``.

    ``progress``: of a run whose state may be as long as ``running: comparing: tuned model, 12 of 80
    answers``.
    """
    if status.state == "ended":
        reason = status.end_reason or "lost"
        return f"{MARKS.get(reason, '✗')} {END_NAMES.get(reason, reason)}"
    if status.state == "stopping" and status.end_reason:  # done, but its process still exits
        return "ending"
    doing = describe_progress(progress) if progress else format_phase(status.phase or "")
    if stop_sign := describe_halt(status):
        return f"{stop_sign}: {doing}" if progress else stop_sign
    if status.state == "queued" and status.slurm:
        return describe_queue(status.slurm)
    if status.state == "running" and status.phase:
        return f"running: {doing}"
    return status.state


def describe_queue(job: Allocation) -> str:
    """Describe how a run waits: ``queued: Slurm job 17, Priority: jobs of higher priority are ahead``."""
    return f"queued: {', '.join(list_queue_facts(job))}"


def list_queue_facts(job: Allocation) -> list[str]:
    """Return what is known of a Slurm job that waits, the most important first."""
    facts = [f"Slurm job {job.job_id}"]
    if reason := job_states.describe_reason(job.reason):
        facts.append(make_visible(reason, 80))
    elif job.state is None:
        facts.append("Slurm does not answer")
    if job.expected_start:
        facts.append(
            f"expected to start {format_clock(max(0.0, job.expected_start - time.time()))}"
        )
    return facts


def describe_placement(placement: Placement | None) -> str:
    """Describe when and where Slurm would start a job; None: its answer was not understood."""
    if placement is None:
        return "Slurm accepts it, and does not say when it would start."
    name = make_visible(placement.partition or "", 60)
    if placement.exceeded_limit:
        return (
            "Slurm accepts the job, but would not start it: it asks for more than "
            f"{make_visible(placement.exceeded_limit, 40)}, the time limit of partition {name}. "
            "Lower slurm.time."
        )
    wait_s = placement.expected_start - time.time()
    if wait_s > NEVER_S:
        return (
            "Slurm accepts the job, but would not start it: partition "
            f"{name or 'of the job'} may not allow its account, QOS or user. Change slurm.partition, "
            "slurm.account or slurm.qos."
        )
    when = "at once" if wait_s < NEAR_S else format_clock(wait_s)
    partition = f", partition {name}" if name else ""
    return (
        f"Slurm would start it {when}, on {make_visible(placement.nodes, 100)} "
        f"({format_count(placement.processors, 'processor')}{partition})."
    )


def describe_halt(status: RunStatus) -> str:
    """Describe in a few words that a live run does not progress: ``! stalled 12 min``; else empty."""
    if "restarting" in status.troubles:
        return "! starting again"
    if "suspended" in status.troubles:
        return "! suspended"
    if "unrecorded" in status.troubles:
        return "! end not recorded"
    if {"stalled", "blocked"} & set(status.troubles):
        return f"! stalled {format_age(status.silent_s or 0.0)}"
    return ""


def describe_troubles(status: Status) -> list[str]:
    """Describe why a live run may not be progressing, and what to do, a line for each trouble."""
    signs = status.liveness
    heartbeat = format_age(signs.heartbeat_age_s or 0.0)
    silence = f"No progress for {format_age(signs.silent_s or 0.0)}"
    works = "Training continues, and stop still works."
    end = "If it hangs, end its script." if signs.is_self_kept else "If it hangs, stop it."
    lines: dict[Trouble, str] = {
        "restarting": "Its process ended unexpectedly, and is started again soon, by itself.",
        "suspended": f"Its process is suspended. To continue it: kill -CONT {signs.command_pid}",
        "stalled": f"{silence}; heartbeat {heartbeat} ago. {end}",
        "blocked": f"{silence}: it waits for a disk or a driver. {end}",
        "keeper_died": f"Its keeper has died. {works}",
        "keeper_suspended": f"Its keeper is suspended (kill -CONT {signs.keeper_pid}). {works}",
        "keeper_silent": f"Its keeper has not answered for {heartbeat}. {works}",
        "unrecorded": "Its process ended, but its keeper does not act. To record the end, stop it.",
    }
    return [f"! {lines[trouble]}" for trouble in signs.troubles]


def describe_signs(status: Status) -> str:
    """Describe the age of the last event and of the heartbeat; empty once the run has ended."""
    ages = (("event", status.liveness.silent_s), ("heartbeat", status.liveness.heartbeat_age_s))
    parts = [f"{name} {format_age(age)} ago" for name, age in ages if age is not None]
    return ", ".join(parts)


def format_clock(seconds: float) -> str:
    """Format a time in ``seconds`` from now: ``14:32 (in 25 min)``; without a date, only the latter."""
    remaining = f"in {format_duration(seconds)}"
    try:
        return f"{time.strftime('%H:%M', time.localtime(time.time() + seconds))} ({remaining})"
    except (OverflowError, ValueError, OSError):
        return remaining


def name_item(name: str, line: int | None) -> str:
    """Name an item of an evaluation: ``line 345 (target)``."""
    return f"{f'line {line:,}' if line else 'an item'} ({make_visible(name, 40)})"


def list_items(items: Sequence[tuple[str, int | None, str]]) -> str:
    """List items, by set, line and what is to be said of each."""
    listed = [f"{name_item(name, line)}{note}" for name, line, note in items[:MAX_SHOWN_LINES]]
    more = len(items) - MAX_SHOWN_LINES
    return "; ".join([*listed, f"{more:,} more"] if more > 0 else listed)


def describe_wait(progress: Progress, status: Status | None = None) -> str:
    """Describe for how long a phase, or a slow step of the training, has been running.

    ``status``: of the run, whose newest attempt may not have an event yet; None for work of this
    process.
    """
    is_training = progress.phase == "training"
    if status is None:
        elapsed_s = progress.wait_s(clock.read())
    elif status.attempt == progress.attempt:
        elapsed_s = progress.wait_s(status.now())
    else:
        is_training, elapsed_s = False, status.age_s()
    if not is_training:
        age_s = progress.age_s(clock.read() if status is None else status.now())
        left_s = (progress.left_s or 0.0) - age_s
        left = f"about {format_duration(left_s)} left" if left_s > 0 else ""
        elapsed = format_duration(elapsed_s) if elapsed_s >= 1 else ""
        return ", ".join(filter(None, (elapsed, left, _describe_slow(progress, age_s))))
    step = "this step" if progress.step else "first step"
    return f"{step}: {format_duration(elapsed_s)}" if elapsed_s >= SLOW_STEP_S else ""


def _describe_slow(progress: Progress, age_s: float) -> str:
    """Describe the item that the phase waits for: ``line 345 (target) takes 3 min, others 2 s``."""
    if progress.slow_set is None:
        return ""
    usual = f", others {format_duration(progress.usual_s)}" if progress.usual_s else ""
    elapsed = format_duration((progress.slow_s or 0.0) + age_s)
    return f"{name_item(progress.slow_set, progress.slow_line)} takes {elapsed}{usual}"


def describe_progress(progress: Progress) -> str:
    if not progress.phase:
        return "starting"
    description = format_phase(progress.phase)
    if progress.detail and progress.detail != description:
        description += f": {make_visible(progress.detail, 200)}"
    if progress.done is None or progress.phase == "training":
        return description
    in_bytes = progress.unit == "bytes"
    write: Callable[[float], str] = format_bytes if in_bytes else "{:,.0f}".format
    total = "" if progress.total is None else f" of {write(progress.total)}"
    unit = "" if in_bytes else f" {progress.unit}"
    return f"{description}, {write(progress.done)}{total}{unit}"
