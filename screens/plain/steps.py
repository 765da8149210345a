"""The questions of the wizard, line by line: each takes a draft and returns it answered."""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.text import Text

from ftwizard import plan as plans
from ftwizard.advice import path as advice
from ftwizard.advice.questions import FIT, Question
from ftwizard.catalog import PathId, catalog
from ftwizard.errors import FtwizardError
from ftwizard.screens import draft as drafts
from ftwizard.screens import palette, suggestions, texts, values
from ftwizard.screens.draft import NOT_SAID, SHARES, UNANSWERED, Draft
from ftwizard.screens.plain import recipe as recipes
from ftwizard.screens.plain.asking import GO_ON, OTHER, Ask, Asker, Back, Left
from ftwizard.text import plural, visible

SHOWN_ROWS = 5


@dataclass(frozen=True)
class Item:
    """A question in its place."""

    step: str
    """One of ``draft.STEPS``."""
    ask: Ask
    name: str = ""
    """By which it is gone back to."""


def items(draft: Draft) -> list[Item]:
    """Return every question in its order; one that does not apply asks nothing."""
    path, data, recipe, estimate, _ = drafts.STEPS
    about: list[Ask] = [functools.partial(_about_path, one) for one in drafts.asked(draft)]
    found = [Item(path, ask) for ask in (about[0], wrong_tool, *about[1:], choose_path)]
    found.append(Item(data, file, "file"))
    found += [Item(data, ask) for ask in (bad_rows, rows, validation, elsewhere)]
    found.append(Item(recipe, recipes.model, "model"))
    found += [Item(recipe, ask) for ask in recipes.questions()]
    found += [Item(estimate, count), Item(estimate, figures)]
    return found


def _about_path(question: Question, ask: Asker, draft: Draft) -> Draft:
    ask.explain(question.why)
    options = [one for one in drafts.options(question) if one[0] != UNANSWERED]
    if not question.assumed:
        options.append((UNANSWERED, NOT_SAID))
    given = draft.answers.get(question.id, question.assumed or UNANSWERED)
    chosen = ask.choose(question.text, options, given)
    others = {id: value for id, value in draft.answers.items() if id != question.id}
    return draft.answering(others if chosen == UNANSWERED else {**others, question.id: chosen})


def wrong_tool(ask: Asker, draft: Draft) -> Draft:
    """Ask again where fine-tuning is the wrong tool."""
    found = _recommendation(draft)
    if draft.answers.get(FIT.id) and found.wrong_tool:
        ask.say(Text.assemble(("! ", f"bold {palette.WARNING}"), found.fit or ""))
        ask.choose("Fine-tune for facts that change?", [(GO_ON, "go on all the same")])
    return draft


def choose_path(ask: Asker, draft: Draft) -> Draft:
    """Recommend a path with its reasons, and ask for one."""
    found = _recommendation(draft)
    ask.say(texts.recommendation(found), hang=4)
    names: list[tuple[str, str]] = [(one.id, one.name) for one in catalog().paths]
    names.sort(key=lambda one: one[0] != found.path)
    names[0] = (found.path, f"{names[0][1]} (recommended)")
    more = (OTHER, "show how they compare, and what would change this")
    given: str = draft.path or found.path
    while (chosen := ask.choose("Which path?", [*names, more], given)) == OTHER:
        for id, _ in names:
            ask.say(texts.factors(found, cast(PathId, id)), hang=22)
            ask.say()
        ask.say(texts.flips(found), hang=4)
    if chosen != found.path:
        ask.say(texts.instead(found, cast(PathId, chosen)), hang=4)
    draft = draft.recommending(found.path, found.reasons)
    return draft.on_path(cast(PathId, chosen) if chosen != found.path else None)


def _recommendation(draft: Draft) -> advice.Recommendation:
    return advice.recommend(draft.machine, draft.answers, datetime.date.today())


def file(ask: Asker, draft: Draft) -> Draft:
    """Ask for the rows until they can be used; say what is in them."""
    given = drafts.shown_path(draft.plan.data.files.train)
    ask.explain(
        "One JSON object a line, or a JSON array: chat messages, Alpaca, prompt/completion."
    )
    while True:
        suggest = suggestions.paths(suggestions.is_data)
        given = ask.line("File of your rows", given, check=_file_problem, suggest=suggest)
        path = drafts.whole(given)
        seen = drafts.stamp(path)
        try:
            found = ask.run(f"Reading {visible(given, 50)}", "check", path)
        except FtwizardError as error:
            ask.problem(error)
            continue
        _say_findings(ask, found)
        if found["usable"]:
            return draft.reading(plans.Files(train=path), found, seen)


def _file_problem(name: str) -> str:
    if not name:
        return "Name a file."
    try:
        path = Path(drafts.whole(name))
    except FtwizardError as error:
        return f"{error.message} {error.hint}"
    if path.is_dir():
        return "That is a folder; name a file in it."
    return "" if path.exists() else f"There is no such file: {visible(name, 200)}"


def _say_findings(ask: Asker, found: dict[str, Any]) -> None:
    ask.say(texts.verdict(found))
    for one in found["findings"]:
        ask.say(Text.assemble(texts.mark(one), visible(one["message"], 300)), hang=2)
        ask.say(f"  {texts.where(one)}. What to do: {visible(one['fix'], 300)}.", hang=2)


def bad_rows(ask: Asker, draft: Draft) -> Draft:
    """Ask whether rows that cannot be used are left out."""
    found = draft.checked or {}
    if bad := found["rows"] - found["usable"]:
        good = plural(found["usable"], "good row")
        options = [(GO_ON, f"yes, with {good}"), (OTHER, "no, take another file")]
        if ask.choose(f"Go on without {plural(bad, 'row')}?", options) == OTHER:
            raise Back("file")
    return draft.insisting("skip-bad-rows", bool(bad))


def rows(ask: Asker, draft: Draft) -> Draft:
    """Show the first rows as they are read, one at a time, as long as that is wanted."""
    first = (draft.checked or {})["preview"][:SHOWN_ROWS]
    shown = {str(row["line"]): row for row in first}
    options = [(GO_ON, "no, go on")]
    options += [(id, f"row {id}: {texts.first_words(row)}") for id, row in shown.items()]
    while (chosen := ask.choose("Look at a row?", options)) != GO_ON:
        ask.say(Text.assemble((f"row {chosen}", "bold")))
        ask.say(texts.conversation(shown[chosen]["conversation"]))
        ask.say()
    return draft


def validation(ask: Asker, draft: Draft) -> Draft:
    """Ask which share validates; none only where that is insisted on."""
    ask.explain("The loss on rows that are not trained on shows when it learns yours by heart.")
    draft = draft.validating(ask.choose("Rows kept for validation", SHARES, draft.share))
    none = not draft.plan.validation_share
    if none and "no-validation" not in draft.plan.insist:
        try:
            ask.insist(*texts.NO_VALIDATION)
        except Back:
            return validation(ask, draft.validating(SHARES[0][0]))
    return draft.insisting("no-validation", none)


def elsewhere(ask: Asker, draft: Draft) -> Draft:
    """Say how far another path goes here; offer this machine."""
    if draft.way == "local":
        return draft.for_the_record()
    ask.say(texts.elsewhere(draft.way, draft.checked or {}), hang=2)
    options = [("here", "train on this machine instead, with the same rows"), ("leave", "leave")]
    if ask.choose("What now?", options) == "leave":
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
    ask.say(
        texts.figures(draft.estimate or {}, draft.plan.recipe.max_length), hang=texts.NAMES_WIDTH
    )
    ask.choose("Go on with this?", [(GO_ON, "yes")])
    return draft
