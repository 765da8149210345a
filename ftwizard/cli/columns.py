"""``columns``: the columns of a file, and how a mapping reads its rows."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

from ftwizard.cli import output, progress, read_arguments
from ftwizard.cli.show import format_example
from ftwizard.data import column_report
from ftwizard.data.column_report import ColumnReport
from ftwizard.data.example import RowProblem
from ftwizard.data.format_names import FORMAT_NAMES
from ftwizard.data.hub import datasets
from ftwizard.data.io import records
from ftwizard.data.io.read_options import ReadOptions
from ftwizard.data.mapping.column_map import ColumnMap
from ftwizard.data.mapping.guess import ColumnFacts
from ftwizard.data.mapping.options import format_columns
from ftwizard.text import make_visible

NAME_WIDTH = 30
EXAMPLE_WIDTH = 80


def columns(arguments: argparse.Namespace) -> int:
    """Show the columns of a file, and the first row as ``--columns`` or the nearest guess reads it."""
    options = read_arguments.get_options(arguments)
    with progress.reporter() as say:
        file, _ = datasets.locate(arguments.data, say)
        say("reading", what=file.name)
        report = column_report.describe_columns(file, options)
        if options.columns:
            records.open_file(file, options)  # names the columns that no row has
    output.print_report(arguments, report, _report_lines(report, options))
    return 0


def _report_lines(report: ColumnReport, options: ReadOptions) -> Iterator[str]:
    words = FORMAT_NAMES[report.format] if report.format else "no known format"
    yield f"{make_visible(report.path)}: {words}"
    width = max(len(make_visible(column.name, NAME_WIDTH)) for column in report.columns)
    for column in report.columns:
        name = make_visible(column.name, NAME_WIDTH)
        yield f"  {name:<{width}}  {_describe_column(column, report)}"
    mapping = options.columns or report.guess
    if not mapping:
        yield "No mapping is likely. Name the columns: --columns prompt=COLUMN,completion=COLUMN"
        return
    yield ""
    yield from _mapping_lines(report, mapping, options)


def _describe_column(column: ColumnFacts, report: ColumnReport) -> str:
    kind = column.kind if column.share == 1 else f"{column.kind}, in {column.share:.0%} of the rows"
    example = next((row[column.name] for row in report.rows if column.name in row), None)
    if not isinstance(example, str | int | float):
        return kind
    return f"{kind}: {make_visible(str(example), EXAMPLE_WIDTH)}"


def _mapping_lines(report: ColumnReport, mapping: ColumnMap, options: ReadOptions) -> Iterator[str]:
    shown = make_visible(format_columns(mapping), 400)
    yield f"The first row, as {'it is read with' if options.columns else 'the nearest guess reads it,'} {shown}"
    example = column_report.preview_mapping(mapping, report.rows)
    if isinstance(example, RowProblem):
        yield f"  ✗ {example.message}; {example.fix}"
    else:
        yield from (f"  {line}" for line in format_example(example))
    argv = ["ftwizard", "check", report.path, "--columns", format_columns(mapping)]
    if options.encoding:
        argv += ["--encoding", options.encoding]
    yield f"Read all rows so: {make_visible(shlex.join(argv), 600)}"
