"""Questions that the machine cannot answer, and the facts it has already detected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, cast

import msgspec

from ftwizard import text
from ftwizard.catalog.providers import Size, catalog
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.hardware.machine import MachineInfo

QuestionId = Literal["fit", "data", "weights", "size", "gpu_elsewhere", "cloud", "priority"]
Answers = Mapping[str, str]
"""Option id by question id."""
CLOUDS = {"gcp": "Google Cloud", "aws": "AWS", "azure": "Azure"}


class Option(msgspec.Struct, frozen=True):
    """One possible answer."""

    id: str
    label: str
    when: str
    """The answer as a condition: “the data may go to a provider”."""


class Question(msgspec.Struct, frozen=True):
    """A question, asked only if the machine does not answer it."""

    id: QuestionId
    text: str
    short: str
    """A short form for narrow lines."""
    why: str
    """Why it is asked."""
    options: tuple[Option, ...]
    assumed: str | None = None
    """The option assumed without an answer; None if nothing needs to be assumed."""

    def option(self, id: str) -> Option:
        """Return an option by its id."""
        return next(option for option in self.options if option.id == id)


FIT = Question(
    "fit", "What should the model learn?", "What should it learn?",
    "Fine-tuning teaches behavior. Facts that change belong in a database.",
    (
        Option("behavior", "Format, tone or structure", "it should learn format, tone or structure"),
        Option("facts", "Changing facts: prices", "it should learn changing facts"),
        Option("unsure", "Both, or not sure", "it should learn both"),
    ),
)  # fmt: skip
QUESTIONS = (
    Question(
        "data", "May the training data leave this machine?", "May the data leave?",
        "Your answer decides which providers are possible.",
        (
            Option("stay", "No, it stays here", "the data must stay on this machine"),
            Option("own-cloud", "Only to our own cloud", "the data may go to your own cloud account only"),
            Option("leave", "Yes, to a provider too", "the data may go to a provider"),
        ),
        assumed="leave",
    ),
    Question(
        "weights", "Must you own the resulting weights?", "Must you own the weights?",
        "OpenAI and some clouds only let you call the model, not download it.",
        (
            Option("yes", "Yes, to run it anywhere", "you must own the weights"),
            Option("no", "No, an endpoint is enough", "an endpoint is enough"),
        ),
        assumed="no",
    ),
    Question(
        "size", "What model size do you want?", "What model size?",
        "It decides whether training fits on a GPU. Around 8B is a good start.",
        (
            Option("tiny", "Up to 1B parameters", "a model up to 1B is enough"),
            Option("small", "Around 3B", "a model around 3B is enough"),
            Option("medium", "Around 8B", "you want a model around 8B"),
            Option("large", "Around 70B", "you want a model around 70B"),
        ),
        assumed="medium",
    ),
    Question(
        "gpu_elsewhere", "Is there a GPU on another machine?", "A GPU elsewhere?",
        "ftwizard trains where it runs. Over SSH, use any Linux machine with a GPU.",
        (
            Option("own", "Yes, one of ours", "you have a GPU machine elsewhere"),
            Option("rent", "No, but I can rent one", "you can rent a GPU"),
            Option("no", "No", "there is no GPU elsewhere"),
        ),
        assumed="no",
    ),
    Question(
        "cloud", "Which cloud are you on?", "Which cloud are you on?",
        "Each has its own service and models. The data stays in that account.",
        (
            Option("gcp", "Google Cloud", "you are on Google Cloud"),
            Option("aws", "AWS", "you are on AWS"),
            Option("azure", "Azure", "you are on Azure"),
            Option("none", "None of these", "you are on none of the three clouds"),
        ),
    ),
    Question(
        "priority", "What matters more?", "What matters more?",
        "Hosted services start faster. Your own machine gives you full control.",
        (
            Option("speed", "A first result, soon", "a fast first result matters more"),
            Option("control", "Control over the model", "control matters more"),
        ),
    ),
)  # fmt: skip
BY_ID: dict[str, Question] = {question.id: question for question in (FIT, *QUESTIONS)}
FIT_ADVICE = {
    "behavior": "Fine-tuning is the right tool for format, tone and structure.",
    "facts": "Fine-tuning is the wrong tool for facts that change: the model repeats outdated "
    "answers. Use retrieval (RAG) or tools instead.",
    "unsure": "Fine-tune for behavior only, and fetch changing facts with retrieval (RAG) or tools. "
    "Keep prices, policies and product data out of the rows.",
}
"""Advice for each answer to FIT. Source: the article, “behavior, not knowledge”."""


def open_questions(facts: MachineInfo, answers: Answers | None = None) -> tuple[Question, ...]:
    """Return the questions that neither the machine nor ``answers`` has answered."""
    complete = complete_answers(facts, answers or {})
    return tuple(
        question
        for question in (FIT, *QUESTIONS)
        if question.id not in complete
        and not (question.id == "gpu_elsewhere" and fits_here(facts, complete))
    )


def complete_answers(facts: MachineInfo, answers: Answers) -> dict[str, str]:
    """Return ``answers``, plus the cloud if the machine has credentials for exactly one.

    Raises FtwizardError (wrong usage) for an unknown question or option.
    """
    for name, option in answers.items():
        _check(name, option)
    clouds = [
        credential.service for credential in facts.credentials if credential.service in CLOUDS
    ]
    return {**({"cloud": clouds[0]} if len(clouds) == 1 else {}), **answers}


def fits_here(facts: MachineInfo, answers: Answers) -> bool:
    """Return whether QLoRA of the wanted size (default: around 8B) fits a GPU of this machine."""
    # A GPU sold as 16 GB reports 15.9–17.2 × 10⁹ bytes.
    need = catalog().need(wanted_size(answers)).memory.value * 0.95
    return (facts.gpu_memory or 0) >= need


def wanted_size(answers: Answers) -> Size:
    """Return the wanted model size; default: ``medium``."""
    return cast(Size, answers.get("size", "medium"))  # the options are the catalog's sizes


def size_here(facts: MachineInfo, answers: Answers) -> Size:
    """Return the largest size that this machine trains, up to the wanted one."""
    wanted = wanted_size(answers)
    sizes = [need.size for need in catalog().needs]
    upto = sizes[: sizes.index(wanted) + 1]
    fitting = [size for size in upto if fits_here(facts, {"size": size})]
    return fitting[-1] if fitting else sizes[0]  # which also trains on the CPU


def planned_size(facts: MachineInfo, answers: Answers) -> Size:
    """Return the size that costs are for: the wanted one; without an answer, one that trains here."""
    if "size" in answers or answers.get("gpu_elsewhere") in ("own", "rent"):
        return wanted_size(answers)
    return size_here(facts, answers)


def describe_machine(facts: MachineInfo) -> dict[str, str]:
    """Describe the detected facts, by label."""
    cards = [
        f"{text.make_visible(gpu.name or 'a GPU', 40)}, "
        f"{text.format_bytes(gpu.memory) if gpu.memory else 'memory unknown'}"
        for gpu in facts.gpus
    ]
    bfloat16 = "bf16" if facts.bfloat16_cpu else "no bf16"
    keys = [f"{credential.service} ({credential.where})" for credential in facts.credentials]
    return {
        "GPU": "; ".join(cards) or f"none ({text.make_visible(facts.no_gpu or 'not found', 80)})",
        "memory": text.format_bytes(facts.memory),
        "CPU": f"{text.format_count(facts.cores, 'core')}, {bfloat16}",
        "free disk": text.format_bytes(facts.disk_free),
        "keys found": ", ".join(keys) or "none",
        "extras": ", ".join(facts.extras) or "none",
    }


def _check(name: str, option: str) -> None:
    if name not in BY_ID:
        raise _reject(
            f"“{text.make_visible(name, 40)}” is not a question.", name, "Questions", BY_ID
        )
    options = [answer.id for answer in BY_ID[name].options]
    if option not in options:
        message = f"“{text.make_visible(option, 40)}” is not an answer to “{name}”."
        raise _reject(message, option, "Answers", options)


def _reject(message: str, word: str, label: str, choices: Iterable[str]) -> FtwizardError:
    hint = f"{text.format_suggestion(word, choices)} {label}: {', '.join(choices)}."
    return FtwizardError(message, hint.lstrip(), USAGE)
