"""Starts of runs: from a plan, from a checkpoint, and as a child of another run.

Everything that can be checked up front is checked before a process starts.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import __version__, config, locations, user_paths
from ftwizard.advice import plan_warnings
from ftwizard.catalog.prices import PriceRate
from ftwizard.data.io.source import DataSource
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.hardware import machine
from ftwizard.jobs import launch, leftovers
from ftwizard.jobs.ending import GOOD_END_REASONS
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, Parent
from ftwizard.jobs.status import Status, observe
from ftwizard.models import hub
from ftwizard.plan import changes, plan_file
from ftwizard.plan.changes import EFFECTS, Changes
from ftwizard.plan.schema import Plan
from ftwizard.pricing import machine_rate
from ftwizard.runs import base_weights, checkpoints, hosted, remote
from ftwizard.slurm import client
from ftwizard.text import format_bytes, make_visible
from ftwizard.train import (
    budget,
    checkpoint_rotation,
    child_plan,
    command,
    dataset,
    initial_weights,
    resumed_plan,
    reward_check,
    slurm_submission,
)

MIN_FREE_BYTES = 500_000_000
"""Free disk space required at the start; checkpoints and a merged model need more."""
MODEL_PARTS = ("model", "template")
"""Hashes of a run that are of its model; the others are of its data."""
CHANGED_HINT = "A resumed run would mix both. Restore the old file, or start a new run."
REPRODUCE_HINT = "The losses could not be the same. Restore the old files, or start a new run."


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
    if plan.where.scheduler == "slurm":
        client.require_installed()
    command.check_processes(plan)
    budget.require_price(plan, hour)
    plan = changes.pin_defaults(plan_file.copy_mix(plan))
    hashes = hash_data(plan)
    before = plan_warnings.find_supporting_run(plan, lambda: hashes["train"])
    source = hub.locate(plan.model.name, plan.model.revision)
    inputs = {
        "model": msgspec.to_builtins(source),
        **machine_rate.price_record(hour),
        **({"epochs": before.summary} if before else {}),
        "rewards": reward_check.hash_functions(plan),
    }
    hashes |= _hash_model(source)
    path = choose_path(run_id, numbered=numbered)
    folder = _create(path, plan, hashes, inputs)
    _start_new(folder, plan)
    return folder


def _start_new(folder: JobFolder, plan: Plan) -> None:
    """Start a new run; where Slurm refuses its job, nothing of it is left."""
    try:
        _start(folder, plan)
    except FtwizardError:
        if plan.where.scheduler == "slurm" and not folder.state.exists():
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


def resume(
    folder: JobFolder,
    hour: PriceRate | None,
    *,
    from_start: bool = False,
    say: Callable[[str], None] = lambda subject: None,
) -> Attempt:
    """Continue a run from its newest sound checkpoint, with the changed settings that it can take
    over; the attempt records them. With ``from_start`` it starts over, where none is left.

    ``hour``: hourly price of this machine from now on. Raises FtwizardError if it cannot continue,
    its budget is spent, its data or model changed, or a setting that it was trained with.
    """
    require_resumable(folder)
    _require_space_to_resume(folder)
    config.load()
    plan, differences = resumed_plan.read(folder)
    command.check_installed(plan)
    command.check_processes(plan)
    budget.require_price(plan, hour)
    budget.require_rest(folder, plan, hour)
    refuse_changes(folder, plan, say=say)
    is_recorded = hour == machine_rate.read_recorded_price(folder)
    price = {} if is_recorded else machine_rate.price_record(hour)
    return _start(folder, plan, price, differences, from_start=from_start, say=say)


def require_resumable(folder: JobFolder) -> None:
    """Raise FtwizardError if a run is still alive, or has finished; kill what a dead one left."""
    leftovers.end(folder)
    status = observe(folder)
    if status.state == "queued" and status.allocation:
        raise FtwizardError(
            f"Run {folder.id} already waits in the queue, as Slurm job {status.allocation.job_id}.",
            f"See why: ftwizard status {folder.id}   Cancel it: ftwizard stop {folder.id}",
        )
    if status.state != "ended":
        raise launch.AlreadyRunning(folder.id, status.host)
    if status.end_reason in GOOD_END_REASONS:
        raise FtwizardError(
            f"Run {folder.id} has finished; there is nothing to resume.",
            f"To see its result: ftwizard status {folder.id}",
        )
    record = remote.read(folder)
    if record and record.state in ("failed", "cancelled"):
        raise FtwizardError(
            f"The job of run {folder.id} has ended at {hosted.name_platform(record.provider)} "
            f"({make_visible(record.status or record.state, 40)}); there is nothing to resume.",
            f"To start another job: ftwizard train {make_visible(str(folder.plan))}",
        )


def branch(
    parent: JobFolder,
    run_id: str,
    request: child_plan.Request,
    begin: str | None = None,
    *,
    numbered: bool = False,
) -> JobFolder:
    """Start a run with the parent's plan and changed settings.

    ``begin``: ``best`` (the best checkpoint on disk), ``start``, a step, or None for where it can:
    see ``find_beginning``; ``numbered``: as for ``start``. Raises FtwizardError for a parent that is
    still running, a step without a checkpoint, data or a model that changed on disk, and where no
    setting differs.
    """
    status = _require_ended(parent)
    record = parent.read_job()
    plan, differences = child_plan.build(parent, request)
    command.check_installed(plan)
    command.check_processes(plan)
    hour = machine_rate.read_recorded_price(parent) or machine_rate.read_saved_price()
    budget.require_price(plan, hour)
    plan = plan_file.copy_mix(plan)
    hashes, source = _hash_inputs(parent, plan, differences)
    needs_base = [name for name in differences if EFFECTS[name] == "base"]
    if any(hashes[part] != record.hashes.get(part) for part in hashes if part not in MODEL_PARTS):
        needs_base += [name for name in differences if EFFECTS[name] == "file"]
    inputs = {**record.inputs, **machine_rate.price_record(hour), "model": source}
    inputs["rewards"] = reward_check.hash_functions(plan)
    if "recipe.objective" in differences:
        # Another objective has rows of another kind, and continues what the parent has learned.
        needs_base = [name for name in needs_base if not name.startswith(("data.", "recipe.grpo."))]
        inputs |= {"trained_before": _count_trained_before(parent, plan)}
    beginning = find_beginning(parent, begin, needs_base, status.end_reason)
    origin = Parent(id=parent.id, step=beginning.step, changes=dict(differences))
    path = choose_path(run_id, numbered=numbered)
    folder = _create(path, plan, hashes, inputs, origin)
    if source == record.inputs["model"]:
        base_weights.copy_record(parent, folder)
    _start_child(folder, plan, beginning)
    return folder


def _count_trained_before(parent: JobFolder, plan: Plan) -> int:
    """Return how many rows of the test set have a prompt that the parent was trained on."""
    before = dataset.load_rows(child_plan.read_used(parent), parent.read_job().hashes)
    trained = set(map(dataset.hash_prompt, before["train"]))
    tested = dataset.load_rows(plan, {})["test"]
    return sum(prompt in trained for prompt in map(dataset.hash_prompt, tested))


def _require_ended(parent: JobFolder) -> Status:
    status = observe(parent)
    if status.state != "ended":
        raise FtwizardError(
            f"Run {parent.id} is still running on the device that its child needs.",
            f"Stop it first; its best weights are kept: ftwizard stop {parent.id}",
        )
    return status


def _start_child(folder: JobFolder, plan: Plan, beginning: Beginning) -> None:
    try:
        if beginning.weights:
            initial_weights.save_initial_weights(folder, beginning.weights, plan.recipe.method)
    except OSError:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    _start_new(folder, plan)


def check_reproducible(
    original: JobFolder, say: Callable[[str], None] = lambda subject: None
) -> Plan:
    """Return the plan of a run that can be trained again.

    Raises FtwizardError for a run that has not ended, and for data or a model that changed on disk.
    """
    _require_ended(original)
    plan = child_plan.read_used(original)
    command.check_installed(plan)
    command.check_processes(plan)
    require_files(original, plan, REPRODUCE_HINT)
    refuse_changes(original, plan, REPRODUCE_HINT, say=say)
    return plan


def require_files(folder: JobFolder, plan: Plan, hint: str) -> None:
    """Raise FtwizardError that names the data files that are gone, or changed since the run started.

    It reads bytes, not rows: a changed file may be broken as well.
    """
    hashes, files = folder.read_job().hashes, plan.data.files
    mix = plan.data.mix.rows if plan.data.mix.share else None
    parts = {"train": files.train, "validation": files.validation, "test": files.test, "mix": mix}
    problems: dict[str, list[str]] = {"Gone": [], "Changed": []}
    for part, name in parts.items():
        if not name or part not in hashes:
            continue
        if not user_paths.exists(Path(name)):
            problems["Gone"].append(f"{part} ({make_visible(name)})")
            continue
        with DataSource(Path(name)) as source:
            if source.sha256() != hashes[part]:
                problems["Changed"].append(f"{part} ({make_visible(name)})")
    for problem, names in problems.items():
        if names:
            listed = ", ".join(names)
            raise FtwizardError(f"{problem} since run {folder.id} started: {listed}.", hint)


def reproduce(original: JobFolder, run_id: str, plan: Plan, *, numbered: bool = False) -> JobFolder:
    """Start a run with the plan, the data and the initial weights of another run.

    ``plan``: as ``check_reproducible`` returned it; ``numbered``: as for ``start``.
    """
    record = original.read_job()
    hour = machine_rate.read_recorded_price(original) or machine_rate.read_saved_price()
    budget.require_price(plan, hour)
    inputs = {**record.inputs, **machine_rate.price_record(hour)}
    origin = Parent(id=original.id, step=0, changes={})
    path = choose_path(run_id, numbered=numbered)
    folder = _create(path, plan, record.hashes, inputs, origin)
    base_weights.copy_record(original, folder)
    weights = original.origin if original.origin.is_dir() else None
    _start_child(folder, plan, Beginning(0, weights))
    return folder


def find_beginning(
    parent: JobFolder,
    begin: str | None,
    needs_base: Sequence[str] = (),
    end_reason: str | None = None,
) -> Beginning:
    """Return the initial weights of a child; raise FtwizardError naming the checkpoints on disk.

    With ``begin`` None the best checkpoint, else the newest (not of a run whose loss became NaN),
    else what the parent began with. ``needs_base``: changed settings that need the base model.
    """
    if needs_base and begin in (None, "start"):
        return Beginning(0, None)
    if needs_base:
        raise FtwizardError(
            f"The weights of a checkpoint cannot continue with another {', '.join(needs_base)}.",
            "Remove --from: the run then starts from the base model.",
            USAGE,
        )
    kept = checkpoints.all_complete(parent.checkpoints)
    best = checkpoints.find_best(kept)
    newest = kept[-1] if kept and end_reason != "nan" else None
    checkpoint = best or newest if begin is None else best if begin == "best" else None
    if begin == "start" or (begin is None and checkpoint is None):
        # A parent that is itself a child started from a checkpoint, not from the base model.
        return Beginning(0, parent.origin if parent.origin.is_dir() else None)
    checkpoint = checkpoint or next((c for c in kept if str(c.step) == begin), None)
    if checkpoint is None:
        raise _explain_missing(parent, begin or "", [c.step for c in kept])
    path = parent.checkpoints / checkpoint.name
    if damage := checkpoints.find_damage(path, checkpoints.is_weights):
        raise FtwizardError(
            f"{checkpoints.describe_damage(checkpoint.name, damage)}.",
            f"On disk: --from {', '.join(str(c.step) for c in kept)}. To start over: --from start",
        )
    return Beginning(checkpoint.step, path)


def _explain_missing(parent: JobFolder, begin: str, steps: Sequence[int]) -> FtwizardError:
    from_start = "To start over: --from start"
    if not steps:
        return FtwizardError(f"Run {parent.id} has no complete checkpoint.", from_start)
    listed = ", ".join(map(str, steps))
    if begin == "best":
        return FtwizardError(
            f"No checkpoint of run {parent.id} has a validation loss, so none is best.",
            f"On disk: --from {listed}. {from_start}",
        )
    return FtwizardError(
        f"Run {parent.id} has no checkpoint of step “{make_visible(begin, 40)}” on disk.",
        f"Choose from {listed}, best or start. Older checkpoints were deleted.",
    )


def _create_runs_folder() -> Path:
    """Return the folder of runs; raise FtwizardError without free disk space for one more."""
    root = locations.create_private_folder(locations.runs_folder())
    larger = "Free some disk space, or set FTWIZARD_HOME to a folder on a larger disk."
    _require_free(root, "a run", MIN_FREE_BYTES, larger)
    return root


def _require_space_to_resume(folder: JobFolder) -> None:
    """Raise FtwizardError without free disk space for a run and one more of its checkpoints."""
    kept = checkpoints.all_complete(folder.checkpoints)
    needed = MIN_FREE_BYTES + (sum(kept[-1].files.values()) if kept else 0)
    delete = "Free some disk space there. Checkpoints of a run: ftwizard remove RUN --checkpoints"
    _require_free(folder.path, f"to resume, run {folder.id}", needed, delete)


def _require_free(path: Path, subject: str, needed: int, hint: str) -> None:
    free = machine.get_free_bytes(path)
    if free < needed:
        raise FtwizardError(
            f"Only {format_bytes(free)} free on the disk of {path}; {subject} needs at least "
            f"{format_bytes(needed)}.",
            hint,
        )


def choose_path(run_id: str, *, numbered: bool) -> Path:
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
        plan=msgspec.to_builtins(plan),
    )
    return launch.create(path, record, {"plan.yaml": plan_file.dump(plan).encode()})


def _start(
    folder: JobFolder,
    plan: Plan,
    inputs: Mapping[str, Any] | None = None,
    differences: Changes | None = None,
    *,
    from_start: bool = False,
    say: Callable[[str], None] = lambda subject: None,
) -> Attempt:
    if plan.where.scheduler == "slurm":
        return slurm_submission.submit(folder, plan, inputs, differences, from_start=from_start)
    return launch.start(
        folder,
        # Not the recorded command: folders move, environments are rebuilt.
        command.build_argv(folder.path),
        environment=command.build_environment(plan, trains=True),
        find_start=lambda: checkpoint_rotation.choose_beginning(
            folder, from_start=from_start, say=say
        ),
        inputs=inputs,
        plan=msgspec.to_builtins(plan),
        changes=differences,
    )


def hash_data(plan: Plan) -> dict[str, str]:
    """Read the data as the run will; return a hash of each file and of the split.

    Raises FtwizardError for unusable data, and for rewards that fail on it or tell no answers apart.
    """
    hashes: dict[str, str] = {}
    parts = dataset.load_rows(plan, {}, lambda part, table: hashes.update({part: table.sha256}))
    reward_check.require_signal(plan, parts)
    return hashes | {"split": dataset.hash_split(parts)}


def _hash_model(source: hub.ModelSource) -> dict[str, str]:
    hashes = {"model": source.fingerprint}
    if source.kind == "folder":
        hashes["template"] = hub.template_hash(Path(source.name))
    return hashes


def _hash_inputs(
    parent: JobFolder, plan: Plan, differences: Changes
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the hashes of a child's data and model, and the source of its model.

    What no setting changes must be the same as for the parent: raise FtwizardError if it is not.
    """
    record = parent.read_job()
    new_data = any(name.startswith("data.") for name in differences)
    new_model = any(name.startswith("model.") for name in differences)
    refuse_changes(
        parent,
        plan,
        "The runs could not be compared. Restore the old file, or start a new run.",
        data=not new_data,
        model=not new_model,
    )
    source: dict[str, Any] = record.inputs["model"]
    model = {part: value for part, value in record.hashes.items() if part in MODEL_PARTS}
    data = {part: value for part, value in record.hashes.items() if part not in MODEL_PARTS}
    if new_data:
        data = hash_data(plan)
    if new_model:
        located = hub.locate(plan.model.name, plan.model.revision)
        source, model = msgspec.to_builtins(located), _hash_model(located)
    return data | model, source


def refuse_changes(
    folder: JobFolder,
    plan: Plan,
    hint: str = CHANGED_HINT,
    *,
    data: bool = True,
    model: bool = True,
    say: Callable[[str], None] = lambda subject: None,
) -> None:
    """Raise FtwizardError if the data or the model changed on disk since the run started.

    ``say`` gets what is read for long.
    """
    record = folder.read_job()
    now = hash_data(plan) if data else {}
    source = msgspec.convert(record.inputs["model"], hub.ModelSource)
    if model and source.kind == "folder":
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
    if model and (base := hub.find_local(source)):
        base_weights.require_unchanged(folder, base, hint, say)
