"""Provider recommendation, its reasons, and what would change it."""

from __future__ import annotations

import datetime

import msgspec

from ftwizard.advice import provider_scoring
from ftwizard.advice.provider_scoring import ProviderScore
from ftwizard.advice.questions import (
    BY_ID,
    FIT_ADVICE,
    QUESTIONS,
    Answers,
    complete_answers,
    fits_here,
    open_questions,
    wanted_size,
)
from ftwizard.catalog.providers import Factor, PlatformId, ProviderId, catalog
from ftwizard.hardware.machine import Gpu, MachineInfo

CLOSE = 1
"""Largest score difference that counts as close."""


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """A provider for these facts and answers."""

    provider: ProviderId
    platform: PlatformId | None
    """The cloud service; None for other providers, or if the cloud is unknown."""
    startable: bool
    """Whether ftwizard can start its jobs."""
    reasons: tuple[str, ...]
    """Why this one; never empty."""
    cautions: tuple[str, ...]
    """Arguments against it."""
    close_to: ProviderId | None
    """Another provider that is about as good."""
    assumed: tuple[str, ...]
    """Assumptions for unanswered questions, as conditions."""
    flips: tuple[str, ...]
    """Single changes that lead to another provider: “If you must own the weights: …”."""
    costs_of: dict[ProviderId, str]
    """Drawbacks of choosing each other provider instead."""
    fit: str | None
    """Advice for the answer to ``fit``; None without an answer."""
    blocked: str = ""
    """Why no provider is possible now; empty if one is."""
    changes: tuple[str, ...] = ()
    """Single changes that would each make one possible."""
    change_answers: tuple[str, ...] = ()
    """The answer that is each change, such as ``gpu_elsewhere=own``; empty for a larger GPU."""
    wrong_tool: bool
    """Whether fine-tuning is the wrong tool according to the answer to ``fit``."""


def recommend(facts: MachineInfo, answers: Answers, today: datetime.date) -> Recommendation:
    """Recommend a provider: hard constraints first, then weighted preferences.

    ``today`` decides what a provider still offers. Raises FtwizardError (wrong usage) for an
    unknown question or answer.
    """
    complete = complete_answers(facts, answers)
    ranked = _ranked(facts, complete, today)
    best, others = ranked[0], ranked[1:]
    blocked = _blocked(facts, complete, best, others)
    changes = _changes(facts, complete, today) if blocked else {}
    close = [
        verdict for verdict in others if not verdict.why_not and best.score - verdict.score <= CLOSE
    ]
    return Recommendation(
        provider=best.provider,
        platform=best.platform,
        startable=catalog().provider(best.provider).available,
        reasons=_reasons(best, others),
        cautions=best.cons,
        close_to=close[0].provider if close else None,
        assumed=_assumed(facts, complete),
        flips=_flips(facts, complete, today, best.provider),
        costs_of={verdict.provider: _describe_drawbacks(verdict, today) for verdict in others},
        fit=FIT_ADVICE.get(complete.get("fit", "")),
        wrong_tool=complete.get("fit") == "facts",
        blocked=blocked,
        changes=tuple(changes),
        change_answers=tuple(changes.values()),
    )


def rank_providers(
    facts: MachineInfo, answers: Answers, today: datetime.date
) -> tuple[ProviderScore, ...]:
    """Return every provider with its pros and cons, the recommended one first."""
    return _ranked(facts, complete_answers(facts, answers), today)


def _ranked(
    facts: MachineInfo, answers: Answers, today: datetime.date
) -> tuple[ProviderScore, ...]:
    scored = (
        provider_scoring.score_local(facts, answers),
        provider_scoring.score_cloud(facts, answers, today),
        provider_scoring.score_openai(facts, answers, today),
    )
    return tuple(sorted(scored, key=lambda verdict: (bool(verdict.why_not), -verdict.score)))


def _reasons(best: ProviderScore, others: tuple[ProviderScore, ...]) -> tuple[str, ...]:
    """Return its pros, then what rules the others out."""
    ruled_out = tuple(
        f"{catalog().provider(verdict.provider).name} is ruled out: {verdict.why_not}"
        for verdict in others
        if verdict.why_not
    )
    reasons = (*best.pros, *ruled_out)
    return reasons or ("It has fewer drawbacks than the others.",)


