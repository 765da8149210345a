"""The questions about the path, line by line."""

from __future__ import annotations

import datetime
from typing import cast

from rich.text import Text

from ftwizard.advice import path as advice
from ftwizard.advice.path import Recommendation
from ftwizard.advice.questions import FIT, Question
from ftwizard.catalog.paths import PathId, catalog
from ftwizard.screens import draft as drafts
from ftwizard.screens import palette, path_costs, path_texts, texts
from ftwizard.screens.draft import NOT_SAID, UNANSWERED, Draft
from ftwizard.screens.path_texts import HANG, Known
from ftwizard.screens.plain import costs
from ftwizard.screens.plain.asking import GO_ON, OTHER, Asker

_COSTS = "\0costs"
"""No path is called so."""


def about(question: Question, ask: Asker, draft: Draft) -> Draft:
    """Ask one of the questions that the machine has not answered."""
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


def choose(ask: Asker, draft: Draft) -> Draft:
    """Recommend a path with its reasons and what each costs, and ask for one."""
    found, known = _recommendation(draft), _known(draft)
    _recommend(ask, found, known)
    names: list[tuple[str, str]] = [(one.id, one.name) for one in catalog().paths]
    names.sort(key=lambda one: one[0] != found.path)
    names[0] = (found.path, f"{names[0][1]} (recommended)")
    more = [(OTHER, "show how they compare, and what would change this")]
    if known.costs:
        more.append((_COSTS, "see what every offer costs"))
    draft = draft.recommending(found.path, found.reasons, found.platform)
    given: str = draft.path or found.path
    while (chosen := ask.choose("Which path?", [*names, *more], given)) in (OTHER, _COSTS):
        if chosen == _COSTS:
            costs.show(ask, draft, datetime.date.today())
        else:
            _compare(ask, found, [cast(PathId, id) for id, _ in names])
    if chosen != found.path:
        ask.say()
        ask.say(path_texts.instead(found, cast(PathId, chosen), known.costs), hang=HANG)
    return draft.on_path(cast(PathId, chosen) if chosen != found.path else None)


def _recommend(ask: Asker, found: Recommendation, known: Known) -> None:
    for words, hang in (
        (path_texts.raised(known.evidence), 2),
        (path_texts.recommendation(found, known.evidence), HANG),
        (path_texts.speaks_for(known.evidence), HANG),
    ):
        if words:
            ask.say(words, hang=hang)
            ask.say()
    if found.blocked:
        ask.say(texts.flips(found)[1:], hang=HANG)
        ask.say()
    more = "all of them can be asked for below"
    for line in path_texts.costs(found, found.path, known, ask.width, more).split("\n"):
        ask.keep(line)
    ask.say()


def _compare(ask: Asker, found: Recommendation, paths: list[PathId]) -> None:
    for id in paths:
        ask.say(texts.factors(found, id), hang=22)
        ask.say()
    if not found.blocked:  # else it is said first of all
        ask.say(texts.flips(found), hang=HANG)
    ask.say()
    ask.say(path_texts.sources(found, datetime.date.today()), hang=HANG)


def _known(draft: Draft) -> Known:
    evidence, today = path_costs.evidence(draft), datetime.date.today()
    priced = path_costs.priced(draft, today) if path_costs.is_known(draft) else None
    if priced is None:
        return Known(evidence)
    found = priced.by_path(draft, today)
    return Known(evidence, found, priced.tokens, own_left_out=priced.own_left_out)


def _recommendation(draft: Draft) -> Recommendation:
    return advice.recommend(draft.machine, draft.answers, datetime.date.today())
