"""Documents that the data commands print as JSON and screens decode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ftwizard.data.findings import OF_VALIDATION, FileFinding, Finding
from ftwizard.data.format_names import TargetName
from ftwizard.data.io.encodings import LikelyEncoding
from ftwizard.data.platforms import Severity
from ftwizard.data.tokens.billing import Bill
from ftwizard.data.tokens.stats import TokenLengths, TrainableTokens
from ftwizard.text import make_visible, shorten_middle

MAX_COLUMNS = 3
MAX_COLUMN_NAME = 24


class RowPreview(msgspec.Struct, frozen=True, kw_only=True):
    """One row to show."""

    line: int
    example: dict[str, Any]
    """The fields of an ``Example`` with secrets redacted and long texts truncated. Their values may
    be any JSON, as in the row."""


def describe_reward_columns(preview: Sequence[RowPreview]) -> str:
    """Describe the columns of prompts that reward functions get, as in ``the columns answer and level``.

    Empty for rows of other kinds, and for prompts alone.
    """
    prompts = (row.example for row in preview if row.example["kind"] == "prompt")
    names = dict.fromkeys(name for example in prompts for name in example["extra"])
    if not names:
        return ""
    shown = [shorten_middle(make_visible(name), MAX_COLUMN_NAME) for name in names]
    shown, more = shown[:MAX_COLUMNS], len(shown) - MAX_COLUMNS
    last = f"{more} more" if more > 0 else shown.pop()
    listed = f"{', '.join(shown)} and {last}" if shown else last
    return f"the {'column' if len(names) == 1 else 'columns'} {listed}"


class Repairs(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a repair; ``repairs`` in the output of ``ftwizard check --fix --json``."""

    out: str
    changes: str
    """The log of all changes, one JSON object per line."""
    rows_in: int
    rows_out: int
    changed: list[FileFinding]
    """Grouped by fix; a row may count several times."""
    left_out: list[FileFinding]
    """Grouped by reason; a row counts once."""
    sha256: str
    """Hash of the new file."""
    unit: Literal["line", "row"] = "line"
    """Unit of ``lines``, as in ``DataReport``."""


class RepairForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What ``check --fix`` would do, tried on the rows with findings; ``forecast`` in the output of
    ``ftwizard check --json``."""

    repaired: int = 0
    """Unusable rows that become usable."""
    changed: int = 0
    """Usable rows that are improved."""
    removed: int = 0
    """Duplicates."""
    left_out: int = 0
    remaining: int = 0
    """Rows of the new file."""
    by_hand: dict[str, int] = {}
    """Rows by the code of what a repair cannot fix: those left out, and others with a warning."""
    tried: int | None = None
    """Rows that were tried, if not all with findings."""
    convertible: bool | None = None
    """Whether ``convert`` writes rows, where that is the next step instead of a repair."""
    columns: str | None = None
    """The mapping, as in ``--columns``, that reads the turns of conversations written as one text."""

    @property
    def helps(self) -> bool:
        """Return whether a repair makes a better file."""
        rows = self.repaired + self.changed + self.removed + self.left_out
        return bool(self.remaining and rows)


class DataReport(msgspec.Struct, frozen=True, kw_only=True):
    """The output of ``ftwizard check --json``: a file's format, its rows and its findings."""

    verdict: Literal["ok", "warning", "error"]
    target: TargetName
    """The target whose rules were applied."""
    format: str | None
    rows: int
    """All rows, good and bad."""
    usable: int
    """Rows without an error."""
    unit: Literal["line", "row"]
    """Unit of ``lines``: physical lines, or rows in files without lines."""
    findings: list[Finding]
    """Most severe first, then most frequent."""
    tokens: TokenLengths | None
    """Tokens of the usable rows, by the target's tokenizer; None without a tokenizer."""
    trained_tokens: TrainableTokens | None
    """Tokens that count toward the loss; None as ``tokens``."""
    path: str
    """The file that was read, as a plan names it."""
    source: str | None
    """Origin of the file, if it was downloaded."""
    preview: list[RowPreview]
    """The first readable rows."""
    partial: bool = False
    """Only parts of the file were read: counts cover these, and lines are unknown."""
    billed: Bill | None = None
    """Billing basis of one epoch on a hosted platform; None for local training."""
    validation: DataReport | None = None
    """The report on the validation file."""
    notes: tuple[str, ...] = ()
    """Notes about the target."""
    likely_encoding: LikelyEncoding | None = None
    """The likely encoding of a file with rows that are not UTF-8."""
    repairs: Repairs | msgspec.UnsetType = msgspec.UNSET
    """How the file was made, if by ``--fix``."""
    forecast: RepairForecast | None = None
    """What ``--fix`` would do; None if nothing needs it."""

    def locate(self, finding: FileFinding) -> DataReport:
        """Return the report on the file whose lines a finding of this report names."""
        return self.validation if self.validation and finding.code in OF_VALIDATION else self


class GradedFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of a row."""

    severity: Severity
    code: str
    message: str
    fix: str


class ShownRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row to show."""

    line: int
    """Its line, as in the report."""
    example: dict[str, Any] | None
    """As in ``RowPreview``; None if the row cannot be read."""
    raw: str
    """Its text in the file; for a table, the row as JSON."""
    findings: list[GradedFinding]
    """Findings of this row alone, most severe first; none that compare rows."""


class ShownRows(msgspec.Struct, frozen=True, kw_only=True):
    """The output of ``ftwizard show --json``."""

    path: str
    rows: list[ShownRow]
    unit: Literal["line", "row"] = "line"
    """What ``line`` of a row counts."""


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """The output of ``ftwizard convert --json``."""

    target: str
    out: str
    rows_in: int
    rows_out: int
    left_out: list[FileFinding]
    """Grouped by reason; a row counts once."""
    changed: list[FileFinding]
    """Grouped by loss or change in written rows; a row may count several times."""
    sha256: str | None
    """Hash of the new file; None if none was written."""
    unit: Literal["line", "row"] = "line"
    """Unit of ``lines``, as in ``DataReport``."""
