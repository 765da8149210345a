"""``train`` and ``resume``: from a plan to a running job."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec

from ftwizard import (
    __version__,
    checkpoints,
    config_file,
    hour_price,
    machine,
    model_config,
    models,
    plan,
    runs,
    samples,
    settings,
)
from ftwizard.catalog.prices import Rate
from ftwizard.commands import output, plan_file, warned
from ftwizard.errors import FtwizardError
from ftwizard.jobs import launch
from ftwizard.jobs.ending import GOOD
from ftwizard.jobs.folder import JobFolder, JobRecord, check_id
from ftwizard.jobs.status import observe
from ftwizard.paths import local
from ftwizard.plan import Plan
from ftwizard.text import size, visible
from ftwizard.train import budget, rows

ROOM_BYTES = 500_000_000
"""Less room than this is refused at the start: checkpoints and a merged model need more."""


def train(arguments: argparse.Namespace) -> int:
    """Start a run; print its id, or follow it with ``--watch``."""
    chosen = plan_file.load(arguments.plan, arguments.allow, later=("many-epochs",))
    name = arguments.name or runs.new_id(Path(arguments.plan).stem)
    folder = start(chosen, check_id(name), _hour(arguments.price))
    record = folder.read_job()
    warnings = warned.of_plan(chosen, _parameters(chosen), lambda: record.hashes["train"])
    if not arguments.json:
        said = [f"! {one.message}" for one in warnings]
        if why := record.inputs.get("epochs"):
            said.append(f"· {chosen.recipe.epochs:g} epochs: {why}")
        for one in said:
            print(visible(one), file=sys.stderr)
    if arguments.watch:
        from ftwizard.commands.watch import view

        return view(folder, arguments)
    if arguments.json:
        status = msgspec.to_builtins(runs.status(folder))
        output.print_json(
            status | {"warnings": warnings, "epochs_because": record.inputs.get("epochs")}
        )
    else:
        print(folder.id)
    return 0


def _parameters(chosen: Plan) -> int | None:
    """Return the parameters of the model, None where its configuration does not tell them."""
    try:
        shape = model_config.shape(chosen.model.name)
    except FtwizardError:
        return None
    return shape.parameters if shape else None


def _hour(texts: list[str]) -> Rate | None:
    """Return what an hour of this machine costs; a file of prices that cannot be used stops no run,
    but is said."""
    if texts:
        return hour_price.of_command(texts)
    try:
        return hour_price.known()
    except FtwizardError as error:
        print(f"ftwizard: {visible(error.message)}", file=sys.stderr)
        print("  So the cost of this run will not be known.", file=sys.stderr)
        return None


def start(chosen: Plan, run_id: str, hour: Rate | None = None) -> JobFolder:
    """Check everything that can be checked at once, then start the run.

    ``hour``: what an hour of this machine costs; the run keeps it.
    """
    config_file.load()  # what it says of the end must be right before the beginning
    local.check_installed(chosen)
    check_budget(chosen, hour)
    chosen = _with_rows_kept(chosen)
    hashes = _data_hashes(chosen)
    before = warned.many_epochs(chosen, lambda: hashes["train"])
    source = models.locate(chosen.model.name, chosen.model.revision)
    hashes["model"] = source.fingerprint
    if source.kind == "folder":
        hashes["template"] = models.template_hash(Path(source.name))
    path = runs_folder() / run_id
    record = JobRecord(
        kind="train",
        argv=local.argv(path),
        version=__version__,
        created=time.time(),
        hashes=hashes,
        inputs={
            "model": msgspec.to_builtins(source),
            **hour_price.record(hour),
            **({"epochs": before.said} if before else {}),
        },
    )
    folder = launch.create(path, record, {"plan.yaml": plan.dump(chosen).encode()})
    launch.start(folder, record.argv, environment=local.environment(chosen))
    return folder


def runs_folder() -> Path:
    """Return where runs are kept; raise FtwizardError if there is no room for one more."""
    root = settings.private_folder(settings.runs_folder())
    free = machine.free_bytes(root)
    if free < ROOM_BYTES:
        raise FtwizardError(
            f"Only {size(free)} are free where {root} is; a run needs at least {size(ROOM_BYTES)}.",
            "Free some space, or set FTWIZARD_HOME to a folder on a larger disk.",
        )
    return root


def check_budget(chosen: Plan, hour: Rate | None) -> None:
    """Raise FtwizardError for a budget in dollars where the price of an hour is not known."""
    if chosen.budget.usd is not None and hour is None:
        raise FtwizardError(
            f"budget.usd is {chosen.budget.usd:g}, but what an hour of this machine costs is not "
            "known.",
            f"Say it with {hour_price.OPTION}, or keep it in {hour_price.shown_file()}.",
        )


def resume(arguments: argparse.Namespace) -> int:
    """Go on with a run from its newest complete checkpoint."""
    folder = runs.find(arguments.run)
    before = observe(folder)
    if before.state != "ended":
        raise launch.AlreadyRunning(folder.id, before.host)
    if before.end_reason in GOOD:
        raise FtwizardError(
            f"Run {folder.id} has finished; there is nothing to go on with.",
            f"Its result: ftwizard status {folder.id}",
        )
    config_file.load()
    chosen = plan.load(folder.plan, begun=True)
    local.check_installed(chosen)
    known = hour_price.recorded(folder)
    hour = known if known and not arguments.price else _hour(arguments.price)
    check_budget(chosen, hour)
    budget.refuse_spent(folder, chosen, hour)
    refuse_changes(folder, chosen)
    attempt = launch.start(
        folder,
        local.argv(folder.path),  # not the recorded one: folders move, environments are rebuilt
        environment=local.environment(chosen),
        checkpoint=lambda: _newest(folder),
        inputs=hour_price.record(hour) if hour != known else {},
    )
    if arguments.json:
        output.print_json(runs.status(folder))
        return 0
    origin = Path(attempt.checkpoint).name if attempt.checkpoint else "the beginning"
    print(f"{folder.id} goes on from {origin} (attempt {attempt.number}).")
    return 0


def _newest(folder: JobFolder) -> str | None:
    found = checkpoints.all_complete(folder.checkpoints)
    return f"{folder.checkpoints.name}/{found[-1].name}" if found else None


def _with_rows_kept(chosen: Plan) -> Plan:
    """Return the plan with a packaged set of rows copied, as which it stays what it is."""
    mix = chosen.data.mix
    if not mix.share:
        return chosen
    mix = msgspec.structs.replace(mix, rows=str(samples.rows_file(mix.rows)))
    return msgspec.structs.replace(chosen, data=msgspec.structs.replace(chosen.data, mix=mix))


def _data_hashes(chosen: Plan) -> dict[str, str]:
    """Read the data as the run will, and return a hash a file and one of how they are divided.

    Raises FtwizardError for what is unusable.
    """
    hashes: dict[str, str] = {}
    parts = rows.load(chosen, {}, lambda part, table: hashes.update({part: table.sha256}))
    return hashes | {"split": rows.fingerprint(parts)}


MIXED = "A resumed run would mix both. Put the old file back, or start a new run."


def refuse_changes(folder: JobFolder, chosen: Plan, hint: str = MIXED) -> None:
    """Raise FtwizardError if data or model are not what the run began with."""
    record = folder.read_job()
    now = _data_hashes(chosen)
    source = msgspec.convert(record.inputs["model"], models.Source)
    if source.kind == "folder":
        now["model"] = models.locate(source.name).fingerprint
        now["template"] = models.template_hash(Path(source.name))
    changed = [part for part, value in now.items() if value != record.hashes.get(part)]
    if changed:
        listed = ", ".join(f"{part} ({visible(_what(part, chosen))})" for part in changed)
        raise FtwizardError(
            f"Since run {folder.id} began, this has changed: {listed}.",
            hint,
        )


def _what(part: str, chosen: Plan) -> str:
    """Return what a hash of ``part`` is of."""
    if part == "split":
        return "which rows are in which part"
    if part == "mix":
        return chosen.data.mix.rows
    return getattr(chosen.data.files, part, None) or chosen.model.name
