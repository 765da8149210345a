"""Loss mask reports, made with the same functions as the training itself."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec

from ftwizard.data import histogram
from ftwizard.data.findings import SHOWN_LINES, FileFound
from ftwizard.data.platforms import target
from ftwizard.data.reader import Row
from ftwizard.data.tokens import stats
from ftwizard.data.tokens.row_tokens import IGNORED
from ftwizard.data.tokens.stats import Counts, Lengths, Trained
from ftwizard.text import plural, visible
from ftwizard.train import model_loading, packing, runtime
from ftwizard.train.encoder import Encoded, Encoder, EncodingError, Route, truncate

Say = Callable[..., None]
PROGRESS_ROWS = 100
"""Rows between two progress reports."""


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive tokens that all count toward the loss, or all do not."""

    start: int
    end: int
    """The index after the last token."""
    text: str
    trained: bool


class RowMask(msgspec.Struct, frozen=True, kw_only=True):
    """The loss mask of one row."""

    line: int
    tokens: int
    kept: int
    """Tokens up to ``max_length``; the rest is truncated."""
    trained: int
    """Kept tokens that count toward the loss; a row without any is left out."""
    spans: list[Span]
    """All tokens in order; no span crosses the truncation."""


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """Rows packed into sequences."""

    sequences: int
    filled: float
    """Share of the sequences that rows fill."""
    lines: list[list[int]]
    """The rows of each sequence."""


class TokenReport(msgspec.Struct, frozen=True, kw_only=True):
    """Rows as a model's training would use them."""

    route: Route
    """How the mask was made."""
    max_length: int
    rows: int
    kept: int
    """Rows that are trained on."""
    without_loss: int
    """Rows with no trainable tokens, before or after truncation."""
    without_loss_lines: list[int]
    kept_tokens: int
    """Tokens of the rows that are trained on, after truncation."""
    counts: Counts
    """Tokens before truncation, and trainable tokens after it."""
    findings: list[FileFound]
    end_tokens: list[str]
    """Tokens that end answers; they count toward the loss."""
    ends_cut: int
    """Rows truncated within an answer, which then has no end token."""
    doubled_begin: int
    """Rows that start with two beginning-of-text tokens."""
    pad_is_end: bool
    """Whether the padding token also ends answers; padding never counts toward the loss."""
    added: list[str]
    """Template text that counts toward the loss besides answers and their ends."""

    @property
    def summary(self) -> str:
        """Return the most important fact: how many rows are unused, unencodable ones included."""
        return (
            f"{self.rows - self.kept:,} of {plural(self.rows, 'row')} will have no trainable tokens "
            f"with this template and max_length {self.max_length:,}."
        )


def load(base: Path, say: Say) -> Encoder:
    """Return a model's encoder from a folder with tokenizer, template and configuration.

    Raises FtwizardError for a model that cannot be trained.
    """
    say("loading", what="libraries")
    runtime.silence_libraries()
    model_loading.load_config(base)
    return Encoder(model_loading.load_tokenizer(base), model_loading.stop_ids(base))


def token_report(
    encoder: Encoder, rows: list[Row], max_length: int, name: str, say: Say
) -> tuple[TokenReport, list[Encoded]]:
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


def row_mask(encoder: Encoder, row: Row, max_length: int) -> RowMask:
    """Return the loss mask of one row; raise EncodingError if it cannot be encoded."""
    encoded = encoder.encode_row(row)
    ids = encoded.input_ids
    trained = truncate(encoded, max_length)
    kept = min(len(ids), max_length)
    mask = [label != IGNORED for label in trained.labels] if trained else []
    mask += [False] * (len(ids) - len(mask))
    edges = [
        index for index in range(1, len(mask)) if index == kept or mask[index] != mask[index - 1]
    ]
    spans = [
        Span(start, end, _decode(encoder, ids[start:end]), mask[start])
        for start, end in pairwise([0, *edges, len(mask)])
        if end > start
    ]
    return RowMask(line=row.line, tokens=len(ids), kept=kept, trained=sum(mask), spans=spans)


def packed(rows: list[Encoded], max_length: int) -> Packed:
    """Pack ``rows`` as for training into sequences of ``max_length`` tokens."""
    data = packing.build_dataset(rows, pack_to=max_length, lines=True)
    lines = [list(dict.fromkeys(sequence)) for sequence in data["lines"]]
    token_count = sum(len(row.input_ids) for row in rows)
    return Packed(
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
        self.kept: list[Encoded] = []
        self._lengths = array("I")
        self._longest = (-1, 0)
        self._over: list[int] = []
        self._without: list[int] = []
        self._emptied: list[int] = []
        self._refused: list[tuple[int, str]] = []
        self._cut_within: list[int] = []
        self._doubled = 0

    def add(self, row: Encoded) -> None:
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

    def _cuts_answer(self, row: Encoded) -> bool:
        """Return whether truncation cuts an answer."""
        before, after = row.labels[self._max_length - 1 : self._max_length + 1]
        return before != IGNORED and after != IGNORED

    def refuse(self, line: int, reason: str) -> None:
        """Add a row that could not be encoded."""
        self._refused.append((line, reason))

    def report(self, rows: list[Row], name: str) -> TokenReport:
        """Return the report on all rows."""
        counts = self._counts(name)
        encoder = self._encoder
        pad = encoder.tokenizer.pad_token_id
        return TokenReport(
            route=encoder.route_of(rows),
            max_length=self._max_length,
            rows=len(rows),
            kept=len(self.kept),
            without_loss=len(self._without),
            without_loss_lines=self._without[:SHOWN_LINES],
            kept_tokens=sum(len(row.input_ids) for row in self.kept),
            counts=counts,
            findings=[*self._refused_rows(), *stats.findings(counts, target("trl-sft"))],
            end_tokens=[_decode(encoder, [i]) for i in sorted(encoder.end_ids)],
            ends_cut=len(self._cut_within),
            doubled_begin=self._doubled,
            pad_is_end=pad is None or pad in encoder.end_ids,
            added=sorted(encoder.added),
        )

    def _counts(self, name: str) -> Counts:
        total, trained = sum(self._lengths), sum(row.trained for row in self.kept)
        return Counts(
            tokens=Lengths(
                total=total, low=total, high=total, exact=not self._refused,
                encoding=f"the tokenizer and template of {visible(name, 100)}",
                rows=len(self._lengths), over_limit=len(self._over), limit=self._max_length,
                **histogram.of(self._lengths),
            ),
            trained=Trained(
                total=trained, low=trained, high=trained, exact=not self._refused,
                rows_without=len(self._without),
            ),
            over_lines=self._over[:SHOWN_LINES],
            longest_line=-self._longest[1] if self._lengths else None,
            emptied=len(self._emptied),
            emptied_lines=self._emptied[:SHOWN_LINES],
            uncounted_pictures=0,
        )  # fmt: skip

    def _refused_rows(self) -> list[FileFound]:
        if not self._refused:
            return []
        line, reason = self._refused[0]
        return [
            FileFound(
                code="model_mismatch",
                message=f"{plural(len(self._refused), 'row')} cannot be used with this model, "
                f"the first at line {line}: {reason}",
                fix="choose another model, or delete the rows",
                count=len(self._refused),
                lines=[line for line, _ in self._refused[:SHOWN_LINES]],
            )
        ]
