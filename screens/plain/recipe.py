"""The questions about the recipe in plain mode."""

from __future__ import annotations

import functools
from typing import Any

from ftwizard.advice.setting_help import Setting, settings
from ftwizard.errors import FtwizardError
from ftwizard.plan import schema
from ftwizard.plan.checks import check_plan
from ftwizard.screens.draft import drafts, setting_values, suggestions, texts
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.plain.prompts import CONTINUE, OTHER, AskFunction, GoBack, Prompter


def list_questions() -> list[AskFunction]:
    """List the questions after the model."""
    questions: list[AskFunction] = []
    for setting in settings():
        if not setting.advanced:
            questions.append(functools.partial(_ask_setting, setting))
        if setting.name == "epochs":
            questions.append(confirm_epochs)
    return [*questions, ask_after, ask_advanced]


def ask_model(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for the base model: a local or known one, or any other."""
    prompter.explain(setting_values.MODEL_REASON)
    labels = {name: f"{name}  {note}" for name, _, note in suggestions.suggest_models("")}
    name = draft.plan.model.name
    options = list(({name: name} if name and name not in labels else {} | labels).items())
    if name and name not in labels:
        options += list(labels.items())
    options.append((OTHER, "another: a Hugging Face Hub id, or a folder"))
    while (chosen := prompter.choose("Model", options, name)) == OTHER:
        try:
            chosen = prompter.ask_line(
                "Model id or folder",
                name,
                check=_validate_model,
                suggest=suggestions.suggest_models,
            )
            break
        except GoBack:
            continue
    chosen = setting_values.resolve_model(chosen)
    same = chosen == draft.plan.model.name
    return draft.with_plan(model=draft.plan.model if same else schema.Model(name=chosen))


def _validate_model(name: str) -> str:
    try:
        setting_values.resolve_model(name)
    except FtwizardError as error:
        return error.text
    return "" if name else "Enter a model id, or a folder with a model."


def _ask_setting(setting: Setting, prompter: Prompter, draft: Draft) -> Draft:
    """Ask for one setting; Enter takes the advised value."""
    advised = setting_values.get_advice(draft, draft.plan.recipe.method).get(setting.name)
    now = setting_values.get_value(draft.plan, setting)
    usual = now if setting.name in draft.touched or advised is None else advised.value
    prompter.explain(setting_values.describe_reason(setting, advised))
    origin = "yours" if setting.name in draft.touched else "advised" if advised else "default"
    prompter.note(setting_values.describe_sources(setting, advised, origin))
    if setting.options:
        labels = [(str(option.value), option.label) for option in setting.options]
        chosen = prompter.choose(setting.label, labels, str(usual))
        value = next(option.value for option in setting.options if str(option.value) == chosen)
    else:
        value = _ask_value(setting, prompter, draft, usual)
    changed = setting_values.resolve_prompt_file(setting_values.with_value(draft, setting, value))
    return changed if value == usual else changed.with_touched(setting.name)


def _ask_value(setting: Setting, prompter: Prompter, draft: Draft, usual: Any) -> Any:
    def check(typed: str) -> str:
        try:
            changed = setting_values.with_value(
                draft, setting, setting_values.parse_value(setting, typed)
            )
        except ValueError as error:
            return str(error)
        wrong = setting_values.find_problem(changed.plan)
        return wrong or (setting_values.find_prompts_problem(changed) if names_file else "")

    names_file = setting.name == "prompts"
    default = setting_values.format_input(usual) or setting.empty
    suggest = suggestions.suggest_prompts if names_file else None
    return setting_values.parse_value(
        setting, prompter.ask_line(setting.label, default, check=check, suggest=suggest)
    )


def confirm_epochs(prompter: Prompter, draft: Draft) -> Draft:
    """Confirm more epochs than advised."""
    if draft.plan.recipe.epochs <= schema.MANY_EPOCHS:
        return draft.allowing("many-epochs", False)
    if (before := drafts.find_earlier_run(draft)) and before.falling:
        prompter.note(before.summary)
        return draft.allowing("many-epochs", False)
    try:
        check_plan(draft.plan)
    except FtwizardError as error:
        prompter.confirm_phrase(error.message, *texts.MANY_EPOCHS)
        return draft.allowing("many-epochs")
    return draft


def ask_after(prompter: Prompter, draft: Draft) -> Draft:
    """Ask what to do after training."""
    prompter.explain(setting_values.AFTER.reason)
    labels = [(str(option.value), option.label) for option in setting_values.AFTER.options]
    chosen = prompter.choose(
        setting_values.AFTER.label, labels, setting_values.get_after(draft.plan.finish)
    )
    return draft.with_plan(finish=setting_values.with_after(draft.plan.finish, chosen))


def ask_advanced(prompter: Prompter, draft: Draft) -> Draft:
    """Offer the advanced settings until the person continues."""
    advanced_settings = {setting.name: setting for setting in settings() if setting.advanced}
    while True:
        options = [(CONTINUE, "no, continue")]
        for name, setting in advanced_settings.items():
            options.append((name, f"{setting.label}: {_format_setting(setting, draft)}"))
        chosen = prompter.choose(
            "Change an advanced setting? A first run does not need any.", options
        )
        if chosen == CONTINUE:
            return draft
        try:
            draft = _ask_setting(advanced_settings[chosen], prompter, draft)
        except GoBack:
            continue


def _format_setting(setting: Setting, draft: Draft) -> str:
    return setting_values.format_value(setting.name, setting_values.get_value(draft.plan, setting))
