"""``doctor``: what this machine, or an account at a platform, can do and what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftwizard.cli import output, progress
from ftwizard.doctor import Check, DoctorReport, Started, run_quick_checks, run_trial
from ftwizard.errors import FAILED, USAGE, FtwizardError
from ftwizard.text import format_count, make_visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ftwizard.catalog.account import AccountModel, AccountReport

MARKS = {"ok": "✓", "warning": "!", "missing": "✗"}


def doctor(arguments: argparse.Namespace) -> int:
    """Print each check with its fix; return 1 if something that training needs is missing.

    A screen receives each result as soon as it is known.
    """
    if arguments.provider:
        return _inspect_account(arguments)
    if arguments.model:
        raise FtwizardError("--model needs --provider.", "Name the platform, too.", USAGE)
    with progress.reporter() as say:
        say("looking at this machine")
        quick, driver = run_quick_checks()
        checks = {check.name: check for check in quick}
        say.show(DoctorReport(quick))
        for step in () if arguments.quick else run_trial(driver):
            if isinstance(step, Started):
                say("trying", what=step.action)
            else:
                checks[step.name] = step
                say.show(DoctorReport([*checks.values()]))
    report = DoctorReport([*checks.values()])
    if arguments.json:
        output.print_json(report)
    else:
        out = output.make_console()
        rows = (row for check in report.checks for row in _check_rows(check))
        out.print(output.build_pair_table(rows))
        out.print(f"\n{summarize(report.checks)}")
    return 1 if any(check.status == "missing" for check in report.checks) else 0


def _check_rows(check: Check) -> Iterator[tuple[str, RenderableType]]:
    """Yield the result, and below it the fix, one line per command."""
    from rich.padding import Padding
    from rich.text import Text

    yield f"{MARKS[check.status]} {check.name}", Text(check.detail)
    for line in check.fix.splitlines():
        yield "", Padding(Text(line), (0, 0, 0, 2))


def summarize(checks: list[Check]) -> str:
    """Summarize the checks in a line."""
    missing = sum(check.status == "missing" for check in checks)
    warnings = sum(check.status == "warning" for check in checks)
    if not missing and not warnings:
        return "✓ Ready to train: nothing is missing."
    first = f"✗ {missing} missing" if missing else "✓ Nothing is missing"
    return f"{first}, {format_count(warnings, 'warning')}." if warnings else f"{first}."


# --- an account at a platform -----------------------------------------------------------------


def _inspect_account(arguments: argparse.Namespace) -> int:
    """Print what the account of the key may train; return 1 if no job could be started."""
    from ftwizard.hosted_platforms import PLATFORMS
    from ftwizard.providers import account

    with progress.reporter() as say:
        say("asking", what=PLATFORMS[arguments.provider].name)
        report = account.inspect_account(arguments.provider, arguments.model or "")
    if arguments.json:
        output.print_json(report)
    else:
        output.print_lines(output.make_console(), *_format_account(report))
    return 0 if report.ready else FAILED


def _format_account(report: AccountReport) -> Iterator[str]:
    for ending in report.closing:
        yield f"! {ending.when.capitalize()}: {ending.text.rstrip('.')} ({ending.source}, as of {ending.as_of})."
    yield from _format_credentials(report)
    if report.endpoint:
        yield f"  address     {report.endpoint}"
    for model in report.models:
        yield f"{'✓' if model.tunable else '✗'} {make_visible(model.id, 80)}: {describe_model(model)}"
    yield from (f"! {line}" for line in report.cautions)
    if report.error is None:
        yield f"✓ A job can be requested at {report.name}."
        return
    yield f"✗ {report.error}"
    if report.hint:
        yield f"  {report.hint}"
    if report.alternatives:
        names = "; ".join(
            f"{each.name} (provider: {each.provider})" for each in report.alternatives
        )
        yield f"  Elsewhere: {names}"


def _format_credentials(report: AccountReport) -> Iterator[str]:
    """Yield where the key is, or whose credentials the SDK found."""
    from ftwizard.hosted_platforms import PLATFORMS

    if PLATFORMS[report.provider].variables:
        yield f"  key         {report.key.describe() if report.key else 'none'}"
        return
    login = report.login
    yield f"  login       {make_visible(login.source, 200) if login else 'none'}"
    if login is None:
        return
    facts = {"caller": login.caller, "account": login.account, "region": login.region or "not set"}
    for name, fact in facts.items():
        if fact:
            yield f"  {name:<11} {make_visible(fact, 200)}"


def describe_model(model: AccountModel) -> str:
    """Describe what an account can do with a model, on a line."""
    parts = [", ".join(model.methods)] if model.tunable else []
    parts += [f"no new jobs from {model.until}"] if model.until and model.tunable else []
    parts += [f"shut down on {model.shutdown}"] if model.shutdown and model.tunable else []
    parts += [f"in {model.regions[0]} only"] if len(model.regions) == 1 and model.tunable else []
    parts += ["try it first"] if model.recommended and model.tunable else []
    return "; ".join([*parts, *([model.note] if model.note else [])]).rstrip(".")
