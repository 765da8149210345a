"""What a data check found, as far as it bears on path and recipe: the data's own evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ftwizard.advice import verifiable
from ftwizard.advice.verifiable import Suggestion, Verifiable
from ftwizard.errors import FtwizardError
from ftwizard.estimate import batches
from ftwizard.estimate.batches import Lengths
from ftwizard.figure import Figure, today
from ftwizard.text import plural

CHANGING = "changing_facts"
"""The check's finding of answers that state facts that change (SPEC D9)."""
RAISED = 0.05
"""Share of rows with such facts from which it is asked again whether fine-tuning is the tool."""
SAID = 0.5
"""Share from which it is said to be the wrong one."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows say."""

    path: str
    format: str | None
    rows: int
    usable: int
    tokens: Figure | None
    """Of all rows, once through."""
    lengths: Lengths | None
    changing: int
    """Rows whose answers state facts that change."""
    changing_lines: tuple[int, ...]
    verifiable: Verifiable | None
    rft: Suggestion | None

    @property
    def changing_share(self) -> float:
        """Return the share of the usable rows."""
        return self.changing / self.usable if self.usable else 0.0


class Raised(msgspec.Struct, frozen=True, kw_only=True):
    """“Is fine-tuning the right tool?”, asked again by the data (SPEC P3)."""

    wrong_tool: bool
    """Whether most rows teach such facts."""
    words: str
    lines: tuple[int, ...]


def evidence(report: Mapping[str, Any]) -> Evidence:
    """Return what ``ftwizard check --json`` says; raise FtwizardError for another document."""
    try:
        rows, usable = int(report["rows"]), int(report["usable"])
        findings: Sequence[Mapping[str, Any]] = report["findings"]
        changing = next((one for one in findings if one["code"] == CHANGING), None)
        tokens = report["tokens"]
        found = verifiable.verifiable(verifiable.answers(report["preview"]))
        return Evidence(
            path=str(report["path"]),
            format=report["format"],
            rows=rows,
            usable=usable,
            tokens=_tokens(tokens),
            lengths=batches.lengths(tokens),
            changing=int(changing["count"]) if changing else 0,
            changing_lines=tuple(changing["lines"]) if changing else (),
            verifiable=found,
            rft=verifiable.suggestion(found),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FtwizardError(
            "This is no report of a data check: it lacks what ftwizard check --json prints.",
            "Make one with: ftwizard check DATA --json > report.json",
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


def raised(found: Evidence) -> Raised | None:
    """Raise the question of the right tool again where the data teaches facts that change."""
    share = found.changing_share
    if share < RAISED:
        return None
    rows = f"{plural(found.changing, 'row')} of {found.usable:,} ({share:.0%})"
    if share >= SAID:
        words = (
            f"{rows} teach facts that change, as prices, dates or policies do: fine-tuning is the "
            "wrong tool for these. Look them up with retrieval (RAG) or tools."
        )
    else:
        words = (
            f"{rows} teach facts that change, as prices, dates or policies do. Put these into the "
            "prompt from where they are kept, or leave the rows out."
        )
    return Raised(wrong_tool=share >= SAID, words=words, lines=found.changing_lines[:8])
