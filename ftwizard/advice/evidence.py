"""Evidence from the data check that bears on provider and recipe."""

from __future__ import annotations

import msgspec

from ftwizard.advice import rft
from ftwizard.advice.rft import GradableAnswers, RftSuggestion
from ftwizard.data.documents import DataReport
from ftwizard.data.tokens.stats import TokenLengths
from ftwizard.estimate import batching
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.quantity import Figure, today
from ftwizard.text import format_count

CHANGING_FACTS_CODE = "changing_facts"
"""Code of the check's finding for answers that state facts that change."""
MIN_WARNING_SHARE = 0.05
"""Share of rows with such facts from which the user is asked again whether to fine-tune."""
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

    @property
    def changing_share(self) -> float:
        """Return the share of usable rows whose answers state facts that change."""
        return self.changing / self.usable if self.usable else 0.0


class FineTuningWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A warning that the data may be wrong for fine-tuning."""

    wrong_tool: bool
    """Whether most rows contain facts that change."""
    message: str = msgspec.field(name="words")
    lines: tuple[int, ...]


def read_evidence(report: DataReport) -> Evidence:
    """Return the evidence in a data check report."""
    changing = next(
        (finding for finding in report.findings if finding.code == CHANGING_FACTS_CODE), None
    )
    gradable = rft.detect_gradable(rft.preview_answers(report.preview))
    return Evidence(
        path=report.path,
        format=report.format,
        rows=report.rows,
        usable=report.usable,
        tokens=_to_figure(report.tokens) if report.tokens else None,
        lengths=batching.from_check_tokens(report.tokens),
        changing=changing.count if changing else 0,
        changing_lines=tuple(changing.lines) if changing else (),
        verifiable=gradable,
        rft=rft.suggest_rft(gradable),
    )


def _to_figure(tokens: TokenLengths) -> Figure:
    exact = tokens.low == tokens.high
    return Figure(
        value=tokens.total,
        unit="tokens",
        low=None if exact else tokens.low,
        high=None if exact else tokens.high,
        source=f"counted: {tokens.encoding}",
        as_of=today(),
    )


def warn_of_facts(data: Evidence) -> FineTuningWarning | None:
    """Return a warning if at least 5% of the rows state facts that change, else None."""
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
