"""Scoring of each provider: pros and cons, hard constraints first."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from ftwizard import text
from ftwizard.advice.questions import CLOUDS, Answers, fits_here, wanted_size
from ftwizard.catalog.providers import Lifecycle, Platform, PlatformId, ProviderId, catalog
from ftwizard.hardware.machine import MachineInfo


class Argument(NamedTuple):
    """One consideration; ``weight`` is positive for the provider, negative against it."""

    weight: int
    text: str


class ProviderScore(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a provider is possible for these facts and answers, and how good it is."""

    provider: ProviderId
    platform: PlatformId | None = None
    """The scored cloud service; None if the cloud is unknown."""
    possible: bool = True
    why_not: str | None = None
    """The hard constraint that rules it out; None if it is possible."""
    score: int = 0
    """The sum of the weights, by which providers are ranked."""
    pros: tuple[str, ...] = ()
    """Arguments for it, the strongest first."""
    cons: tuple[str, ...] = ()
    """Arguments against it, the strongest first."""


def _score(
    provider: ProviderId, arguments: Iterable[Argument], platform: PlatformId | None = None
) -> ProviderScore:
    ordered = sorted(arguments, key=lambda argument: -abs(argument.weight))
    return ProviderScore(
        provider=provider,
        platform=platform,
        score=sum(argument.weight for argument in ordered),
        pros=tuple(argument.text for argument in ordered if argument.weight > 0),
        cons=tuple(argument.text for argument in ordered if argument.weight <= 0),
    )


def rule_out(score: ProviderScore, why_not: str) -> ProviderScore:
    """Return the score of a provider that is not possible."""
    return msgspec.structs.replace(score, possible=False, why_not=why_not)


def score_local(facts: MachineInfo, answers: Answers) -> ProviderScore:
    """Score training on the user's own machine: never ruled out, but it may not fit."""
    return _score("local", _argue_local(facts, answers))


def _argue_local(facts: MachineInfo, answers: Answers) -> Iterator[Argument]:
    if answers.get("data") == "stay":
        yield Argument(3, "The data stays on this machine.")
    if answers.get("weights") == "yes":
        yield Argument(2, "You own the weights and can run them anywhere.")
    yield _gpu(facts, answers)
    if answers.get("priority") == "control":
        yield Argument(2, "You choose the model, method and serving.")
    if "local" in facts.extras:
        yield Argument(1, "The training libraries are installed here.")
    elif answers.get("priority") == "speed":
        yield Argument(-1, "The training libraries must be installed first.")


def _gpu(facts: MachineInfo, answers: Answers) -> Argument:
    need = catalog().need(wanted_size(answers))
    wants = f"QLoRA of a model {need.label} needs a GPU with about {need.memory_text}"
    if fits_here(facts, answers):
        largest = max(facts.gpus, key=lambda gpu: gpu.memory or 0)
        name = text.make_visible(largest.name or "the GPU here", 40)
        memory = text.format_bytes(largest.memory or 0)
        return Argument(2, f"{wants}; {name} has {memory}.")
    elsewhere = answers.get("gpu_elsewhere")
    if elsewhere == "own":
        return Argument(2, f"Run ftwizard on your GPU machine: {_lower(wants)}.")
    if need.processors:
        cores = text.format_count(facts.cores, "core")
        return Argument(1, f"A model {need.label} also trains on the CPU ({cores} here), slowly.")
    if elsewhere == "rent" and answers.get("data") != "stay":
        price = catalog().provider("local").claims("cost")[0].statement
        return Argument(0, f"You need to rent and set up a GPU: {price}.")
    return Argument(-4, f"{wants}; {_describe_gpu(facts)}. {_describe_largest(facts)}")


def _describe_gpu(facts: MachineInfo) -> str:
    if not facts.gpus:
        return "there is none here"
    if facts.gpu_memory is None:
        return "the driver does not report its memory"
    return f"the largest here has {text.format_bytes(facts.gpu_memory)}"


def _describe_largest(facts: MachineInfo) -> str:
    """Describe the largest size that this machine can train."""
    fitting = [need for need in catalog().needs if fits_here(facts, {"size": need.size})]
    if fitting:
        return f"A model {fitting[-1].label} would fit."
    return f"A model {catalog().needs[0].label} trains without a GPU, slowly."


def score_cloud(facts: MachineInfo, answers: Answers, today: datetime.date) -> ProviderScore:
    """Score the best matching cloud service."""
    data, on = answers.get("data"), answers.get("cloud")
    if data == "stay":
        return _rule_out("cloud", "The data would leave this machine, which you ruled out.")
    if data == "own-cloud" and on == "none":
        return _rule_out(
            "cloud", "The data may only go to your own cloud account, but you have none."
        )
    allowed = [
        service for service in catalog().provider("cloud").platforms if _allows(service, answers)
    ]
    if not allowed:
        return _rule_out("cloud", _no_platform(answers))
    # The user's own cloud first; without one, the service that needs no cloud account.
    chosen = next((service for service in allowed if on and service.cloud == on), None)
    if chosen is None and not (on is None and data == "own-cloud"):
        chosen = next((service for service in allowed if service.cloud is None), None)
    arguments = _argue_cloud(facts, answers, chosen, today)
    return _score("cloud", arguments, chosen.id if chosen else None)


