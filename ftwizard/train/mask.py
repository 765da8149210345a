"""Which tokens of rows carry loss, as training has them: the same functions, and nothing trained."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec

from ftwizard.data import spread, tokens
from ftwizard.data.checks.found import SHOWN_LINES, FileFound
from ftwizard.data.read import Row
from ftwizard.data.row_tokens import IGNORED
from ftwizard.data.targets import target
from ftwizard.data.tokens import Counts, Lengths, Trained
from ftwizard.text import plural, visible
from ftwizard.train import base_model, packing, quiet
from ftwizard.train.tokenise import Encoded, Encoder, MaskError, Route, as_trained

Say = Callable[..., None]
SAID_ROWS = 100
"""Between two words on how far it is."""


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Tokens side by side that carry loss, or do not."""

    start: int
    end: int
    """The token after the last."""
    text: str
    trained: bool


class RowMask(msgspec.Struct, frozen=True, kw_only=True):
    """One row."""

    line: int
    tokens: int
    kept: int
    """Its first tokens, up to ``max_length``: the others are cut off."""
    trained: int
    """Of these, how many carry loss; a row without any is left out."""
    spans: list[Span]
    """All its tokens in order; none is of both kept and cut ones."""


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """How rows share sequences."""

    sequences: int
    filled: float
    """Share of the sequences' tokens that are of rows."""
    lines: list[list[int]]
    """The rows of each sequence."""


class TokenReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's training makes of rows."""

    route: Route
    """Which way the mask was made."""
    max_length: int
    rows: int
    kept: int
    """Rows that are trained on."""
    without_loss: int
    """Rows that no trained token is in, as they are or once they are cut."""
    without_loss_lines: list[int]
    kept_tokens: int
    """Tokens of the rows that are trained on, after cutting."""
    counts: Counts
    """Tokens before cutting, and those that carry loss after it."""
    findings: list[FileFound]
    end_tokens: list[str]
    """What ends answers; it carries loss."""
    ends_cut: int
    """Rows cut in the middle of an answer, which so has no end."""
    doubled_begin: int
    """Rows that the token which begins a text stands at the start of twice."""
    pad_is_end: bool
    """Padding looks like the end of an answer. It never carries loss here."""
    added: list[str]
    """What the chat template itself puts into the loss besides answer and end."""

    @property
    def summary(self) -> str:
        """Say the one thing that matters most; a row that cannot be encoded trains nothing either."""
        return (
            f"{self.rows - self.kept:,} of {plural(self.rows, 'row')} will contribute 0 trained tokens "
            f"with this template and max_length {self.max_length:,}."
        )


def load(base: Path, say: Say) -> Encoder:
    """Return the encoder of a model from a folder with tokenizer, template and configuration.

    Raises FtwizardError for a model that cannot be trained.
    """
    say("loading", what="libraries")
    quiet.libraries()
    base_model.load_config(base)
    return Encoder(base_model.load_tokenizer(base), base_model.stop_ids(base))


def token_report(
    encoder: Encoder, rows: list[Row], max_length: int, name: str, say: Say
) -> tuple[TokenReport, list[Encoded]]:
    """Return what training makes of ``rows``, and the rows as they are trained on.

    ``name`` is the model's. A row that the template cannot carry is a finding, not an error.
    """
    tally = _Tally(encoder, max_length)
    for number, row in enumerate(rows, 1):
        try:
            tally.add(encoder.encode_row(row))
        except MaskError as error:
            tally.refuse(row.line, error.reason)
        if number % SAID_ROWS == 0 or number == len(rows):
            say("tokenising", what="rows", done=number, total=len(rows), unit="rows")
    return tally.report(rows, name), tally.kept


