"""The Review page: what still stands, the plan, and the start."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

import msgspec
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Static

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import is_id
from ftwizard.plan import plan_file
from ftwizard.runs import describe
from ftwizard.screens import layout, palette, subprocesses
from ftwizard.screens.dialogs.dialog import show_error
from ftwizard.screens.dialogs.script import write_script
from ftwizard.screens.draft import after_training, place_texts, texts
from ftwizard.screens.draft.drafts import (
    Draft,
    find_name_problem,
    format_command,
    settle_run_name,
    suggest_run_name,
    temporary_plan,
)
from ftwizard.screens.draft.suggestions import suggest_folder
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.screens.widgets.text_input import TextInput
from ftwizard.screens.wizard import open_points
from ftwizard.screens.wizard.page import WizardPage
from ftwizard.slurm.client import JobPreview
from ftwizard.text import make_lines_visible, make_visible

ASKING = "Asking Slurm when and where it would start…"
STILL_ASKING = (
    "Slurm has not answered yet; after a minute it is left alone. You need not wait: esc goes back, and the "
    "Recipe page has this machine under “Trains on”."
)
SILENT_S = 5.0
"""Time without an answer after which Slurm is called silent; it usually takes milliseconds."""
SCRIPT_HEADING = "The batch script, as ftwizard submits it:"
PLAN_HEADING = "The plan, as ftwizard saves it:"
REST_S = 0.7
"""Time without a key in the name after which Slurm is asked again."""
MIN_READ_S = 0.6
"""Enter is ignored this soon: nobody can have read the plan yet."""
_ARROW = Text("→", palette.ACCENT)
_SILENCE = layout.build_note(Text("·", "dim"), STILL_ASKING)
_CROSS = Text("✗", f"bold {palette.BAD}")


class ReviewPage(WizardPage):
    """Dismisses with the named draft once confirmed."""

    STEP = 4
    PANE = "#plan"
    NOTES = (
        "Nothing is saved or started before.",
        "Still open: warnings, and what you chose against advice.",
        "The command below starts the saved plan without the wizard.",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "next",
            "save and start",
            key_display="enter",
            priority=True,
            tooltip="save the plan and start the run",
        ),
        # Without priority the input would take these keys.
        Binding(
            "pagedown",
            "scroll_pane(1)",
            "more",
            key_display="pgdn",
            priority=True,
            tooltip="scroll the plan",
        ),
        Binding(
            "pageup",
            "scroll_pane(-1)",
            "scroll back",
            show=False,
            priority=True,
            tooltip="scroll the plan",
        ),
        Binding(
            "ctrl+s",
            "write_script",
            "script",
            key_display="^s",
            priority=True,
            tooltip="write it as a plain TRL script instead",
        ),
        Binding("tab", "app.focus_next", "next field", show=False),  # there is only one
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._shown = time.monotonic()
        self._points = open_points.format_open_points(draft)
        self._suggested = suggest_run_name(draft)

    def body(self) -> ComposeResult:
        draft = self._draft
        with Horizontal(classes="field"):
            yield Static("Name", classes="name", markup=False)
            yield TextInput(self._suggested, max_length=64, select_on_focus=False)
        yield Static(id="problem-line", classes="note", markup=False)
        yield Static(id="summary", classes="note", markup=False)
        yield Static(id="place", classes="note", markup=False)
        yield Static(id="slurm", classes="note", markup=False)
        with ScrollPane(id="plan", can_focus=False):
            yield Static(id="points", markup=False)
            yield Static(id="after-training", markup=False)
            yield Static(id="script", markup=False)
            yield Static(make_lines_visible(plan_file.dump(draft.final_plan)), markup=False)
        yield Static(id="command", classes="note", markup=False)

    def on_mount(self) -> None:
        summary = texts.describe_summary(self._draft)
        place = place_texts.describe_place(self._draft)
        for name, note in (("#summary", summary), ("#place", place)):
            self.query_one(name, Static).update(layout.build_note(_ARROW, note))
            self.query_one(name).display = bool(note)
        for name in ("#slurm", "#script"):
            self.query_one(name).display = self._is_queued
        self.query_one(Input).focus()
        self._say()

    @property
    def _is_queued(self) -> bool:
        """Whether it trains in a Slurm job."""
        return self._draft.plan.where.scheduler == "slurm"

    @work(group="slurm", exclusive=True, exit_on_error=False)
    async def _ask_slurm(self, name: str, wait_s: float) -> None:
        """Show the batch script, and when and where Slurm would start it; a command asks it."""
        note = self.query_one("#slurm", Static)
        note.update(Text(f"· {ASKING}", "dim"))
        await asyncio.sleep(wait_s)  # until no key follows
        silence = self.set_timer(SILENT_S, lambda: note.update(_SILENCE))
        try:
            with temporary_plan(self._draft) as plan:
                document = await subprocesses.run_command("slurm", plan, "--name", name)
            tested = msgspec.convert(document, JobPreview)
        except FtwizardError as error:
            refusal = place_texts.describe_refusal(error)
            note.update(layout.build_note(_CROSS, make_visible(refusal, 800)))
            self._show_script(error.document.get("script", ""))
            return
        except OSError as error:
            note.update(layout.build_note(_CROSS, f"{error.strerror or error}"))
            return
        finally:
            silence.stop()
        words = describe.describe_placement(tested.placement)
        note.update(layout.build_note(_ARROW, words))
        self._show_script(tested.script)

    def _show_script(self, script: str) -> None:
        """Show the batch script; nothing without one."""
        lines = make_lines_visible(script.rstrip("\n"))
        text = Text.assemble((f"{SCRIPT_HEADING}\n", "dim"), lines, (f"\n\n{PLAN_HEADING}", "dim"))
        self.query_one("#script", Static).update(text if script else "")
        self.call_after_refresh(self.refresh_bindings)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_points)

    def _show_points(self) -> None:
        part = self.query_one("#points", Static)
        part.display = bool(self._points)
        width = self.query_one("#plan").scrollable_content_region.width
        if self._points:
            part.update(layout.wrap_hanging(self._points, open_points.NAMES_WIDTH, width))
        self.query_one("#after-training", Static).update(
            layout.wrap_hanging(
                after_training.format_summary(self._draft), after_training.NAMES_WIDTH, width
            )
        )

    def on_input_changed(self, event: Input.Changed) -> None:
        self._say()
        name = self.get_draft().name
        if self._is_queued and not find_name_problem(name, self._draft.saved):
            self._ask_slurm(name, REST_S if name != self._suggested else 0.0)

    def get_draft(self) -> Draft:
        return self._draft.named(self.query_one(Input).value.strip())

    @work(group="script", exclusive=True, exit_on_error=False)
    async def action_write_script(self) -> None:
        """Write the training as a script for elsewhere; the plan is not saved for it."""
        draft = self.get_draft()
        name = draft.name if is_id(draft.name) else self._suggested
        folder = suggest_folder(draft.plan.data.files.train, f"{name}-script")
        try:
            with temporary_plan(draft, name) as plan:
                await write_script(self.app, plan, folder)
        except FtwizardError as error:
            show_error(self.app, error)

    def go_next(self) -> None:
        """Continue, unless Enter was pressed twice on the page before."""
        if time.monotonic() - self._shown < MIN_READ_S:
            return
        name = self.get_draft().name
        self.query_one(Input).value = name = settle_run_name(self._draft, name, self._suggested)
        if not find_name_problem(name, self._draft.saved):
            self.leave(1)

    def _say(self) -> None:
        name = self.get_draft().name
        line = self.query_one("#problem-line", Static)
        problem = find_name_problem(name, self._draft.saved)
        line.update(layout.build_note(_CROSS, problem) if problem else "")
        line.display = bool(problem)
        same = Text.assemble(("same as  ", "dim"), format_command(name, self._draft.hour))
        self.query_one("#command", Static).update(same)
