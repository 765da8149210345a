"""Navigation between screens: one coroutine per route.

Pages are imported where they are shown: home appears sooner.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from textual.app import App
from textual.css.query import NoMatches

from ftwizard import locations
from ftwizard.background import run_in_thread
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.hardware import machine
from ftwizard.jobs import launch
from ftwizard.pricing import machine_rate
from ftwizard.runs import comparison, store
from ftwizard.runs.curve_follower import CurveFollower
from ftwizard.runs.curve_sources import open_source
from ftwizard.screens.dialogs import command_progress
from ftwizard.screens.dialogs.command_progress import CommandProgress
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.dialogs.questions import ConfirmDialog
from ftwizard.screens.draft import STEPS, saved_drafts
from ftwizard.screens.draft.saved_drafts import DraftFile
from ftwizard.screens.monitor.page import RUN_PREFIX, MonitorPage
from ftwizard.screens.session import Session
from ftwizard.text import format_bytes

if TYPE_CHECKING:
    from ftwizard.screens.draft.drafts import Draft, PageOutcome
    from ftwizard.screens.wizard.page import DraftPage

STARTING = "Starting the run"
SUBMITTING = "Submitting the job: Slurm gets up to a minute to answer"
SAVE_S = 1.0
"""Interval at which changed answers are saved: a killed wizard loses no more."""


async def watch(app: App[Any], session: Session, run: str) -> int:
    """Show a run, and its results on request; return the exit code of its end."""
    folder = store.find(run)
    session.code, session.shown_last = 0, folder.id
    monitor = MonitorPage(folder)
    try:
        while chosen := await app.push_screen_wait(monitor):
            if not chosen.startswith(RUN_PREFIX):
                from ftwizard.screens.monitor.results import ResultsPage

                chosen = await app.push_screen_wait(ResultsPage(folder))
                if chosen is None:
                    break
            if chosen.startswith(RUN_PREFIX):
                folder = store.find(chosen.removeprefix(RUN_PREFIX))
                session.shown_last = folder.id
            monitor = MonitorPage(folder)
    finally:  # also when the app quits from here
        status = monitor.follower.status
        if status.state != "ended":
            session.farewell.append(
                f"Run {folder.id} keeps running. Come back with: ftwizard watch {folder.id}"
            )
        session.code = 0 if status.state != "ended" else status.exit_code
    return session.code


async def watch_curve(app: App[Any], session: Session, path: str) -> int:
    """Show a curve in files of another tool."""
    source = await run_in_thread(open_source, Path(path))
    session.code = 0
    await app.push_screen_wait(MonitorPage(CurveFollower(source)))
    return 0


async def demo(app: App[Any], session: Session, act: str = "") -> int:
    """Explain the demo, start it, and show it. ``act``: "forget" for the one without general rows."""
    from ftwizard.screens.home.demo import DemoPage

    session.code = DECLINED  # until something is started
    plan = await app.push_screen_wait(DemoPage(forgets=act == "forget"))
    if plan is None:
        return DECLINED
    folder = await run_in_thread(launch.claim, locations.runs_folder() / store.make_id("demo"))
    try:
        run = await start(app, session, plan, folder.name)
    except FtwizardError:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
    return await watch(app, session, run)


async def start(
    app: App[Any], session: Session, plan: str, name: str, *options: str, title: str = STARTING
) -> str:
    """Start a run; return its id. Raises FtwizardError when it was not started.

    Nothing cancels the start: half a start would be worse than a late one.
    """
    session.farewell = [f"Run {name} was starting. Check whether it runs: ftwizard runs"]
    argv = ("train", plan, "--name", name, *options)
    document = await app.push_screen_wait(CommandProgress(title, *argv, lasting=True))
    session.farewell = []
    if isinstance(document, FtwizardError):
        raise document
    return msgspec.convert(document, store.RunStatus).id


async def doctor(app: App[Any], _session: Session, _: str = "") -> int:
    """Show the doctor page."""
    from ftwizard.screens.home.doctor import DoctorPage

    await app.push_screen_wait(DoctorPage())
    return 0


async def create_run(app: App[Any], session: Session, _: str = "") -> int:
    """Ask step by step, start the run, and show it."""
    from ftwizard.screens.draft.drafts import Draft

    session.code = DECLINED
    facts = await run_in_thread(machine.read_machine_info)
    draft = Draft(facts, hour=await run_in_thread(machine_rate.read_saved_price))
    return await _ask_and_start(app, session, draft, 0, DraftFile())


async def open_file(app: App[Any], session: Session, names: str) -> int:
    """Begin the wizard with data files or a plan; ``names`` are separated by NUL.

    Answers on the same data that were left before can be continued with.
    """
    from ftwizard.screens.draft import draft_document, first_draft

    session.code = DECLINED
    saved = await run_in_thread(saved_drafts.list_drafts)
    for damaged in saved.damaged:
        app.notify(saved_drafts.describe_damage(damaged), markup=False)
    for left in draft_document.select_drafts(saved.drafts, names.split("\0"))[:1]:
        details = f"You left the wizard with this data: {left.saved.describe()}."
        question = ConfirmDialog("Continue with your answers?", details, "continue", "begin anew")
        if await app.push_screen_wait(question):
            return await continue_draft(app, session, str(left.path))
    facts = await run_in_thread(machine.read_machine_info)
    hour = await run_in_thread(machine_rate.read_saved_price)
    draft = await run_in_thread(first_draft.begin, names.split("\0"), facts, hour)
    return await _ask_and_start(app, session, draft, STEPS.index("Data"), DraftFile())


async def continue_draft(app: App[Any], session: Session, path: str) -> int:
    """Continue an interrupted wizard at the page where it was left."""
    from ftwizard.screens.draft import draft_document
    from ftwizard.screens.wizard.data.data_check import read_again

    session.code = DECLINED
    facts = await run_in_thread(machine.read_machine_info)
    draft, step = await run_in_thread(draft_document.read, Path(path), facts)
    data_step, last = STEPS.index("Data"), STEPS.index("Estimate")  # a review needs an estimate
    if step > data_step:
        checked = await read_again(app, draft)
        draft, step = checked or draft, min(step, last) if checked else data_step
    return await _ask_and_start(app, session, draft, step, DraftFile(Path(path)))


async def forget_draft(app: App[Any], _session: Session, path: str) -> int:
    """Forget an interrupted wizard after confirmation."""
    question = ConfirmDialog("Forget this draft?", "Its answers are deleted.", "forget", "keep")
    if await app.push_screen_wait(question):
        saved_drafts.forget(Path(path))
    return 0


async def _ask_and_start(
    app: App[Any], session: Session, draft: Draft, first: int, file: DraftFile
) -> int:
    """Ask from a step on, keeping the answers in ``file`` until the run is started."""
    saver = asyncio.create_task(_save_often(app, file))
    try:
        return await _ask_steps(app, session, draft, first, file)
    finally:  # also when the app quits, or the terminal hangs up
        saver.cancel()
        _save_answers(app, file)
        file.release()


async def _save_often(app: App[Any], file: DraftFile) -> None:
    while True:
        await asyncio.sleep(SAVE_S)
        _save_answers(app, file)


def _save_answers(app: App[Any], file: DraftFile) -> None:
    """Save the answers on the wizard's page, if it is still there."""
    from ftwizard.screens.draft import draft_document
    from ftwizard.screens.wizard.page import DraftPage

    pages = [page for page in app.screen_stack if isinstance(page, DraftPage)]
    with contextlib.suppress(NoMatches):  # a page that is just composed or removed
        for page in pages[-1:]:
            draft = page.get_draft()
            if not draft.has_answers:
                file.forget()
            elif page.STEP is not None:
                draft_document.save(file, page.STEP, draft)


