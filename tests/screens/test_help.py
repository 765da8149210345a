"""The help of every page and dialog: short lists with every key that is bound, and no other."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

from ftwizard import screens
from ftwizard.data.row_edit import RowText
from ftwizard.errors import FtwizardError
from ftwizard.plan import schema
from ftwizard.runs.follower import Follower
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.costs.page import CostsPage
from ftwizard.screens.dialogs.dialog import BaseScreen, ErrorDialog, HelpDialog, NoticeDialog
from ftwizard.screens.dialogs.forms import SaveAsDialog
from ftwizard.screens.dialogs.questions import (
    ChooseDialog,
    ConfirmDialog,
    DestructiveConfirm,
    TypedConfirm,
)
from ftwizard.screens.dialogs.script import ScriptDialog
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.draft.ejection import Ejection
from ftwizard.screens.home.demo import DemoPage
from ftwizard.screens.monitor.diagnosis import DiagnosisPage
from ftwizard.screens.monitor.log import LogPage
from ftwizard.screens.monitor.page import MonitorPage
from ftwizard.screens.monitor.results import ResultsPage
from ftwizard.screens.monitor.samples import AnswersPage
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.screens.wizard.after_training import AfterTrainingPage
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.data.row_editor import RowEditorPage
from ftwizard.screens.wizard.estimate.page import EstimatePage
from ftwizard.screens.wizard.provider.page import ProviderPage
from ftwizard.screens.wizard.recipe.models import ModelsPage
from ftwizard.screens.wizard.recipe.page import RecipePage
from ftwizard.screens.wizard.review import ReviewPage
from tests.helpers.machines import make_machine
from tests.screens.costs.helpers import TODAY, counted
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.monitor.timed_runs import TimedRun
from tests.screens.wizard.data.reports import report

MAX_NOTE, MAX_DESCRIPTION = 61, 45
"""Cells of a line in a dialog at 80 columns."""
DRAFT = Draft(make_machine(extras=("local",))).with_check(
    schema.Files(train="/data/rows.jsonl"), report("/data/rows.jsonl")
)
LONG_FIX = f"Create it: aws iam create-role --policy '{'x' * 900}'"
ROW = RowText(path="/data/rows.jsonl", line=1, text="{}", is_json=True)
SCREENS: dict[str, Callable[[], BaseScreen[Any]]] = {
    "demo": DemoPage,
    "provider": lambda: ProviderPage(DRAFT),
    "data": lambda: DataPage(DRAFT),
    "recipe": lambda: RecipePage(DRAFT),
    "after training": lambda: AfterTrainingPage(DRAFT),
    "models": lambda: ModelsPage(DRAFT),
    "estimate": lambda: EstimatePage(counted()),
    "review": lambda: ReviewPage(DRAFT),
    "costs": lambda: CostsPage(counted(), TODAY),
    "editor": lambda: RowEditorPage(ROW, "{}"),
    "notice": lambda: NoticeDialog(Text("Title"), "details"),
    "error": lambda: ErrorDialog(FtwizardError("It failed.", LONG_FIX)),
    "confirm": lambda: ConfirmDialog("Leave?", "details", "leave", "stay"),
    "destructive": lambda: DestructiveConfirm("Delete?", "details", "delete"),
    "typed": lambda: TypedConfirm("A risk", "hint", "no validation"),
    "choose": lambda: ChooseDialog("Which?", "", [("a", "A"), ("b", "B")]),
    "script": lambda: ScriptDialog(Ejection("script", "")),
    "save as": lambda: SaveAsDialog("Save", fields=[("File", "x.jsonl")]),
}  # fmt: skip


def list_subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for sub in base.__subclasses__():
        yield sub
        yield from list_subclasses(sub)


def list_bound_keys(screen: Screen[Any]) -> Iterator[tuple[str, bool]]:
    """Yield the name of each bound key, and whether our own code binds it, from what Textual has."""
    app = screen.app
    usable = {
        node
        for focusable in screen.query("*").results(Widget)
        if focusable.can_focus
        for node in focusable.ancestors_with_self
    }
    for node in {screen, app, *usable}:
        own = {
            key
            for base in type(node).__mro__
            if base.__module__.startswith("ftwizard.")
            for binding in base.__dict__.get("BINDINGS", ())
            for key in binding.key.split(",")
        }
        pane = isinstance(node, ScrollPane) and node.can_focus
        for key in node._bindings.key_to_bindings:
            wanted = key in own or (pane and key not in ("left", "right") and "ctrl" not in key)
            yield key if key == "enter" else app.get_key_display(Binding(key, "")), wanted


def check_help(app: App[Any], shown: str) -> None:
    below = app.screen_stack[-2]
    assert isinstance(app.screen, HelpDialog) and isinstance(below, BaseScreen)
    listed = below.list_help_keys()
    names = {name for names in listed.values() for name in names}
    bound = list(list_bound_keys(below))
    assert {name for name, wanted in bound if wanted} <= names
    inputs = {"enter"} if below.query("Input, TextArea") else set()
    assert names <= {name for name, _ in bound} | inputs
    for does in listed:
        assert does and cell_len(does) <= MAX_DESCRIPTION, does
    first, (name, *_) = next(iter(listed.items()))
    assert first in shown and name in shown


@pytest.mark.parametrize("name", SCREENS)
def test_help_lists_every_key(name: str, home: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(below := SCREENS[name]())
        await until(pilot, lambda: pilot.app.screen is below and below.is_mounted)
        await pilot.pause()
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpDialog))
        await pilot.pause()
        check_help(pilot.app, frame(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is below)

    drive(FtwizardApp(), (80, 24), play)


def test_help_of_home_and_of_a_run_lists_every_key(timed_run: TimedRun) -> None:
    timed_run.train(60)
    timed_run.end("finished")

    async def play(pilot: Pilot[Any]) -> None:
        follower = Follower(timed_run.folder)
        pages: list[Page[Any] | None] = [
            None, MonitorPage(timed_run.folder), AnswersPage(follower, None), LogPage(follower),
            DiagnosisPage(follower), ResultsPage(timed_run.folder),
        ]  # fmt: skip
        for page in pages:
            if page is not None:
                await pilot.app.push_screen(page)
            await pilot.pause()
            await pilot.press("question_mark")
            await until(pilot, lambda: isinstance(pilot.app.screen, HelpDialog))
            await pilot.pause()
            check_help(pilot.app, frame(pilot.app))
            await pilot.press("question_mark")
            await until(pilot, lambda: not isinstance(pilot.app.screen, HelpDialog))

    drive(FtwizardApp(), (80, 24), play)


def test_every_page_has_short_notes_and_every_binding_a_description() -> None:
    for module in pkgutil.walk_packages(screens.__path__, "ftwizard.screens."):
        importlib.import_module(module.name)
    every = set(list_subclasses(BaseScreen))
    classes = {screen for screen in every if screen.__module__.startswith("ftwizard.")}
    assert len(classes) > 35
    for screen in classes:
        assert isinstance(screen.NOTES, tuple), screen
        assert all(0 < cell_len(note) <= MAX_NOTE for note in screen.NOTES), screen
        for binding in screen.__dict__.get("BINDINGS", ()):
            assert 0 < cell_len(binding.tooltip or binding.description) <= MAX_DESCRIPTION, binding


def test_a_long_fix_can_be_copied_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)

    async def play(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(ErrorDialog(FtwizardError("It failed.", LONG_FIX)))
        await wait_for_text(pilot, "c copy the fix enter close")
        await pilot.press("c")
        await until(pilot, lambda: pilot.app.clipboard == LONG_FIX)

    drive(FtwizardApp(), (80, 24), play)
