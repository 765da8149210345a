"""Loss mask reports, made with the same functions as the training itself."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from ftwizard.data import histogram
from ftwizard.data.example import IGNORE_INDEX
from ftwizard.data.findings import MAX_SHOWN_LINES, FileFinding
from ftwizard.data.platforms import get_target
from ftwizard.data.reader import ParsedRow
from ftwizard.data.tokens import stats
from ftwizard.data.tokens.stats import TokenCounts, TokenLengths, TrainableTokens
from ftwizard.models.loss_mask import MaskFigures, PackedRows, RowMask, TokenSpan
from ftwizard.text import format_count, make_visible
from ftwizard.train import model_loading, packing, runtime
from ftwizard.train.encoder import EncodedRow, Encoder, EncodingError, truncate

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
        return (
            f"{self.rows - self.used:,} of {format_count(self.rows, 'row')} will have no trainable tokens "
            f"with this template and max_length {self.max_length:,}."
        )


def load_encoder(base: Path, say: ReportProgress) -> Encoder:
    """Return a model's encoder from a folder with tokenizer, template and configuration.

    Raises FtwizardError for a model that cannot be trained.
    """
    say("loading", what="libraries")
    runtime.silence_libraries()
    model_loading.load_config(base)
    return Encoder(model_loading.load_tokenizer(base), model_loading.read_stop_ids(base))


def report_tokens(
    encoder: Encoder, rows: list[ParsedRow], max_length: int, name: str, say: ReportProgress
) -> tuple[TokenReport, list[EncodedRow]]:
    """Return a report on ``rows`` and the encoded rows that would be trained on.

    ``name`` is the model's. A row that cannot be encoded is a finding, not an error.
    """
    counter = _TokenCounter(encoder, max_length)
    for number, row in enumerate(rows, 1):
        try:
            counter.add(encoder.encode_row(row))
        except EncodingError as error:
            counter.refuse(row.line, error.reason)
        if number % PROGRESS_ROWS == 0 or number == len(rows):
            say("tokenising", what="rows", done=number, total=len(rows), unit="rows")
    return counter.report(rows, name), counter.kept


def mask_row(encoder: Encoder, row: ParsedRow, max_length: int) -> RowMask:
    """Return the loss mask of one row; raise EncodingError if it cannot be encoded."""
    encoded = encoder.encode_row(row)
    ids = encoded.input_ids
    trained = truncate(encoded, max_length)
    kept = min(len(ids), max_length)
    mask = [label != IGNORE_INDEX for label in trained.labels] if trained else []
    mask += [False] * (len(ids) - len(mask))
    edges = [
        index for index in range(1, len(mask)) if index == kept or mask[index] != mask[index - 1]
    ]
    spans = [
        TokenSpan(start, end, _decode(encoder, ids[start:end]), mask[start])
        for start, end in pairwise([0, *edges, len(mask)])
        if end > start
    ]
    return RowMask(line=row.line, tokens=len(ids), kept=kept, trained=sum(mask), spans=spans)


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


def _decode(encoder: Encoder, ids: list[int]) -> str:
    return str(
        encoder.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


class _TokenCounter:
    """Collects the counts of a ``TokenReport``."""

    def __init__(self, encoder: Encoder, max_length: int) -> None:
        self._encoder, self._max_length = encoder, max_length
        self._bos_id = encoder.tokenizer.bos_token_id
        self.kept: list[EncodedRow] = []
        self._lengths = array("I")
        self._longest = (-1, 0)
        self._over: list[int] = []
        self._without: list[int] = []
        self._emptied: list[int] = []
        self._refused: list[tuple[int, str]] = []
        self._cut_within: list[int] = []
        self._doubled = 0

    def add(self, row: EncodedRow) -> None:
        """Add an encoded row, not truncated yet."""
        length = len(row.input_ids)
        self._lengths.append(length)
        self._longest = max(self._longest, (length, -row.line))
        if self._bos_id is not None and row.input_ids[:2] == [self._bos_id] * 2:
            self._doubled += 1
        if length > self._max_length:
            self._over.append(row.line)
        trained = truncate(row, self._max_length)
        if trained is None:
            self._without.append(row.line)
            if truncate(row, length) is not None:
                self._emptied.append(row.line)
            return
        self.kept.append(trained)
        if length > self._max_length and self._cuts_answer(row):
            self._cut_within.append(row.line)

    def _cuts_answer(self, row: EncodedRow) -> bool:
        """Return whether truncation cuts an answer."""
        before, after = row.labels[self._max_length - 1 : self._max_length + 1]
        return before != IGNORE_INDEX and after != IGNORE_INDEX

    def refuse(self, line: int, reason: str) -> None:
        """Add a row that could not be encoded."""
        self._refused.append((line, reason))

    def report(self, rows: list[ParsedRow], name: str) -> TokenReport:
        """Return the report on all rows."""
        counts = self._counts(name)
        encoder = self._encoder
        pad = encoder.tokenizer.pad_token_id
        return TokenReport(
            route=encoder.route_of(rows),
            max_length=self._max_length,
            rows=len(rows),
            used=len(self.kept),
            rows_without_loss=len(self._without),
            lines_without_loss=self._without[:MAX_SHOWN_LINES],
            used_tokens=sum(len(row.input_ids) for row in self.kept),
            counts=counts,
            findings=[*self._refused_rows(), *stats.find_long_rows(counts, get_target("trl-sft"))],
            end_tokens=[_decode(encoder, [i]) for i in sorted(encoder.end_ids)],
            cut_answers=len(self._cut_within),
            doubled_bos=self._doubled,
            pad_ends_answers=pad is None or pad in encoder.end_ids,
            trainable_text=sorted(encoder.added),
        )

    def _counts(self, name: str) -> TokenCounts:
        total, trained = sum(self._lengths), sum(row.trained for row in self.kept)
        return TokenCounts(
            tokens=TokenLengths(
                total=total, low=total, high=total, exact=not self._refused,
                encoding=f"the tokenizer and template of {make_visible(name, 100)}",
                rows=len(self._lengths), over_limit=len(self._over), limit=self._max_length,
                **histogram.summarize_lengths(self._lengths),
            ),
            trained=TrainableTokens(
                total=trained, low=trained, high=trained, exact=not self._refused,
                rows_without=len(self._without),
            ),
            over_lines=self._over[:MAX_SHOWN_LINES],
            longest_line=-self._longest[1] if self._lengths else None,
            emptied=len(self._emptied),
            emptied_lines=self._emptied[:MAX_SHOWN_LINES],
            uncounted_images=0,
        )  # fmt: skip

    def _refused_rows(self) -> list[FileFinding]:
        if not self._refused:
            return []
        line, reason = self._refused[0]
        return [
            FileFinding(
                code="model_mismatch",
                message=f"{format_count(len(self._refused), 'row')} cannot be used with this model, "
                f"the first at line {line}: {reason}",
                fix="choose another model, or delete the rows",
                count=len(self._refused),
                lines=[line for line, _ in self._refused[:MAX_SHOWN_LINES]],
            )
        ]
