"""``export``: a model as GGUF, for Ollama, and the command lines of vLLM and transformers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftwizard import user_paths
from ftwizard.cli import output, progress, run_argument
from ftwizard.errors import MissingExtra
from ftwizard.hardware.machine import is_installed
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import export_forms
from ftwizard.runs import default_run, store
from ftwizard.runs.exports import ExportRecord, ExportReport
from ftwizard.text import format_bytes, format_duration, make_visible

if TYPE_CHECKING:
    from ftwizard.export.source import ExportSource


def export(arguments: argparse.Namespace) -> int:
    """Export a run's merged model, or a model's folder, in each form."""
    names = [name for value in arguments.to for name in value.split(",") if name.strip()]
    wanted = list(dict.fromkeys(map(export_forms.parse, names)))
    run_argument.refuse_hosted(arguments.model, "exported")
    if not is_installed("transformers"):
        raise MissingExtra("export", "transformers")
    from ftwizard.export import forms
    from ftwizard.export.card import write
    from ftwizard.train.probe_runner import exit_on_sigterm

    source = find_source(arguments.model, arguments.out)
    with progress.reporter() as say, exit_on_sigterm():
        exports = [forms.export(source, form, say) for form in wanted]
    run = JobFolder(source.out.parent)
    if run.exports == source.out:
        write.refresh(run)
    report = ExportReport(
        exports=[export.record for export in exports],
        folders=[str(export.folder) for export in exports],
        reused=[export.record.form for export in exports if export.reused],
    )
    output.print_report(arguments, report, _describe(report))
    return 0


def find_source(name: str | None, out: str | None = None) -> ExportSource:
    """Return the model to export: a run's, or a folder's.

    Raises FtwizardError for a run without a merged model, and for a folder that is not a model.
    """
    from ftwizard.export import source

    out_path = user_paths.expand(out).absolute() if out else None
    if name is not None and not store.is_run(name):
        folder = user_paths.expand(name)
        if user_paths.is_folder(folder) and not user_paths.exists(folder / "job.json"):
            return source.from_folder(folder, out_path)
    exported = source.from_run(run_argument.find(name, default_run.choose_local))
    return exported._replace(out=out_path) if out_path else exported


def _describe(report: ExportReport) -> Iterator[str]:
    for folder, record in zip(report.folders, report.exports, strict=True):
        yield _describe_outcome(folder, record, reused=record.form in report.reused)
        if record.answer is not None:
            yield f"  llama.cpp loaded it and answered: {make_visible(record.answer, 100)}"
        for finding in record.findings:
            yield f"  ! {make_visible(finding, 400)}"
        for title, line in record.commands.items():
            yield f"  {title}:"
            yield f"    {line}"


def _describe_outcome(folder: str, record: ExportRecord, *, reused: bool) -> str:
    size = format_bytes(sum(record.files.values()))
    time = "it was there already" if reused else f"in {format_duration(record.seconds)}"
    return f"✓ {record.form}: {make_visible(folder)} ({size}, {time})"