async def _ask_steps(
    app: App[Any], session: Session, draft: Draft, first: int, file: DraftFile
) -> int:
    """Show page after page, start the run, and show it.

    Before the review, only new data files that the person asks for are written.
    """
    from ftwizard.screens.draft.drafts import save

    pages = _list_pages(draft)
    index = next(number for number, page in enumerate(pages) if (page.STEP or 0) >= first)
    while True:
        page = pages[index]
        step: PageOutcome = await app.push_screen_wait(page(draft))
        if step.direction is None:
            return DECLINED
        draft = step.draft.with_destination().without_other_conversion().with_provider_reason()
        pages = _list_pages(draft)
        # From a page of another platform, to the one that follows the choice of the provider.
        index = (pages.index(page) if page in pages else 0) + step.direction
        if index < 0:
            return DECLINED
        if index < len(pages):
            continue
        try:
            plan = await asyncio.to_thread(save, draft)
            draft = replace(draft, saved=draft.name)
            options = ("--yes",) if draft.hosted else machine_rate.price_arguments(draft.hour)
            title = SUBMITTING if draft.plan.where.scheduler == "slurm" else STARTING
            run = await start(app, session, plan, draft.name, *options, title=title)
        except FtwizardError as error:  # back to the review, with every answer
            await app.push_screen_wait(ErrorDialog(error))
            index = len(pages) - 1
        else:
            file.forget()
            return await watch(app, session, run)


