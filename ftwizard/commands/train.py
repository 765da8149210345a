"""``train`` and ``resume``: from a plan to a running job."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import msgspec

from ftwizard import __version__, machine, models, plan, runs, settings
from ftwizard.commands import output
from ftwizard.data import read, split
from ftwizard.errors import FtwizardError
from ftwizard.jobs import launch
from ftwizard.jobs.ending import GOOD
from ftwizard.jobs.folder import JobFolder, JobRecord, check_id
from ftwizard.jobs.status import observe
from ftwizard.paths import local
from ftwizard.plan import Plan
from ftwizard.text import size, visible
from ftwizard.train import checkpoints

ROOM_BYTES = 500_000_000
"""Less room than this is refused at the start: checkpoints and a merged model need more."""


def train(arguments: argparse.Namespace) -> int:
    """Start a run; print its id, or follow it with ``--watch``."""
    chosen = plan.load(Path(arguments.plan), arguments.insist)
    name = arguments.name or runs.new_id(Path(arguments.plan).stem)
    folder = start(chosen, check_id(name))
    if arguments.watch:
        from ftwizard.commands.watch import view

        return view(folder, arguments)
    if arguments.json:
        output.print_json(runs.status(folder))
    else:
        print(folder.id)
    return 0


def start(chosen: Plan, run_id: str) -> JobFolder:
    """Check everything that can be checked at once, then start the run."""
    local.check_installed(chosen)
    hashes = _data_hashes(chosen)
    source = models.locate(chosen.model.name, chosen.model.revision)
    hashes["model"] = source.fingerprint
    if source.kind == "folder":
        hashes["template"] = models.template_hash(Path(source.name))
    root = settings.private_folder(settings.runs_folder())
    free = machine.free_bytes(root)
    if free < ROOM_BYTES:
        raise FtwizardError(
            f"Only {size(free)} are free where {root} is; a run needs at least {size(ROOM_BYTES)}.",
            "Free some space, or set FTWIZARD_HOME to a folder on a larger disk.",
        )
    path = root / run_id
    record = JobRecord(
        kind="train",
        argv=local.argv(path),
        version=__version__,
        created=time.time(),
        hashes=hashes,
        inputs={"model": msgspec.to_builtins(source)},
    )
    folder = launch.create(path, record, {"plan.yaml": plan.dump(chosen).encode()})
    launch.start(folder, record.argv, environment=local.environment(chosen))
    return folder


def resume(arguments: argparse.Namespace) -> int:
    """Go on with a run from its newest complete checkpoint."""
    folder = runs.find(arguments.run)
    before = observe(folder)
    if before.state != "ended":
        raise launch.AlreadyRunning(folder.id)
    if before.end_reason in GOOD:
        raise FtwizardError(
            f"Run {folder.id} has finished; there is nothing to go on with.",
            f"Its result: ftwizard status {folder.id}",
        )
    chosen = plan.load(folder.plan)
    local.check_installed(chosen)
    _refuse_changes(folder, chosen)
    attempt = launch.start(
        folder,
        local.argv(folder.path),  # not the recorded one: folders move, environments are rebuilt
        environment=local.environment(chosen),
        checkpoint=lambda: _newest(folder),
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


def _data_hashes(chosen: Plan) -> dict[str, str]:
    """Read the data as the run will, and return a hash a file; raise for what is unusable."""
    skip_bad = "skip-bad-rows" in chosen.insist
    hashes: dict[str, str] = {}
    for part in ("train", "validation", "heldout"):
        name = getattr(chosen.data.files, part)
        if not name:
            continue
        table = read.read(Path(name), chosen.data.format)
        rows = read.usable(table, skip_bad=skip_bad)
        hashes[part] = table.sha256
        if part == "train":
            split.split(
                rows,
                validation=chosen.validation_share,
                heldout=chosen.heldout_share,
                seed=chosen.data.split.seed,
            )
    return hashes


def _refuse_changes(folder: JobFolder, chosen: Plan) -> None:
    """Raise FtwizardError if data or model are not what the run began with."""
    record = folder.read_job()
    now = _data_hashes(chosen)
    source = msgspec.convert(record.inputs["model"], models.Source)
    if source.kind == "folder":
        now["model"] = models.locate(source.name).fingerprint
        now["template"] = models.template_hash(Path(source.name))
    # What an older version did not hash cannot be told to have changed.
    changed = [part for part, value in now.items() if value != record.hashes.get(part, value)]
    if changed:
        names = {
            part: getattr(chosen.data.files, part, None) or chosen.model.name for part in changed
        }
        listed = ", ".join(f"{part} ({visible(name)})" for part, name in names.items())
        raise FtwizardError(
            f"Since run {folder.id} began, this has changed: {listed}.",
            "A resumed run would mix both. Put the old file back, or start a new run.",
        )
