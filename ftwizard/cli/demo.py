"""``demo``: a fine-tune end to end, on the sample that ships with ftwizard."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from ftwizard import locations
from ftwizard.cli import output
from ftwizard.cli.watch import follow_to_end
from ftwizard.data import bundled_samples
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.jobs import launch
from ftwizard.jobs.folder import JobFolder
from ftwizard.models import hub
from ftwizard.plan import plan_file
from ftwizard.pricing import machine_rate
from ftwizard.runs import describe, describe_evaluation, next_steps, store
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.evaluation_files import find_newest, list_judgments
from ftwizard.runs.next_steps import SuggestedStep
from ftwizard.text import make_visible
from ftwizard.train import command, launcher

if TYPE_CHECKING:
    from rich.console import Console

_LOST = (
    "This is expected: trained on one narrow task alone, at a high learning rate, a model forgets what it "
    "could do before."
)
_KEPT = (
    "Nothing was found to be lost this time; training on one narrow task alone often does lose it."
)
_REMEDY = "The usual demo mixes general rows in, and learns more gently: ftwizard demo"
_SMALL = (
    "No failure was found, but with so small a model, which rarely refuses or answers rightly itself, these "
    "items cannot exclude a loss: a larger model, judged on more items, can."
)


def demo(arguments: argparse.Namespace) -> int:
    """Fine-tune on the sample, follow the run until it ends, and show five pairs of answers.

    Where a failure is found, weaker adapters are judged, and the best one without a failure is merged.
    """
    if not arguments.yes and output.wants_screens(arguments):
        route = ("demo", "forget" if arguments.forget else "")
        return int(arguments.open_screens(route, arguments.ascii, slow=arguments.slow))
    chosen = plan_file.load(bundled_samples.copy_plan(forgets=arguments.forget))
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
    status = follow_to_end(folder, as_json=arguments.json)
    if status is None:
        return 0
    if status.exit_code == 0 and not arguments.forget:
        _improve(folder, console)
    if arguments.json:
        output.print_json(store.read_status(folder))
        return status.exit_code
    output.print_lines(console, *describe.describe_outcome(folder, status))
    newest = find_newest(folder)
    if status.exit_code == 0 and newest:
        _print_pairs(newest.evaluation, console)
        end = describe_end(
            newest.evaluation, next_steps.find_next(folder), folder.id, forgets=arguments.forget
        )
        output.print_lines(console, "", describe.describe_verdict(folder), *end)
    return status.exit_code


def _confirm() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise FtwizardError(
            "demo asks for confirmation, which needs a terminal.",
            "To skip it: ftwizard demo --yes",
            USAGE,
        )
    return output.confirm("Start?", default=True)


def _improve(folder: JobFolder, console: Console) -> None:
    """Judge weaker adapters where a failure was found, and merge the best one that has none."""
    newest, step = find_newest(folder), next_steps.find_next(folder)
    if newest is None or not _list_found(newest.evaluation) or step.command != "eval":
        return
    output.print_lines(console, "", describe_evaluation.describe_verdict(newest.evaluation))
    if not _take(step, folder, console):
        return
    best = list_judgments(folder)[0].best
    if best.verdict != "do_not_ship" and best.scale != 1:
        text = f"Merge it at {best.scale:g} of the adapter's strength, where no failure was found"
        options = ("--scale", f"{best.scale:g}", "--replace")
        _take(SuggestedStep(text, "merge", options), folder, console)


def _take(step: SuggestedStep, folder: JobFolder, console: Console) -> bool:
    """Run the command of a step; return whether it succeeded."""
    text = f"The demo takes the next step. {step.describe()}: {step.format_command(folder.id)}"
    output.print_lines(console, text)
    words = [step.command, folder.id, *step.options]
    done = subprocess.run(
        [*launch.get_python_command(), "-m", "ftwizard", *words],
        env=launch.with_import_path(os.environ), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    return done.returncode == 0


def _list_found(evaluation: Evaluation) -> list[str]:
    return [failure.name for failure in evaluation.failures if failure.found]


def _print_pairs(evaluation: Evaluation, console: Console) -> None:
    for sample in evaluation.samples:
        output.print_lines(console, "")
        answers = {"ticket": sample.prompt}
        answers |= {name: getattr(sample, name) for name in ("expected", "base", "tuned")}
        rows = ((name, make_visible(text, 200)) for name, text in answers.items())
        console.print(output.build_pair_table(rows))


def describe_end(
    evaluation: Evaluation, step: SuggestedStep, run_id: str, *, forgets: bool = False
) -> list[str]:
    """Describe what the verdict of the demo means, what is next, and how to talk to the model."""
    is_lost, helped = bool(_list_found(evaluation)), evaluation.target
    if forgets:
        lines = [_LOST if is_lost else _KEPT, _REMEDY]
    elif evaluation.verdict == "cannot_tell" and helped and helped.outcome == "helped":
        lines = [_SMALL]
    else:
        lines = [f"Next: {step.describe()}: {step.format_command(run_id)}"]
    return [*lines, f"Type a ticket of your own, for both models: ftwizard chat {run_id} --base"]
