"""The questions of the wizard, line by line: each takes a draft and returns it answered."""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass

from ftwizard.errors import FtwizardError
from ftwizard.screens import draft as drafts
from ftwizard.screens import estimate_texts, texts, values
from ftwizard.screens.draft import Draft
from ftwizard.screens.plain import costs, hours, paths, rows
from ftwizard.screens.plain import recipe as recipes
from ftwizard.screens.plain.asking import GO_ON, Ask, Asker, Back, Left
from ftwizard.screens.steps import STEPS


@dataclass(frozen=True)
class Item:
    """A question in its place."""

    step: str
    """One of ``STEPS``."""
    ask: Ask
    name: str = ""
    """By which it is gone back to."""


def items(draft: Draft) -> list[Item]:
    """Return every question in its order; one that does not apply asks nothing."""
    path, data, recipe, estimate, _ = STEPS
    about: list[Ask] = [functools.partial(paths.about, one) for one in drafts.asked(draft)]
    found = [Item(path, ask) for ask in (about[0], paths.wrong_tool, *about[1:], paths.choose)]
    found.append(Item(data, rows.file, "file"))
    found += [Item(data, ask) for ask in (rows.look, rows.doubts, rows.validation, elsewhere)]
    found.append(Item(recipe, recipes.model, "model"))
    found += [Item(recipe, ask) for ask in recipes.questions()]
    found += [Item(estimate, count), Item(estimate, figures)]
    return found


def elsewhere(ask: Asker, draft: Draft) -> Draft:
    """Say how far another path goes here; offer this machine."""
    if draft.way == "local":
        return draft.for_the_record()
    ask.say(texts.elsewhere(draft.way, draft.checked or {}), hang=2)
    options = [
        ("here", "train on this machine instead, with the same rows"),
        ("costs", "see what every path costs"),
        ("leave", "leave"),
    ]
    while (chosen := ask.choose("What now?", options)) == "costs":
        draft = costs.show(ask, draft, datetime.date.today())
    if chosen == "leave":
        raise Left
    return draft.on_path("local").for_the_record()


def count(ask: Asker, draft: Draft) -> Draft:
    """Count with the model's own tokenizer what has not been counted yet."""
    if draft.is_stale:
        ask.problem(texts.changed(draft))
        raise Back("file")
    changes: list[str] = []
    while draft.estimate is None:
        try:
            with drafts.passing_file(draft) as plan:
                draft = draft.counted(ask.run(texts.COUNTING, "estimate", plan))
        except FtwizardError as error:
            ask.problem(error)
            raise Back("model") from None
        if not changes:  # more is advised now that the size of the model is known
            draft, changes = values.suited(draft)
    if changes:
        ask.say(texts.suited(changes))
    return draft


def figures(ask: Asker, draft: Draft) -> Draft:
    """Show what the plan comes to."""
    _say_figures(ask, draft)
    options = [
        (GO_ON, "yes"),
        ("costs", "see what every path costs"),
        ("hour", "say what an hour of this machine costs"),
    ]
    while (chosen := ask.choose("Go on with this?", options)) != GO_ON:
        if chosen == "costs":
            draft = costs.show(ask, draft, datetime.date.today())
            continue
        before = draft.hour
        draft = hours.ask_hour(ask, draft)
        if draft.hour != before:
            _say_figures(ask, draft)
    return draft


def _say_figures(ask: Asker, draft: Draft) -> None:
    found, length = draft.estimate or {}, draft.plan.recipe.max_length
    words = estimate_texts.figures(found, length, draft.hour, how=hours.HOW)
    ask.say(words, hang=estimate_texts.NAMES_WIDTH)
