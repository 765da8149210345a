"""``download``: the adapter or the weights of a hosted run, or of a checkpoint that its platform keeps."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

import msgspec

from ftwizard.cli import output, progress, run_argument
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import default_run, hosted, remote, watched
from ftwizard.runs.remote import RemoteJob
from ftwizard.text import make_visible


class DownloadReport(msgspec.Struct, frozen=True, kw_only=True):
    """``download --json``."""

    run: str
    step: int | None
    """Of a checkpoint; None for the result of the run."""
    folder: str
    is_adapter: bool
    """Whether it needs its base model."""


def download(arguments: argparse.Namespace) -> int:
    """Download the weights that the platform offers, unless they are here already."""
    folder = run_argument.find(arguments.run, default_run.choose_chatted)
    watched.require_own(folder, "downloaded")
    record, step = remote.read(folder), arguments.checkpoint
    if record is None:
        raise FtwizardError(
            f"Run {folder.id} trained on this machine: its model is in {folder.path}.", "", USAGE
        )
    if observe(folder).state != "ended":
        raise FtwizardError(
            f"Run {folder.id} has not ended. It downloads its model at its end.",
            f"Follow it: ftwizard watch {folder.id}",
        )
    path = _find_earlier(folder, step) or _download(folder, record, step)
    report = DownloadReport(
        run=folder.id, step=step, folder=str(path),
        is_adapter=(path / "adapter_config.json").exists(),
    )  # fmt: skip
    output.print_report(arguments, report, _describe(folder, report))
    return 0


def _find_earlier(folder: JobFolder, step: int | None) -> Path | None:
    whole = folder.path / hosted.DOWNLOADED
    paths = (folder.adapter, whole) if step is None else (_get_checkpoint(folder, step),)
    return next((path for path in paths if path.is_dir()), None)


def _get_checkpoint(folder: JobFolder, step: int) -> Path:
    return folder.checkpoints / f"checkpoint-{step}"


def _download(folder: JobFolder, record: RemoteJob, step: int | None) -> Path:
    from ftwizard.providers import platforms

    name = hosted.name_platform(record.provider)
    kept = sorted(checkpoint.step for checkpoint in record.checkpoints)
    if step is not None and step not in kept:
        raise FtwizardError(
            f"{name} has no checkpoint {step} of run {folder.id}.",
            f"It keeps: {', '.join(map(str, kept))}." if kept else "",
        )
    platform = platforms.get_platform(cast(HostedProvider, record.provider))
    whole = folder.path / hosted.DOWNLOADED
    path = whole if step is None else _get_checkpoint(folder, step)
    with progress.reporter() as say:
        is_there = platform.download(
            record, path,
            lambda done, total: say("downloading", done=done, total=total, unit="bytes"), step,
        )  # fmt: skip
    if not is_there:
        raise FtwizardError(
            f"{name} offers no weights of run {folder.id} for download.",
            f"Use the model there: ftwizard chat {folder.id}"
            if hosted.can_be_asked(record)
            else hosted.describe_deploying(folder.id, record),
        )
    if step is None and (path / "adapter_config.json").exists():
        path = path.rename(folder.adapter)
    return path


def _describe(folder: JobFolder, report: DownloadReport) -> list[str]:
    path = make_visible(report.folder)
    if not report.is_adapter:
        return [f"✓ Model: {path}", f"  Export it: ftwizard export {path} --to gguf"]
    merge = f"ftwizard merge {folder.id}"
    if report.step is not None:
        merge = f"ftwizard merge {path} --base MODEL --out DIR"
    return [f"✓ Adapter: {path}", f"  Merge it into its base model: {merge}"]