def row_mask(encoder: Encoder, row: Row, max_length: int) -> RowMask:
    """Return which tokens of one row carry loss; raise MaskError where none could."""
    one = encoder.encode_row(row)
    trained = as_trained(one, max_length)
    kept = min(len(one.input_ids), max_length)
    learnt = [label != IGNORED for label in trained.labels] if trained else []
    learnt += [False] * (len(one.input_ids) - len(learnt))
    edges = [
        place
        for place in range(1, len(learnt))
        if place == kept or learnt[place] != learnt[place - 1]
    ]
    spans = [
        Span(start, end, _text(encoder, one.input_ids[start:end]), learnt[start])
        for start, end in pairwise([0, *edges, len(learnt)])
        if end > start
    ]
    return RowMask(
        line=row.line, tokens=len(one.input_ids), kept=kept, trained=sum(learnt), spans=spans
    )


def packed(rows: list[Encoded], max_length: int) -> Packed:
    """Return how ``rows`` as they are trained on share sequences of ``max_length`` tokens."""
    held = packing.dataset(rows, pack_to=max_length, lines=True)
    lines = [list(dict.fromkeys(sequence)) for sequence in held["lines"]]
    tokens_ = sum(len(row.input_ids) for row in rows)
    return Packed(
        sequences=len(lines),
        filled=round(tokens_ / (len(lines) * max_length), 3) if lines else 0.0,
        lines=lines,
    )


def _text(encoder: Encoder, ids: list[int]) -> str:
    return str(
        encoder.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


class _Tally:
    """Adds up rows."""

    def __init__(self, encoder: Encoder, max_length: int) -> None:
        self._encoder, self._max_length = encoder, max_length
        self._begin = encoder.tokenizer.bos_token_id
        self.kept: list[Encoded] = []
        self._lengths = array("I")
        self._longest = (-1, 0)
        self._over: list[int] = []
        self._without: list[int] = []
        self._emptied: list[int] = []
        self._refused: list[tuple[int, str]] = []
        self._cut_within: list[int] = []
        self._doubled = 0

    def add(self, one: Encoded) -> None:
        """Add a row that was encoded, before it is cut."""
        length = len(one.input_ids)
        self._lengths.append(length)
        self._longest = max(self._longest, (length, -one.line))
        if self._begin is not None and one.input_ids[:2] == [self._begin] * 2:
            self._doubled += 1
        if length > self._max_length:
            self._over.append(one.line)
        trained = as_trained(one, self._max_length)
        if trained is None:
            self._without.append(one.line)
            if as_trained(one, length) is not None:
                self._emptied.append(one.line)
            return
        self.kept.append(trained)
        if length > self._max_length and self._goes_on(one):
            self._cut_within.append(one.line)

    def _goes_on(self, one: Encoded) -> bool:
        """Say whether the cut lies within an answer."""
        before, after = one.labels[self._max_length - 1 : self._max_length + 1]
        return before != IGNORED and after != IGNORED

    def refuse(self, line: int, reason: str) -> None:
        """Add a row that cannot be encoded."""
        self._refused.append((line, reason))

    def report(self, rows: list[Row], name: str) -> TokenReport:
        """Return what all rows come to."""
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
            kept_tokens=sum(len(one.input_ids) for one in self.kept),
            counts=counts,
            findings=[*self._refusals(), *tokens.findings(counts, target("trl-sft"))],
            end_tokens=[_text(encoder, [i]) for i in sorted(encoder.end_ids)],
            ends_cut=len(self._cut_within),
            doubled_begin=self._doubled,
            pad_is_end=pad is None or pad in encoder.end_ids,
            added=sorted(encoder.added),
        )

    def _counts(self, name: str) -> Counts:
        total, trained = sum(self._lengths), sum(one.trained for one in self.kept)
        return Counts(
            tokens=Lengths(
                total=total, low=total, high=total, exact=not self._refused,
                encoding=f"the tokenizer and template of {visible(name, 100)}",
                rows=len(self._lengths), over_limit=len(self._over), limit=self._max_length,
                **spread.of(self._lengths),
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

    def _refusals(self) -> list[FileFound]:
        if not self._refused:
            return []
        line, reason = self._refused[0]
        return [
            FileFound(
                code="model_mismatch",
                message=f"{plural(len(self._refused), 'row')} cannot be trained on with this model, "
                f"the first at line {line}: {reason}",
                fix="choose another model, or delete the rows",
                count=len(self._refused),
                lines=[line for line, _ in self._refused[:SHOWN_LINES]],
            )
        ]
