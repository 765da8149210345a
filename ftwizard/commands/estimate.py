"""``estimate``: what a plan comes to before it is started."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import machine, models, plan, runs, settings
from ftwizard.commands import output, progress
from ftwizard.errors import FtwizardError
from ftwizard.estimate import disk, duration
from ftwizard.estimate.duration import Speed
from ftwizard.figure import Figure
from ftwizard.follow import Follower
from ftwizard.paths import local
from ftwizard.plan import Plan
from ftwizard.text import duration as time_words
from ftwizard.text import plural, size

READ_S = 2.0
EARLIER_RUNS = 5


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
    )
    time = duration.training(counted.tokens, speeds(chosen))
    found: dict[str, Any] = msgspec.to_builtins(counted)
    return found | {
        "model": msgspec.to_builtins(source),
        "disk": {
            "parts": msgspec.to_builtins(needs),
            "needed": round(sum(figure.value for figure in needs.values())),
            "free": machine.free_bytes(settings.runs_folder()),
        },
        "time": msgspec.to_builtins(time),
    }


def speeds(chosen: Plan) -> list[Speed]:
    """Return the speeds of earlier runs of the same model and method on this machine."""
    found: list[Speed] = []
    for folder in reversed(runs.all_runs()):
        if len(found) == EARLIER_RUNS:
            break
        try:
            earlier = plan.parse(folder.plan.read_text())
        except (OSError, ValueError, FtwizardError):
            continue
        if (earlier.model.name, earlier.recipe.method) != (
            chosen.model.name,
            chosen.recipe.method,
        ):
            continue
        follower = Follower(folder)
        follower.read(READ_S)
        if rate := follower.progress.tokens_per_s:
            found.append(Speed(run=folder.id, tokens_per_s=rate))
    return found


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
        f"{time_words(time.low or 0)} – {time_words(time.high or 0)} ({time.source})"
        if time
        else "not known before the first run of this model here; the first steps will tell",
    ))  # fmt: skip
    disk_ = found["disk"]
    lines.append(("disk", f"about {size(disk_['needed'])} of {size(disk_['free'])} free"))
    return lines
