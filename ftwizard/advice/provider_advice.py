"""Provider recommendation, its reasons, and what would change it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

import msgspec

from ftwizard.advice import provider_scoring
from ftwizard.advice.provider_scoring import ProviderScore
from ftwizard.advice.questions import (
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
    ranked = _rank(facts, complete, today)
    best, *others = ranked
    blocked = _blocked(facts, complete, ranked)
    changes = _changes(facts, complete, today) if blocked else {}
    close = [score for score in others if score.possible and best.score - score.score <= CLOSE]
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
    return _rank(facts, complete_answers(facts, answers), today)


def _rank(facts: MachineInfo, answers: Answers, today: datetime.date) -> tuple[ProviderScore, ...]:
    scores = (
        provider_scoring.score_local(facts, answers),
        provider_scoring.score_cloud(facts, answers, today),
        provider_scoring.score_openai(facts, answers, today),
    )
    return tuple(sorted(scores, key=lambda score: (not score.possible, -score.score)))


def _reasons(best: ProviderScore, others: Sequence[ProviderScore]) -> tuple[str, ...]:
    """Return its pros, then what rules the others out."""
    ruled_out = (
        f"{catalog().provider(score.provider).name} is ruled out: {score.why_not}"
        for score in others
        if not score.possible
    )
    return (*best.pros, *ruled_out) or ("It has fewer drawbacks than the others.",)


def _blocked(facts: MachineInfo, answers: Answers, ranked: Sequence[ProviderScore]) -> str:
    """Explain why no provider is possible: only this machine is allowed, and it is too small.

    Empty if no size is chosen, because a smaller model may be enough.
    """
    best, *others = ranked
    is_local_only = best.provider == "local" and not any(score.possible for score in others)
    if "size" not in answers or not is_local_only or can_train(facts, answers):
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


def _try_answers(
    facts: MachineInfo, answers: Answers, today: datetime.date
) -> Iterator[tuple[str, str, bool, ProviderScore]]:
    """Yield each other answer (``data=stay``, and as a condition) with its best provider and whether
    that is possible."""
    for question in QUESTIONS:
        for option in question.options:
            if option.id != answers.get(question.id, question.assumed):
                changed = {**answers, question.id: option.id}
                ranked = _rank(facts, changed, today)
                is_possible = not _blocked(facts, changed, ranked)
                yield f"{question.id}={option.id}", option.when, is_possible, ranked[0]


def _changes(facts: MachineInfo, answers: Answers, today: datetime.date) -> dict[str, str]:
    """Return every single change that makes a provider possible, with its answer: another answer, or
    a larger GPU, which is none."""
    changes = {
        f"If {when}: {_display_name(best)}.": answer
        for answer, when, is_possible, best in _try_answers(facts, answers, today)
        if is_possible
    }
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
    flips = [
        f"If {when}: {_display_name(best)}."
        for _, when, _, best in _try_answers(facts, answers, today)
        if best.provider != provider
    ]
    need = catalog().need(wanted_size(answers))
    if not fits_here(facts, answers) and not need.processors:
        gpu = Gpu(name=None, memory=round(need.memory.value))
        changed = _rank(msgspec.structs.replace(facts, gpus=(gpu,)), answers, today)[0]
        if changed.provider != provider:
            flips.append(f"With a GPU of {need.memory_text} here: {_display_name(changed)}.")
    for end in sorted(catalog().lifecycles, key=lambda end: end.date):
        if end.provider == provider and end.date > today:
            changed = _rank(facts, answers, end.date)[0]
            if changed.provider != provider:
                flips.append(f"From {end.date}: {_display_name(changed)}.")
                break
    return tuple(flips)


def _describe_drawbacks(verdict: ProviderScore, today: datetime.date) -> str:
    if not verdict.possible:
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
