"""Evidence from the data check that bears on provider and recipe: changing facts, gradable answers."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from ftwizard.catalog.hosted_models import Tuning, get_tuning
from ftwizard.catalog.providers import catalog
from ftwizard.catalog.sourced import Sourced
from ftwizard.data.documents import DataReport, RowPreview
from ftwizard.data.tokens.stats import TokenLengths
from ftwizard.estimate import batching
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.graders.template import GraderKind
from ftwizard.plan.schema import Evaluate
from ftwizard.quantity import Figure, today
from ftwizard.rewards import answer_kinds
from ftwizard.rewards.answer_kinds import AnsweredRow
from ftwizard.rewards.recognized_answers import RecognizedAnswers
from ftwizard.text import format_count

CHANGING_FACTS_CODE = "changing_facts"
"""Code of the check's finding for answers that state facts that change."""
SUBJECT_FACTS_CODE = "subject_facts"
"""Code of its finding for rows that ask for facts about one subject."""
MIN_WARNING_SHARE = 0.2
"""Share of rows with such facts from which the user is asked again whether to fine-tune. Letters to
customers name a term or a price now and then; below, the finding in the list is enough."""
MIN_WRONG_TOOL_SHARE = 0.5
"""Share from which fine-tuning is called the wrong tool."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the rows of one data check."""

    path: str
    format: str | None
    rows: int
    usable: int
    tokens: Figure | None
    """Of all rows, one epoch."""
    lengths: LengthDistribution | None
    changing: int
    """Number of rows whose answers state facts that change."""
    changing_lines: tuple[int, ...]
    verifiable: GradableAnswers | None
    rft: RftSuggestion | None
    about_subject: int = 0
    """Number of rows that ask for a fact about one subject, product or event."""
    subject_lines: tuple[int, ...] = ()

    @property
    def tuning(self) -> Tuning | None:
        """Return the only tuning that the rows are for; None if they do not decide that."""
        return "preference" if self.format in ("preference", "openai-preference") else None

    @property
    def changing_share(self) -> float:
        """Return the share of usable rows whose answers state facts that change."""
        return self.changing / self.usable if self.usable else 0.0


WarningKind = Literal["changing", "subject"]
"""Facts that change, or facts about one subject."""


class FineTuningWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A warning that the data may be wrong for fine-tuning."""

    wrong_tool: bool
    """Whether most rows contain such facts."""
    message: str = msgspec.field(name="words")
    lines: tuple[int, ...]
    kind: WarningKind = "changing"


def read_evidence(report: DataReport) -> Evidence:
    """Return the evidence in a data check report."""
    by_code = {finding.code: finding for finding in report.findings}
    changing, subject = by_code.get(CHANGING_FACTS_CODE), by_code.get(SUBJECT_FACTS_CODE)
    gradable = detect_gradable(*_preview_answers(report.preview))
    return Evidence(
        path=report.path, format=report.format, rows=report.rows, usable=report.usable,
        tokens=_to_figure(report.tokens) if report.tokens else None,
        lengths=batching.from_check_tokens(report.tokens),
        changing=changing.count if changing else 0,
        changing_lines=tuple(changing.lines) if changing else (), verifiable=gradable,
        rft=suggest_rft(gradable), about_subject=subject.count if subject else 0,
        subject_lines=tuple(subject.lines) if subject else (),
    )  # fmt: skip


def _to_figure(tokens: TokenLengths) -> Figure:
    exact = tokens.low == tokens.high
    return Figure(
        value=tokens.total, unit="tokens", low=None if exact else tokens.low,
        high=None if exact else tokens.high, source=f"counted with {tokens.encoding}", as_of=today(),
    )  # fmt: skip


def warn_of_facts(data: Evidence) -> FineTuningWarning | None:
    """Return a warning if the rows teach facts: many state facts that change, or many ask
    for facts about one subject. The graver one, else None."""
    changing, subject = _warn_of_changing_facts(data), _warn_of_subject(data)
    if changing and subject and subject.wrong_tool and not changing.wrong_tool:
        return subject
    return changing or subject


def _warn_of_changing_facts(data: Evidence) -> FineTuningWarning | None:
    share = data.changing_share
    if share < MIN_WARNING_SHARE:
        return None
    rows = f"{format_count(data.changing, 'row')} of {data.usable:,} ({share:.0%})"
    wrong_tool = share >= MIN_WRONG_TOOL_SHARE
    message = f"{rows} contain facts that change, such as prices, dates or policies. "
    if wrong_tool:
        message += "Fine-tuning is the wrong tool for these: use retrieval (RAG) or tools."
    else:
        message += "Put such facts into the prompt, or remove the rows."
    return FineTuningWarning(wrong_tool=wrong_tool, message=message, lines=data.changing_lines[:8])


def _warn_of_subject(data: Evidence) -> FineTuningWarning | None:
    """Warn of facts about one subject. Source: the article, “behavior, not knowledge”."""
    if not data.about_subject or not data.usable:
        return None
    share = data.about_subject / data.usable
    wrong_tool = share >= MIN_WRONG_TOOL_SHARE
    ask = "ask" if wrong_tool else "may ask"
    return FineTuningWarning(
        wrong_tool=wrong_tool,
        message=f"{format_count(data.about_subject, 'row')} of {data.usable:,} ({share:.0%}) {ask} "
        "for facts about one subject. Fine-tuning teaches facts poorly: the model mixes them up. "
        "Give it your documents in the prompt, or by retrieval (RAG). Fine-tuning still makes sense "
        "for how it answers, with the facts in each row's prompt.",
        lines=data.subject_lines[:8],
        kind="subject",
    )


def read_answers(report: DataReport, settings: Evaluate | None = None) -> RecognizedAnswers | None:
    """Return how the answers of the first rows would be compared; None if they are not answers to learn.

    ``settings``: scorer and pattern of the user, and the judge of free text.
    """
    if report.partial or get_tuning(report.target) != "supervised":
        return None
    rows = answer_kinds.from_preview(report.preview)
    if not rows:
        return None
    return recognize_as_planned(rows, settings or Evaluate())


def recognize_as_planned(rows: Sequence[AnsweredRow], settings: Evaluate) -> RecognizedAnswers:
    """Return how the answers of rows are compared: as planned, or as they show; free text by a judge,
    where there is one."""
    scorer = None if settings.scorer == "auto" else settings.scorer
    kind = answer_kinds.recognize(rows, scorer, settings.answer_pattern or "")
    if settings.judge.url and not kind.is_checked and not kind.is_chosen:
        kind = msgspec.structs.replace(kind, scorer="judge")
    return kind


Kind = Literal["number", "json", "code", "choice", "quote"]
MIN_SHARE = 0.8
"""Share of answers of one kind from which the task counts as that kind."""
MIN_ANSWERS = 20
MAX_CHOICES = 20
"""Largest number of distinct answers of a choice, each used ``MIN_REPEATS`` times on average."""
MIN_REPEATS = 5
MAX_CHOICE_CHARACTERS = 60
MIN_QUOTE_CHARACTERS = 2
_FINAL = re.compile(
    r"(?:####|\\boxed\{|answer is:?|=)\s*\$?(-?[\d.,/]+)\}?\s*[.$]*\s*$", re.IGNORECASE
)
_NUMBER = re.compile(r"[-+]?[$€£]?\s?[\d.,]*\d[\d.,/]*\s?(?:%|[a-z]{1,3})?", re.IGNORECASE)
_FENCE = re.compile(r"^```[\w+-]*\n.*\n```$", re.DOTALL)
_CODE = re.compile(r"^\s*(def |class |import |from \w+ import|SELECT |function |#include|public )")
_WORDS: dict[Kind, tuple[str, str]] = {
    "number": ("end in a number", "compare the number"),
    "json": ("are JSON", "compare the fields"),
    "code": ("are code", "run its tests"),
    "choice": ("are one of a few choices", "compare the text"),
    "quote": ("are short texts from their prompts", "compare the text"),
}
_TEMPLATES: dict[Kind, GraderKind] = {
    "number": "number", "json": "json", "choice": "exact", "quote": "exact"
}  # fmt: skip
"""The example of the template for each kind; code needs a grader of its own."""
_REFERENCES = ("reference_answer", "answer", "reference", "ground_truth", "solution", "label")
"""Fields with the right answer, in rows without one in their messages."""


class GradableAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """The kind of answers that can be verified."""

    kind: Kind
    share: float
    """Share of the inspected answers."""
    looked_at: int
    """Number of inspected answers."""

    @property
    def are(self) -> str:
        """Return what the answers are, as the end of a sentence."""
        return _WORDS[self.kind][0]


class RftSuggestion(Sourced, frozen=True, kw_only=True):
    """A suggestion to use reinforcement fine-tuning."""

    reason: str
    caution: str
    where: tuple[str, ...]
    """Services that offer it."""
    command: str = ""
    """It writes a grader for such answers; empty where the template has no example."""


def detect_gradable(answers: Iterable[str], prompts: Sequence[str] = ()) -> GradableAnswers | None:
    """Detect the kind of ``answers``; None if most cannot be verified, or there are too few.

    ``prompts``: the last message of the user before each answer.
    """
    pairs = [
        (text, prompt)
        for answer, prompt in itertools.zip_longest(answers, prompts, fillvalue="")
        if (text := answer.strip())
    ]
    texts = [text for text, _ in pairs]
    if len(texts) < MIN_ANSWERS:
        return None
    counts = Counter(kind for text, prompt in pairs if (kind := _kind(text, prompt)))
    different = len(set(texts))
    short = sum(len(text) <= MAX_CHOICE_CHARACTERS for text in texts)
    is_choice = 1 < different <= min(MAX_CHOICES, len(texts) / MIN_REPEATS)
    if is_choice and short >= MIN_SHARE * len(texts):
        counts = Counter({"choice": short})
    if not counts:
        return None
    kind, count = counts.most_common(1)[0]
    share = count / len(texts)
    return (
        GradableAnswers(kind=kind, share=share, looked_at=len(texts))
        if share >= MIN_SHARE
        else None
    )


def _kind(text: str, prompt: str) -> Kind | None:
    if text[0] in "[{" and _is_json(text):
        return "json"
    if _NUMBER.fullmatch(text) or _FINAL.search(text):
        return "number"
    if _FENCE.match(text) or _CODE.match(text):
        inner = text.strip("`").partition("\n")[2].strip()
        return "json" if text.startswith("```json") and _is_json(inner) else "code"
    is_short = MIN_QUOTE_CHARACTERS <= len(text) <= MAX_CHOICE_CHARACTERS
    return "quote" if is_short and text.casefold() in prompt.casefold() else None


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def suggest_rft(gradable: GradableAnswers | None) -> RftSuggestion | None:
    """Suggest reinforcement fine-tuning if answers can be verified, else return None.

    It samples answers and rewards the right ones, so the model learns reasoning that nobody wrote
    down. It needs a grader, and a task that the model sometimes solves.
    """
    if gradable is None:
        return None
    are, grader = _WORDS[gradable.kind]
    return RftSuggestion(
        reason=f"{gradable.share:.0%} of {gradable.looked_at:,} answers {are}, so a program can grade "
        f"them ({grader}). Reinforcement fine-tuning (RFT) can learn from such grades, including "
        "the reasoning.",
        caution="RFT needs a grader, and a model that is sometimes right. Supervised fine-tuning on "
        "these rows is the simpler start.",
        where=tuple(
            platform.name
            for platform in catalog().provider("cloud").platforms
            if any("RFT" in claim.statement for claim in platform.special)
        ),
        command=f"ftwizard grader new grader.py --kind {_TEMPLATES[gradable.kind]}"
        if gradable.kind in _TEMPLATES
        else "",
        as_of="2026-04",
        source="End-to-End Fine-Tuning Pipeline (article, edition 2026-04): mathematics, code, "
        "structured extraction",
    )


def describe_template(rft: RftSuggestion) -> str:
    """Return a sentence with the command that writes a grader; empty where there is none."""
    return f"Template of a grader: {rft.command}" if rft.command else ""


def _preview_answers(preview: Sequence[RowPreview]) -> tuple[list[str], list[str]]:
    """Return the right answer of each row in a report's preview, and the user's message before it.

    That is the last message of the assistant, if it is plain text; of a prompt, a field of the row.
    """
    answers: list[str] = []
    prompts: list[str] = []
    for row in preview:
        turns = [*row.example["messages"], *row.example["chosen"]]
        answer = next((turn for turn in reversed(turns) if turn.get("role") == "assistant"), None)
        text = answer.get("content") if answer else None
        if row.example["kind"] == "prompt":
            text = _get_reference(row.example.get("extra"))
        user: dict[str, object] = next(
            (turn for turn in reversed(turns) if turn.get("role") == "user"), {}
        )
        if isinstance(text, str):
            answers.append(text)
            prompts.append(prompt if isinstance(prompt := user.get("content"), str) else "")
    return answers, prompts


def _get_reference(extra: object) -> str | None:
    fields = extra if isinstance(extra, dict) else {}
    value = next((fields[name] for name in _REFERENCES if fields.get(name) is not None), None)
    return value if value is None or isinstance(value, str) else json.dumps(value)
