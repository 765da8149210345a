"""``check``: is this data fit to train on?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ftwizard.commands import output, progress
from ftwizard.commands.progress import Say
from ftwizard.data import examine, hub, read
from ftwizard.data.container import FileProblem
from ftwizard.data.examine import Asked
from ftwizard.data.findings import Findings, in_order
from ftwizard.data.report import Report, of_file, verdict
from ftwizard.data.target_names import TargetName
from ftwizard.data.targets import target
from ftwizard.data.tokens import Estimate, Lengths, Trained
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.plan import Recipe
from ftwizard.text import plural, visible

if TYPE_CHECKING:
    from ftwizard.data.repair import Repairs

SHOWN_LINES = 8
MARKS = {"ok": "✓", "info": "·", "warning": "!", "error": "✗"}


def check(arguments: argparse.Namespace) -> int:
    """Read a data file whole, and say what is in it and what is wrong with it.

    A data set on the Hub is made a file first. With --fix it is a new file that is spoken of.
    """
    if arguments.max_length is not None and arguments.max_length < 2:
        raise FtwizardError(
            "--max-length is less than 2.", "The first token of a row is never predicted.", USAGE
        )
    with progress.reporter(shown=True) as say:
        file, source = hub.locate(arguments.data, say)
        try:
            repairs = _repaired(arguments, file, say)
            found = _examined(Path(repairs.out) if repairs else file, arguments, say)
        except FileProblem as problem:
            if arguments.json:
                name: TargetName = arguments.target or "trl-sft"
                problem.document = msgspec.to_builtins(of_file(file, problem, name))
            raise
    found = msgspec.structs.replace(found, source=source)
    if arguments.json:
        document = msgspec.to_builtins(found)
        output.print_json(document | ({"repairs": repairs} if repairs else {}))
    else:
        lines = [*_of_repairs(repairs), ""] if repairs else []
        output.say(output.console(), *lines, *_lines(found))
    if repairs:
        return 1 if repairs.left_out else 0
    return 0 if found.verdict != "error" else 1


def _repaired(arguments: argparse.Namespace, file: Path, say: Say) -> Repairs | None:
    if not arguments.fix and not arguments.redact:
        return None
    from ftwizard.commands import fix  # most files are only looked at

    return fix.fix(arguments, file, say)


def _of_repairs(found: Repairs) -> list[str]:
    from ftwizard.commands import fix

    return fix.lines(found)


def _examined(file: Path, arguments: argparse.Namespace, say: Say) -> Report:
    found = examine.examine(
        file,
        _asked(arguments),
        validation=Path(arguments.val) if arguments.val else None,
        say=lambda done, total: say("checking", what=file.name, done=done, **_unit(total)),
        show=say.show,
    )
    if arguments.model and found.target == "trl-sft" and found.usable:
        return _by_model(found, arguments, say)
    return found


def _asked(arguments: argparse.Namespace) -> Asked:
    by_model = arguments.model and arguments.target in (None, "trl-sft")
    return Asked(
        format=arguments.format,
        target=arguments.target,
        max_length=arguments.max_length or Recipe().max_length,
        count="no" if by_model else arguments.count,
        near=not arguments.no_near,
    )


def _by_model(found: Report, arguments: argparse.Namespace, say: Say) -> Report:
    """Return the report with the tokens of a model's own training, and what becomes of rows in it."""
    from ftwizard.commands import tokenizer

    _, encoder = tokenizer.encoder(arguments.model, say)
    from ftwizard.train import mask

    length = arguments.max_length or Recipe().max_length
    table = read.read(Path(found.path), arguments.format)
    counted, _ = mask.token_report(encoder, table.rows, length, arguments.model, say)
    place, more = target(found.target), Findings()
    for one in counted.findings:
        more.add_file(one)
    findings = in_order([*found.findings, *more.listed(place)])
    return msgspec.structs.replace(
        found,
        findings=findings,
        verdict=verdict(findings),
        tokens=counted.counts.tokens,
        trained_tokens=counted.counts.trained,
    )


def _unit(total: int) -> dict[str, int | str]:
    return {"total": total, "unit": "bytes"} if total else {"unit": "rows"}


def _lines(found: Report, part: str = "") -> Iterator[str]:
    mark = MARKS[found.verdict]
    rows = f"{plural(found.rows, 'row')}, {found.usable:,} usable"
    yield (
        f"{mark} {part}{visible(found.path)}: {rows} ({found.format or 'no format that is known'}), "
        f"for {target(found.target).words}"
    )
    if found.source:
        yield f"  from {visible(found.source)}"
        yield "  A plan names the file: what a run reads must not change with the Hub."
    for finding in found.findings:
        where = ", ".join(map(str, finding.lines[:SHOWN_LINES]))
        more = f" and {finding.count - SHOWN_LINES:,} more" if finding.count > SHOWN_LINES else ""
        at = f", at {found.unit} {where}{more}" if where else ""
        yield f"{MARKS[finding.severity]} {finding.code}: {plural(finding.count, 'row')}{at}"
        yield f"    {finding.message}; {finding.fix}"
        for cause in finding.also:
            fix = f"; {cause.fix}" if cause.fix != finding.fix else ""
            yield f"    at {found.unit} {cause.line}: {cause.message}{fix}"
    for note in found.notes:
        yield f"· {note}"
    yield from _tokens(found)
    if found.validation:
        yield ""
        yield from _lines(found.validation, "validation: ")


def _tokens(found: Report) -> Iterator[str]:
    tokens, trained = found.tokens, found.trained_tokens
    if tokens is None or trained is None:
        return
    yield (
        f"  Tokens: {_range(tokens)}, {tokens.encoding}; a row has {tokens.p50:,} (median), "
        f"{tokens.p95:,} (95 %), {tokens.max:,} at most"
    )
    yield f"  Learnt: {_range(trained)}"
    if found.billed:
        bill = found.billed
        about = f"{_amount(bill.tokens)} an epoch; " if bill.tokens else ""
        yield f"  Billed: {about}{bill.words}"


def _range(found: Lengths | Trained) -> str:
    return _amount(Estimate(value=found.total, low=found.low, high=found.high))


def _amount(found: Estimate) -> str:
    if found.low == found.high:
        return f"{found.value:,}"
    return f"about {found.value:,} ({found.low:,} to {found.high:,})"
