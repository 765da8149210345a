"""What a person can ask of a run: to stop, to save, to evaluate, to be resumed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App

from ftwizard.follow import Follower
from ftwizard.jobs import requests
from ftwizard.runs import ACTIVE
from ftwizard.screens import children
from ftwizard.screens.ask import Ask

SAID = {"save": "It saves", "evaluate": "It measures the validation loss"}


async def stop(app: App[Any], follower: Follower, question: Ask | None = None) -> bool:
    """Stop the run if a person says so; end it at once where it is stopping already.

    ``question`` is asked where it is not. Return whether it was said.
    """
    folder, attempt = follower.folder, follower.status.attempt
    again = requests.pending(folder, "stop", attempt) is not None
    if again:
        question = Ask(
            "It is saving already. End it at once?", "What is not saved by now is lost.", "end it"
        )
    elif question is None:
        question = Ask(
            "Stop this run?",
            "It finishes its step and saves first; it can be resumed.",
            "save and stop",
        )
    if not await app.push_screen_wait(question):
        return False
    if follower.status.keeper_lives is False:  # nobody reads requests: end it by hand
        _command(app, follower, "stop", *(["--kill"] if again else []))
        return True
    grace = follower.shown.stop_grace_s
    return await _ask(app, lambda: requests.stop(folder, attempt, grace_s=grace, now=again))


def resume(app: App[Any], follower: Follower) -> None:
    """Have the run go on from its newest checkpoint."""
    app.notify("It goes on from its newest checkpoint.", markup=False)
    _command(app, follower, "resume")


async def ask_for(app: App[Any], follower: Follower, name: requests.Name) -> None:
    """Have it save or evaluate when its step is done."""
    if follower.shown.phase not in ACTIVE:
        app.notify("It is not training at the moment.", markup=False)
        return
    if await _ask(app, lambda: requests.ask(follower.folder, name, follower.status.attempt)):
        app.notify(f"{SAID[name]} when this step is done.", markup=False)


def _command(app: App[Any], follower: Follower, name: str, *options: str) -> None:
    """Run a command on the run; it outlasts the screen, and the app waits for it."""
    argv = (name, str(follower.folder.path), *options)
    run = functools.partial(children.run, *argv, tell=lambda _: None, lasting=True)
    app.run_worker(_outlasting(run), group=name, exit_on_error=False)


async def _ask(app: App[Any], ask: Callable[[], None]) -> bool:
    """Put a request before the run, beside the loop; say so where it cannot be written."""
    try:
        await _outlasting(ask)
    except OSError as error:
        app.notify(f"That cannot be asked: {error.strerror}.", severity="error", markup=False)
        return False
    return True


def _outlasting(work: Callable[[], object]) -> Awaitable[object]:
    """Begin work in a thread at once; that nobody awaits it any more does not end it."""
    return asyncio.shield(asyncio.get_running_loop().run_in_executor(None, work))
