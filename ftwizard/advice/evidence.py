"""Evidence from the data check that bears on provider and recipe: changing facts, gradable answers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
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
from ftwizard.rewards.recognized_answers import MIN_SHARE, RecognizedAnswers, RowScorer
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
    gradable = detect_gradable(_list_answers(report.preview))
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
MIN_ANSWERS = 20
_CODE = re.compile(
    r"```[\w+-]*\n.*\n```$|(def |class |import |from \w+ import|SELECT |function |#include|public )",
    re.DOTALL,
)
_KINDS: dict[RowScorer, Kind] = {
    "numeric": "number", "boxed": "number", "json": "json", "code": "code", "choice": "choice",
}  # fmt: skip
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


def detect_gradable(rows: Sequence[AnsweredRow]) -> GradableAnswers | None:
    """Detect the kind of the answers; None if most cannot be verified, or there are too few.

    Short texts count where they are from their prompts, and code in any language.
    """
    if len(rows) < MIN_ANSWERS:
        return None
    recognized = answer_kinds.recognize(rows)
    kind, count = _KINDS.get(recognized.scorer), recognized.rows
    if recognized.has_labels:
        kind = "choice"
    elif recognized.scorer in ("normalized", "date"):
        kind, count = (
            "quote",
            sum(row.answer.strip().casefold() in row.prompt.casefold() for row in rows),
        )
    elif not recognized.is_checked:
        kind, count = "code", sum(bool(_CODE.match(row.answer.strip())) for row in rows)
    if kind is None or count < MIN_SHARE * len(rows):
        return None
    return GradableAnswers(kind=kind, share=count / len(rows), looked_at=len(rows))


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


def _list_answers(preview: Sequence[RowPreview]) -> list[AnsweredRow]:
    """Return the right answers of the rows in a report; those of prompts are in a field of the row."""
    references = [
        AnsweredRow(row.line, reference, row.example["messages"])
        for row in preview
        if row.example["kind"] == "prompt"
        and (reference := _get_reference(row.example.get("extra")))
    ]
    return references or answer_kinds.from_preview(preview)


def _get_reference(extra: object) -> str | None:
    fields = extra if isinstance(extra, dict) else {}
    value = next((fields[name] for name in _REFERENCES if fields.get(name) is not None), None)
    return value if value is None or isinstance(value, str) else json.dumps(value)
