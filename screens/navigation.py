"""Navigation between screens: one coroutine per route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.runs import comparison, store
from ftwizard.screens.monitor.page import OTHER, Monitor
from ftwizard.text import size

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp


async def watch(app: FtwizardApp, run: str) -> int:
    """Show a run, and its results on request; return the exit code of its end."""
    folder = store.find(run)
    app.code, app.shown_last = 0, folder.id
    monitor = Monitor(folder)
    try:
        while chosen := await app.push_screen_wait(monitor):
            if chosen.startswith(OTHER):
                folder = store.find(chosen.removeprefix(OTHER))
                app.shown_last = folder.id
            else:
                from ftwizard.screens.monitor.results import Finish

                if await app.push_screen_wait(Finish(folder)) != "monitor":
                    break
            monitor = Monitor(folder)
    finally:  # also when the app quits from here
        status = monitor.follower.status
        if status.state != "ended":
            app.farewell.append(
                f"Run {folder.id} keeps running. Come back with: ftwizard watch {folder.id}"
            )
        app.code = 0 if status.state != "ended" else status.exit_code
    return app.code


async def demo(app: FtwizardApp, _: str = "") -> int:
    """Explain the demo, start it, and show it."""
    from ftwizard.screens.home.demo import Demo

    app.code = DECLINED  # until something is started
    plan = await app.push_screen_wait(Demo())
    if plan is None:
        return DECLINED
    return await watch(app, await start(app, plan, store.new_id("demo")))


async def start(app: FtwizardApp, plan: str, name: str, *options: str) -> str:
    """Start a run; return its id. Raises FtwizardError when it was not started.

    Nothing cancels the start: half a start would be worse than a late one.
    """
    from ftwizard.screens.dialogs.command_progress import Working

    app.farewell = [f"Run {name} was starting. Check whether it runs: ftwizard runs"]
    argv = ("train", plan, "--name", name, *options)
    document = await app.push_screen_wait(Working("Starting the run", *argv, lasting=True))
    app.farewell = []
    if isinstance(document, FtwizardError):
        raise document
    return str(document["id"])


async def work(app: FtwizardApp, title: str, *argv: str) -> Any:
    """Run a command behind a progress pane; return its document, None if it failed or was canceled."""
    from ftwizard.screens.dialogs.command_progress import Working
    from ftwizard.screens.dialogs.error import Problem

    document = await app.push_screen_wait(Working(title, *argv))
    if isinstance(document, FtwizardError):
        await app.push_screen_wait(Problem(document))
        return None
    return document


async def doctor(app: FtwizardApp, _: str = "") -> int:
    """Show the doctor page."""
    from ftwizard.screens.home.doctor import Doctor

    await app.push_screen_wait(Doctor())
    return 0


async def new(app: FtwizardApp, _: str = "") -> int:
    """Take the wizard from its first question to a run."""
    app.code = DECLINED
    from ftwizard.screens.wizard.wizard import new_run

    return await new_run(app)


async def compare(app: FtwizardApp, paths: str) -> int:
    """Compare runs; ``paths`` are their folders, separated by NUL."""
    from ftwizard.screens.home.compare import Compare

    await app.push_screen_wait(Compare(comparison.find(paths.split("\0"))))
    return 0


async def remove(app: FtwizardApp, paths: str) -> int:
    """Remove runs after confirmation; ``paths`` as in ``compare``."""
    from ftwizard.screens.home.remove_runs import sure

    folders, asked_at = [store.find(path) for path in paths.split("\0")], app.focused
    question = await sure(folders)
    if app.focused is not asked_at:  # keys typed meanwhile must not confirm
        return DECLINED
    if not await app.push_screen_wait(question):
        return DECLINED
    argv = ("remove", *(str(folder.path) for folder in folders), "--yes")
    document = await work(app, "Removing", *argv)
    if document is not None:
        app.notify(f"Freed {size(document['freed_bytes'])}.", markup=False)
    return 0


ROUTES: dict[str, Callable[[FtwizardApp, str], Awaitable[int]]] = {
    "new": new,
    "run": watch,
    "demo": demo,
    "doctor": doctor,
    "compare": compare,
    "remove": remove,
}
"""Routes by the name that the home page and the commands use."""


async def follow(app: FtwizardApp, route: str, name: str) -> int:
    """Follow a route to its end; show its error if it fails."""
    from ftwizard.screens.dialogs.error import Problem

    try:
        return await ROUTES[route](app, name)
    except FtwizardError as error:
        app.code = error.exit_code
        await app.push_screen_wait(Problem(error))
        return error.exit_code