def _list_pages(draft: Draft) -> tuple[type[DraftPage], ...]:
    """Return the pages of the wizard, which depend on where it trains."""
    from ftwizard.screens.wizard.after_training import AfterTrainingPage
    from ftwizard.screens.wizard.data.page import DataPage
    from ftwizard.screens.wizard.provider.page import ProviderPage

    if draft.hosted is None:
        from ftwizard.screens.wizard.estimate.page import EstimatePage
        from ftwizard.screens.wizard.recipe.page import RecipePage
        from ftwizard.screens.wizard.review import ReviewPage

        return (
            ProviderPage, DataPage, RecipePage, AfterTrainingPage, EstimatePage, ReviewPage
        )  # fmt: skip
    from ftwizard.screens.wizard.hosted.account import AccountPage
    from ftwizard.screens.wizard.hosted.review import HostedReviewPage
    from ftwizard.screens.wizard.hosted.settings import HostedSettingsPage

    return (
        ProviderPage, AccountPage, DataPage, HostedSettingsPage, AfterTrainingPage, HostedReviewPage
    )  # fmt: skip


async def chat(app: App[Any], session: Session, run: str) -> int:
    """Talk to the model of a run."""
    from ftwizard.screens.chat.page import ChatPage

    folder = store.find(run)
    session.code, session.shown_last = 0, folder.id
    await app.push_screen_wait(ChatPage(folder))
    return 0


async def compare(app: App[Any], _session: Session, paths: str) -> int:
    """Compare runs; ``paths`` are their folders, separated by NUL."""
    from ftwizard.screens.home.compare import ComparePage

    await app.push_screen_wait(ComparePage(comparison.find_runs(paths.split("\0"))))
    return 0


async def remove(app: App[Any], _session: Session, paths: str) -> int:
    """Remove runs after confirmation; ``paths`` as in ``compare``."""
    from ftwizard.screens.home.remove_runs import build_confirm

    folders, asked_at = [store.find(path) for path in paths.split("\0")], app.focused
    question = await build_confirm(folders)
    if app.focused is not asked_at:  # keys typed meanwhile must not confirm
        return DECLINED
    if not await app.push_screen_wait(question):
        return DECLINED
    argv = ("remove", *(str(folder.path) for folder in folders), "--yes")
    document = await command_progress.run_command(app, "Removing", *argv)
    if document is not None:
        app.notify(f"Freed {format_bytes(document['freed_bytes'])}.", markup=False)
    return 0


ROUTES: dict[str, Callable[[App[Any], Session, str], Awaitable[int]]] = {
    "new": create_run,
    "file": open_file,
    "continue": continue_draft,
    "forget": forget_draft,
    "run": watch,
    "curve": watch_curve,
    "demo": demo,
    "doctor": doctor,
    "chat": chat,
    "compare": compare,
    "remove": remove,
}
"""Routes by the name that the home page and the commands use."""


async def follow_route(app: App[Any], session: Session, route: str, argument: str) -> int:
    """Follow a route to its end; show its error if it fails."""
    try:
        return await ROUTES[route](app, session, argument)
    except FtwizardError as error:
        session.code = error.exit_code
        await app.push_screen_wait(ErrorDialog(error))
        return error.exit_code
