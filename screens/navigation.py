"""Navigation between screens: one coroutine per route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.runs import comparison, store
from ftwizard.screens.monitor.page import RUN_PREFIX, MonitorPage
from ftwizard.text import format_bytes

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp


async def watch(app: FtwizardApp, run: str) -> int:
    """Show a run, and its results on request; return the exit code of its end."""
    folder = store.find(run)
    app.code, app.shown_last = 0, folder.id
    monitor = MonitorPage(folder)
    try:
        while chosen := await app.push_screen_wait(monitor):
            if chosen.startswith(RUN_PREFIX):
                folder = store.find(chosen.removeprefix(RUN_PREFIX))
                app.shown_last = folder.id
            else:
                from ftwizard.screens.monitor.results import ResultsPage

                if await app.push_screen_wait(ResultsPage(folder)) != "monitor":
                    break
            monitor = MonitorPage(folder)
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
    from ftwizard.screens.home.demo import DemoPage

    app.code = DECLINED  # until something is started
    plan = await app.push_screen_wait(DemoPage())
    if plan is None:
        return DECLINED
    return await watch(app, await start(app, plan, store.make_id("demo")))


async def start(app: FtwizardApp, plan: str, name: str, *options: str) -> str:
    """Start a run; return its id. Raises FtwizardError when it was not started.

    Nothing cancels the start: half a start would be worse than a late one.
    """
    from ftwizard.screens.dialogs.command_progress import CommandProgress

    app.farewell = [f"Run {name} was starting. Check whether it runs: ftwizard runs"]
    argv = ("train", plan, "--name", name, *options)
    document = await app.push_screen_wait(CommandProgress("Starting the run", *argv, lasting=True))
    app.farewell = []
    if isinstance(document, FtwizardError):
        raise document
    return str(document["id"])


async def run_command(app: FtwizardApp, title: str, *argv: str) -> Any:
    """Run a command behind a progress pane; return its document, None if it failed or was canceled."""
    from ftwizard.screens.dialogs.command_progress import CommandProgress
    from ftwizard.screens.dialogs.error import ErrorDialog

    document = await app.push_screen_wait(CommandProgress(title, *argv))
    if isinstance(document, FtwizardError):
        await app.push_screen_wait(ErrorDialog(document))
        return None
    return document


async def doctor(app: FtwizardApp, _: str = "") -> int:
    """Show the doctor page."""
    from ftwizard.screens.home.doctor import DoctorPage

    await app.push_screen_wait(DoctorPage())
    return 0


async def create_run(app: FtwizardApp, _: str = "") -> int:
    """Take the wizard from its first question to a run."""
    app.code = DECLINED
    from ftwizard.screens.wizard.wizard import new_run

    return await new_run(app)


async def compare(app: FtwizardApp, paths: str) -> int:
    """Compare runs; ``paths`` are their folders, separated by NUL."""
    from ftwizard.screens.home.compare import ComparePage

    await app.push_screen_wait(ComparePage(comparison.find_runs(paths.split("\0"))))
    return 0


async def remove(app: FtwizardApp, paths: str) -> int:
    """Remove runs after confirmation; ``paths`` as in ``compare``."""
    from ftwizard.screens.home.remove_runs import build_confirm

    folders, asked_at = [store.find(path) for path in paths.split("\0")], app.focused
    question = await build_confirm(folders)
    if app.focused is not asked_at:  # keys typed meanwhile must not confirm
        return DECLINED
    if not await app.push_screen_wait(question):
        return DECLINED
    argv = ("remove", *(str(folder.path) for folder in folders), "--yes")
    document = await run_command(app, "Removing", *argv)
    if document is not None:
        app.notify(f"Freed {format_bytes(document['freed_bytes'])}.", markup=False)
    return 0


ROUTES: dict[str, Callable[[FtwizardApp, str], Awaitable[int]]] = {
    "new": create_run,
    "run": watch,
    "demo": demo,
    "doctor": doctor,
    "compare": compare,
    "remove": remove,
}
"""Routes by the name that the home page and the commands use."""


async def follow_route(app: FtwizardApp, route: str, name: str) -> int:
    """Follow a route to its end; show its error if it fails."""
    from ftwizard.screens.dialogs.error import ErrorDialog

    try:
        return await ROUTES[route](app, name)
    except FtwizardError as error:
        app.code = error.exit_code
        await app.push_screen_wait(ErrorDialog(error))
        return error.exit_code
