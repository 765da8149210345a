"""``demo``: a fine-tune end to end, on the sample that ships with ftwizard."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ftwizard import locations
from ftwizard.cli import output
from ftwizard.cli.watch import follow
from ftwizard.data import bundled_samples
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.models import hub
from ftwizard.plan import plan_file
from ftwizard.pricing import machine_rate
from ftwizard.runs import describe, store
from ftwizard.runs.evaluation_files import read_evaluation
from ftwizard.text import make_visible
from ftwizard.train import command, launcher

if TYPE_CHECKING:
    from rich.console import Console


def demo(arguments: argparse.Namespace) -> int:
    """Fine-tune on the sample, follow the run until it ends, and show five pairs of answers."""
    if not arguments.yes and output.wants_screens(arguments):
        return int(arguments.open_screens(("demo", ""), arguments.ascii, slow=arguments.slow))
    chosen = plan_file.load(bundled_samples.copy_plan())
    command.check_installed(chosen)
    source = hub.locate(chosen.model.name, chosen.model.revision)
    console = output.make_console(stderr=arguments.json)
    output.print_lines(
        console, "A real fine-tune, end to end: turn support tickets into structured JSON.", ""
    )
    facts = {
        "model": source.description,
        "data": chosen.data.files.train,
        "runs": str(locations.runs_folder()),
        "takes": bundled_samples.DEMO_COST,
    }
    console.print(output.build_pair_table(facts.items()))
    output.print_lines(console, "")
    if not arguments.yes and not _confirm():
        return DECLINED
    price = machine_rate.read_saved_price()
    folder = launcher.start(chosen, store.make_id("demo"), price, numbered=True)
    code = follow(folder, as_json=arguments.json)
    if code == 0 and not arguments.json:
        _print_pairs(folder, console)
        _print_end(folder, console)
    return code


def _confirm() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise FtwizardError(
            "demo asks for confirmation, which needs a terminal.",
            "To skip it: ftwizard demo --yes",
            USAGE,
        )
    return output.confirm("Start?", default=True)


def _print_pairs(folder: JobFolder, console: Console) -> None:
    evaluation = read_evaluation(folder)
    for sample in evaluation.samples if evaluation else []:
        output.print_lines(console, "")
        answers = {"ticket": sample.prompt}
        answers |= {name: getattr(sample, name) for name in ("expected", "base", "tuned")}
        rows = ((name, make_visible(text, 200)) for name, text in answers.items())
        console.print(output.build_pair_table(rows))


def _print_end(folder: JobFolder, console: Console) -> None:
    """Print whether it helped, and how to talk to the model."""
    output.print_lines(console, "", describe.describe_verdict(folder))
    output.print_lines(
        console, f"Type a ticket of your own, for both models: ftwizard chat {folder.id} --base"
    )
