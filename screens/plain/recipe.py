"""The questions about the recipe in plain mode."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

from ftwizard.advice import model_choice_text
from ftwizard.advice.model_choice import ModelOption
from ftwizard.advice.recipe_rules import Setting, settings
from ftwizard.errors import FtwizardError
from ftwizard.models import hub_models
from ftwizard.models.hub_models import HUB_NOTES
from ftwizard.models.model_facts import ModelFacts
from ftwizard.plan import schema
from ftwizard.plan.checks import check_plan
from ftwizard.screens.draft import drafts, model_list, setting_values, suggestions, texts
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.plain.prompts import CONTINUE, OTHER, AskFunction, GoBack, Prompter

MAX_MODELS = 6
LABEL_MARGIN = 9
"""Cells that a prompt needs around a label."""
SEARCH = "\0search"
SEARCH_QUESTION = "Name, size or license (llama 8b, qwen3, apache)"


def list_questions() -> list[AskFunction]:
    """List the questions after the model."""
    questions: list[AskFunction] = []
    for setting in settings():
        if not setting.advanced:
            questions.append(functools.partial(_ask_setting, setting))
        if setting.key == "epochs":
            questions.append(confirm_epochs)
    return [*questions, ask_advanced]


def ask_model(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for the base model: one of those that suit best, of a search, or any other."""
    prompter.explain(setting_values.MODEL_REASON)
    name = draft.plan.model.name
    others: tuple[ModelFacts, ...] = ()
    words = ""
    while True:
        matches = model_list.search(draft, words, others)
        if words and not matches:
            prompter.print_problem(f"No model matches “{words}”.")
        _explain_recommendation(prompter, draft, matches[:MAX_MODELS])
        chosen = prompter.choose("Model", _list_models(prompter, matches, name), name)
        with contextlib.suppress(GoBack):
            if chosen == SEARCH:
                words = prompter.ask_line(SEARCH_QUESTION, check=lambda typed: "")
                others += _search_hub(prompter, words)
                continue
            if chosen == OTHER:
                suggest = model_list.build_suggester(draft)
                chosen = prompter.ask_value(
                    "Model id or folder", name, parse=_parse_model, suggest=suggest
                )
            if problem := _find_refusal(matches, chosen):
                prompter.print_problem(problem)
                continue
            return _with_model(draft, setting_values.resolve_model(chosen))


def _list_models(
    prompter: Prompter, matches: Sequence[ModelOption], name: str
) -> list[tuple[str, str]]:
    """Return value and label of each choice: the current model, the matches, search and others."""
    width = prompter.width - LABEL_MARGIN
    listed = {
        option.name: "".join(span.text for span in model_choice_text.format_line(option, width))
        for option in matches[:MAX_MODELS]
    }
    own = {name: name} if name and name not in listed else {}
    return [
        *own.items(), *listed.items(), (SEARCH, "search by name, size or license"),
        (OTHER, "another: a Hugging Face Hub id, or a folder"),
    ]  # fmt: skip


def _explain_recommendation(
    prompter: Prompter, draft: Draft, matches: Sequence[ModelOption]
) -> None:
    basis = model_list.build_basis(draft)
    prompter.note(model_choice_text.LEGEND)
    for option in matches:
        if why := model_choice_text.describe_recommendation(option, basis):
            prompter.note(f"Recommended: {option.name}. {why}")


def _search_hub(prompter: Prompter, words: str) -> tuple[ModelFacts, ...]:
    """Search the Hub; print a note if it did not take part."""
    results, state = hub_models.search_hub(words)
    if note := HUB_NOTES[state]:
        prompter.note(note)
    return hub_models.add_configs(results)


def _find_refusal(matches: Sequence[ModelOption], name: str) -> str:
    """Return why a listed model cannot be trained; empty if nothing is known against it."""
    option = next((option for option in matches if option.name == name), None)
    return option.refusal_text if option is not None else ""


def _with_model(draft: Draft, name: str) -> Draft:
    same = name == draft.plan.model.name
    return draft.with_plan(model=draft.plan.model if same else schema.Model(name=name))


def _parse_model(name: str) -> str:
    if not name:
        raise ValueError("Enter a model id, or a folder with a model.")
    return setting_values.resolve_model(name)


def _ask_setting(setting: Setting, prompter: Prompter, draft: Draft) -> Draft:
    """Ask for one setting, if it counts with the others; Enter takes the advised value."""
    if not setting.applies(draft.plan):
        return draft
    advised = setting_values.get_advice(draft, draft.plan.recipe.method).get(setting.key)
    now = setting_values.get_value(draft.plan, setting)
    usual = now if setting.key in draft.touched or advised is None else advised.value
    prompter.explain(setting_values.describe_reason(setting, advised))
    origin = "yours" if setting.key in draft.touched else "advised" if advised else "default"
    prompter.note(setting_values.describe_sources(setting, advised, origin))
    if setting.options:
        value = _choose_option(prompter, setting, usual)
    else:
        value = _ask_value(setting, prompter, draft, usual)
    changed = setting_values.resolve_prompt_file(setting_values.with_value(draft, setting, value))
    return changed if value == usual else changed.with_touched(setting.key)


def _ask_value(setting: Setting, prompter: Prompter, draft: Draft, usual: Any) -> Any:
    names_file = setting.key == "prompts"

    def parse(typed: str) -> Any:
        value = setting_values.parse_value(setting, typed)
        changed = setting_values.with_value(draft, setting, value)
        problem = setting_values.find_problem(changed.final_plan)
        if not problem and names_file:
            problem = setting_values.find_prompts_problem(changed)
        if problem:
            raise ValueError(problem)
        return value

    default = setting_values.format_input(usual) or setting.empty
    suggest = suggestions.suggest_prompts if names_file else None
    return prompter.ask_value(setting.label, default, parse=parse, suggest=suggest)


def confirm_epochs(prompter: Prompter, draft: Draft) -> Draft:
    """Confirm more epochs than advised."""
    if draft.plan.recipe.epochs <= schema.MANY_EPOCHS:
        return draft.allowing("many-epochs", False)
    if (before := drafts.find_earlier_run(draft)) and before.falling:
        prompter.note(before.summary)
        return draft.allowing("many-epochs", False)
    try:
        check_plan(draft.final_plan)
    except FtwizardError as error:
        prompter.confirm_phrase(error.message, *texts.MANY_EPOCHS)
        return draft.allowing("many-epochs")
    return draft


def _choose_option(prompter: Prompter, setting: Setting, value: Any) -> Any:
    """Ask for one of a setting's options; Enter takes ``value``."""
    options = setting_values.list_options(setting)
    chosen = prompter.choose(setting.label, options, str(value))
    return setting_values.parse_value(setting, chosen)


def ask_advanced(prompter: Prompter, draft: Draft) -> Draft:
    """Offer the advanced settings until the person continues."""
    question = "Change an advanced setting? A first run does not need any."
    while True:
        by_name = {
            setting.key: setting
            for setting in settings()
            if setting.advanced and setting.applies(draft.plan)
        }
        options = [(CONTINUE, "no, continue")]
        for name, setting in by_name.items():
            value = setting_values.get_value(draft.plan, setting)
            options.append((name, f"{setting.label}: {setting_values.format_value(name, value)}"))
        if (chosen := prompter.choose(question, options)) == CONTINUE:
            return draft
        with contextlib.suppress(GoBack):
            draft = _ask_setting(by_name[chosen], prompter, draft)
