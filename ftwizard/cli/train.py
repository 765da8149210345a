"""``train``, ``resume`` and ``branch``: the start of a run, of its next attempt, and of a child."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shlex
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard.advice import plan_warnings
from ftwizard.advice.recipe_rules import AdvisedValue
from ftwizard.advice.time_cap import TimeCap
from ftwizard.catalog.prices import PriceRate
from ftwizard.cli import (
    advised_plan,
    hosted_run,
    open_files,
    output,
    plan_argument,
    progress,
    run_argument,
    time_cap,
)
from ftwizard.cli.watch import view
from ftwizard.data import row_edit
from ftwizard.data.hub import ids
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate.report import RecipeWarning
from ftwizard.jobs.folder import JobFolder, check_id
from ftwizard.models import model_config
from ftwizard.plan import changes, plan_file
from ftwizard.plan.schema import HOSTED_PROVIDERS, Plan
from ftwizard.pricing import machine_rate
from ftwizard.runs import default_run, describe, hosted, store, watched
from ftwizard.runs.checkpoints import describe_damage
from ftwizard.runs.store import RunStatus
from ftwizard.text import format_count, format_epochs, make_visible
from ftwizard.train import child_plan, dataset, launcher, resumed_plan

_TIME_SUFFIX = re.compile(r"-\d{4}-\d{6}(-\d+)?$")
"""The suffix that ``store.make_id`` adds to a name, and the number of runs of one second."""


DATA_HINT = (
    "Add --model; those that fit: ftwizard models {name}   "
    "Or choose everything on screens: ftwizard {name}"
)
DATA_OPTIONS = ("method", "epochs", "minutes", "val", "format", "columns", "encoding")
"""Options for a data file; a plan has settings instead."""


class StartReport(RunStatus, frozen=True, kw_only=True):
    """The document of ``ftwizard train --json``."""

    warnings: list[RecipeWarning]
    epochs_because: str | None
    """Why more epochs than usual are fine: an earlier run."""
    plan: str | None
    """The plan file; None if it could not be saved."""
    advised: tuple[AdvisedValue, ...]
    """The settings that were advised, for a data file instead of a plan."""
    cap: dict[str, Any] | None
    """How the run was reduced to ``--minutes``, as in ``estimate --json``."""


class _Start(NamedTuple):
    """A run that has just started."""

    folder: JobFolder
    plan: Plan
    file: Path | None
    """The plan file; None if it could not be saved."""
    advice: tuple[AdvisedValue, ...] = ()
    cap: TimeCap | None = None


def train(arguments: argparse.Namespace) -> int:
    """Start a run of a plan, or of a data file and a model with advised settings.

    Print its id, or follow it with ``--watch``.
    """
    if arguments.dry_run:
        return _preview(arguments)
    stem = Path(arguments.plan).stem
    name = store.make_id(stem) if arguments.name is None else check_id(arguments.name)
    start = _start_plan if arguments.model is None else _start_data
    folder, plan, file, advice, cap = start(arguments, name)
    record = folder.read_job()
    warnings: list[RecipeWarning] = []
    if not plan.is_hosted:
        warnings = plan_warnings.find_warnings(
            plan, model_config.count_parameters(plan.model.name), lambda: record.hashes["train"]
        )
        warnings += plan_warnings.warn_other_runs(folder)
    if not arguments.json:
        notes = [f"! {warning.message}" for warning in warnings]
        if why := record.inputs.get("epochs"):
            notes.append(f"· {format_epochs(plan.recipe.epochs)}: {why}")
        for note in notes:
            print(make_visible(note), file=sys.stderr)
    if arguments.watch:
        return view(folder, arguments)
    if arguments.json:
        status = msgspec.structs.asdict(store.read_status(folder))
        output.print_json(
            StartReport(
                **status, warnings=warnings, epochs_because=record.inputs.get("epochs"),
                plan=str(file) if file else None, advised=advice,
                cap=time_cap.to_document(cap) if cap else None,
            )
        )  # fmt: skip
    else:
        if plan.where.scheduler == "slurm":
            _report_submission(folder)
        print(folder.id)
    return 0


def _report_submission(folder: JobFolder) -> None:
    """Say on stderr that a run is in the queue, with what stdout is not for."""
    status = store.read_status(folder)
    print(f"· {describe.describe_state(status)}", file=sys.stderr)
    print(f"· Its script: {make_visible(str(folder.script))}", file=sys.stderr)


def _preview(arguments: argparse.Namespace) -> int:
    if arguments.model or plan_argument.is_data(arguments.plan):
        raise FtwizardError(
            "--dry-run is for a plan that trains at a platform.",
            f"Write one with provider: {', '.join(HOSTED_PROVIDERS)}. Or let the wizard ask: ftwizard "
            + shlex.quote(arguments.plan),
            USAGE,
        )
    plan = _load_plan(arguments)
    if not plan.is_hosted:
        raise FtwizardError(
            "--dry-run is for a plan that trains at a platform.",
            f"For training on this machine: ftwizard estimate {shlex.quote(arguments.plan)}",
            USAGE,
        )
    return hosted_run.preview(plan, arguments)


def _load_plan(arguments: argparse.Namespace) -> Plan:
    """Load the plan; raise FtwizardError for options that only a data file takes."""
    for option in DATA_OPTIONS:
        if getattr(arguments, option) not in (None, "auto", []):
            raise FtwizardError(
                f"--{option} is for a data file, and needs --model.",
                "A plan has all settings itself: change them there.",
                USAGE,
            )
    return plan_argument.load(
        arguments.plan, arguments.allow, data_hint=DATA_HINT, deferred=("many-epochs",)
    )


def _start_plan(arguments: argparse.Namespace, name: str) -> _Start:
    plan = _load_plan(arguments)
    if plan.evaluate.sets:
        from ftwizard.evaluate import sets

        sets.check_files(plan.evaluate.sets)
    file = Path(arguments.plan).absolute()
    if plan.is_hosted:
        return _Start(hosted_run.start(plan, name, arguments), plan, file)
    price = _read_hour_price(arguments.price)
    folder = launcher.start(plan, name, price, numbered=arguments.name is None)
    return _Start(folder, plan, file)


def _start_data(arguments: argparse.Namespace, name: str) -> _Start:
    """Start a run of a data file, and save its plan, which can be edited and started again."""
    _require_data(arguments.plan)
    for data in filter(None, (arguments.plan, arguments.val)):
        if ids.parse(data) is None:
            open_files.require_file(data)
    if arguments.name and (old := plan_file.get_path(name)).exists():
        shown = make_visible(str(old))
        raise FtwizardError(
            f"A plan of that name already exists: {shown}.",
            f"Choose another --name, or start that plan: ftwizard train {shlex.quote(shown)}",
        )
    plan, advice, report, cap = advised_plan.build(arguments)
    price = _read_hour_price(arguments.price)
    folder = launcher.start(plan, name, price, numbered=arguments.name is None)
    file: Path | None = None
    try:
        file = plan_file.save(plan, folder.id)
    except FtwizardError as error:  # the run has begun, with its own copy
        print(f"! {make_visible(error.message)}", file=sys.stderr)
    if not arguments.json:
        advised_plan.print_advice(plan, advice, report, file, cap)
    return _Start(folder, plan, file, advice, cap)


def _require_data(name: str) -> None:
    """Raise FtwizardError for a plan where a data file is needed."""
    if plan_argument.is_plan(name):
        raise FtwizardError(
            f"{make_visible(name, 100)} is a plan, which names its model itself.",
            "Remove --model, or change model.name in the plan.",
            USAGE,
        )


def _read_hour_price(texts: list[str]) -> PriceRate | None:
    """Return the hourly price of this machine; print, but do not raise, an unusable price file."""
    if texts:
        return machine_rate.parse_command_price(texts)
    try:
        return machine_rate.read_price()
    except FtwizardError as error:
        print(f"ftwizard: {make_visible(error.message)}", file=sys.stderr)
        print("  The cost of this run will be unknown.", file=sys.stderr)
        return None


def resume(arguments: argparse.Namespace) -> int:
    """Continue a run from its newest sound checkpoint, or from the start where none is left."""
    folder = run_argument.find(arguments.run, default_run.choose_resumed)
    watched.require_own(folder, "resumed")
    if hosted_run.is_hosted(folder):
        return hosted_run.resume(folder, arguments)
    launcher.require_resumable(folder)
    if arguments.restore_plan and (moved := resumed_plan.restore(folder)):
        print(f"· The edited plan is kept in {make_visible(str(moved))}", file=sys.stderr)
    recorded = machine_rate.read_recorded_price(folder)
    hour = recorded if recorded and not arguments.price else _read_hour_price(arguments.price)
    with progress.reporter() as say:
        attempt = launcher.resume(
            folder, hour, from_start=arguments.begin == "start",
            say=lambda subject: say("reading", what=subject),
        )  # fmt: skip
    for name, files in attempt.damaged.items():
        print(f"! {describe_damage(name, files)}; it was set aside.", file=sys.stderr)
    if arguments.json:
        output.print_json(store.with_changes(store.read_status(folder), folder))
        return 0
    if attempt.slurm_job is not None:
        _report_submission(folder)
        print(f"{folder.id} continues from its newest checkpoint (attempt {attempt.number}).")
        return 0
    origin = Path(attempt.checkpoint).name if attempt.checkpoint else "the start"
    print(f"{folder.id} continues from {origin} (attempt {attempt.number}).")
    if attempt.changes:
        print(f"Changed from now on: {describe.describe_changes(attempt.changes)}.")
    return 0


def branch(arguments: argparse.Namespace) -> int:
    """Start a child run; print its id, or follow it with ``--watch``."""
    parent = store.find(arguments.run)
    watched.require_own(parent, "branched")
    hosted.refuse_elsewhere(parent, "no child run can start from it here")
    name = arguments.name or store.make_id(strip_time(parent.id))
    request = child_plan.Request(
        edited=arguments.edited,
        settings=arguments.set,
        rate_times=arguments.rate_times,
        accumulation_times=arguments.accumulation_times,
        smaller_batch=arguments.smaller_batch,
        allow=arguments.allow,
    )
    with _drop_rows(parent, check_id(name), arguments.drop) as settings:
        request = request._replace(settings=[*arguments.set, *settings])
        folder = launcher.branch(
            parent, name, request, arguments.begin, numbered=arguments.name is None
        )
    if arguments.watch:
        return view(folder, arguments)
    if arguments.json:
        output.print_json(store.read_status(folder))
        return 0
    child = folder.read_job().parent
    assert child is not None
    print(f"{folder.id} is a child of {describe.describe_parent(child)}.")
    if names := [name for name in child.changes if changes.EFFECTS[name] == "base"]:
        listed = ", ".join(names)
        print(f"The base model is trained anew: no checkpoint can continue with another {listed}.")
    return 0


@contextlib.contextmanager
def _drop_rows(
    parent: JobFolder, run_id: str, lines: Collection[int] | None
) -> Iterator[list[str]]:
    """Yield the settings of new data files without ``lines``; they are deleted if no run starts.

    Each part of the parent's split gets a file of its own: a new split would move rows between
    training, validation and test, and the runs could not be compared.
    """
    if not lines:
        yield []
        return
    plan = child_plan.read_used(parent)
    hint = "Its lines are no longer those that were evaluated. Restore the old file."
    launcher.refuse_changes(parent, plan, hint, model=False)
    train = Path(plan.data.files.train)
    with contextlib.ExitStack() as undo:
        settings, counts = [], []
        for part, numbers in dataset.list_split_lines(plan).items():
            if part != "train":
                settings.append(f"data.split.{part}=0")
            out = train.with_name(f"{run_id}-{part}.jsonl")
            report = row_edit.drop_rows(train, lines, out, plan.data.encoding, keep=numbers)
            undo.callback(out.unlink, missing_ok=True)
            settings.append(f"data.files.{part}={json.dumps(report.path)}")
            counts.append(f"{make_visible(report.path)}: {format_count(report.rows, 'row')}")
        yield settings
        undo.pop_all()
    dropped = format_count(len(set(lines)), "row")
    print(*counts, f"{dropped} dropped, all others are in the part of the split in which they were",
          sep="\n", file=sys.stderr)  # fmt: skip


def strip_time(run_id: str) -> str:
    """Return the id of a run without the time that ``store.make_id`` added."""
    return _TIME_SUFFIX.sub("", run_id)
