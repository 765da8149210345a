"""A hosted run in the monitor: its job, cost and checkpoints, and the platform's own words."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.text import Text
from textual.app import App

from ftwizard.jobs.folder import JobFolder, read_end
from ftwizard.plan.schema import Plan
from ftwizard.quantity import Figure
from ftwizard.runs import hosted, remote
from ftwizard.runs.follower import Follower
from ftwizard.runs.progress import Progress
from ftwizard.runs.remote import RemoteJob
from ftwizard.screens.dialogs.command_progress import run_command
from ftwizard.screens.dialogs.questions import ChooseDialog
from ftwizard.screens.monitor import readings
from ftwizard.text import format_dollar_range, format_dollars, make_visible

TAIL_BYTES = 65_536
"""End of the events that is searched for messages of the platform."""
MAX_SHOWN_CHECKPOINTS = 3


def read_messages(folder: JobFolder, lines: int) -> list[str]:
    """Return the last messages of the platform, oldest first."""
    if not lines:
        return []
    return list(_iterate_messages(read_end(folder.events, TAIL_BYTES)))[-lines:]


def _iterate_messages(data: bytes) -> Iterator[str]:
    for line in data.split(b"\n"):
        if b'"remote"' not in line:
            continue
        try:
            event = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):  # cut at the beginning, or torn
            continue
        if isinstance(event, dict) and event.get("kind") == "remote" and event.get("message"):
            yield make_visible(str(event["message"]), 300)


def format_job(record: RemoteJob, width: int, *, in_columns: bool, in_full: bool = False) -> Text:
    """Format the job: its status and id, its model, checkpoints and page.

    Not in columns, as above the chart of a small window, without names of checkpoints. ``in_full``:
    long names and ids go on in the next line, so that they can be copied.
    """
    pairs = [("at", hosted.describe_state(remote.summarize(record)))]
    if record.job_id:
        pairs.append(("job", make_visible(record.job_id, hosted.MAX_ID)))
    if record.tuned_model:
        pairs.append(("model", make_visible(record.tuned_model, 2 * hosted.MAX_ID)))
    if record.checkpoints:
        pairs.append(("kept", hosted.describe_checkpoints(record.checkpoints)))
    for checkpoint in record.checkpoints[-MAX_SHOWN_CHECKPOINTS:] if in_columns else ():
        name = checkpoint.model or checkpoint.id
        if name == record.tuned_model:
            continue
        pairs.append((f"step {checkpoint.step:,}", make_visible(name, 2 * hosted.MAX_ID)))
    for resource in record.billed:
        price = f", {format_dollars(resource.price.value)} per hour" if resource.price else ""
        pairs.append(("! costs", f"{make_visible(resource.id, hosted.MAX_ID)}{price}"))
    if record.url:
        pairs.append(("page", make_visible(record.url, 300)))
    if in_columns:
        return readings.format_columns(list(_fold(pairs, width)) if in_full else pairs, width)
    return readings.format_inline(pairs, width)


def _fold(pairs: list[tuple[str, str]], width: int) -> Iterator[tuple[str, str]]:
    """Yield the pairs with long values on several lines."""
    cells = max(20, width - 2 - max(len(name) for name, _ in pairs))
    for name, value in pairs:
        for start in range(0, len(value), cells):
            yield ("" if start else name), value[start : start + cells]


def format_cost(record: RemoteJob, progress: Progress) -> tuple[str, str] | None:
    """Return name and value of the figure: actual, or so far of what was predicted."""
    if record.actual_cost is not None:
        return "cost", format_dollars(record.actual_cost.value)
    predicted = record.predicted_cost
    if predicted is None:
        return None
    total = _format_range(predicted)
    if not progress.total_steps or not progress.step:
        return "cost", f"{total} predicted"
    share = min(1.0, progress.step / progress.total_steps)
    spent = _format_range(predicted.scaled(share, predicted.source))
    return "cost", f"{spent} of {total} predicted"


def _format_range(figure: Figure) -> str:
    return format_dollar_range(figure.lowest, figure.highest)


def format_plan(plan: Plan, width: int) -> Text:
    """Format model, data and the platform's settings."""
    settings = plan.platform_settings
    name = make_visible(plan.data.files.train.rpartition("/")[2])
    pairs = [
        ("model", make_visible(plan.model.name, width)), ("data", name),
        ("method", f"{settings.own_method}, {settings.EPOCHS} {settings.epochs}"),
    ]  # fmt: skip
    return readings.format_columns(pairs, width)


async def stop(app: App[object], follower: Follower, record: RemoteJob) -> bool:
    """Ask whether to cancel the job, to pause it, or only to stop following; return whether it did."""
    platform = hosted.name_platform(record.provider)
    options = [("--cancel", "cancel the job: steps done by then may be billed, no model is made")]
    if record.provider in hosted.PAUSING and record.state == "running":
        options.append(("--pause", "pause the job: checkpoints are kept, r continues"))
    options.append(("--detach", "only stop following: the job keeps running and is billed"))
    job = make_visible(record.job_id, 80) if record.job_id else "not created yet"
    question = ChooseDialog(f"End the job at {platform}?", f"Job: {job}.", options)
    choice = await app.push_screen_wait(question)
    if choice is None:
        return False
    titles = {"--cancel": "Canceling the job", "--pause": "Pausing the job"}
    title = titles.get(choice, "Ending the follower of the job")
    path = str(follower.folder.path)
    return await run_command(app, title, "stop", path, choice, lasting=True) is not None
