"""``check``: validation of a data set before training."""

from __future__ import annotations

import argparse
import functools
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftwizard import user_paths
from ftwizard.cli import output, progress, read_arguments, tokenizer
from ftwizard.cli.convert import format_actions
from ftwizard.cli.progress import Say
from ftwizard.data import reader
from ftwizard.data.checks import row_checker, run
from ftwizard.data.checks.run import CheckOptions
from ftwizard.data.documents import DataReport, Repairs
from ftwizard.data.findings import Finding, Findings, overall_verdict, sort_findings
from ftwizard.data.format_names import TargetName
from ftwizard.data.hub import datasets
from ftwizard.data.io.inspect import FileProblem
from ftwizard.data.io.read_options import AS_IS, ReadOptions
from ftwizard.data.platforms import get_target
from ftwizard.data.repair.forecast import describe_by_hand, describe_forecast, forecast_repair
from ftwizard.data.repair.repair import repair
from ftwizard.data.tokens.stats import TokenEstimate, TokenLengths, TrainableTokens
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.plan.schema import LOCAL_TARGETS, Recipe
from ftwizard.text import format_count, make_visible


def check(arguments: argparse.Namespace) -> int:
    """Check a data file and report its content and problems.

    A data set on the Hub is downloaded first. With --fix, the report is about the new file.
    """
    tokenizer.check_max_length(arguments.max_length)
    with progress.reporter() as say:
        file, source = datasets.locate(arguments.data, say)
        try:
            repairs = _write_fixed_file(arguments, file, say)
            report = _examine(Path(repairs.out) if repairs else file, arguments, say)
        except FileProblem as problem:
            if arguments.json:
                name: TargetName = arguments.target or "trl-sft"
                problem.document = msgspec.to_builtins(_report_unreadable_file(file, problem, name))
            raise
    forecast = forecast_repair(report, arguments.format, _get_read_options(arguments))
    report = msgspec.structs.replace(
        report, source=source, repairs=repairs or msgspec.UNSET, forecast=forecast
    )
    lines = [*_repair_lines(repairs), ""] if repairs else []
    more = (
        [] if arguments.json else [*_suggestion_lines(report), *_closing_lines(report, arguments)]
    )
    output.print_report(arguments, report, [*lines, *_report_lines(report), *more])
    if repairs:
        return 1 if repairs.left_out else 0
    return 0 if report.verdict != "error" else 1


def _write_fixed_file(arguments: argparse.Namespace, file: Path, say: Say) -> Repairs | None:
    """Write a fixed copy of ``file`` to the path in ``--fix``; return None without that option."""
    if arguments.fix is None:
        if arguments.redact:
            raise FtwizardError(
                "--redact needs --fix: it replaces secrets in the new file.",
                "Use --fix OUT --redact.",
                USAGE,
            )
        if arguments.leave_out_long:
            raise FtwizardError(
                "--leave-out-long needs --fix: it leaves rows out of the new file.",
                "Use --fix OUT --leave-out-long.",
                USAGE,
            )
        return None
    length = arguments.max_length or Recipe().max_length
    return repair(
        file,
        user_paths.expand(arguments.fix),
        get_target(arguments.target) if arguments.target else None,
        format=arguments.format,
        redact=arguments.redact,
        max_length=length if arguments.leave_out_long else None,
        read=read_arguments.get_options(arguments),
        say=say,
    )


def _repair_lines(repairs: Repairs) -> list[str]:
    """Return the lines of the report on repairs."""
    mark = "!" if repairs.left_out else "✓"
    rows = f"{repairs.rows_out:,} of {format_count(repairs.rows_in, 'row')} written"
    if not repairs.changed:
        rows += ", none changed" if repairs.left_out else ", nothing to fix"
    if left_out := repairs.rows_in - repairs.rows_out:
        rows += f", {left_out:,} left out"
    listed = [f"{mark} {make_visible(repairs.out)}: {rows}"]
    listed += format_actions({"left out": repairs.left_out, "fixed": repairs.changed}, repairs.unit)
    if repairs.changed or repairs.left_out:
        listed.append(f"  All changes, by {repairs.unit}: {make_visible(repairs.changes)}")
    return listed


def _report_unreadable_file(path: Path, problem: FileProblem, target: TargetName) -> DataReport:
    finding = Finding(
        severity="error", code=problem.code, message=problem.message, fix=problem.hint, count=1,
        lines=list(problem.lines),
    )  # fmt: skip
    return DataReport(
        verdict="error", target=target, format=None, rows=0, usable=0, unit="line",
        findings=[finding], tokens=None, trained_tokens=None, path=str(path), source=None,
        preview=[],
    )  # fmt: skip


def _examine(file: Path, arguments: argparse.Namespace, say: Say) -> DataReport:
    report = run.check_files(
        file,
        _build_options(arguments),
        validation=Path(arguments.val) if arguments.val else None,
        say=say,
        show=say.show,
    )
    if arguments.model and report.target in LOCAL_TARGETS.values() and report.usable:
        return _add_model_tokens(report, arguments, say)
    return report


def _build_options(arguments: argparse.Namespace) -> CheckOptions:
    by_model = arguments.model and arguments.target in (None, *LOCAL_TARGETS.values())
    return CheckOptions(
        format=arguments.format,
        target=arguments.target,
        max_length=arguments.max_length or Recipe().max_length,
        count="no" if by_model else arguments.count,
        template=bool(by_model),
        near=not arguments.no_near,
        read=_get_read_options(arguments),
    )


def _get_read_options(arguments: argparse.Namespace) -> ReadOptions:
    """Return how the file is read that is reported on: a fixed copy is in a known format."""
    return AS_IS if arguments.fix is not None else read_arguments.get_options(arguments)


