"""``mask``: which tokens carry loss, as training would have them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ftwizard import models
from ftwizard.commands import output, progress, tokenizer
from ftwizard.commands.progress import Say
from ftwizard.data import hub, read
from ftwizard.data.checks.found import FileFound
from ftwizard.data.read import Row, Table
from ftwizard.data.targets import target
from ftwizard.errors import DECLINED, FAILED, USAGE, FtwizardError
from ftwizard.text import plural, visible, visible_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ftwizard.train.mask import Packed, RowMask, TokenReport

SHOWN_LINES = 8
SHOWN_SEQUENCES = 1000
SHOWN_CHARACTERS = 600
"""Of a stretch of a row that was not asked for."""
LOSS_STYLE = "bold underline cyan"
MARKS = {"error": "✗", "warning": "!", "info": "·"}
ROUTES = {
    "template": "by the generation marks of the model's own chat template",
    "training-template": "by TRL's template for training, in place of the model's chat template",
    "prefixes": "by the rendered beginnings of each conversation, as the chat template has no "
    "generation marks",
    "plain": "prompt and answer side by side, as the model has no chat template",
    "text": "the whole text and the end of text: the rows hold no conversation",
    "tokens": "as the rows give it: they are tokens already",
}


class Found(NamedTuple):
    """All that is shown."""

    table: Table
    source: models.Source
    report: TokenReport
    packed: Packed | None
    shown: list[RowMask]
    asked: bool
    """The one row that is shown was asked for."""

    @property
    def exit_code(self) -> int:
        """1 for rows that cannot be used, 3 where nothing at all would be trained on."""
        if self.table.problems or any(f.code == "model_mismatch" for f in self.report.findings):
            return FAILED
        return 0 if self.report.kept else DECLINED


def mask(arguments: argparse.Namespace) -> int:
    """Encode a file's rows as a run would, and show what of them is learnt."""
    if arguments.max_length < 2:
        raise FtwizardError(
            "--max-length is less than 2.", "The first token of a row is never predicted.", USAGE
        )
    tokenizer.check_installed()
    with progress.reporter(shown=True) as say:
        found = _found(arguments, say)
    if arguments.json:
        output.print_json(_document(found))
    else:
        _print(found)
    return found.exit_code


def _found(arguments: argparse.Namespace, say: Say) -> Found:
    file, _ = hub.locate(arguments.data, say)
    say("reading", what=str(file))
    table = read.read(file, arguments.format)
    if not table.rows:
        read.usable(table, skip_bad=False)
    asked = None if arguments.row is None else _row(table, arguments.row)
    source, encoder = tokenizer.encoder(arguments.model, say)
    from ftwizard.train import mask as masks

    report, kept = masks.token_report(
        encoder, table.rows, arguments.max_length, arguments.model, say
    )
    packed = masks.packed(kept, arguments.max_length) if arguments.packing and kept else None
    rows = [asked] if asked else _worth_a_look(table.rows, report)
    shown = [masks.row_mask(encoder, row, arguments.max_length) for row in rows]
    return Found(table, source, report, packed, shown, asked is not None)


def _row(table: Table, line: int) -> Row:
    for row in table.rows:
        if row.line == line:
            return row
    for problem in table.problems:
        if problem.line == line:
            raise FtwizardError(
                f"The row at line {line} cannot be used: {problem.message}.", f"{problem.fix}."
            )
    lines = [row.line for row in table.rows]
    raise FtwizardError(
        f"{visible(table.path)} has no row at line {line}.",
        f"Its rows are at lines {lines[0]} to {lines[-1]}.",
    )


def _worth_a_look(rows: list[Row], report: TokenReport) -> list[Row]:
    """Return the first row, and the first that nothing of is learnt."""
    refused = {line for f in report.findings if f.code == "model_mismatch" for line in f.lines}
    wanted = set(report.without_loss_lines[:1])
    first = next((row for row in rows if row.line not in refused), None)
    return [row for row in rows if row is first or row.line in wanted]


def _document(found: Found) -> dict[str, Any]:
    report = found.report
    document: dict[str, Any] = msgspec.to_builtins(report)
    counts = document.pop("counts")
    packed = found.packed and msgspec.structs.replace(
        found.packed, lines=found.packed.lines[:SHOWN_SEQUENCES]
    )
    return document | {
        "summary": report.summary,
        "path": found.table.path,
        "model": msgspec.to_builtins(found.source),
        "unreadable": len(found.table.problems),
        "tokens": counts["tokens"],
        "trained_tokens": counts["trained"],
        "findings": [
            {"severity": target("trl-sft").severity(one.code), **msgspec.to_builtins(one)}
            for one in report.findings
        ],
        "packing": msgspec.to_builtins(packed),
        "row": msgspec.to_builtins(found.shown[0]) if found.asked else None,
    }


