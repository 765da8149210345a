"""``card``: the model card of a run, from its record."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from ftwizard import user_paths
from ftwizard.cli import output, run_argument
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.hardware.machine import is_installed
from ftwizard.runs import default_run, hosted, watched
from ftwizard.text import make_visible


class CardReport(msgspec.Struct, frozen=True, kw_only=True):
    """Output of ``card --json``."""

    run: str
    card: str
    """Path of the Markdown file."""
    picture: str | None
    """Path of the picture of the loss curves, which the card shows; None without a finite loss."""


def card(arguments: argparse.Namespace) -> int:
    """Write the card of a run into its folder, or to ``--out``; return 0."""
    if not is_installed("huggingface_hub"):
        raise MissingExtra("local", "huggingface_hub")
    from ftwizard.export.card import write

    run = run_argument.find(arguments.run, default_run.choose_chatted)
    run_argument.require_folder(run, "card")
    watched.require_own(run, "described by a model card")
    path = user_paths.make_absolute(arguments.out) if arguments.out else run.card
    made = write.make_card(run)
    if path.is_dir():
        raise FtwizardError(f"{make_visible(str(path))} is a folder.", "Name a file: card.md")
    if not arguments.replace and write.is_edited(path):
        raise FtwizardError(
            f"{make_visible(str(path))} was edited, or is not from ftwizard.",
            "Write to another file with --out FILE, or lose the edits with --replace.",
        )
    picture = write.write_card(made, path)
    report = CardReport(run=run.id, card=str(path), picture=str(picture) if picture else None)
    is_here = hosted.read_hosted(run) is None
    output.print_report(arguments, report, _describe(report, is_here=is_here))
    return 0


def _describe(report: CardReport, *, is_here: bool) -> list[str]:
    lines = [f"✓ Model card: {make_visible(report.card)}"]
    if report.picture:
        lines.append(f"  Its picture: {make_visible(Path(report.picture).name)}, next to it")
    if is_here:
        lines.append(f"  Publish it with the model: ftwizard push {report.run} --repo NAME")
    return lines
