"""``grader``: a grader for reinforcement from a template, its trial on rows, and its Lambda function."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ftwizard import user_paths
from ftwizard.cli import output, progress, read_arguments
from ftwizard.data.hub import datasets
from ftwizard.data.new_file import new_file, require_free
from ftwizard.errors import FAILED, USAGE, FtwizardError
from ftwizard.graders import handler, template, trial
from ftwizard.graders.grader_file import REFERENCE, GraderFile, read_grader, require_own_name
from ftwizard.graders.handler import LambdaFunction
from ftwizard.graders.process import TIME_LIMIT_S, Grade
from ftwizard.graders.trial import Trial
from ftwizard.text import format_count, make_visible, shorten_middle

if TYPE_CHECKING:
    from rich.table import Table

MAX_SHOWN_ANSWER = 25
MAX_SHOWN_LINE = 200
_OPTIONS = {
    "new": ("kind", "field"),
    "try": ("rows", "field", "time_limit", "columns", "encoding"),
    "lambda": ("out", "region"),
}
"""Options of each action."""


class NewGrader(msgspec.Struct, frozen=True, kw_only=True):
    """A grader that was written from the template."""

    path: str
    kind: template.GraderKind
    field: str


def grader(arguments: argparse.Namespace) -> int:
    """Write a grader, try it on rows, or write the Lambda function around it."""
    _refuse_options(arguments)
    path = user_paths.make_absolute(arguments.file)
    if path.suffix != ".py":
        raise FtwizardError(
            f"{make_visible(arguments.file, 200)} does not end in .py: a grader is a file of Python.",
            "Name it with the ending .py.",
            USAGE,
        )
    if arguments.action == "new":
        return _write_new(arguments, path)
    source = read_grader(path)
    if arguments.action == "lambda":
        return _write_lambda(arguments, source)
    return _try(arguments, source)


def _refuse_options(arguments: argparse.Namespace) -> None:
    """Raise FtwizardError for an option of another action."""
    own = _OPTIONS[arguments.action]
    for action, names in _OPTIONS.items():
        for name in names:
            if name not in own and getattr(arguments, name):
                option = f"--{name.replace('_', '-')}"
                raise FtwizardError(
                    f"{option} is not an option of grader {arguments.action}.",
                    f"It belongs to: ftwizard grader {action}",
                    USAGE,
                )
    if arguments.action == "try" and not arguments.rows:
        raise FtwizardError(
            "--rows is missing: the data file with rows to grade.",
            f"For example: ftwizard grader try {shlex.quote(arguments.file)} --rows rows.jsonl",
            USAGE,
        )


def _write_new(arguments: argparse.Namespace, path: Path) -> int:
    require_own_name(path)
    made = NewGrader(
        path=str(path), kind=arguments.kind or template.KINDS[0], field=arguments.field or REFERENCE
    )
    text = template.write_template(shlex.quote(path.name), made.kind, made.field)
    with new_file(path) as file:
        file.write(text.encode())
    shown = make_visible(shlex.quote(arguments.file))
    compared = f"grade(sample, item) compares answers with the field {make_visible(made.field, 60)}"
    lines = [
        f"✓ {make_visible(str(path))}: {compared}",
        "  Edit it, then try it on ten of your rows:",
        f"  ftwizard grader try {shown} --rows ROWS",
    ]
    output.print_report(arguments, made, lines)
    return 0


def _try(arguments: argparse.Namespace, source: GraderFile) -> int:
    """Grade ten rows; return 1 if the grader fails or does not tell right from wrong."""
    with progress.reporter() as say:
        file, _ = datasets.locate(arguments.rows, say)
        options = read_arguments.get_options(arguments)
        items = trial.read_items(file, source, field=arguments.field, options=options)
        limit_s = arguments.time_limit or TIME_LIMIT_S
        report = trial.try_grader(source, items, time_limit_s=limit_s)
    if arguments.json:
        output.print_json(report)
    else:
        _print_trial(report)
    return FAILED if report.verdict == "error" else 0


def _print_trial(report: Trial) -> None:
    out = output.make_console()
    out.print(_build_table(report))
    output.print_lines(out, "", *_list_verdict(report))


def _build_table(report: Trial) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("line", justify="right")
    for name in ("right answer", "wrong answer"):
        table.add_column(name, no_wrap=True)
        table.add_column("score", justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(
            str(row.line),
            _shorten(row.right), _format_grade(row.right_grade),
            _shorten(row.wrong), _format_grade(row.wrong_grade),
        )  # fmt: skip
    return table


def _shorten(text: str) -> str:
    return shorten_middle(make_visible(" ".join(text.split())), MAX_SHOWN_ANSWER)


def _format_grade(grade: Grade) -> str:
    if grade.score is not None:
        return f"{grade.score:g}"
    return {"exception": "error", "not_a_number": "none", "nan": "NaN", "timeout": "too slow"}.get(
        grade.problem or "", "crashed"
    )


def _list_verdict(report: Trial) -> Iterator[str]:
    rows = format_count(len(report.rows), "row")
    if report.verdict == "ok":
        yield f"✓ In each of {rows}, the right answer scored higher than a wrong one."
    for finding in report.findings:
        where = output.format_lines(finding.lines, len(finding.lines))
        yield f"{output.MARKS[finding.severity]} {finding.code}{where.replace(',', ':', 1)}"
        yield f"    {finding.message} {finding.fix}"
    if report.printed:
        yield "· The grader printed:"
        yield from (f"    {line[:MAX_SHOWN_LINE]}" for line in report.printed.split("\n")[:10])
    if report.verdict != "error":
        shown = make_visible(shlex.quote(report.grader))
        yield f"  Name it in the plan: openai.grader or foundry.grader: {shown}"
        yield f"  For Amazon Bedrock: ftwizard grader lambda {shown}"


def _write_lambda(arguments: argparse.Namespace, source: GraderFile) -> int:
    path = Path(source.path).with_name(f"{handler.MODULE}.py")
    out = user_paths.make_absolute(arguments.out) if arguments.out else path
    if out.name != path.name:
        raise FtwizardError(
            f"--out must end in {path.name}: AWS calls the handler by the name of its file.",
            f"Name a folder, then /{path.name}.",
            USAGE,
        )
    text = handler.write_handler(source)
    require_free(out, not_over=[Path(source.path)])
    with new_file(out) as file:
        file.write(text.encode())
    region = arguments.region or handler.REGIONS["Nova"]
    function = handler.describe_function(source, out, region)
    output.print_report(arguments, function, _list_commands(function, bool(arguments.region)))
    return 0


def _list_commands(function: LambdaFunction, chose_region: bool) -> Iterator[str]:
    pack, create, update, read = map(make_visible, function.commands)
    yield f"✓ {make_visible(function.handler)}: AWS Lambda function around the grader"
    for caution in function.cautions:
        yield f"! {caution}"
    yield "  Pack both files, and create the function with an execution role of your account"
    yield "  (policy AWSLambdaBasicExecutionRole):"
    yield from (f"    {command}" for command in (pack, create))
    yield "  After a change, pack again and update it:"
    yield f"    {update}"
    yield "  Its ARN is the grader of the plan (bedrock.grader or mantle.grader):"
    yield f"    {read}"
    yield (
        f"  One call may take {function.timeout_s} s. Raise --timeout, up to 900, if the grader is slow;"
        " AWS's default of 3 s is too short."
    )
    yield "  Bedrock's role or key needs lambda:InvokeFunction on the function."
    if not chose_region:
        regions = ", ".join(f"{region} for {models}" for models, region in handler.REGIONS.items())
        yield f"  The function must be in the region of the job: {regions}. Set it with --region."