def _print(found: Found) -> None:
    out = output.console()
    lines = _at(found.report.without_loss_lines, found.report.without_loss)
    output.say(
        out,
        f"{'✓' if found.report.kept == found.report.rows else '!'} {found.report.summary.rstrip('.')}{lines}.",
    )
    out.print(output.pairs(_facts(found)))
    for one in found.report.findings:
        output.say(out, *_finding(one))
    for row in found.shown:
        output.say(out, "", _title(row, found.packed))
        text = _marked(row, out, whole=found.asked)
        out.print(text, soft_wrap=not out.is_terminal)


def _facts(found: Found) -> Iterator[tuple[str, str]]:
    report = found.report
    lengths, trained = report.counts.tokens, report.counts.trained.total
    yield "model", found.source.said
    yield "mask", ROUTES[report.route]
    if found.table.problems:
        count = plural(len(found.table.problems), "row")
        yield "unreadable", f"{count}, which ftwizard check tells about"
    rows = f"{report.kept:,} of {plural(report.rows, 'row')} are trained on"
    if lengths.over_limit:
        cut = plural(lengths.over_limit, "is", "are")
        rows += f"; {cut} cut to {report.max_length:,} tokens"
    if report.ends_cut:
        rows += f", {report.ends_cut:,} of them within what is learnt, which so has no end"
    yield "rows", rows
    share = f" ({trained / report.kept_tokens:.0%})" if report.kept_tokens else ""
    yield (
        "tokens",
        (
            f"{report.kept_tokens:,} are trained on, {trained:,} of them with loss{share}; "
            f"a row has {lengths.p50:,} in the median, {lengths.max:,} at most"
        ),
    )
    yield from _about_tokens(report)
    if found.packed:
        yield (
            "packing",
            (
                f"{plural(found.packed.sequences, 'sequence')} of {report.max_length:,} tokens, "
                f"{found.packed.filled:.0%} filled"
            ),
        )


def _about_tokens(report: TokenReport) -> Iterator[tuple[str, str]]:
    if report.end_tokens:
        ends = " and ".join(visible(one, 40) for one in report.end_tokens)
        yield "end", f"{ends}, which carries loss, so that the model learns to stop"
        if report.pad_is_end:
            yield "padding", "looks the same, which does no harm: here padding never carries loss"
    if report.doubled_begin:
        yield (
            "beginning",
            (
                f"! {plural(report.doubled_begin, 'row')} begin with the token of a text's beginning "
                "twice"
            ),
        )
    if report.added:
        added = ", ".join(f"“{visible(text, 40)}”" for text in report.added)
        yield "template", f"trains on {added} besides answers and their ends"


def _finding(one: FileFound) -> Iterator[str]:
    severity = target("trl-sft").severity(one.code) or "info"
    yield f"{MARKS[severity]} {one.code}: {plural(one.count, 'row')}{_at(one.lines, one.count)}"
    yield f"    {one.message}; {one.fix}"


def _at(lines: list[int], count: int) -> str:
    if not lines:
        return ""
    shown = ", ".join(map(str, lines[:SHOWN_LINES]))
    more = f" and {count - SHOWN_LINES:,} more" if count > SHOWN_LINES else ""
    return f", at line {shown}{more}"


def _title(row: RowMask, packed: Packed | None) -> str:
    words = f"line {row.line}: {plural(row.tokens, 'token')}, {row.trained:,} with loss"
    if not row.trained:
        words += ": it is left out"
    together = next((lines for lines in packed.lines if row.line in lines), []) if packed else []
    if others := [line for line in together if line != row.line]:
        words += f"; in one sequence with the row{_at(others, len(others))}"
    return words


def _marked(row: RowMask, out: Console, *, whole: bool) -> Text:
    """Return a row's text with what carries loss told apart, by marks where colours are not.

    Unless ``whole``, long stretches are shown by their ends.
    """
    from rich.text import Text

    styled = out.is_terminal and not out.no_color and out.color_system is not None
    utf = "utf" in (out.encoding or "").lower()
    before, after = ("", "") if styled else ("‹", "›") if utf else ("<<", ">>")
    text = Text()
    for span in row.spans:
        shown = visible_lines(span.text if whole else _ends(span.text))
        for mark in filter(None, (before, after)):  # in the row's own text it is no mark
            shown = shown.replace(mark, f"\\u{ord(mark[0]):04x}" * len(mark))
        is_cut = span.start >= row.kept
        if is_cut and span.start == row.kept:
            text.append(f"\n[cut after {row.kept:,} tokens; beyond:]\n", "dim")
        if span.trained:
            text.append(f"{before}{shown}{after}", LOSS_STYLE)
        else:
            text.append(shown, "dim" if is_cut else "")
    return text


def _ends(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]} […{len(text) - 2 * half:,} characters…] {text[-half:]}"
