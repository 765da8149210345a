"""Loss mask reports, made with the same functions as the training itself."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec

from ftwizard.data import histogram
from ftwizard.data.example import IGNORE_INDEX
from ftwizard.data.findings import MAX_SHOWN_LINES, FileFinding
from ftwizard.data.platforms import get_target
from ftwizard.data.reader import ParsedRow
from ftwizard.data.tokens import stats
from ftwizard.data.tokens.stats import TokenCounts, TokenLengths, TrainableTokens
from ftwizard.models.loss_mask import MaskFigures, PackedRows, RowMask, TokenSpan
from ftwizard.text import format_count, make_visible
from ftwizard.train import packing
from ftwizard.train.encoder import EncodedRow, Encoder, EncodingError, truncate
from ftwizard.train.mask_check import decode
from ftwizard.train.template_losses import TemplateLosses

ReportProgress = Callable[..., None]
PROGRESS_ROWS = 100
"""Rows between two progress reports."""


class TokenReport(MaskFigures, frozen=True, kw_only=True):
    """Rows as a model's training would use them."""

    counts: TokenCounts
    """Tokens before truncation, and trainable tokens after it."""
    findings: list[FileFinding]

    @property
    def summary(self) -> str:
        """Return the most important fact: how many rows are unused, unencodable ones included."""
        setting = f"with this template and a max length of {self.max_length:,}"
        if unused := self.rows - self.used:
            rows = format_count(self.rows, "row")
            return f"{unused:,} of {rows} will have no trainable tokens {setting}."
        rows = format_count(self.rows, "row has", "rows have")
        return f"{'All ' if self.rows > 1 else ''}{rows} trainable tokens {setting}."


def report_tokens(
    encoder: Encoder,
    rows: list[ParsedRow],
    max_length: int,
    name: str,
    say: ReportProgress,
    unit: str = "line",
) -> tuple[TokenReport, list[EncodedRow]]:
    """Return a report on ``rows`` and the encoded rows that would be trained on.

    ``name`` is the model's, ``unit`` what lines count. A row that cannot be encoded is a finding, not an error.
    """
    losses = TemplateLosses(encoder)
    whole, refused = _encode_rows(encoder, rows, losses, say)
    pairs = [(row, truncate(row, max_length)) for row in whole]
    kept = [cut for _, cut in pairs if cut and not cut.is_equal_pair]
    without = [row for row, cut in pairs if not cut]
    counts = TokenCounts(
        tokens=_summarize(whole, max_length, name, exact=not refused),
        trained=_count_trainable(kept, without, exact=not refused),
        over_lines=[row.line for row in whole if row.longest > max_length][:MAX_SHOWN_LINES],
        longest_line=max(whole, key=lambda row: (row.longest, -row.line)).line if whole else None,
        **_list_emptied(without),
    )
    tokenizer = encoder.tokenizer
    bos, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    report = TokenReport(
        route=encoder.route_of(rows),
        max_length=max_length,
        rows=len(rows),
        used=len(kept),
        rows_without_loss=len(without),
        lines_without_loss=[row.line for row in without][:MAX_SHOWN_LINES],
        used_tokens=sum(row.tokens for row in kept),
        counts=counts,
        findings=[
            *_find_refused(refused, unit),
            *_find_equal_pairs([cut for _, cut in pairs if cut], max_length),
            *losses.findings(),
            *stats.find_long_rows(counts, get_target("trl-sft"), unit),
        ],
        end_tokens=[decode(tokenizer, [i]) for i in sorted(encoder.end_ids)],
        cut_answers=sum(cut is not None and _cuts_answer(row, max_length) for row, cut in pairs),
        doubled_bos=sum(bos is not None and row.input_ids[:2] == [bos] * 2 for row in whole),
        pad_ends_answers=pad is None or pad in encoder.end_ids,
        trainable_text=sorted(encoder.added),
    )
    return report, kept


def _encode_rows(
    encoder: Encoder, rows: list[ParsedRow], losses: TemplateLosses, say: ReportProgress
) -> tuple[list[EncodedRow], list[tuple[int, str]]]:
    """Return the encoded rows, and line and reason of those that cannot be encoded."""
    whole, refused = list[EncodedRow](), list[tuple[int, str]]()
    for number, row in enumerate(rows, 1):
        try:
            whole.append(encoder.encode_row(row))
            losses.add(row)
        except EncodingError as error:
            refused.append((row.line, error.reason))
        if number % PROGRESS_ROWS == 0 or number == len(rows):
            say("tokenising", what="rows", done=number, total=len(rows), unit="rows")
    return whole, refused


