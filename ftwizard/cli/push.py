"""``push``: a run's model on the Hugging Face Hub, after a typed confirmation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from ftwizard.cli import output, progress, run_argument
from ftwizard.errors import DECLINED, USAGE, FtwizardError, MissingExtra
from ftwizard.hardware.machine import is_installed
from ftwizard.runs import default_run
from ftwizard.runs.exports import PushReport, UploadPlan
from ftwizard.text import format_bytes, format_count, make_visible

MAX_LISTED = 12
_CARDS = {"new": "new, from the record of the run", "edited": "card.md, as you edited it",
          "older": "card.md, as you edited it: older than the model's newest result"}  # fmt: skip


def push(arguments: argparse.Namespace) -> int:
    """Upload a run's merged model or adapter; return 3 if the user declines."""
    if not arguments.yes and (arguments.json or not output.has_terminal()):
        hint = "To skip it, pass --yes."
        raise FtwizardError("push asks for confirmation, which needs a terminal.", hint, USAGE)
    if not is_installed("huggingface_hub"):
        raise MissingExtra("local", "huggingface_hub")
    from ftwizard.export import push as uploads
    from ftwizard.train.probe_runner import exit_on_sigterm

    run = run_argument.find(arguments.run, default_run.choose_chatted)
    with progress.reporter() as say:
        say("looking", what="at the repository and the license")
        prepared = uploads.prepare(
            run, arguments.repo, adapter=arguments.adapter, public=arguments.public,
            replace=arguments.replace,
        )  # fmt: skip
    plan = prepared.plan
    if not arguments.json:
        output.print_lines(output.make_console(), *_describe(plan, run.id))
    if not arguments.yes and not _confirm(plan):
        print("Nothing was uploaded.")
        return DECLINED
    with progress.reporter() as say, exit_on_sigterm():
        record = uploads.upload(prepared, say)
    lines = [f"✓ Uploaded: {make_visible(record.url, 300)}"]
    output.print_report(arguments, PushReport(plan=plan, pushed=record), lines)
    return 0


def _describe(plan: UploadPlan, run_id: str) -> Iterator[str]:
    who = "only you and your organization can see" if plan.private else "everybody can see"
    total = format_bytes(sum(plan.files.values()))
    count = format_count(len(plan.files), "file")
    yield f"Upload of the {plan.content} model: {count}, {total}, as {make_visible(plan.user, 60)}."
    yield f"To: {make_visible(plan.repo, 120)}, which {who}"
    for name, size in sorted(plan.files.items(), key=lambda item: -item[1])[:MAX_LISTED]:
        yield f"  {make_visible(name, 80)}  {format_bytes(size)}"
    if len(plan.files) > MAX_LISTED:
        yield f"  and {format_count(len(plan.files) - MAX_LISTED, 'smaller file')}"
    base, license = make_visible(plan.base, 120), plan.license or "unknown"
    yield f"Base model: {base}, license: {license}. Its terms apply to what you upload."
    if plan.gated:
        yield f"! {base} is gated: the Hub serves it only after its terms were accepted."
    yield f"Model card: {_CARDS[plan.card]}."
    if plan.ship == "do_not_ship":
        yield f"! The evaluation says not to ship this model: see ftwizard status {run_id}"
    elif plan.ship == "cannot_tell":
        yield f"! The evaluation cannot tell whether to ship this model: see ftwizard status {run_id}"
    if plan.license is None:
        yield "! Check the license of the base model before others can see the upload."


def _confirm(plan: UploadPlan) -> bool:
    """Return whether the user types the repository's name."""
    question = f"To upload, type {make_visible(plan.repo, 120)}: "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == plan.repo
