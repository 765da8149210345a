"""``push``: a run's model on the Hugging Face Hub, after a typed confirmation."""

from __future__ import annotations

import argparse
import sys

from ftwizard.cli import output, progress, run_argument
from ftwizard.errors import DECLINED, USAGE, FtwizardError, MissingExtra
from ftwizard.hardware.machine import is_installed
from ftwizard.runs import default_run
from ftwizard.runs.exports import PushReport, UploadPlan, describe_upload
from ftwizard.text import make_visible


def push(arguments: argparse.Namespace) -> int:
    """Upload a run's merged model or adapter; return 3 if the user declines.

    With ``--check`` nothing is sent: only what an upload would send is reported.
    """
    run_argument.refuse_hosted(arguments.run, "uploaded")
    asks = not arguments.yes and not arguments.check
    if asks and (arguments.json or not output.has_terminal()):
        hint = "To skip it, pass --yes."
        raise FtwizardError("push asks for confirmation, which needs a terminal.", hint, USAGE)
    if not is_installed("huggingface_hub"):
        raise MissingExtra("local", "huggingface_hub")
    from ftwizard.export import push as uploads
    from ftwizard.train.probe_runner import exit_on_sigterm

    run = run_argument.find(arguments.run, default_run.choose_local)
    with progress.reporter() as say:
        say("looking", what="at the repository and the license")
        prepared = uploads.prepare(
            run, arguments.repo, adapter=arguments.adapter, public=arguments.public,
            replace=arguments.replace,
        )  # fmt: skip
    plan = prepared.plan
    if not arguments.json:
        text = describe_upload(plan, run.id)
        indented, marked = (f"  {name}" for name in text.files), (f"! {w}" for w in text.warnings)
        output.print_lines(output.make_console(), *text.facts, *indented, *marked)
    if arguments.check:
        output.print_report(arguments, PushReport(plan=plan, pushed=None), [])
        return 0
    if asks and not _confirm(plan):
        print("Nothing was uploaded.")
        return DECLINED
    with progress.reporter() as say, exit_on_sigterm():
        record = uploads.upload(prepared, say)
    lines = [f"✓ Uploaded: {make_visible(record.url, 300)}"]
    output.print_report(arguments, PushReport(plan=plan, pushed=record), lines)
    return 0


def _confirm(plan: UploadPlan) -> bool:
    """Return whether the user types the repository's name."""
    question = f"To upload, type {make_visible(plan.repo, 120)}: "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == plan.repo
