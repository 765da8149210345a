"""Background data checks for the Data page: a quick first look, then the whole file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from ftwizard.data.documents import DataReport
from ftwizard.data.findings import Finding, overall_verdict, sort_findings
from ftwizard.data.format_names import FORMAT_NAMES, TargetName
from ftwizard.data.hub import ids
from ftwizard.data.io import encodings
from ftwizard.data.io.encodings import LikelyEncoding
from ftwizard.data.mapping import options
from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import Plan
from ftwizard.runs import describe
from ftwizard.screens import layout, palette
from ftwizard.screens.draft.drafts import Draft, Fingerprint, format_path, get_fingerprint
from ftwizard.screens.subprocesses import CommandProcess
from ftwizard.text import format_duration, make_visible

if TYPE_CHECKING:
    from textual.app import App

QUICK_S = 0.3
"""Shorter checks show no progress."""
BAR_CELLS, MIN_BAR_CELLS = 30, 8
LACKS_ANSWER = "missing_column"
"""Code of a table whose answer column has no known name."""
UTF_8 = "utf-8"
_FORM_CODES = ("needs_conversion", "compressed", "parquet", "encoding", "bom", "bom_missing")
"""Codes of errors in the form of a whole file, which the upload to a platform writes anew."""
ENCODING_QUESTION = "Which encoding is it read in?"


class DataCheck(CommandProcess):
    """``ftwizard check`` on the rows of a draft."""

    def __init__(self, draft: Draft, path: str) -> None:
        super().__init__("check", *build_check_args(draft, path))
        self._on_hub = ids.parse(path) is not None
        self._path = path
        self._draft = draft
        self._fingerprint = get_fingerprint(path)
        self.first_look: DataReport | None = None
        """The newest report on parts of the file."""

    async def run(self) -> DataReport:
        """Run the check and return its report; raise FtwizardError if the file is unusable."""
        return read_report(await super().run(), self._draft)

    def poll(self) -> bool:
        """Read its new events; return whether there were any."""
        before, news = self.partial_report, super().poll()
        if self.partial_report is not before:
            self.first_look = read_report(self.partial_report, self._draft)
        return news

    def fingerprint_of(self, file: str) -> Fingerprint | None:
        """Return the fingerprint of a file from before it was read. For a Hub dataset, that of the
        file it was downloaded to."""
        return get_fingerprint(file) if self._on_hub else self._fingerprint

    @property
    def is_quick(self) -> bool:
        """Whether it is too short so far to show progress."""
        return self.first_look is None and self.elapsed_s < QUICK_S

    def format_status(self, width: int) -> Text:
        """Format the current phase and progress on one line, with a bar if it fits."""
        if self.progress.phase:
            doing = describe.describe_progress(self.progress)
        elif self.first_look is not None:
            doing = "reading the whole file"
        else:
            name = make_visible(format_path(self._path), 50)
            doing = f"{'downloading' if self._on_hub else 'reading'} {name}"
        line = Text.assemble(("● ", palette.ACCENT), f"{doing}  {format_duration(self.elapsed_s)}")
        line.truncate(max(1, width), overflow="ellipsis")
        share = self.progress.share
        cells = min(BAR_CELLS, width - line.cell_len - 8)
        if share is not None and cells >= MIN_BAR_CELLS:
            line.append(f"  {share:4.0%} ").append_text(layout.draw_bar(share, cells))
        return line


def read_report(document: Any, draft: Draft) -> DataReport:
    """Read the report of a check of a draft's data.

    The upload to a platform converts the rows, so their form is not an error then. Rows that cannot be
    converted stay errors. Local training reads the names of all fields that the check knows.
    """
    report = msgspec.convert(document, DataReport)
    if draft.hosted is not None:
        return _accept_form(report)
    return _accept_names(report) if draft.provider == "local" else report


def _accept_names(report: DataReport) -> DataReport:
    validation = _accept_names(report.validation) if report.validation else None
    findings = report.findings
    if report.usable:
        findings = [finding for finding in findings if finding.code != "needs_conversion"]
    both = [*findings, *(validation.findings if validation else ())]
    # Which settings prompts need is what the next page asks.
    notes = () if report.target == "trl-grpo" else report.notes
    return msgspec.structs.replace(
        report, findings=findings, validation=validation, verdict=overall_verdict(both), notes=notes
    )


def _accept_form(report: DataReport) -> DataReport:
    validation = _accept_form(report.validation) if report.validation else None
    findings = report.findings
    if report.usable:
        findings = sort_findings([_accept_finding(each, report.rows) for each in findings])
    both = [*findings, *(validation.findings if validation else ())]
    return msgspec.structs.replace(
        report, findings=findings, validation=validation, verdict=overall_verdict(both)
    )


def _accept_finding(finding: Finding, rows: int) -> Finding:
    if finding.code not in _FORM_CODES or finding.count < rows:
        return finding
    fix = "nothing to do: the upload converts them, and leaves your file as it is"
    return msgspec.structs.replace(finding, severity="info", fix=fix)


def build_encoding_args(plan: Plan) -> tuple[str, ...]:
    """Build the argument for the encoding of a plan's data."""
    return ("--encoding", plan.data.encoding) if plan.data.encoding else ()


