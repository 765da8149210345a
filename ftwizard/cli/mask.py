"""``mask``: the loss mask, as training uses it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from ftwizard.cli import output, progress, read_arguments, tokenizer
from ftwizard.cli.progress import Say
from ftwizard.data import reader
from ftwizard.data.checks import row_checker
from ftwizard.data.checks.template_texts import TemplateTexts
from ftwizard.data.findings import FileFinding, Finding
from ftwizard.data.hub import datasets
from ftwizard.data.platforms import default_target, get_target
from ftwizard.data.reader import DataTable, ParsedRow
from ftwizard.errors import DECLINED, FAILED, FtwizardError
from ftwizard.models.loss_mask import MaskFigures, MaskReport, PackedRows, RowMask
from ftwizard.text import format_count, make_lines_visible, make_visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ftwizard.train.mask_report import TokenReport

MAX_SHOWN_SEQUENCES = 1000
MAX_SPAN_CHARACTERS = 600
"""Of a span in a row that was not asked for by line."""
LOSS_STYLE = "bold underline cyan"
ROUTES = {
    "template": "from the generation marks of the model's own chat template",
    "training-template": "from TRL's training template, instead of the model's chat template",
    "prefixes": "computed from the chat template, which does not mark the answers itself",
    "plain": "prompt and answer joined, as the model has no chat template",
    "text": "the whole text and its end token: the rows are not conversations",
    "tokens": "from the rows, which are already tokenized",
}


def mask(arguments: argparse.Namespace) -> int:
    """Encode the rows of a file as a run would, and show which tokens count toward the loss.

    Return 1 if rows cannot be used, 3 if there is nothing to train on.
    """
    tokenizer.check_max_length(arguments.max_length)
    tokenizer.check_installed()
    with progress.reporter() as say:
        report, shown, packed = _build_report(arguments, say)
    if arguments.json:
        output.print_json(report)
    else:
        _print_report(report, shown, packed)
    if report.unreadable or any(finding.code == "model_mismatch" for finding in report.findings):
        return FAILED
    return 0 if report.used else DECLINED


def _build_report(
    arguments: argparse.Namespace, say: Say
) -> tuple[MaskReport, list[RowMask], PackedRows | None]:
    """Return the document, the masks of the rows to show, and all packed rows."""
    file, _ = datasets.locate(arguments.data, say)
    say("reading", what=str(file))
    options = read_arguments.get_options(arguments)
    table = reader.read_table(
        file, arguments.format, options, convert=row_checker.to_trained_by_kind
    )
    if not table.rows:
        reader.get_usable_rows(table, skip_bad=False)
    requested = None if arguments.row is None else _find_row(table, arguments.row)
    source, encoder = tokenizer.encoder(arguments.model, say)
    from ftwizard.train import mask_report

    length = arguments.max_length
    report, kept = mask_report.report_tokens(
        encoder, table.rows, length, arguments.model, say, table.unit
    )
    packed = mask_report.pack_rows(kept, length) if arguments.packing and kept else None
    rows = [requested] if requested else _choose_rows(table.rows, report)
    shown = [mask for row in rows for mask in mask_report.mask_sides(encoder, row, length)]
    target = default_target(table.format)
    target = get_target("trl-sft") if target.hosted else target
    findings = [
        Finding(severity=target.severity(finding.code) or "info", **msgspec.structs.asdict(finding))
        for finding in (*report.findings, *_find_template_texts(arguments, table))
    ]
    document = MaskReport(
        **{name: getattr(report, name) for name in MaskFigures.__struct_fields__},
        summary=report.summary,
        path=table.path,
        model=source,
        unreadable=len(table.problems),
        tokens=report.counts.tokens,
        trained_tokens=report.counts.trained,
        findings=findings,
        packing=packed
        and msgspec.structs.replace(packed, lines=packed.lines[:MAX_SHOWN_SEQUENCES]),
        row=shown[0] if requested else None,
        rejected=shown[1] if requested and len(shown) > 1 else None,
        unit=table.unit,
    )
    return document, shown, packed


def _find_template_texts(arguments: argparse.Namespace, table: DataTable) -> Iterator[FileFinding]:
    """Yield the finding on texts that are conversations in a template."""
    texts = TemplateTexts()
    for row in table.rows:
        texts.add(row.line, row.example)
    yield from texts.find_whole(read_arguments.get_options(arguments).columns.text)


def _find_row(table: DataTable, line: int) -> ParsedRow:
    for row in table.rows:
        if row.line == line:
            return row
    for problem in table.problems:
        if problem.line == line:
            raise FtwizardError(
                f"The row at {table.unit} {line} cannot be used: {problem.message}.",
                f"{problem.fix}.",
            )
    lines = [*(row.line for row in table.rows), *(row.line for row in table.problems)]
    nearest = min(lines, key=lambda other: (abs(other - line), other))
    raise FtwizardError(
        f"{make_visible(table.path)} has no row at {table.unit} {line}.",
        f"Its {format_count(table.count, 'row')} {'is' if len(lines) == 1 else 'are'} at "
        f"{table.unit} {min(lines)} to {max(lines)}, the nearest at {nearest}.",
    )


def _choose_rows(rows: list[ParsedRow], report: TokenReport) -> list[ParsedRow]:
    """Return the first row, and the first row with no trainable tokens."""
    refused = {line for f in report.findings if f.code == "model_mismatch" for line in f.lines}
    wanted = set(report.lines_without_loss[:1])
    first = next((row for row in rows if row.line not in refused), None)
    return [row for row in rows if row is first or row.line in wanted]


def _print_report(report: MaskReport, shown: list[RowMask], packed: PackedRows | None) -> None:
    out = output.make_console()
    mark = "✓" if report.used == report.rows and not report.unreadable else "!"
    lines = output.format_lines(report.lines_without_loss, report.rows_without_loss, report.unit)
    output.print_lines(out, f"{mark} {report.summary.rstrip('.')}{lines}.")
    out.print(output.build_pair_table(_summary_rows(report)))
    for finding in report.findings:
        label = f"{output.MARKS[finding.severity]} {finding.code}"
        output.print_lines(out, *output.format_finding(label, finding, report.unit))
    for row in shown:
        output.print_lines(out, "", _format_title(row, packed, report.unit))
        text = _highlight(row, out, whole=report.row is not None)
        out.print(text, soft_wrap=not out.is_terminal)


def _summary_rows(report: MaskReport) -> Iterator[tuple[str, str]]:
    lengths, trained = report.tokens, report.trained_tokens.total
    yield "model", report.model.description
    yield "mask", ROUTES[report.route]
    if report.unreadable:
        yield "unusable", f"{format_count(report.unreadable, 'row')}; see ftwizard check"
    total = format_count(report.rows + report.unreadable, "row")
    rows = f"{report.used:,} of {total} are trained on"
    if lengths.over_limit:
        cut = format_count(lengths.over_limit, "is", "are")
        rows += f"; {cut} cut to {report.max_length:,} tokens"
    if report.cut_answers:
        rows += f", {report.cut_answers:,} of them inside an answer, so without an end token"
    yield "rows", rows
    share = f" ({trained / report.used_tokens:.0%})" if report.used_tokens else ""
    per_row = f"per row {lengths.p50:,} (median), {lengths.max:,} (maximum)"
    counts = f"{report.used_tokens:,} in total, {trained:,} count toward the loss{share}"
    yield "tokens", f"{counts}; {per_row}"
    yield from _special_token_rows(report)
    if report.packing:
        sequences = format_count(report.packing.sequences, "sequence")
        filled = f"{report.packing.filled:.0%} filled"
        yield "packing", f"{sequences} of {report.max_length:,} tokens, {filled}"


def _special_token_rows(report: MaskReport) -> Iterator[tuple[str, str]]:
    if report.end_tokens:
        ends = " and ".join(make_visible(token, 40) for token in report.end_tokens)
        yield "end", f"{ends}, which counts toward the loss, so the model learns to stop"
        if report.pad_ends_answers:
            yield "padding", "is the same token; harmless, as padding never counts toward the loss"
    if report.doubled_bos:
        rows = format_count(report.doubled_bos, "row")
        yield "beginning", f"! {rows} start with the beginning-of-text token twice"
    if report.trainable_text:
        added = ", ".join(f"“{make_visible(text, 40)}”" for text in report.trainable_text)
        yield "template", f"also trains on {added}, besides answers and end tokens"


def _format_title(row: RowMask, packed: PackedRows | None, unit: str) -> str:
    side = f", {row.side}" if row.side else ""
    title = (
        f"{unit} {row.line}{side}: {format_count(row.tokens, 'token')}, {row.trained:,} trained on"
    )
    if not row.trained:
        title += "; left out"
    sequences = packed.lines if packed else []
    packed_lines = next((lines for lines in sequences if row.line in lines), [])
    if neighbors := [line for line in packed_lines if line != row.line]:
        title += f"; packed with the row{output.format_lines(neighbors, len(neighbors), unit)}"
    return title


def _highlight(row: RowMask, out: Console, *, whole: bool) -> Text:
    """Return a row's text with trained tokens highlighted, or marked where there is no color.

    Unless ``whole``, long spans are shortened to their ends.
    """
    from rich.text import Text

    styled = out.is_terminal and not out.no_color and out.color_system is not None
    utf = "utf" in (out.encoding or "").lower()
    before, after = ("", "") if styled else ("‹", "›") if utf else ("<<", ">>")
    text = Text()
    for span in row.spans:
        shown = make_lines_visible(span.text if whole else _shorten(span.text))
        for mark in filter(None, (before, after)):  # escape marks in the row's own text
            shown = shown.replace(mark, f"\\u{ord(mark[0]):04x}" * len(mark))
        is_cut = span.start >= row.kept
        if is_cut and span.start == row.kept:
            text.append(f"\n[cut after {row.kept:,} tokens; the rest:]\n", "dim")
        if span.trained:
            text.append(f"{before}{shown}{after}", LOSS_STYLE)
        else:
            text.append(shown, "dim" if is_cut else "")
    return text


def _shorten(text: str) -> str:
    if len(text) <= MAX_SPAN_CHARACTERS:
        return text
    half = MAX_SPAN_CHARACTERS // 2
    return f"{text[:half]} […{len(text) - 2 * half:,} characters…] {text[-half:]}"
