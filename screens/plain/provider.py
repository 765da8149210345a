"""The questions about the provider in plain mode."""

from __future__ import annotations

import datetime
from typing import cast

from rich.text import Text

from ftwizard.advice import provider_advice
from ftwizard.advice.provider_advice import Recommendation
from ftwizard.advice.questions import FIT, Question
from ftwizard.catalog.providers import ProviderId, catalog
from ftwizard.screens import palette
from ftwizard.screens.draft import drafts, texts
from ftwizard.screens.draft.drafts import NOT_SPECIFIED, UNANSWERED, Draft
from ftwizard.screens.plain import costs
from ftwizard.screens.plain.prompts import CONTINUE, OTHER, Prompter
from ftwizard.screens.wizard.provider import text
from ftwizard.screens.wizard.provider.costs import can_price, get_evidence, price_offers
from ftwizard.screens.wizard.provider.text import INDENT, DataFindings

_COSTS = "\0costs"
"""A value that no provider has."""


def ask_question(question: Question, prompter: Prompter, draft: Draft) -> Draft:
    """Ask a question that the machine cannot answer."""
    prompter.explain(question.why)
    options = [option for option in drafts.list_answers(question) if option[0] != UNANSWERED]
    if not question.assumed:
        options.append((UNANSWERED, NOT_SPECIFIED))
    answer = draft.answers.get(question.id, question.assumed or UNANSWERED)
    chosen = prompter.choose(question.text, options, answer)
    rest = {id: value for id, value in draft.answers.items() if id != question.id}
    return draft.with_answers(rest if chosen == UNANSWERED else {**rest, question.id: chosen})


def confirm_tool(prompter: Prompter, draft: Draft) -> Draft:
    """Confirm if fine-tuning is the wrong tool."""
    recommendation = _recommendation(draft)
    if draft.answers.get(FIT.id) and recommendation.wrong_tool:
        prompter.print(Text.assemble(("! ", f"bold {palette.WARNING}"), recommendation.fit or ""))
        prompter.choose(texts.FACTS_QUESTION, [(CONTINUE, "continue anyway")])
    return draft


def choose_provider(prompter: Prompter, draft: Draft) -> Draft:
    """Recommend a provider with reasons and costs, and ask for one."""
    recommendation, findings = _recommendation(draft), _get_findings(draft)
    _print_recommendation(prompter, recommendation, findings)
    names: list[tuple[str, str]] = [
        (provider.id, provider.name) for provider in catalog().providers
    ]
    names.sort(key=lambda name: name[0] != recommendation.provider)
    names[0] = (recommendation.provider, f"{names[0][1]} (recommended)")
    more = [(OTHER, "compare them and see what would change this")]
    if findings.costs:
        more.append((_COSTS, "compare the costs of all offers"))
    draft = draft.with_recommendation(
        recommendation.provider, recommendation.reasons, recommendation.platform
    )
    default: str = draft.chosen_provider or recommendation.provider
    while (chosen := prompter.choose("Which provider?", [*names, *more], default)) in (
        OTHER,
        _COSTS,
    ):
        if chosen == _COSTS:
            costs.browse_costs(prompter, draft, datetime.date.today())
        else:
            _print_comparison(prompter, recommendation, [cast(ProviderId, id) for id, _ in names])
    if chosen != recommendation.provider:
        prompter.print()
        prompter.print(
            text.format_instead(recommendation, cast(ProviderId, chosen), findings.costs),
            hang=INDENT,
        )
    return draft.with_provider(
        cast(ProviderId, chosen) if chosen != recommendation.provider else None
    )


def _print_recommendation(
    prompter: Prompter, recommendation: Recommendation, findings: DataFindings
) -> None:
    for words, hang in (
        (text.format_warning(findings.evidence), 2),
        (text.format_recommendation(recommendation, findings.evidence), INDENT),
        (text.format_suggestions(findings.evidence), INDENT),
    ):
        if words:
            prompter.print(words, hang=hang)
            prompter.print()
    if recommendation.blocked:
        prompter.print(text.format_flips(recommendation), hang=INDENT)
        prompter.print()
    more = "all offers can be listed below"
    for line in text.format_costs(
        recommendation, recommendation.provider, findings, prompter.width, more
    ).split("\n"):
        prompter.print_line(line)
    prompter.print()


def _print_comparison(
    prompter: Prompter, recommendation: Recommendation, providers: list[ProviderId]
) -> None:
    for id in providers:
        prompter.print(text.format_factors(recommendation, id), hang=22)
        prompter.print()
    if not recommendation.blocked:  # else already printed
        prompter.print(text.format_flips(recommendation), hang=INDENT)
    prompter.print()
    prompter.print(text.format_sources(recommendation, datetime.date.today()), hang=INDENT)


def _get_findings(draft: Draft) -> DataFindings:
    evidence, today = get_evidence(draft), datetime.date.today()
    priced = price_offers(draft, today) if can_price(draft) else None
    return priced.find(evidence, draft, today) if priced else DataFindings(evidence)


def _recommendation(draft: Draft) -> Recommendation:
    return provider_advice.recommend(draft.machine, draft.answers, datetime.date.today())
