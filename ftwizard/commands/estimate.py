"""``estimate``: what a plan comes to before it is started."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import machine, models, plan, runs, settings
from ftwizard.commands import output, progress
from ftwizard.errors import FtwizardError
from ftwizard.estimate import disk, duration
from ftwizard.estimate.duration import Speed
from ftwizard.figure import Figure
from ftwizard.jobs.events import tail
from ftwizard.jobs.folder import JobFolder
from ftwizard.paths import local
from ftwizard.plan import Plan
from ftwizard.runs import Progress
from ftwizard.text import duration as time_words
from ftwizard.text import plural, size

EARLIER_RUNS = 5
"""Speeds to learn from, at most."""
LOOKED_AT = 50
"""Runs, the newest first, among which they are looked for."""
TAIL_BYTES = 1 << 17
"""Of a run's events: more than its last ``RATE_WINDOW`` steps, which its speed is measured over."""


def estimate(arguments: argparse.Namespace) -> int:
    """Count rows, tokens and steps as the run will, and say what it needs."""
    chosen = plan.load(Path(arguments.plan), arguments.insist)
    local.check_installed(chosen)
    with progress.reporter() as say:
        found = _estimate(chosen, say)
    if arguments.json:
        output.print_json(found)
    else:
        output.console().print(output.pairs(_lines(found)))
    return 0


def _estimate(chosen: Plan, say: progress.Say) -> dict[str, Any]:
    say("looking", what="for the model")
    source = models.locate(chosen.model.name, chosen.model.revision)

    def report(what: str | None, **fields: Any) -> None:
        say("fetching", what=what, **fields)

    base = models.fetch_tokenizer(source, report)
    from ftwizard.train.preview import preview

    counted = preview(chosen, base, say)
    needs = disk.parts(
        trained=counted.trained,
        parameters=counted.parameters,
        adapter=chosen.recipe.method != "full",
        merges=chosen.finish.merge,
        download=models.bytes_to_fetch(source),
    )
    time = duration.training(counted.tokens, speeds(chosen))
    found: dict[str, Any] = msgspec.to_builtins(counted)
    return found | {
        "model": msgspec.to_builtins(source),
        "disk": room(needs, settings.runs_folder(), models.hub_cache()),
        "time": msgspec.to_builtins(time),
    }


def room(needs: dict[str, Figure], runs_folder: Path, cache: Path) -> dict[str, Any]:
    """Return what is needed and free where the runs are, and for a download elsewhere there."""
    download = needs.get("download")
    elsewhere = download and not machine.on_one_disk(runs_folder, cache)
    here = [part for part in needs.values() if not (elsewhere and part is download)]
    return {
        "parts": msgspec.to_builtins(needs),
        "needed": round(sum(part.value for part in here)),
        "free": machine.free_bytes(runs_folder),
        "elsewhere": {
            "folder": str(cache),
            "needed": round(download.value),
            "free": machine.free_bytes(cache),
        }
        if download and elsewhere
        else None,
    }


def speeds(chosen: Plan) -> list[Speed]:
    """Return the speeds of the newest runs of the same model and method on this machine."""
    newest = runs.all_runs()[: -LOOKED_AT - 1 : -1]
    alike = (folder for folder in newest if _is_alike(folder, chosen))
    known = (Speed(run=one.id, tokens_per_s=rate) for one in alike if (rate := _speed(one)))
    return list(islice(known, EARLIER_RUNS))


def _is_alike(folder: JobFolder, chosen: Plan) -> bool:
    try:
        earlier = plan.parse(folder.plan.read_text())
    except (OSError, ValueError, FtwizardError):
        return False
    return (earlier.model.name, earlier.recipe.method) == (chosen.model.name, chosen.recipe.method)


def _speed(folder: JobFolder) -> float | None:
    """Return the tokens per second of a run's last steps, from the end of its events alone."""
    progress = Progress()
    try:
        progress.feed(tail(folder.events, TAIL_BYTES))
    except OSError:
        return None
    return progress.tokens_per_s


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("model", found["model"]["said"])]
    lines.append((
        "parameters", f"{found['parameters']:,}, of which {found['trained']:,} are trained"
    ))  # fmt: skip
    for name, part in found["parts"].items():
        words = f"{plural(part['kept'], 'row')} of {part['rows']:,}"
        if part["kept"]:
            words += f", {part['tokens']:,} tokens, {part['trained']:,} with loss"
        if part["cut"]:
            words += f"; {plural(part['cut'], 'row')} cut"
        lines.append((name, words))
    lines.append(("steps", f"{found['steps']:,} ({found['steps_per_epoch']:,} an epoch)"))
    if found["evaluate_every"]:
        lines.append(("validation", f"every {plural(found['evaluate_every'], 'step')}"))
    time = msgspec.convert(found["time"], Figure | None)
    lines.append((
        "time",
        f"{time_words(time.low or 0)} – {time_words(time.high or 0)} of training ({time.source})"
        if time
        else "not known before the first run of this model here; the first steps will tell",
    ))  # fmt: skip
    return [*lines, *_disk_lines(found["disk"])]


def _disk_lines(disk: dict[str, Any]) -> Iterator[tuple[str, str]]:
    words = f"about {size(disk['needed'])} of {size(disk['free'])} free"
    if elsewhere := disk["elsewhere"]:
        yield "disk", words
        yield (
            "model",
            (
                f"about {size(elsewhere['needed'])} to fetch; {size(elsewhere['free'])} are free where "
                f"{elsewhere['folder']} is"
            ),
        )
    elif download := disk["parts"].get("download"):
        yield "disk", f"{words}; {size(download['value'])} of it to fetch the model"
    else:
        yield "disk", words
