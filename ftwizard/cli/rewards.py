"""``rewards``: a dry run of reward functions on a few rows."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ftwizard.cli import output, plan_argument, progress, read_arguments
from ftwizard.data.hub import datasets
from ftwizard.errors import FAILED, USAGE, FtwizardError
from ftwizard.rewards import dry_run, notation, rows
from ftwizard.rewards.dry_run import DryRun
from ftwizard.rewards.reward import MAX_REWARDS, Reward
from ftwizard.text import format_count, make_visible, shorten_middle
from ftwizard.train import dataset, reward_check

if TYPE_CHECKING:
    from rich.table import Table

MAX_SHOWN_ANSWER = 24
MAX_SHOWN_LINE = 200


def rewards(arguments: argparse.Namespace) -> int:
    """Try rewards on rows; return 1 if one fails or tells no answers apart."""
    first = arguments.rewards[0]
    is_plan = len(arguments.rewards) == 1 and plan_argument.is_plan(first)
    with progress.reporter() as say:
        report = _try_plan(arguments, first) if is_plan else _try_named(arguments, say)
    if arguments.json:
        output.print_json(report)
    else:
        _print_report(report)
    return FAILED if report.verdict == "error" else 0


def _try_plan(arguments: argparse.Namespace, name: str) -> DryRun:
    """Return the dry run of a plan's rewards on the first of its training rows."""
    for option in ("data", "column", "template", "columns", "encoding"):
        if getattr(arguments, option):
            raise FtwizardError(
                f"--{option} is not an option for a plan, which says it itself.",
                "Change the plan: data, recipe.grpo.reference_column, recipe.grpo.answer_template.",
                USAGE,
            )
    plan = plan_argument.load(name, (), deferred=("many-epochs", "no-validation"))
    if plan.is_hosted or plan.recipe.objective != "grpo":
        raise FtwizardError(
            f"{make_visible(name, 200)} has no rewards.",
            "Set recipe.objective to grpo and recipe.grpo.rewards. See docs/rewards.md.",
            USAGE,
        )
    return reward_check.try_plan(plan, dataset.load_rows(plan, {})["train"], arguments.rows)


def _try_named(arguments: argparse.Namespace, say: Callable[..., None]) -> DryRun:
    """Return the dry run of rewards that the command line names."""
    named = parse_rewards(arguments.rewards)
    if not arguments.data:
        raise FtwizardError(
            "--data is missing: the data file with rows to try them on.",
            f"For example: ftwizard rewards {named[0].function} --data rows.jsonl",
            USAGE,
        )
    file, _ = datasets.locate(arguments.data, say)
    prompts = rows.read_rows(
        file,
        max(dry_run.POOL_ROWS, arguments.rows),
        column=arguments.column,
        options=read_arguments.get_options(arguments),
    )
    template = arguments.template or dry_run.TEMPLATE
    return dry_run.try_rewards(named, prompts, arguments.rows, template=template)


def parse_rewards(texts: Sequence[str]) -> list[Reward]:
    """Return rewards as a command names them: ``numeric_answer``, ``0.2*length_limit={max: 50}``."""
    if len(texts) > MAX_REWARDS:
        raise FtwizardError(
            f"{len(texts)} rewards are too many.", f"Name up to {MAX_REWARDS}.", USAGE
        )
    return [notation.parse_reward(text) for text in texts]


def _print_report(report: DryRun) -> None:
    out = output.make_console()
    out.print(_build_table(report))
    output.print_lines(out, "", *_list_verdict(report))


def _build_table(report: DryRun) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("reward", no_wrap=True)
    table.add_column("weight", justify="right")
    for name in dry_run.ANSWERS:
        table.add_column(name, justify="right")
    total = [report.total] if report.total and len(report.rewards) > 1 else []
    for score in [*report.rewards, *total]:
        table.add_row(
            make_visible(score.name, 40),
            f"{score.weight:g}" if score.function else "",
            *(
                dry_run.format_values(score, values)
                for values in (score.expected, score.other, score.empty)
            ),
        )
    return table


def _list_verdict(report: DryRun) -> Iterator[str]:
    count = format_count(len(report.rows), "row")
    if report.verdict == "ok":
        yield f"✓ {count} tried: {dry_run.TELLS}."
    for finding in report.findings:
        where = output.format_lines(finding.lines, len(finding.lines))
        yield f"{output.MARKS[finding.severity]} {finding.code}{where.replace(',', ':', 1)}"
        yield f"    {finding.message} {finding.fix}"
    first = report.rows[0]
    expected = "none" if first.expected is None else f"“{_shorten(first.expected)}”"
    yield f"· Tried at line {first.line}: expected {expected}, another row's “{_shorten(first.other)}”"
    if report.printed:
        yield "· The functions printed:"
        yield from (f"    {line[:MAX_SHOWN_LINE]}" for line in report.printed.split("\n")[:10])


def _shorten(text: str) -> str:
    return shorten_middle(make_visible(" ".join(text.split())), MAX_SHOWN_ANSWER)
