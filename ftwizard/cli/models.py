"""``models``: models to train, best for this machine first, with what is known about each."""

from __future__ import annotations

import argparse

from ftwizard.advice import model_choice, model_choice_text, model_search
from ftwizard.advice.model_choice import ChoiceBasis, ModelList, ModelOption
from ftwizard.cli import output, progress
from ftwizard.hardware import machine
from ftwizard.models import hub, hub_models, model_facts
from ftwizard.models.hub_models import HUB_NOTES, HubState
from ftwizard.plan import schema
from ftwizard.text import format_count, make_visible

MAX_SHOWN = 20
MAX_WIDTH = 120


def list_models(arguments: argparse.Namespace) -> int:
    """List the models that match the search terms; all without any."""
    words = " ".join(arguments.words)
    with progress.reporter() as say:
        say("looking", what="for models")
        hub_results, state = hub_models.search_hub(words)
        hub_results = hub_models.add_configs(hub_results)
        models = model_facts.merge_models((*model_facts.list_known_models(), *hub_results))
        basis = _make_basis(state)
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
    if note := HUB_NOTES[state]:
        output.print_lines(output.make_console(), note)
    return 0


def _make_basis(state: HubState) -> ChoiceBasis:
    """Return what is known without data: this machine and the default recipe."""
    plan = schema.Plan(data=schema.Data(files=schema.Files(train="")), model=schema.Model(name=""))
    can_download = not hub.is_offline() and state != "unreachable"
    return ChoiceBasis(machine=machine.read_machine_info(), plan=plan, can_download=can_download)


def _print_options(shown: tuple[ModelOption, ...], more: int, words: str) -> None:
    out = output.make_console()
    if not shown:
        output.print_lines(out, f"No model matches “{make_visible(words, 60)}”.")
        return
    width = min(out.width, MAX_WIDTH)
    out.print(model_choice_text.format_header(width).rstrip())
    for option in shown:
        spans = model_choice_text.format_line(option, width)
        out.print("".join(span.text for span in spans).rstrip(), soft_wrap=True)
    legend = model_choice_text.LEGEND
    rest = f"; {format_count(more, 'more model')}: add words, or --all" if more > 0 else ""
    output.print_lines(out, f"{legend}{rest}")
