"""Starts of runs: from a plan, from a checkpoint, and as a child of another run.

Everything that can be checked up front is checked before a process starts.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import __version__, config, locations
from ftwizard.advice import plan_warnings
from ftwizard.catalog.prices import PriceRate
from ftwizard.data import bundled_samples
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.hardware import machine
from ftwizard.jobs import launch, leftovers
from ftwizard.jobs.ending import GOOD_END_REASONS
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, Parent
from ftwizard.jobs.status import observe
from ftwizard.models import hub
from ftwizard.plan import plan_file
from ftwizard.plan.checks import check_plan
from ftwizard.plan.schema import LEARNING_RATES, Plan
from ftwizard.pricing import machine_rate
from ftwizard.runs import checkpoints
from ftwizard.text import format_bytes, make_visible
from ftwizard.train import budget, command, dataset, initial_weights

MIN_FREE_BYTES = 500_000_000
"""Free disk space required at the start; checkpoints and a merged model need more."""
CHANGED_HINT = "A resumed run would mix both. Restore the old file, or start a new run."


class Beginning(NamedTuple):
    """The initial weights of a child run."""

    step: int
    """Step of the parent; 0 for its start."""
    weights: Path | None
    """Folder of the weights; None for the base model."""


def start(
    plan: Plan, run_id: str, hour: PriceRate | None = None, *, numbered: bool = False
) -> JobFolder:
    """Check what can be checked up front, then start the run.

    ``hour``: hourly price of this machine, which the run records. ``numbered``: where the id is taken,
    the run gets the next free one, ``run_id-2``.
    """
    config.load()  # a broken notification setting must fail here, not at the end of the run
    command.check_installed(plan)
    budget.require_price(plan, hour)
    plan = copy_mix(plan)
    hashes = hash_data(plan)
    before = plan_warnings.find_supporting_run(plan, lambda: hashes["train"])
    source = hub.locate(plan.model.name, plan.model.revision)
    inputs = {
        "model": msgspec.to_builtins(source),
        **machine_rate.price_record(hour),
        **({"epochs": before.summary} if before else {}),
    }
    hashes |= _hash_model(source)
    path = _choose_path(run_id, numbered=numbered)
    folder = _create(path, plan, hashes, inputs)
    _start(folder, plan)
    return folder


def resume(folder: JobFolder, hour: PriceRate | None) -> Attempt:
    """Continue a run from its newest complete checkpoint.

    ``hour``: hourly price of this machine from now on. Raises FtwizardError if it cannot continue,
    its budget is spent, or its data or model changed.
    """
    require_resumable(folder)
    config.load()
    plan = plan_file.load(folder.plan, begun=True)
    command.check_installed(plan)
    budget.require_price(plan, hour)
    budget.require_rest(folder, plan, hour)
    refuse_changes(folder, plan)
    is_recorded = hour == machine_rate.read_recorded_price(folder)
    return _start(folder, plan, {} if is_recorded else machine_rate.price_record(hour))


def require_resumable(folder: JobFolder) -> None:
    """Raise FtwizardError if a run is still alive, or has finished; kill what a dead one left."""
    leftovers.end(folder)
    status = observe(folder)
    if status.state != "ended":
        raise launch.AlreadyRunning(folder.id, status.host)
    if status.end_reason in GOOD_END_REASONS:
        raise FtwizardError(
            f"Run {folder.id} has finished; there is nothing to resume.",
            f"To see its result: ftwizard status {folder.id}",
        )


def branch(
    parent: JobFolder,
    run_id: str,
    *,
    begin: str | None = None,
    rate_times: float | None = None,
    accumulation_times: int | None = None,
    numbered: bool = False,
) -> JobFolder:
    """Start a run with the parent's plan and one changed setting, on the same data and model.

    ``begin``: ``best`` (the best checkpoint on disk, the default), ``start`` or a step; ``numbered``: as
    for ``start``. Raises
    FtwizardError for a parent that is still running, a step without a checkpoint, data or a model
    that changed since, and where no setting differs.
    """
    if observe(parent).state != "ended":
        raise FtwizardError(
            f"Run {parent.id} is still running on the device that its child needs.",
            f"Stop it first; its best weights are kept: ftwizard stop {parent.id}",
        )
    record = parent.read_job()
    old = plan_file.load(parent.plan, begun=True)
    plan, changes = change_plan(old, rate_times, accumulation_times)
    command.check_installed(plan)
    beginning = find_beginning(parent, begin)
    hour = machine_rate.read_recorded_price(parent) or machine_rate.read_saved_price()
    budget.require_price(plan, hour)
    refuse_changes(
        parent, plan, "The runs could not be compared. Restore the old file, or start a new run."
    )
    inputs = {**record.inputs, **machine_rate.price_record(hour)}
    origin = Parent(id=parent.id, step=beginning.step, changes=changes)
    path = _choose_path(run_id, numbered=numbered)
    folder = _create(path, plan, record.hashes, inputs, origin)
    try:
        if beginning.weights:
            initial_weights.save_initial_weights(folder, beginning.weights, plan.recipe.method)
    except OSError:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    _start(folder, plan)
    return folder


def change_plan(
    old: Plan, rate_times: float | None, accumulation_times: int | None
) -> tuple[Plan, dict[str, tuple[float, float]]]:
    """Return the plan with the learning rate or gradient accumulation multiplied, and the changes.

    Raises FtwizardError where nothing changes, and for an invalid factor.
    """
    factors = {"--rate-times": rate_times, "--accumulation-times": accumulation_times}
    for option, factor in factors.items():
        if factor is not None and not 0 < factor < float("inf"):
            raise FtwizardError(
                f"{option} is {factor:g}; it must be above 0.", "Use 0.5 to halve it.", USAGE
            )
    recipe = old.recipe
    rate = recipe.learning_rate or LEARNING_RATES[recipe.method]
    new = msgspec.structs.replace(
        recipe,
        learning_rate=float(f"{rate * (rate_times or 1):.6g}"),
        gradient_accumulation=recipe.gradient_accumulation * (accumulation_times or 1),
    )
    changes = {
        f"recipe.{name}": (float(getattr(recipe, name) or rate), float(getattr(new, name)))
        for name in ("learning_rate", "gradient_accumulation")
        if getattr(new, name) != (getattr(recipe, name) or rate)
    }
    if not changes:
        raise FtwizardError(
            "Nothing would change: the run would repeat its parent.",
            "Pass --rate-times 0.5 or --accumulation-times 2.",
            USAGE,
        )
    plan = msgspec.structs.replace(old, recipe=new)
    check_plan(plan)
    return plan, changes


def find_beginning(parent: JobFolder, begin: str | None) -> Beginning:
    """Return the initial weights of a child; raise FtwizardError naming the checkpoints on disk."""
    if begin == "start":
        # A parent that is itself a child started from a checkpoint, not from the base model.
        return Beginning(0, parent.origin if parent.origin.is_dir() else None)
    kept = checkpoints.all_complete(parent.checkpoints)
    from_start = f"To start over: ftwizard branch {parent.id} --from start"
    if not kept:
        raise FtwizardError(f"Run {parent.id} has no complete checkpoint.", from_start)
    steps = ", ".join(str(checkpoint.step) for checkpoint in kept)
    if begin in (None, "best"):
        checkpoint = checkpoints.find_best(kept)
        problem = f"No checkpoint of run {parent.id} has a validation loss, so none is best."
        hint = f"On disk: --from {steps}. {from_start}"
    else:
        checkpoint = next((c for c in kept if str(c.step) == begin), None)
        step = make_visible(str(begin), 40)
        problem = f"Run {parent.id} has no checkpoint of step “{step}” on disk."
        hint = f"Choose from {steps}, best or start. Older checkpoints were deleted."
    if checkpoint is None:
        raise FtwizardError(problem, hint)
    return Beginning(checkpoint.step, parent.checkpoints / checkpoint.name)


def _create_runs_folder() -> Path:
    """Return the folder of runs; raise FtwizardError without free disk space for one more."""
    root = locations.create_private_folder(locations.runs_folder())
    free = machine.get_free_bytes(root)
    if free < MIN_FREE_BYTES:
        raise FtwizardError(
            f"Only {format_bytes(free)} free on the disk of {root}; a run needs at least "
            f"{format_bytes(MIN_FREE_BYTES)}.",
            "Free some disk space, or set FTWIZARD_HOME to a folder on a larger disk.",
        )
    return root


def _choose_path(run_id: str, *, numbered: bool) -> Path:
    """Return the folder for a new run, which is claimed if ``numbered``."""
    path = _create_runs_folder() / run_id
    if not numbered:
        return path
    return launch.claim(path, lambda name: plan_file.get_path(name).exists())


def _create(
    path: Path,
    plan: Plan,
    hashes: dict[str, str],
    inputs: dict[str, Any],
    parent: Parent | None = None,
) -> JobFolder:
    record = JobRecord(
        kind="train",
        argv=command.build_argv(path),
        version=__version__,
        created=time.time(),
        hashes=hashes,
        inputs=inputs,
        parent=parent,
    )
    return launch.create(path, record, {"plan.yaml": plan_file.dump(plan).encode()})


def _start(folder: JobFolder, plan: Plan, inputs: Mapping[str, Any] | None = None) -> Attempt:
    def find_newest_checkpoint() -> str | None:
        complete = checkpoints.all_complete(folder.checkpoints)
        return f"{folder.checkpoints.name}/{complete[-1].name}" if complete else None

    return launch.start(
        folder,
        # Not the recorded command: folders move, environments are rebuilt.
        command.build_argv(folder.path),
        environment=command.build_environment(plan),
        checkpoint=find_newest_checkpoint,
        inputs=inputs,
    )


def copy_mix(plan: Plan) -> Plan:
    """Return the plan with the packaged rows of ``data.mix`` replaced by a copied file."""
    mix = plan.data.mix
    if not mix.share:
        return plan
    mix = msgspec.structs.replace(mix, rows=str(bundled_samples.resolve_rows(mix.rows)))
    return msgspec.structs.replace(plan, data=msgspec.structs.replace(plan.data, mix=mix))


def hash_data(plan: Plan) -> dict[str, str]:
    """Read the data as the run will; return a hash of each file and of the split.

    Raises FtwizardError for unusable data.
    """
    hashes: dict[str, str] = {}
    parts = dataset.load_rows(plan, {}, lambda part, table: hashes.update({part: table.sha256}))
    return hashes | {"split": dataset.hash_split(parts)}


def _hash_model(source: hub.ModelSource) -> dict[str, str]:
    hashes = {"model": source.fingerprint}
    if source.kind == "folder":
        hashes["template"] = hub.template_hash(Path(source.name))
    return hashes


def refuse_changes(folder: JobFolder, plan: Plan, hint: str = CHANGED_HINT) -> None:
    """Raise FtwizardError if the data or the model changed since the run started."""
    record = folder.read_job()
    now = hash_data(plan)
    source = msgspec.convert(record.inputs["model"], hub.ModelSource)
    if source.kind == "folder":
        now |= _hash_model(hub.locate(source.name))
    names = {"split": "the split of the rows", "mix": plan.data.mix.rows}
    changed = []
    for part, value in now.items():
        if value != record.hashes.get(part):
            name = names.get(part) or getattr(plan.data.files, part, None) or plan.model.name
            changed.append(f"{part} ({make_visible(name)})")
    if changed:
        listed = ", ".join(changed)
        raise FtwizardError(f"Changed since run {folder.id} started: {listed}.", hint)