def build_file_args(plan: Plan, path: str) -> list[str]:
    """Build the arguments of every command that reads a plan's data: file, format, columns and
    encoding."""
    format, columns = plan.data.format, plan.data.columns
    argv = [path] if format == "auto" else [path, "--format", format]
    argv += ["--columns", options.format_columns(columns)] if columns else []
    return [*argv, *build_encoding_args(plan)]


def build_columns_command(plan: Plan) -> tuple[str, tuple[str, ...]]:
    """Build the command that reads the columns of a plan's data, with a title while it runs."""
    path = plan.data.files.train
    title = f"Reading the columns of {make_visible(format_path(path), 50)}"
    return title, ("columns", path, *build_encoding_args(plan))


def build_target_args(plan: Plan, target: TargetName | None, path: str) -> list[str]:
    """Build the arguments of commands that check rows: also the target."""
    return [*build_file_args(plan, path), *(("--target", target) if target else ())]


def build_check_args(draft: Draft, path: str) -> list[str]:
    """Build the arguments of a check: also the validation file and the max length."""
    own = draft.plan.data.files.validation
    argv = [
        *build_target_args(draft.plan, draft.target, path),
        "--max-length",
        str(draft.plan.recipe.max_length),
    ]
    return [*argv, "--val", own] if own else argv


def needs_recheck(draft: Draft) -> bool:
    """Tell whether the target, or a max length that truncates rows, changed since the check."""
    if draft.checked is None:
        return False
    tokens, now = draft.checked.tokens, draft.plan.recipe.max_length
    before = tokens.limit if tokens else None
    truncates = bool(tokens and before and before != now and min(before, now) < tokens.max)
    return truncates or draft.checked_for != draft.target


def list_candidate_encodings(error: FtwizardError) -> list[tuple[str, str]]:
    """List name and label of the encodings that an error offers; empty if it is not about these."""
    return [(name, name) for name in error.candidates if error.code == "encoding"]


def list_encodings(likely: LikelyEncoding) -> list[tuple[str, str]]:
    """List name and label of the encodings that a file may be in, likely first, then the usual
    ones."""
    first = (likely.name, f"{likely.name} ({likely.certainty})")
    return [first, *_list_usual_encodings(likely.name, likely.others)]


def list_other_encodings(encoding: str) -> list[tuple[str, str]]:
    """List name and label of the encodings to choose from after ``encoding`` was chosen."""
    undo = (UTF_8, "UTF-8, as if none were chosen")
    return [(encoding, encoding), undo, *_list_usual_encodings(encoding)]


def _list_usual_encodings(first: str, others: Iterable[str] = ()) -> list[tuple[str, str]]:
    names = dict.fromkeys((*others, *encodings.SUGGESTED))
    return [(name, name) for name in names if name != first]


def describe_encoding(likely: LikelyEncoding) -> str:
    """Describe how some of the text reads in the likely encoding."""
    return f"In {likely.name} it reads: “{likely.excerpt}”. The file is not changed."


def list_candidate_formats(error: FtwizardError) -> list[tuple[str, str]]:
    """List name and label of the formats that an error offers; empty if it is not about these."""
    return [(name, label) for name, label in FORMAT_NAMES.items() if name in error.candidates]


async def read_again(app: App[Any], draft: Draft) -> Draft | None:
    """Check the data of a draft with a progress dialog; None if it cannot be used now."""
    path = draft.plan.data.files.train
    fingerprint = get_fingerprint(path)
    title = f"Reading {make_visible(format_path(path), 50)}"
    from ftwizard.screens.dialogs import command_progress  # plain mode needs no Textual

    document = await command_progress.run_command(
        app, title, "check", *build_check_args(draft, path)
    )
    report = read_report(document, draft) if document else None
    return restore_check(draft, report, fingerprint) if report and report.usable else None


def restore_check(draft: Draft, report: DataReport, fingerprint: Fingerprint | None) -> Draft:
    """Return a draft with its data read again; unusable rows that were to be skipped still are."""
    allowed = "skip-bad-rows" in draft.plan.allow
    checked = draft.with_check(draft.plan.data.files, report, fingerprint)
    return checked.allowing("skip-bad-rows", allowed and report.usable < report.rows)
