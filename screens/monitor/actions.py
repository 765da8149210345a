"""Requests to a run: stop, save, evaluate, resume."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App

from ftwizard.jobs import requests
from ftwizard.runs.follower import Follower
from ftwizard.runs.progress import ACTIVE
from ftwizard.screens import subprocesses
from ftwizard.screens.dialogs.questions import ConfirmDialog

REQUESTED = {"save": "Saving a checkpoint", "evaluate": "Evaluating"}


async def stop(app: App[Any], follower: Follower, question: ConfirmDialog | None = None) -> bool:
    """Stop the run after confirmation, or kill it if it is already stopping.

    ``question`` replaces the default one for a run that is not stopping yet. Return whether the
    request was confirmed and sent.
    """
    folder, attempt = follower.folder, follower.status.attempt
    is_stopping = requests.read_pending(folder, "stop", attempt) is not None
    if is_stopping:
        question = ConfirmDialog(
            "This run is already saving. Kill it now?", "Unsaved progress is lost.", "kill"
        )
    elif question is None:
        question = ConfirmDialog(
            "Stop this run?",
            "It finishes the current step and saves. You can resume it later.",
            "save and stop",
        )
    if not await app.push_screen_wait(question):
        return False
    if follower.status.keeper_lives is False:  # nothing reads requests: stop it by command
        _run_command(app, follower, "stop", *(["--kill"] if is_stopping else []))
        return True
    grace = follower.shown.stop_grace_s
    return await _send(
        app, lambda: requests.request_stop(folder, attempt, grace_s=grace, now=is_stopping)
    )


def resume(app: App[Any], follower: Follower) -> None:
    app.notify("Resuming from the newest checkpoint.", markup=False)
    _run_command(app, follower, "resume")


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


async def _send(app: App[Any], request: Callable[[], None]) -> bool:
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