def _blocked(
    facts: MachineInfo, answers: Answers, best: ProviderScore, others: tuple[ProviderScore, ...]
) -> str:
    """Explain why no provider is possible: only this machine is allowed, and it is too small."""
    if "size" not in answers:  # a smaller model may be enough
        return ""
    if (
        best.provider != "local"
        or not all(verdict.why_not for verdict in others)
        or can_train(facts, answers)
    ):
        return ""
    need = catalog().need(wanted_size(answers))
    here = "none here is large enough" if facts.gpus else "there is none here"
    return (
        "No option is possible. Your answers rule out every provider, and a model "
        f"{need.label} needs a GPU with about {need.memory_text}; {here}."
    )


def can_train(facts: MachineInfo, answers: Answers) -> bool:
    """Return whether a model of the wanted size can be trained on the user's own hardware, or on a
    rented GPU if the answers allow it."""
    elsewhere = answers.get("gpu_elsewhere")
    return (
        fits_here(facts, answers)
        or catalog().need(wanted_size(answers)).processors
        or elsewhere == "own"
        or (elsewhere == "rent" and answers.get("data") != "stay")
    )


def _changes(facts: MachineInfo, answers: Answers, today: datetime.date) -> dict[str, str]:
    """Return every single change that makes a provider possible, with its answer: another answer, or
    a larger GPU, which is none."""
    changes = {}
    for question in QUESTIONS:
        for option in question.options:
            if option.id == answers.get(question.id, question.assumed):
                continue
            changed = {**answers, question.id: option.id}
            best, *others = _ranked(facts, changed, today)
            if not _blocked(facts, changed, best, tuple(others)):
                changes[f"If {option.when}: {_display_name(best)}."] = f"{question.id}={option.id}"
    need = catalog().need(wanted_size(answers))
    larger = f"With a GPU with about {need.memory_text} here: {catalog().provider('local').name}."
    return changes | {larger: ""}


def _assumed(facts: MachineInfo, answers: Answers) -> tuple[str, ...]:
    return tuple(
        question.option(question.assumed).when
        for question in open_questions(facts, answers)
        if question.assumed is not None
    )


def _flips(
    facts: MachineInfo, answers: Answers, today: datetime.date, provider: ProviderId
) -> tuple[str, ...]:
    """Try each other answer, a larger GPU, and each end date."""
    flips: list[str] = []
    for question in QUESTIONS:
        now = answers.get(question.id, question.assumed)
        for option in question.options:
            if option.id != now:
                changed = _ranked(facts, {**answers, question.id: option.id}, today)[0]
                if changed.provider != provider:
                    flips.append(f"If {option.when}: {_display_name(changed)}.")
    if not fits_here(facts, answers) and not catalog().need(wanted_size(answers)).processors:
        need = catalog().need(wanted_size(answers))
        gpu = Gpu(name=None, memory=round(need.memory.value))
        changed = _ranked(msgspec.structs.replace(facts, gpus=(gpu,)), answers, today)[0]
        if changed.provider != provider:
            flips.append(f"With a GPU of {need.memory_text} here: {_display_name(changed)}.")
    for end in sorted(catalog().lifecycles, key=lambda end: end.date):
        if end.provider == provider and end.date > today:
            changed = _ranked(facts, answers, end.date)[0]
            if changed.provider != provider:
                flips.append(f"From {end.date}: {_display_name(changed)}.")
                break
    return tuple(flips)


def _describe_drawbacks(verdict: ProviderScore, today: datetime.date) -> str:
    if verdict.why_not:
        return f"Not possible: {verdict.why_not}"
    provider = catalog().provider(verdict.provider)
    factor: Factor = "setup" if verdict.provider == "local" else "data"
    statement = provider.claims(factor, verdict.platform)[0].statement
    differs = f"{factor.capitalize()}: {statement}."
    price = provider.claims("cost", verdict.platform)[0]
    return " ".join(
        [*verdict.cons, differs, f"Training: {price.statement}, as of {price.date(today)}."]
    )


def _display_name(verdict: ProviderScore) -> str:
    name = catalog().provider(verdict.provider).name
    return f"{name} ({catalog().platform(verdict.platform).name})" if verdict.platform else name


def describe_answer(question: str, option: str) -> str:
    """Return an answer as a condition; raise KeyError or StopIteration if it is unknown."""
    return BY_ID[question].option(option).when
