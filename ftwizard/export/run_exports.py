"""Exports within a run: the rehearsal before its first step, and the exports at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.export import forms, rehearsal, source
from ftwizard.export.gguf_export import Say
from ftwizard.jobs.worker import Worker
from ftwizard.models.hub import ModelSource
from ftwizard.plan import export_forms
from ftwizard.plan.schema import Plan
from ftwizard.text import format_bytes, format_duration


def rehearse(worker: Worker, plan: Plan, base: Path) -> None:
    """Rehearse the plan's exports, unless the same was rehearsed before.

    Raises FtwizardError, which ends the run as refused, if one fails.
    """
    if not rehearsal.list_forms(plan):
        return
    model = msgspec.convert(worker.record.inputs["model"], ModelSource)
    if rehearsal.find_earlier(plan, model):
        return
    say = _make_reporter(worker, "rehearsing")
    work = worker.folder.path / "rehearsal"
    result = rehearsal.rehearse(plan, model, base, work, say)
    names = ", ".join(result.forms)
    worker.events.write_finding(
        "rehearsed",
        f"The export to {names} was rehearsed with the base model in "
        f"{format_duration(result.seconds)}: it works.",
        evidence={"seconds": result.seconds, "parts": result.parts},
    )
    for text in result.findings:
        worker.events.write_finding("export", text)


def export(worker: Worker, plan: Plan) -> None:
    """Export the merged model of a run; a failed export is reported and spoils nothing."""
    say = _make_reporter(worker, "exporting")
    for name in plan.finish.export:
        try:
            form = export_forms.parse(name)
            result = forms.export(source.from_run(worker.folder), form, say)
        except Exception as error:  # noqa: BLE001 (the trained model is there, whatever this was)
            reason = error.text if isinstance(error, FtwizardError) else repr(error)
            worker.events.write_finding(
                "export_failed",
                f"The export to {name} failed: {reason}",
                "warning",
                action=f"ftwizard export {worker.folder.id} --to {name}",
            )
            continue
        size = format_bytes(sum(result.record.files.values()))
        message = f"Exported to {name}: {result.folder} ({size})."
        worker.events.write_finding("exported", message)


def _make_reporter(worker: Worker, phase: str) -> Say:
    def say(part: str, **fields: Any) -> None:
        worker.phase(phase, what=f"{part} {fields.pop('what', '')}".strip(), **fields)

    return say
