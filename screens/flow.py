"""Where each action leads: coroutines that read top to bottom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ftwizard import runs, side_by_side
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.screens.monitor import OTHER, Monitor
from ftwizard.text import size

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp


async def watch(app: FtwizardApp, run: str) -> int:
    """Show a run, and what it made once that is asked for; return the exit code of its end."""
    folder = runs.find(run)
    app.code, app.shown_last = 0, folder.id
    monitor = Monitor(folder)
    try:
        while chosen := await app.push_screen_wait(monitor):
            if chosen.startswith(OTHER):
                folder = runs.find(chosen.removeprefix(OTHER))
                app.shown_last = folder.id
            else:
                from ftwizard.screens.finish import Finish

                if await app.push_screen_wait(Finish(folder)) != "monitor":
                    break
            monitor = Monitor(folder)
    finally:  # also when the whole app is left from here
        status = monitor.follower.status
        if status.state != "ended":
            app.farewell.append(
                f"Run {folder.id} goes on. Come back with: ftwizard watch {folder.id}"
            )
        app.code = 0 if status.state != "ended" else status.exit_code
    return app.code


async def demo(app: FtwizardApp, _: str = "") -> int:
    """Say what the demo does, start it, and show it."""
    from ftwizard.screens.demo import Demo

    app.code = DECLINED  # until something is begun
    plan = await app.push_screen_wait(Demo())
    if plan is None:
        return DECLINED
    return await watch(app, await start(app, plan, runs.new_id("demo")))


async def start(app: FtwizardApp, plan: str, name: str, *options: str) -> str:
    """Start a run; return its id. Raises FtwizardError when it was not started.

    Half a start would be worse than one that nobody waits for, so nothing cancels it.
    """
    from ftwizard.screens.working import Working

    app.farewell = [f"Run {name} was being started. See whether it goes on: ftwizard runs"]
    argv = ("train", plan, "--name", name, *options)
    found = await app.push_screen_wait(Working("Starting the run", *argv, lasting=True))
    app.farewell = []
    if isinstance(found, FtwizardError):
        raise found
    return str(found["id"])


async def work(app: FtwizardApp, title: str, *argv: str) -> Any:
    """Run a command behind a pane; return its document, None when it failed or was cancelled."""
    from ftwizard.screens.problem import Problem
    from ftwizard.screens.working import Working

    found = await app.push_screen_wait(Working(title, *argv))
    if isinstance(found, FtwizardError):
        await app.push_screen_wait(Problem(found))
        return None
    return found


async def doctor(app: FtwizardApp, _: str = "") -> int:
    """Show what this machine can do."""
    from ftwizard.screens.doctor import Doctor

    await app.push_screen_wait(Doctor())
    return 0


async def new(app: FtwizardApp, _: str = "") -> int:
    """Take the wizard from its first question to a run."""
    app.code = DECLINED
    from ftwizard.screens.wizard import new_run

    return await new_run(app)


async def compare(app: FtwizardApp, paths: str) -> int:
    """Show runs over each other; ``paths`` of their folders, each two parted by a NUL."""
    from ftwizard.screens.compare import Compare

    await app.push_screen_wait(Compare(side_by_side.find(paths.split("\0"))))
    return 0


async def remove(app: FtwizardApp, paths: str) -> int:
    """Remove runs once it was said what goes, and y was pressed; ``paths`` as in ``compare``."""
    from ftwizard.screens.removal import sure

    folders, asked_at = [runs.find(path) for path in paths.split("\0")], app.focused
    question = await sure(folders)
    if app.focused is not asked_at:  # somebody who types by now would answer unasked
        return DECLINED
    if not await app.push_screen_wait(question):
        return DECLINED
    argv = ("remove", *(str(one.path) for one in folders), "--yes")
    found = await work(app, "Removing", *argv)
    if found is not None:
        app.notify(f"{size(found['freed_bytes'])} are free again.", markup=False)
    return 0


ROUTES: dict[str, Callable[[FtwizardApp, str], Awaitable[int]]] = {
    "new": new,
    "run": watch,
    "demo": demo,
    "doctor": doctor,
    "compare": compare,
    "remove": remove,
}
"""What can be begun, by the name that home and the commands give it."""


async def follow(app: FtwizardApp, what: str, name: str) -> int:
    """Take a route to its end; say what is in the way of it."""
    from ftwizard.screens.problem import Problem

    try:
        return await ROUTES[what](app, name)
    except FtwizardError as error:
        app.code = error.exit_code
        await app.push_screen_wait(Problem(error))
        return error.exit_code
