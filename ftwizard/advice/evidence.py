"""Evidence from the data check that bears on provider and recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ftwizard.advice import rft as verifiable
from ftwizard.advice.rft import GradableAnswers, RftSuggestion
from ftwizard.errors import FtwizardError
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


def read_evidence(report: Mapping[str, Any]) -> Evidence:
    """Build evidence from the report of ``ftwizard check --json``.

    Raises FtwizardError for any other document.
    """
    try:
        rows, usable = int(report["rows"]), int(report["usable"])
        findings: Sequence[Mapping[str, Any]] = report["findings"]
        changing = next(
            (finding for finding in findings if finding["code"] == CHANGING_FACTS_CODE), None
        )
        tokens = report["tokens"]
        gradable = verifiable.detect_gradable(verifiable.preview_answers(report["preview"]))
        return Evidence(
            path=str(report["path"]),
            format=report["format"],
            rows=rows,
            usable=usable,
            tokens=_tokens(tokens),
            lengths=batching.from_check_tokens(tokens),
            changing=int(changing["count"]) if changing else 0,
            changing_lines=tuple(changing["lines"]) if changing else (),
            verifiable=gradable,
            rft=verifiable.suggest_rft(gradable),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FtwizardError(
            "This is not a data check report: fields of ftwizard check --json are missing.",
            "Create one with: ftwizard check DATA --json > report.json",
        ) from error


def _tokens(tokens: Mapping[str, Any] | None) -> Figure | None:
    if not tokens:
        return None
    exact = tokens["low"] == tokens["high"]
    return Figure(
        value=tokens["total"],
        unit="tokens",
        low=None if exact else tokens["low"],
        high=None if exact else tokens["high"],
        source=f"counted: {tokens['encoding']}",
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
