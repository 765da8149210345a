"""The sequence of the wizard's questions in plain mode."""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate.report import EstimateReport
from ftwizard.screens.draft import STEPS, drafts, setting_values, texts
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.plain import costs, data, hour_price, provider, recipe
from ftwizard.screens.plain.prompts import CONTINUE, AskFunction, GoBack, Prompter, UserQuit


@dataclass(frozen=True)
class Item:
    """A question and its step."""

    step: str
    """One of ``STEPS``."""
    ask: AskFunction
    name: str = ""
    """Name for going back to it."""


def list_items(draft: Draft) -> list[Item]:
    """List all questions in order; one that does not apply asks nothing."""
    provider_step, data_step, recipe_step, estimate_step, _ = STEPS
    about: list[AskFunction] = [
        functools.partial(provider.ask_question, question)
        for question in drafts.list_questions(draft)
    ]
    items = [
        Item(provider_step, ask)
        for ask in (about[0], provider.confirm_tool, *about[1:], provider.choose_provider)
    ]
    items.append(Item(data_step, data.ask_file, "file"))
    items += [
        Item(data_step, ask)
        for ask in (data.inspect_rows, data.confirm_doubts, data.ask_validation, ask_elsewhere)
    ]
    items.append(Item(recipe_step, recipe.ask_model, "model"))
    items += [Item(recipe_step, ask) for ask in recipe.list_questions()]
    items += [Item(estimate_step, count_tokens), Item(estimate_step, show_estimate)]
    return items


def ask_elsewhere(prompter: Prompter, draft: Draft) -> Draft:
    """Explain that other providers end here; offer this machine."""
    if draft.provider == "local":
        return draft.with_provider_reason()
    prompter.print(texts.format_elsewhere(draft.provider, draft.checked), hang=2)
    options = [
        ("here", "train on this machine instead, with the same data"),
        ("costs", "compare the costs of all providers"),
        ("leave", "quit"),
    ]
    while (chosen := prompter.choose("What now?", options)) == "costs":
        draft = costs.browse_costs(prompter, draft, datetime.date.today())
    if chosen == "leave":
        raise UserQuit
    return draft.with_provider("local").with_provider_reason()


def count_tokens(prompter: Prompter, draft: Draft) -> Draft:
    """Count tokens with the model's tokenizer unless counted already."""
    if draft.is_stale:
        prompter.print_problem(texts.file_changed_error(draft))
        raise GoBack("file")
    changes: list[str] = []
    while draft.estimate is None:
        try:
            with drafts.temporary_plan(draft) as plan:
                document = prompter.run(texts.COUNTING, "estimate", plan)
            draft = draft.with_estimate(msgspec.convert(document, EstimateReport))
        except FtwizardError as error:
            prompter.print_problem(error)
            raise GoBack("model") from None
        if not changes:  # the model's size is known now, so more advice applies
            draft, changes = setting_values.apply_advice(draft)
    if changes:
        prompter.print(texts.format_adjustments(changes))
    return draft


def show_estimate(prompter: Prompter, draft: Draft) -> Draft:
    """Print the estimate and offer changes."""
    _print_estimate(prompter, draft)
    options = [
        (CONTINUE, "yes"),
        ("costs", "compare the costs of all providers"),
        ("hour", "set the hourly price of this machine"),
    ]
    while (chosen := prompter.choose("Continue with this?", options)) != CONTINUE:
        if chosen == "costs":
            draft = costs.browse_costs(prompter, draft, datetime.date.today())
            continue
        before = draft.hour
        draft = hour_price.ask_hour(prompter, draft)
        if draft.hour != before:
            _print_estimate(prompter, draft)
    return draft


def _print_estimate(prompter: Prompter, draft: Draft) -> None:
    words = texts.format_estimate(draft, hour_price.PRICE_HINT)
    prompter.print(words, hang=texts.ESTIMATE_NAMES_WIDTH)
