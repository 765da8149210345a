"""Requests to a run: stop, save, evaluate, resume."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from textual.app import App

from ftwizard.errors import FtwizardError
from ftwizard.jobs import requests, stopping
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.changes import PLAN_CHANGED, PLAN_UNUSABLE
from ftwizard.runs import describe, remote
from ftwizard.runs.follower import Follower
from ftwizard.runs.progress import ACTIVE
from ftwizard.runs.store import RunStatus
from ftwizard.screens import subprocesses
from ftwizard.screens.dialogs.command_progress import CommandProgress, run_command
from ftwizard.screens.dialogs.dialog import Dialog, ErrorDialog
from ftwizard.screens.dialogs.questions import ChooseDialog, ConfirmDialog, DestructiveConfirm
from ftwizard.screens.monitor import hosted
from ftwizard.text import format_duration, make_visible

EDITED_OPTIONS = (
    ("child", "start a new run with the edited settings"),
    ("restore", "resume as before; the edited file is kept"),
)
"""What to do with a plan that was edited so that its run cannot be resumed; the last also with one
that cannot be read."""
REQUESTED = {"save": "Saving a checkpoint", "evaluate": "Evaluating"}


async def stop(app: App[Any], follower: Follower, question: Dialog[bool] | None = None) -> bool:
    """Stop the run after confirmation; if it is already stopping, offer to kill it, by another key.

    ``question`` replaces the default one for a run that is not stopping yet. Of a hosted run, ask what
    to do with its job. Return whether the request was confirmed and sent.
    """
    if record := remote.read(follower.folder):
        return await hosted.stop(app, follower, record)
    folder, attempt = follower.folder, follower.status.attempt
    is_stopping = requests.read_pending(folder, "stop", attempt) is not None
    if is_stopping and follower.status.liveness.is_self_kept:
        app.notify("It is already stopping: it saves at the end of its step.", markup=False)
        return False
    if is_stopping:
        left_s = stopping.read_seconds_left(folder, attempt)
        limit = f", up to {format_duration(left_s)} more" if left_s else ""
        question = DestructiveConfirm(
            "This run is already stopping. Kill it now?",
            f"It finishes its step and saves{limit}. If killed, unsaved progress is lost.",
            "kill",
        )
    elif question is None:
        question = ConfirmDialog(
            "Stop this run?",
            "It finishes the current step and saves. You can resume it later."
            if not follower.status.liveness.is_self_kept
            else "Its trainer finishes the current step, saves, and returns to your script.",
            "save and stop",
        )
    if not await app.push_screen_wait(question):
        return False
    if not await _send(app, lambda: requests.request_stop(folder, attempt, now=is_stopping)):
        return False
    if follower.status.liveness.is_keeper_out:  # the command does the keeper's part
        _run_command(app, follower, "stop", *(["--kill"] if is_stopping else []))
    return True


async def resume(app: App[Any], follower: Follower) -> str | None:
    """Resume the run; return the id of a child run that was started instead.

    If its plan was edited so that it cannot be resumed, ask what to do.
    """
    path = str(follower.folder.path)
    document = await _run_shown(app, "Resuming from the newest checkpoint", "resume", path)
    if isinstance(document, FtwizardError) and document.code in (PLAN_CHANGED, PLAN_UNUSABLE):
        options = EDITED_OPTIONS if document.code == PLAN_CHANGED else EDITED_OPTIONS[1:]
        choice = await app.push_screen_wait(
            ChooseDialog("Which settings?", document.message, options)
        )
        if choice == "child":
            return await start_child(app, follower.folder, "--edited")
        if choice is None:
            return None
        document = await _run_shown(app, "Resuming", "resume", path, "--restore-plan")
    if isinstance(document, FtwizardError):
        await app.push_screen_wait(ErrorDialog(document))
    elif document:
        status = msgspec.convert(document, RunStatus)
        if changes := (status.changes or {}).get(str(status.attempt)):
            listed = describe.describe_changes(changes)
            app.notify(f"Changed from now on: {listed}", markup=False)
    return None


async def start_child(app: App[Any], parent: JobFolder, *options: str) -> str | None:
    """Start a child run; return its id, or None if that failed and its error was shown."""
    argv = ("branch", str(parent.path), *options)
    status = await run_command(app, "Starting the run", *argv, lasting=True)
    return None if status is None else msgspec.convert(status, RunStatus).id


async def _run_shown(app: App[Any], title: str, *argv: str) -> Any:
    """Run a command behind a progress dialog; return its document or its error."""
    return await app.push_screen_wait(CommandProgress(title, *argv, lasting=True))


async def start_smaller_batch(app: App[Any], follower: Follower) -> str | None:
    """Start a child run that takes less memory, after confirmation; return its id."""
    question = ConfirmDialog(
        "Start a new run with a smaller batch?",
        "It accumulates more batches, so that a step sees as many examples. It starts from the best "
        f"checkpoint, if there is one. {make_visible(follower.folder.id)} is kept.",
        "start",
    )
    if not await app.push_screen_wait(question):
        return None
    return await start_child(app, follower.folder, "--smaller-batch")


async def ask_for(app: App[Any], follower: Follower, name: requests.Name) -> None:
    """Ask the run to save or evaluate after the current step."""
    if follower.shown.phase not in ACTIVE:
        app.notify("The run is not training right now.", markup=False)
        return
    if await _send(app, lambda: requests.send(follower.folder, name, follower.status.attempt)):
        app.notify(f"{REQUESTED[name]} after this step.", markup=False)


def _run_command(app: App[Any], follower: Follower, name: str, *options: str) -> None:
    """Run a command on the run; it outlives the screen, and the app waits for it."""
    argv = (name, str(follower.folder.path), *options)
    run = functools.partial(subprocesses.run_blocking, *argv, tell=lambda _: None, lasting=True)
    app.run_worker(_run_shielded(run), group=name, exit_on_error=False)


async def _send(app: App[Any], request: Callable[[], object]) -> bool:
    """Send a request to the run in a thread; show a message if it could not be written."""
    try:
        await _run_shielded(request)
    except OSError as error:
        app.notify(f"Could not send the request: {error.strerror}.", severity="error", markup=False)
        return False
    return True


def _run_shielded(work: Callable[[], object]) -> Awaitable[object]:
    """Start work in a thread at once; canceling the caller does not cancel it."""
    return asyncio.shield(asyncio.get_running_loop().run_in_executor(None, work))
