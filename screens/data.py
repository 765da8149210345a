"""Data: which rows it learns from, whether they can be used, and how they read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import msgspec
from rich.text import Text
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget

from ftwizard import plan as plans
from ftwizard.data import hub_id
from ftwizard.data.format_names import NAMES
from ftwizard.errors import FtwizardError
from ftwizard.screens import checking, going_on, reports, texts, tools
from ftwizard.screens.checking import Check
from ftwizard.screens.draft import OWN_FILE, Draft, Step, shown_path, whole
from ftwizard.screens.making import Made
from ftwizard.screens.page import WizardPage
from ftwizard.screens.pick import Pick
from ftwizard.screens.problem import Problem
from ftwizard.screens.typed import Typed
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.data_fields import DataFields
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.widgets.report_view import ReportView
from ftwizard.text import visible

LOOK_EVERY_S = 0.04
"""How often a check that is under way is looked at: a first look shows at once."""
DRAW_EVERY = 6
"""Looks between two redraws of how far it is."""
UNREAD = "Enter reads the file and shows what is in it."
UNNAMED = "Name a file first; tab completes it."
UNNAMED_OWN = "Name the file that validates, or choose a share of the rows."
Make = Callable[[Any, Draft], Awaitable[Made | None]]


class DataPage(WizardPage[Step]):
    """Dismisses with a draft that names data which can be used."""

    STEP = 1
    HELP = (
        "Name the file with your rows, or a data set on the Hugging Face Hub, owner/name, with "
        "/configuration or :split behind it where train is not meant. It is fetched once and kept "
        "as a file. Tab takes a suggestion over, up and down choose one.\n\n"
        "Enter reads the file. Findings are listed with how many rows they concern: ✗ cannot be "
        "used, ! can be but is probably not what you mean, · is worth knowing. Enter on a finding "
        "shows its rows; enter on the line with the arrow goes on.\n\n"
        "A part of the rows, or a file of its own, is kept for validation: the loss on rows that "
        "are not trained on shows when the model begins to learn yours by heart. Another tenth is "
        "held out to compare the tuned model with its base."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "read", "read it", key_display="enter", priority=True),
        Binding("enter", "next", "go on", key_display="enter", priority=True),
        Binding("enter", "form", "convert", key_display="enter", priority=True),
        Binding("enter", "rows", "show its rows", key_display="enter", priority=True),
        Binding("enter", "row", "open the row", key_display="enter", priority=True),
        Binding("f", "repair", "repair"),
        Binding("s", "split", "split"),
        Binding("c", "convert", "convert"),
        Binding("escape", "cancel", "cancel", key_display="esc"),
        Binding("escape", "back", "back", key_display="esc"),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self._check: Check | None = None
        """The one that is under way."""
        self._looks = 0
        self._named = shown_path(draft.plan.data.files.train)
        """What stands in the line, as far as it is known."""
        self._asked: tuple[Widget | None, str] = (None, "")
        """Where the focus was as reading began, and the file that was to validate."""
        self._own_read = shown_path(draft.plan.data.files.validation or "")
        """The file that validates, as it was read with the rows; empty where none was."""

    def body(self) -> ComposeResult:
        yield DataFields(self._draft)
        yield ReportView(id="report")

    def on_mount(self) -> None:
        self.set_interval(LOOK_EVERY_S, self._look)
        self._show()
        if self._draft.checked is None:
            self._fields.rows.focus_input()
        elif checking.judged_otherwise(self._draft):  # answers on other pages have changed since
            self._begin(self._named)
        else:
            self._view.focus_go()

    @property
    def _fields(self) -> DataFields:
        return self.query_one(DataFields)

    @property
    def _view(self) -> ReportView:
        return self.query_one(ReportView)

    @property
    def _found(self) -> reports.Report | None:
        """What is known of the file: all, or what a first look has found."""
        return self._draft.checked or (self._check.first_look if self._check else None)

    # ------------------------------------------------------------------ answers

    @on(FileInput.Edited, "#train")
    def _file_edited(self) -> None:
        # What stands there by now: while keys come fast, an event tells of a while ago.
        name = self._fields.rows.value
        if name != self._named:
            self._named = name
            files = msgspec.structs.replace(self._draft.plan.data.files, train=name)
            self._draft = self._draft.with_data(format="auto").reading(files, None)
            self._cancel()

    @on(FileInput.Edited, "#own-file")
    @on(Choice.Changed)
    def _validation_changed(self) -> None:
        self._show()

    @property
    def _is_read(self) -> bool:
        """Whether all that is named was read."""
        own = self._fields.own_wanted
        return bool(self._draft.checked and own == self._own_read and not self._lacks_own)

    @property
    def _lacks_own(self) -> bool:
        """Whether a file is to validate that is not named yet."""
        return self._fields.share == OWN_FILE and not self._fields.own_wanted

    def _with_answers(self) -> Draft:
        """Return the draft with what the page says, as it is typed."""
        draft = self._draft.validating(self._fields.share)
        if self._is_read or self._fields.share != OWN_FILE:
            return draft
        files = draft.plan.data.files
        return draft.with_data(
            files=msgspec.structs.replace(files, validation=self._fields.own_wanted)
        )

    # ------------------------------------------------------------------ keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return True
        checked = self._draft.checked
        if action in ("read", "next", "form", "rows", "row"):
            return action == self._enter
        if action in ("cancel", "back"):
            return (action == "cancel") == (self._check is not None)
        if action == "repair":
            return bool(checked and checked["findings"])
        if action == "split":
            return bool(checked and checked["usable"])
        if action == "convert":
            return bool(checked and reports.can_convert(checked))
        return True

    @property
    def _enter(self) -> str:
        """What Enter does: the one next thing where the focus is; empty while there is none."""
        if self._found and (subject := self._view.subject):
            return "row" if subject.row else "rows" if subject.lines else ""
        if self._check is not None:
            return ""
        if not self._is_read:
            return "read"
        if reports.converts_first(self._draft.checked or {}):
            return "form"
        return "next" if self._usable else "read"

    @property
    def _usable(self) -> int:
        return int(self._draft.checked["usable"]) if self._draft.checked else 0

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self._fields.own.fold(not self._fields.own.has_focus_within)
        self.refresh_bindings()

    def on_report_view_moved(self) -> None:
        self.refresh_bindings()

    def action_back(self) -> None:
        self.dismiss(Step(self._with_answers(), -1))

    def action_cancel(self) -> None:
        self._cancel()
        self._fields.rows.focus_input()

    action_read = action_form = action_rows = action_row = WizardPage.action_next

    def go_on(self) -> None:
        self._file_edited()
        if self._enter == "next":
            self._leave()
        elif self._enter == "read":
            self._read()
        elif self._enter == "form":
            self.action_convert()
        else:
            self._view.open()

    @work(group="next", exclusive=True, exit_on_error=False)
    async def _leave(self) -> None:
        if self._draft.is_stale:
            self.notify("The file has changed; it was read again.", markup=False)
            self._begin(self._named)
            return
        draft = self._with_answers()
        if not await self._agreed(draft):
            return
        found = draft.checked or {}
        draft = draft.allowing("skip-bad-rows", found["rows"] > found["usable"])
        self.dismiss(Step(draft.allowing("no-validation", not draft.validates), 1))

    async def _agreed(self, draft: Draft) -> bool:
        """Ask about what cannot be used, and about a run that nothing validates."""
        for doubt in going_on.doubts(draft.checked or {}):
            if not await self.app.push_screen_wait(doubt):
                return False
        return draft.validates or await self.app.push_screen_wait(Typed(*texts.NO_VALIDATION))

    # ------------------------------------------------------------------ new files

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_repair(self) -> None:
        await self._make(tools.repair)

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_split(self) -> None:
        await self._make(tools.split)

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_convert(self) -> None:
        await self._make(tools.convert)

    async def _make(self, make: Make) -> None:
        """Make new files of the rows; read them where they are to be used."""
        made = await make(self.app, self._with_answers())
        if made is None:
            return
        self._named = shown_path(made.train)
        self._fields.rows.put(self._named)
        if made.validation is not None:
            self._fields.validate_by(shown_path(made.validation))
        self._draft = self._draft.with_data(format="auto")
        self._begin(made.train)

    # ------------------------------------------------------------------ reading

    def _read(self) -> None:
        fields = self._fields
        if self._draft.checked is None and not fields.rows.settle():
            return
        self._named = fields.rows.value
        if not self._named:
            fields.say(Text(UNNAMED))
        elif fields.share == OWN_FILE and not (fields.own.settle() and fields.own.value):
            self.notify(UNNAMED_OWN, markup=False)
            fields.own.focus_input()
        else:
            self._begin(self._named)

    @work(group="check", exclusive=True, exit_on_error=False)
    async def _begin(self, name: str) -> None:
        """Read a file, or a data set on the Hub, and show what is found."""
        own = self._fields.own_wanted
        self._asked = (self.focused, own)
        path = name if hub_id.parse(name) else whole(name)
        files = plans.Files(train=path, validation=whole(own) if own else None)
        self._draft = self._with_answers().reading(files, None)
        self._check = check = Check(self._draft, path)
        self._show()
        try:
            found = await check.document()
        except FtwizardError as error:
            self._check = None
            self._show()
            await self._refused(name, error)
            return
        finally:
            if self._check is check:
                self._check = None
        # Of a data set on the Hub it is the file that was made: the run reads that one.
        files = msgspec.structs.replace(files, train=found["path"])
        self._draft = self._draft.reading(files, found, check.stamp_of(found["path"]))
        self._own_read = own
        self._show()
        self._lead_on()

    async def _refused(self, name: str, error: FtwizardError) -> None:
        """Say why a file cannot be read; ask for the format where several fit."""
        options = [(format, NAMES[format]) for format in checking.formats_meant(error)]
        if not options:
            await self.app.push_screen_wait(Problem(error))
            return
        question, words = "Which format is meant?", visible(error.message, 500)
        chosen = await self.app.push_screen_wait(Pick(question, words, options))
        if chosen is not None:
            self._draft = self._draft.with_data(format=chosen)
            self._begin(name)

    def _cancel(self) -> None:
        self.workers.cancel_group(self, "check")
        self._check = None
        self._show()

    def _look(self) -> None:
        """Show what a check that is under way has said."""
        if (check := self._check) is None:
            return
        self._looks += 1
        had = check.first_look
        check.look()
        is_first = had is None and check.first_look is not None
        if is_first or (self._looks % DRAW_EVERY == 0 and not check.is_quick):
            self._show()
        if is_first:
            self._lead_on()

    def _lead_on(self) -> None:
        """Put the focus on what comes next, but for a person who answers another question."""
        fields, (was, own) = self._fields, self._asked
        inside = (fields.own, fields.query_one("#validation"))
        answers = self.focused is not was and any(one.has_focus_within for one in inside)
        if not answers and fields.own_wanted == own:
            self._view.focus_go()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        """Show suggestions, or what was found in the file and what comes next."""
        found, check = self._found, self._check
        waits = check is not None and not check.is_quick
        self._view.display = found is not None
        self._fields.lay_out(known=found is not None, suggests=found is None and not waits)
        width = self.size.width - 4
        if found is not None:
            self._fields.say(going_on.verdict(found, width))
            self._view.show(found, self._draft)
            changed = "" if self._is_read else "own" if self._lacks_own else "again"
            self._view.lead(check.said(width) if check else going_on.lead(found, changed))
        else:
            self._fields.say(check.said(width) if check and waits else Text(UNREAD, "dim"))
        self.refresh_bindings()