def _summarize(rows: list[EncodedRow], max_length: int, name: str, *, exact: bool) -> TokenLengths:
    lengths = array("I", (row.longest for row in rows))
    total = sum(row.tokens for row in rows)
    return TokenLengths(
        total=total, low=total, high=total, exact=exact,
        encoding=f"the tokenizer and template of {make_visible(name, 100)}",
        rows=len(rows), over_limit=sum(length > max_length for length in lengths),
        limit=max_length, **histogram.summarize_lengths(lengths),
    )  # fmt: skip


def _count_trainable(
    kept: list[EncodedRow], without: list[EncodedRow], *, exact: bool
) -> TrainableTokens:
    total = sum(row.trained for row in kept)
    return TrainableTokens(
        total=total, low=total, high=total, exact=exact, rows_without=len(without)
    )


def _list_emptied(without: list[EncodedRow]) -> dict[str, Any]:
    """Count the rows whose trainable tokens are all truncated."""
    lines = [row.line for row in without if truncate(row, len(row.input_ids))]
    return {"emptied": len(lines), "emptied_lines": lines[:MAX_SHOWN_LINES]}


def _cuts_answer(row: EncodedRow, max_length: int) -> bool:
    """Return whether truncation cuts an answer."""
    edge = row.labels[max_length - 1 : max_length + 1]
    return len(edge) == 2 and IGNORE_INDEX not in edge


def _find_refused(refused: list[tuple[int, str]], unit: str) -> list[FileFinding]:
    """Return the finding about rows that cannot be encoded, given by line and reason."""
    if not refused:
        return []
    line, reason = refused[0]
    return [
        FileFinding(
            code="model_mismatch",
            message=f"{format_count(len(refused), 'row')} cannot be used with this model, "
            f"the first at {unit} {line}: {reason}",
            fix="choose another model, or delete the rows",
            count=len(refused),
            lines=[line for line, _ in refused[:MAX_SHOWN_LINES]],
        )
    ]


def _find_equal_pairs(rows: list[EncodedRow], max_length: int) -> list[FileFinding]:
    """Return the finding about pairs whose answers have the same tokens."""
    lines = [row.line for row in rows if row.is_equal_pair]
    if not lines:
        return []
    return [
        FileFinding(
            code="identical_pair",
            message=f"{format_count(len(lines), 'pair')} have the same tokens in both answers, up to "
            f"the max length of {max_length:,}",
            fix="raise the max length, or delete the rows",
            count=len(lines),
            lines=lines[:MAX_SHOWN_LINES],
        )
    ]


def mask_row(encoder: Encoder, row: ParsedRow, max_length: int) -> RowMask:
    """Return the loss mask of one row, of a pair the chosen answer's.

    Raises EncodingError if it cannot be encoded.
    """
    return mask_sides(encoder, row, max_length)[0]


def mask_sides(encoder: Encoder, row: ParsedRow, max_length: int) -> list[RowMask]:
    """Return the loss mask of one row, of a pair those of both answers.

    Raises EncodingError if it cannot be encoded.
    """
    sequences = encoder.encode_row(row).sequences
    masks = [_mask_sequence(encoder, sequence, max_length) for sequence in sequences]
    if len(masks) == 1:
        return masks
    chosen, rejected = masks
    return [
        msgspec.structs.replace(chosen, side="chosen"),
        msgspec.structs.replace(rejected, side="rejected"),
    ]


def _mask_sequence(encoder: Encoder, encoded: EncodedRow, max_length: int) -> RowMask:
    encoded = msgspec.structs.replace(encoded, rejected=None)
    ids = encoded.input_ids
    trained = truncate(encoded, max_length)
    kept = min(len(ids), max_length)
    mask = [label != IGNORE_INDEX for label in trained.labels] if trained else []
    mask += [False] * (len(ids) - len(mask))
    edges = [
        index for index in range(1, len(mask)) if index == kept or mask[index] != mask[index - 1]
    ]
    spans = [
        TokenSpan(start, end, decode(encoder.tokenizer, ids[start:end]), mask[start])
        for start, end in pairwise([0, *edges, len(mask)])
        if end > start
    ]
    return RowMask(line=encoded.line, tokens=len(ids), kept=kept, trained=sum(mask), spans=spans)


def pack_rows(rows: list[EncodedRow], max_length: int) -> PackedRows:
    """Pack ``rows`` as for training into sequences of ``max_length`` tokens."""
    data = packing.build_dataset(rows, pack_to=max_length, lines=True)
    lines = [list(dict.fromkeys(sequence)) for sequence in data["lines"]]
    token_count = sum(len(row.input_ids) for row in rows)
    return PackedRows(
        sequences=len(lines),
        filled=round(token_count / (len(lines) * max_length), 3) if lines else 0.0,
        lines=lines,
    )
