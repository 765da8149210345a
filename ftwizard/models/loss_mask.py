"""Loss mask of rows as a model's training would use them: the document of ``ftwizard mask``."""

from __future__ import annotations

from typing import Literal

import msgspec

from ftwizard.data.findings import Finding
from ftwizard.data.tokens.stats import TokenLengths, TrainableTokens
from ftwizard.models.hub import ModelSource

MaskRoute = Literal["template", "training-template", "prefixes", "plain", "text", "tokens"]
"""How a mask is made."""


class TokenSpan(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive tokens that all count toward the loss, or all do not."""

    start: int
    end: int
    """The index after the last token."""
    text: str
    trained: bool


class RowMask(msgspec.Struct, frozen=True, kw_only=True):
    """The loss mask of one row."""

    line: int
    side: Literal["", "chosen", "rejected"] = ""
    """Which answer of a pair it shows."""
    tokens: int
    kept: int
    """Tokens up to ``max_length``; the rest is truncated."""
    trained: int
    """Kept tokens that count toward the loss; a row without any is left out."""
    spans: list[TokenSpan]
    """All tokens in order; no span crosses the truncation."""


class PackedRows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows packed into sequences."""

    sequences: int
    filled: float
    """Share of the sequences that rows fill."""
    lines: list[list[int]]
    """The rows of each sequence."""


class MaskFigures(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "used": "kept",
        "used_tokens": "kept_tokens",
        "rows_without_loss": "without_loss",
        "lines_without_loss": "without_loss_lines",
        "cut_answers": "ends_cut",
        "doubled_bos": "doubled_begin",
        "pad_ends_answers": "pad_is_end",
        "trainable_text": "added",
    },
):
    """Figures of all rows."""

    route: MaskRoute
    max_length: int
    rows: int
    used: int
    """Rows that are trained on."""
    rows_without_loss: int
    """Rows with no trainable tokens, before or after truncation."""
    lines_without_loss: list[int]
    used_tokens: int
    """Tokens of the rows that are trained on, after truncation."""
    end_tokens: list[str]
    """Tokens that end answers; they count toward the loss."""
    cut_answers: int
    """Rows truncated within an answer, which then has no end token."""
    doubled_bos: int
    """Rows that start with two beginning-of-text tokens."""
    pad_ends_answers: bool
    """Whether the padding token also ends answers; padding never counts toward the loss."""
    trainable_text: list[str]
    """Template text that counts toward the loss besides answers and their ends."""


class MaskReport(MaskFigures, frozen=True, kw_only=True):
    """The output of ``ftwizard mask --json``."""

    summary: str
    path: str
    model: ModelSource
    unreadable: int
    """Rows that cannot be used; ``rows`` are the others."""
    tokens: TokenLengths
    """Before truncation."""
    trained_tokens: TrainableTokens
    """After truncation."""
    findings: list[Finding]
    packing: PackedRows | None
    row: RowMask | None
    """The row that was asked for; of a pair, with the chosen answer."""
    rejected: RowMask | None = None
    """The same row with the rejected answer, if it is a pair."""
    unit: Literal["line", "row"] = "line"
    """Unit of lines: physical lines, or rows in files without lines."""