def _allows(service: Platform, answers: Answers) -> bool:
    on = answers.get("cloud")
    if service.cloud and on and service.cloud != on:
        return False
    if answers.get("data") == "own-cloud" and not service.own_account:
        return False
    return answers.get("weights") != "yes" or service.weights in ("yes", "open models")


def _no_platform(answers: Answers) -> str:
    name = CLOUDS.get(answers.get("cloud", ""), "your cloud")
    return f"The service of {name} is not known to release the weights, which you must own."


def _argue_cloud(
    facts: MachineInfo, answers: Answers, service: Platform | None, today: datetime.date
) -> Iterator[Argument]:
    provider = catalog().provider("cloud")
    name = service.name if service else provider.name
    if not fits_here(facts, answers) and answers.get("gpu_elsewhere") != "own":
        yield Argument(2, f"{name} needs no GPU of yours.")
    if answers.get("data") == "own-cloud":
        yield Argument(2, "The data stays in your own cloud account.")
    if service and service.cloud and service.cloud == answers.get("cloud"):
        yield Argument(1, f"{name} is part of the cloud you use.")
    is_wanted = answers.get("weights") == "yes"
    if service and (is_wanted or service.weights != "yes"):
        ownership = _lower(provider.claims("ownership", service.id)[0].text)
        yield Argument(int(is_wanted), f"Weights at {name}: {ownership}.")
    if answers.get("priority") == "speed":
        yield Argument(1, "No GPU, driver or library to set up.")
    if answers.get("priority") == "control":
        yield Argument(-2, "Only its own models, settings and endpoint.")
    if not provider.available:
        yield Argument(-1, provider.unavailable)
    for end in catalog().lifecycles:
        if service and end.platform == service.id and end.date <= today:
            yield Argument(0, f"{', '.join(end.models)}: {end.text}")


def score_openai(facts: MachineInfo, answers: Answers, today: datetime.date) -> ProviderScore:
    """Score OpenAI's API; whether it accepts jobs depends on the day."""
    if answers.get("data") in ("stay", "own-cloud"):
        return _rule_out("openai", "The data would go to OpenAI, which you ruled out.")
    if answers.get("weights") == "yes":
        return _rule_out("openai", "OpenAI never releases the weights, which you must own.")
    jobs = _openai_end("jobs")
    if today >= jobs.date:
        return _rule_out(
            "openai",
            f"OpenAI stopped accepting fine-tuning jobs on {jobs.date}. Alternatives: Microsoft "
            "Foundry for the same models, Together AI or your own machine for open models.",
        )
    return _score("openai", _argue_openai(facts, answers, today))


def _argue_openai(facts: MachineInfo, answers: Answers, today: datetime.date) -> Iterator[Argument]:
    if answers.get("priority") == "speed":
        yield Argument(3, "The fastest way to a first result: upload data and wait.")
    if answers.get("priority") == "control":
        yield Argument(-2, "Only OpenAI's own models, settings and endpoint.")
    if not fits_here(facts, answers) and answers.get("gpu_elsewhere") != "own":
        yield Argument(1, "OpenAI needs no GPU of yours.")
    if any(credential.service == "openai" for credential in facts.credentials):
        yield Argument(1, "An OpenAI key was found here.")
    yield Argument(0, "You can never download the weights.")
    closed = [end for end in map(_openai_end, ("newcomers", "inactive")) if today >= end.date]
    if closed:
        jobs, models = _openai_end("jobs").date, _openai_end("models").date
        yield Argument(-2 - len(closed), f"{closed[-1].text} From {jobs}, nobody can.")
        days = text.format_count((models - today).days, "day")
        yield Argument(-2, f"The models and their fine-tunes end on {models}, in {days}.")
    if not catalog().provider("openai").available:
        yield Argument(-1, catalog().provider("openai").unavailable)


def _openai_end(kind: str) -> Lifecycle:
    """Return OpenAI's last lifecycle end of this kind."""
    ends = [end for end in catalog().lifecycles if (end.provider, end.what) == ("openai", kind)]
    return max(ends, key=lambda end: end.date)


def _rule_out(provider: ProviderId, why_not: str) -> ProviderScore:
    return rule_out(ProviderScore(provider=provider), why_not)


def _lower(words: str) -> str:
    """Lowercase the first letter for use within a sentence, unless it is a name like QLoRA."""
    return words if words[:2].isupper() else words[:1].lower() + words[1:]