def _add_model_tokens(report: DataReport, arguments: argparse.Namespace, say: Say) -> DataReport:
    """Return the report with token counts and findings from a model's own tokenizer."""
    _, encoder = tokenizer.encoder(arguments.model, say)
    from ftwizard.train import mask_report

    length = arguments.max_length or Recipe().max_length
    table = reader.read_table(
        Path(report.path), arguments.format, _get_read_options(arguments),
        convert=functools.partial(row_checker.to_trained, target=report.target),
    )  # fmt: skip
    counted, _ = mask_report.report_tokens(
        encoder, table.rows, length, arguments.model, say, table.unit
    )
    target, model_findings = get_target(report.target), Findings()
    model_findings.add_file(counted.findings)
    findings = sort_findings([*report.findings, *model_findings.for_target(target)])
    return msgspec.structs.replace(
        report,
        findings=findings,
        verdict=overall_verdict(findings),
        tokens=counted.counts.tokens,
        trained_tokens=counted.counts.trained,
    )


def _report_lines(report: DataReport, part: str = "") -> Iterator[str]:
    mark = output.MARKS[report.verdict]
    rows = f"{format_count(report.rows, 'row')}, {report.usable:,} usable"
    if (
        _has_answers(report)
        and report.trained_tokens
        and (without := report.trained_tokens.rows_without)
    ):
        rows += f", {without:,} without trainable tokens"
    yield (
        f"{mark} {part}{make_visible(report.path)}: {rows} ({report.format or 'unknown format'}), "
        f"for {get_target(report.target).words}"
    )
    if report.source:
        yield f"  from {make_visible(report.source)}"
        yield "  Name this file in the plan, so the data cannot change with the Hub."
    for note in report.notes:
        yield f"· {note}"
    for finding in report.findings:
        label = f"{output.MARKS[finding.severity]} {finding.code}"
        yield from output.format_finding(label, finding, report.locate(finding).unit)
        for cause in finding.also:
            fix = f"; {cause.fix}" if cause.fix != finding.fix else ""
            yield f"    at {report.unit} {cause.line}: {cause.message}{fix}"
    yield from _token_lines(report)
    if report.validation:
        yield ""
        yield from _report_lines(report.validation, "validation: ")


def _has_answers(report: DataReport) -> bool:
    """Return whether the model trains on answers in the rows, not on its own."""
    return get_target(report.target).method != "rft"


def _suggestion_lines(report: DataReport) -> list[str]:
    """Return what else the rows suggest where answers are verifiable: a reward, or reinforcement."""
    from ftwizard.advice import evidence, recipe_advice

    if report.target == "trl-grpo":
        reward = recipe_advice.describe_rewards(report) if report.usable else ""
        return [f"· {reward}"] if reward else []
    rft = evidence.read_evidence(report).rft if report.usable else None
    if rft is None:
        return []
    template = evidence.describe_template(rft)
    return [f"· {rft.reason} {rft.caution}", *([f"  {template}"] if template else [])]


def _closing_lines(report: DataReport, arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the next command, what it does with how many rows, and what remains by hand."""
    if (forecast := report.forecast) is None:
        return
    target = get_target(report.target)
    if forecast.convertible:
        command = f"convert {_format_input(arguments)} --target {target.name} --out NEW.jsonl"
        yield f"→ ftwizard {command} writes the rows for {target.words}."
    elif forecast.helps:
        named = f" --target {target.name}" if arguments.target else ""
        command = f"check {_format_input(arguments)}{named} --fix NEW.jsonl"
        yield f"→ ftwizard {command} {describe_forecast(forecast)}."
    if forecast.columns:
        command = f"check {_format_file(arguments)} --columns {shlex.quote(forecast.columns)}"
        yield f"→ ftwizard {make_visible(command)} reads each text as its turns."
    if forecast.by_hand:
        yield f"  By hand: {describe_by_hand(forecast)}."


def _format_file(arguments: argparse.Namespace) -> str:
    """Return the file that was reported on, and its encoding."""
    if arguments.fix is not None:
        return shlex.quote(make_visible(arguments.fix))
    file = shlex.quote(make_visible(arguments.data))
    encoding = shlex.quote(make_visible(arguments.encoding or ""))
    return f"{file} --encoding {encoding}" if arguments.encoding else file


def _format_input(arguments: argparse.Namespace) -> str:
    """Return the file that was reported on, and the options that it is read with."""
    if arguments.fix is not None:
        return shlex.quote(make_visible(arguments.fix))
    words = [_format_file(arguments)]
    if arguments.format != "auto":
        words += ["--format", arguments.format]
    for columns in arguments.columns:
        words += ["--columns", shlex.quote(make_visible(columns))]
    return " ".join(words)


def _token_lines(report: DataReport) -> Iterator[str]:
    tokens, trained = report.tokens, report.trained_tokens
    if tokens is None or trained is None:
        return
    yield (
        f"  Tokens: {_format_total(tokens)}, counted with {tokens.encoding}; per row {tokens.p50:,} (median), "
        f"{tokens.p95:,} (95th percentile), {tokens.max:,} (maximum)"
    )
    if _has_answers(report):
        yield f"  Trainable: {_format_total(trained)}"
    if report.billed:
        bill = report.billed
        about = f"{_format_tokens(bill.tokens)} per epoch; " if bill.tokens else ""
        yield f"  Billed: {about}{bill.words}"


def _format_total(tokens: TokenLengths | TrainableTokens) -> str:
    return _format_tokens(TokenEstimate(value=tokens.total, low=tokens.low, high=tokens.high))


def _format_tokens(tokens: TokenEstimate) -> str:
    if tokens.low == tokens.high:
        return f"{tokens.value:,}"
    return f"about {tokens.value:,} ({tokens.low:,}–{tokens.high:,})"
