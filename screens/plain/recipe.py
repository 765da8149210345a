"""The questions of the recipe, line by line: the model, and each setting with its reason."""

from __future__ import annotations

import functools
from typing import Any

from ftwizard import plan as plans
from ftwizard.advice.setting import Setting, settings
from ftwizard.errors import FtwizardError
from ftwizard.screens import remembered, suggestions, texts, values
from ftwizard.screens.draft import Draft
from ftwizard.screens.plain.asking import GO_ON, OTHER, Ask, Asker, Back


def questions() -> list[Ask]:
    """Return what is asked after the model."""
    found: list[Ask] = []
    for one in settings():
        if not one.advanced:
            found.append(functools.partial(_setting, one))
        if one.name == "epochs":
            found.append(many_epochs)
    return [*found, after, advanced]


def model(ask: Asker, draft: Draft) -> Draft:
    """Ask for the base model: one of those that are known or here, or any other."""
    ask.explain(values.MODEL_REASON)
    known = {name: f"{name}  {note}" for name, _, note in suggestions.models("")}
    name = draft.plan.model.name
    options = list(({name: name} if name and name not in known else {} | known).items())
    if name and name not in known:
        options += list(known.items())
    options.append((OTHER, "another: a name on the Hugging Face Hub, or a folder"))
    while (chosen := ask.choose("Model", options, name)) == OTHER:
        try:
            chosen = ask.line("Name or folder", name, check=_named, suggest=suggestions.models)
            break
        except Back:
            continue
    chosen = values.model_name(chosen)
    same = chosen == draft.plan.model.name
    return draft.with_plan(model=draft.plan.model if same else plans.Model(name=chosen))


def _named(name: str) -> str:
    try:
        values.model_name(name)
    except FtwizardError as error:
        return f"{error.message} {error.hint}"
    return "" if name else "Name a model, or a folder that holds one."


def _setting(setting: Setting, ask: Asker, draft: Draft) -> Draft:
    """Ask for one setting; what is advised is what Enter takes."""
    advised = values.advised(draft, draft.plan.recipe.method).get(setting.name)
    now = values.value_of(draft.plan, setting)
    usual = now if setting.name in draft.touched or advised is None else advised.value
    ask.explain(values.reason(setting, advised))
    origin = "yours" if setting.name in draft.touched else "advised" if advised else "default"
    ask.note(values.sources(setting, advised, origin))
    if setting.options:
        labels = [(str(one.value), one.label) for one in setting.options]
        chosen = ask.choose(setting.label, labels, str(usual))
        value = next(one.value for one in setting.options if str(one.value) == chosen)
    else:
        value = _typed(setting, ask, draft, usual)
    changed = values.settled(values.with_value(draft, setting, value))
    return changed if value == usual else changed.touching(setting.name)


def _typed(setting: Setting, ask: Asker, draft: Draft, usual: Any) -> Any:
    def check(typed: str) -> str:
        try:
            changed = values.with_value(draft, setting, values.read_value(setting, typed))
        except ValueError as error:
            return str(error)
        wrong = values.problem(changed.plan)
        return wrong or (values.prompts_problem(changed) if names_file else "")

    names_file = setting.name == "prompts"
    given = values.shown_value(usual) or setting.empty
    suggest = suggestions.prompts if names_file else None
    return values.read_value(setting, ask.line(setting.label, given, check=check, suggest=suggest))


def many_epochs(ask: Asker, draft: Draft) -> Draft:
    """Take more epochs than are advised only where that is insisted on."""
    if draft.plan.recipe.epochs <= plans.MANY_EPOCHS:
        return draft.allowing("many-epochs", False)
    if (before := remembered.before(draft)) and before.falling:
        ask.note(before.said)
        return draft.allowing("many-epochs", False)
    try:
        plans.check(draft.plan)
    except FtwizardError as error:
        ask.insist(error.message, *texts.MANY_EPOCHS)
        return draft.allowing("many-epochs")
    return draft


def after(ask: Asker, draft: Draft) -> Draft:
    """Ask what follows the training."""
    ask.explain(values.AFTER.reason)
    labels = [(str(one.value), one.label) for one in values.AFTER.options]
    chosen = ask.choose(values.AFTER.label, labels, values.after(draft.plan.finish))
    return draft.with_plan(finish=values.finishing(draft.plan.finish, chosen))


def advanced(ask: Asker, draft: Draft) -> Draft:
    """Offer the settings that a first run can do without, until nothing more is changed."""
    others = {one.name: one for one in settings() if one.advanced}
    while True:
        options = [(GO_ON, "no, go on")]
        for name, one in others.items():
            options.append((name, f"{one.label}: {_shown(one, draft)}"))
        chosen = ask.choose("Change an advanced setting? A first run can do without.", options)
        if chosen == GO_ON:
            return draft
        try:
            draft = _setting(others[chosen], ask, draft)
        except Back:
            continue


def _shown(setting: Setting, draft: Draft) -> str:
    return values.said(setting.name, values.value_of(draft.plan, setting))
