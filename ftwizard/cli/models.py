"""``models``: models to train, best for this machine and data first, with what is known about each."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from ftwizard import user_paths
from ftwizard.advice import model_choice, model_choice_text, model_search, plan_advice
from ftwizard.advice.model_choice import ChoiceBasis, ModelList, ModelOption
from ftwizard.cli import open_files, output, progress
from ftwizard.cli.plan_argument import is_data
from ftwizard.cli.progress import Say
from ftwizard.data.checks import run
from ftwizard.data.checks.run import CheckOptions
from ftwizard.data.documents import DataReport
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.hardware import machine
from ftwizard.models import hub, hub_models, model_facts
from ftwizard.models.hub_models import HUB_NOTES, HubState
from ftwizard.plan import schema
from ftwizard.text import format_count, make_visible

MAX_SHOWN = 20
MAX_WIDTH = 120


def list_models(arguments: argparse.Namespace) -> int:
    """List the models that match the search terms, judged for the data file among them, if any.

    Raises FtwizardError for a missing file and for one without usable rows.
    """
    files = [word for word in arguments.words if is_data(word) or user_paths.is_file(word)]
    words = " ".join(word for word in arguments.words if word not in files)
    if len(files) > 1:
        raise FtwizardError(f"{len(files)} data files are named.", "Name one of them.", USAGE)
    for file in files:
        open_files.require_file(file)
    with progress.reporter() as say:
        report = _check_data(Path(files[0]), say) if files else None
        say("looking", what="for models")
        hub_results, state = hub_models.search_hub(words)
        hub_results = hub_models.add_configs(hub_results)
        models = model_facts.merge_models((*model_facts.list_known_models(), *hub_results))
        basis = _make_basis(state, report)
        options = model_choice.list_options(models, basis)
    matches = model_search.search_options(options, words)
    recommended = next((option for option in options if option.recommended), None)
    if arguments.json:
        name = recommended.name if recommended else None
        output.print_json(ModelList(recommended=name, hub=state, models=matches))
        return 0
    shown = matches if arguments.all else matches[:MAX_SHOWN]
    _print_options(shown, len(matches) - len(shown), words)
    if recommended in shown:
        reason = model_choice_text.describe_recommendation(recommended, basis)
        output.print_lines(
            output.make_console(),
            "",
            f"{model_choice_text.RECOMMENDED} {recommended.name}: {reason}",
        )
        if report:
            command = shlex.join(["train", report.path, "--model", recommended.name])
            print(f"To train it: ftwizard {make_visible(command)}")
    if note := HUB_NOTES[state]:
        output.print_lines(output.make_console(), note)
    return 0


def _check_data(file: Path, say: Say) -> DataReport:
    """Check a data file for its lengths; raise FtwizardError if no row can be used."""
    file = user_paths.make_absolute(str(file))
    options = CheckOptions(target="trl-sft", max_length=schema.Recipe().max_length, near=False)
    report = run.check_files(file, options, say=say)
    if not report.usable:
        shown = make_visible(shlex.quote(str(file)), 200)
        raise FtwizardError(
            f"No row of {shown} can be trained on.", f"To see why: ftwizard check {shown}"
        )
    return report


def _make_basis(state: HubState, report: DataReport | None) -> ChoiceBasis:
    """Return what is known: this machine, the default recipe, and the data of ``report``."""
    files = schema.Files(train=report.path if report else "")
    plan = schema.Plan(data=schema.Data(files=files), model=schema.Model(name=""))
    return ChoiceBasis(
        machine=machine.read_machine_info(), plan=plan, report=report,
        rows=plan_advice.count_training_rows(plan, report) if report else None,
        can_download=not hub.is_offline() and state != "unreachable",
    )  # fmt: skip


def _print_options(shown: tuple[ModelOption, ...], more: int, words: str) -> None:
    out = output.make_console()
    if not shown:
        output.print_lines(out, f"No model matches “{make_visible(words, 60)}”.")
        return
    has_width = out.is_terminal or "COLUMNS" in os.environ  # names in a pipe are not cut
    width = min(out.width, MAX_WIDTH) if has_width else MAX_WIDTH
    out.print(model_choice_text.format_header(width).rstrip())
    for option in shown:
        spans = model_choice_text.format_line(option, width)
        out.print("".join(span.text for span in spans).rstrip(), soft_wrap=True)
    legend = model_choice_text.LEGEND
    rest = f"; {format_count(more, 'more model')}: add words, or --all" if more > 0 else ""
    output.print_lines(out, f"{legend}{rest}")
