"""The Data page: the data file, its check, and its validation data."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from rich.text import Text
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Static

from ftwizard import user_paths
from ftwizard.data.documents import DataReport
from ftwizard.data.hub import ids
from ftwizard.errors import FtwizardError
from ftwizard.objectives import ObjectiveName
from ftwizard.plan import schema
from ftwizard.screens.dialogs.questions import ConfirmDialog, TypedConfirm
from ftwizard.screens.draft import objectives, recent_files, texts
from ftwizard.screens.draft.drafts import (
    OWN_FILE,
    SHARES,
    Draft,
    PageOutcome,
    format_path,
    get_absolute_path,
)
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.wizard.data import (
    data_check,
    new_file_dialogs,
    new_files,
    reading_dialogs,
    report_text,
)
from ftwizard.screens.wizard.data.data_check import DataCheck
from ftwizard.screens.wizard.data.fields import DataFields
from ftwizard.screens.wizard.data.new_files import FileCommand
from ftwizard.screens.wizard.data.report_view import ReportView
from ftwizard.screens.wizard.page import WizardPage

POLL_S = 0.04
"""Interval at which a running check is polled, so that a first look shows at once."""
POLLS_PER_DRAW = 6
"""Polls between two redraws of the progress."""
UNREAD = "Press enter to read and check the file."
UNNAMED = "Enter a file name first; tab completes it."
UNNAMED_OWN = "Name the validation file, or choose a share of the rows."


class DataPage(WizardPage):
    """Dismisses with a draft that names usable data."""

    STEP = 1
    NOTES = (
        "A file, or a Hub dataset: owner/name, its train split.",
        "Another split: owner/name:split, owner/name/configuration.",
        "✗ unusable, ! probably a mistake, · worth knowing.",
        "Fixes go into new files; yours is not changed.",
        "Validation rows show when the model begins to memorize.",
        "Another 10% of the rows is the test set.",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "read",
            "read",
            key_display="enter",
            priority=True,
            tooltip="read and check the file",
        ),
        Binding(
            "enter",
            "next",
            "continue",
            key_display="enter",
            priority=True,
            tooltip="continue with these rows",
        ),
        Binding(
            "enter",
            "decode_all",
            "decode",
            key_display="enter",
            priority=True,
            tooltip="decode the file",
        ),
        Binding(
            "enter",
            "rows",
            "show rows",
            key_display="enter",
            priority=True,
            tooltip="show the rows of the finding",
        ),
        Binding(
            "enter", "row", "open row", key_display="enter", priority=True, tooltip="open the row"
        ),
        Binding(
            "enter",
            "objective",
            "change objective",
            key_display="enter",
            priority=True,
            tooltip="take the objective that fits these rows",
        ),
        Binding("f", "repair", "fix", tooltip="fix rows into a new file"),
        Binding("s", "split", "split", tooltip="split off a validation file"),
        Binding("c", "convert", "convert", tooltip="convert for another target"),
        # In an empty field there is nothing else to delete.
        Binding(
            "delete,ctrl+d",
            "forget",
            "forget file",
            key_display="del",
            priority=True,
            tooltip="forget the recent file, in an empty field",
        ),
        Binding("o", "columns", "columns", tooltip="choose the columns to read"),
        Binding("e", "decode", "encoding", tooltip="choose the encoding to read"),
        Binding("escape", "cancel", "cancel", key_display="esc", tooltip="cancel reading"),
        Binding("escape", "back", "back", key_display="esc"),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._check: DataCheck | None = None
        """The running check."""
        self._polls = 0
        self._followed: set[ObjectiveName] = set()
        """Objectives that this file's rows chose."""
        self._named = format_path(draft.plan.data.files.train)
        """The last known content of the file field."""
        self._reading_from: tuple[Widget | None, str] = (None, "")
        """The focus and the validation file when reading began."""
        self._read_validation = format_path(draft.plan.data.files.validation or "")
        """The validation file that was read with the data; empty if none was."""
        self._split_off: tuple[str, str] | None = None
        """The validation file that a split made, and the share before; it belongs to this data."""

    def body(self) -> ComposeResult:
        yield DataFields(self._draft)
        yield Static(texts.EXAMPLE_ROWS, id="example", markup=False)
        yield ReportView(id="report")

    def on_mount(self) -> None:
        self.set_interval(POLL_S, self._poll)
        self._show()
        if self._draft.checked is None:
            self._fields.rows.focus_input()
            if user_paths.is_file(self._draft.plan.data.files.train):
                self._start_check(self._named)  # named on the command line, or not read before
        elif data_check.needs_recheck(self._draft):  # answers on other pages changed
            self._start_check(self._named)
        else:
            self._view.focus_go()

    @property
    def _fields(self) -> DataFields:
        return self.query_one(DataFields)

    @property
    def _view(self) -> ReportView:
        return self.query_one(ReportView)

    @property
    def _report(self) -> DataReport | None:
        """The full report, or that of a first look."""
        return self._draft.checked or (self._check.first_look if self._check else None)

    # ------------------------------------------------------------------ answers

    @on(FileInput.Edited, "#train")
    def _file_edited(self) -> None:
        # Read the current value: while keys come fast, the event's value is outdated.
        name = self._fields.rows.value
        if name != self._named:
            self._named = name
            self._drop_split_off()
            files = msgspec.structs.replace(self._draft.plan.data.files, train=name)
            self._draft = self._draft.with_rows_as_they_are().with_check(files, None)
            self._followed.clear()
            self._cancel()

    def _drop_split_off(self) -> None:
        """Return to the share before the split: its validation rows are of the previous data."""
        if self._split_off is None:
            return
        (file, share), self._split_off = self._split_off, None
        if self._fields.validation_file == file:
            self._fields.set_share(share)

    @on(FileInput.Edited, "#own-file")
    @on(Choice.Changed)
    def _validation_changed(self) -> None:
        self._show()

    @property
    def _is_read(self) -> bool:
        """Whether every named file was read."""
        own = self._fields.validation_file
        return bool(
            self._draft.checked and own == self._read_validation and not self._lacks_validation_file
        )

    @property
    def _lacks_validation_file(self) -> bool:
        """Whether the validation file still has to be named."""
        return self._fields.share == OWN_FILE and not self._fields.validation_file

    def get_draft(self) -> Draft:
        """Return the draft with the page's current answers."""
        draft = self._draft.with_validation(self._fields.share)
        if self._is_read or self._fields.share != OWN_FILE:
            return draft
        files = draft.plan.data.files
        return draft.with_data(
            files=msgspec.structs.replace(files, validation=self._fields.validation_file)
        )

    # ------------------------------------------------------------------ keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return True
        checked = self._draft.checked
        if action in ("read", "next", "decode_all", "rows", "row", "objective"):
            return action == self._enter
        if action in ("cancel", "back"):
            return (action == "cancel") == (self._check is not None)
        if action == "forget":
            return bool(self._recent_file)
        if action == "repair":
            return bool(checked and report_text.can_fix(checked))
        if action == "split":
            return bool(checked and checked.usable and self._draft.plan.takes_validation)
        if action == "columns":
            return bool(checked and report_text.can_map(checked))
        if action == "decode":
            encoding = self._draft.plan.data.encoding
            return bool(checked and (encoding or report_text.lacks_decoding(checked)))
        if action == "convert":
            return bool(checked and report_text.can_convert(checked))
        return True

    @property
    def _enter(self) -> str:
        """The action that Enter performs at the focus; empty if there is none."""
        if self._report and (subject := self._view.subject):
            return "row" if subject.row else "rows" if subject.lines else ""
        if self._check is not None:
            return ""
        report = self._draft.checked
        if report is None or not self._is_read:
            return "read"
        if not report.usable and report_text.lacks_decoding(report):
            return "decode_all"
        if not report.usable and self._fitting:
            return "objective"
        return "next" if report.usable else "read"

    @property
    def _fitting(self) -> str:
        """The name of the objective that takes the rows, which the chosen one does not; else empty."""
        report = self._draft.checked
        if report is None or not report_text.is_wrong_kind(report):
            return ""
        fitting = objectives.find_fitting(self._draft, report)
        return objectives.get_name(fitting) if fitting else ""

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self._fields.validation.fold(not self._fields.validation.has_focus_within)
        self.refresh_bindings()

    def on_report_view_moved(self) -> None:
        self.refresh_bindings()

    @property
    def _recent_file(self) -> str:
        """The suggested file that was used lately, if there is nothing to delete in the field."""
        field = self._fields.rows
        chosen = field.chosen if field.has_focus_within and not field.value else None
        return chosen if chosen and recent_files.is_recent(chosen) else ""

    def action_forget(self) -> None:
        """Drop the selected file from those used lately."""
        name = self._recent_file
        recent_files.forget(name if ids.parse(name) else get_absolute_path(name))
        self._fields.rows.list_again()

    def action_cancel(self) -> None:
        self._cancel()
        self._fields.rows.focus_input()

    action_read = action_decode_all = WizardPage.action_next
    action_rows = action_row = action_objective = WizardPage.action_next

    def go_next(self) -> None:
        self._file_edited()
        if self._enter == "next":
            self._leave()
        elif self._enter == "read":
            self._read()
        elif self._enter == "decode_all":
            self.action_decode()
        elif self._enter == "objective":
            assert self._draft.checked is not None
            self._read_as(objectives.take_fitting(self._draft, self._draft.checked))
        else:
            self._view.open()

    @work(group="next", exclusive=True, exit_on_error=False)
    async def _leave(self) -> None:
        if self._draft.is_stale:
            self.notify("The file has changed and is read again.", markup=False)
            self._start_check(self._named)
            return
        draft = self.get_draft()
        if not await self._confirm(draft):
            return
        draft = draft.allowing("skip-bad-rows", new_files.count_bad_rows(draft) > 0)
        self.dismiss(PageOutcome(draft.allowing("no-validation", not draft.validates), 1))

    async def _confirm(self, draft: Draft) -> bool:
        """Confirm unusable rows, and a run without validation data."""
        for doubt in report_text.list_doubts(draft.checked) if draft.checked else ():
            question = ConfirmDialog(*doubt)
            if not await self.app.push_screen_wait(question):
                return False
        return draft.validates or await self.app.push_screen_wait(
            TypedConfirm(*texts.NO_VALIDATION)
        )

    # ------------------------------------------------------------------ new files

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_repair(self) -> None:
        await self._write(await new_file_dialogs.ask_fix(self.app, self.get_draft()))

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_split(self) -> None:
        await self._write(new_files.build_split(self.get_draft()))

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_convert(self) -> None:
        command = await new_file_dialogs.ask_conversion(self.app, self.get_draft())
        if command is not None:
            await self._write(command, converts=True)

    async def _write(self, command: FileCommand, *, converts: bool = False) -> None:
        """Write new files under names to ask for; read them if they are to be used."""
        names = await new_file_dialogs.write_and_confirm(self.app, command)
        if names is None:
            return
        files = command.get_files(names)
        if len(names) > 1:
            share = self._fields.share
            before = share if share != OWN_FILE else SHARES[0][0]
            self._split_off = (format_path(names[1]), before)
        self._named = format_path(files.train)
        self._fields.rows.put(self._named)
        if files.validation is not None:
            self._fields.set_validation_file(format_path(files.validation))
        if converts:
            self._draft = self._draft.with_conversion(get_absolute_path(files.train))
        self._draft = self._draft.with_rows_as_they_are()
        self._start_check(files.train)

    def on_report_view_edited(self, event: ReportView.Edited) -> None:
        """Use and read the file with the edited row."""
        edited, train = event.edited, self._draft.plan.data.files.train
        if edited.path == train:
            train = edited.out
            self._draft = self._draft.with_data(encoding=None)  # a new file is UTF-8
            self._named = format_path(train)
            self._fields.rows.put(self._named)
        else:
            self._fields.set_validation_file(format_path(edited.out))
        self._start_check(train)

    # ------------------------------------------------------------------ reading

    def _read(self) -> None:
        fields = self._fields
        if self._draft.checked is None and not fields.rows.settle():
            return
        self._named = fields.rows.value
        if not self._named:
            fields.say(Text(UNNAMED))
        elif fields.share == OWN_FILE and not (
            fields.validation.settle() and fields.validation.value
        ):
            self.notify(UNNAMED_OWN, markup=False)
            fields.validation.focus_input()
        else:
            self._start_check(self._named)

    @work(group="check", exclusive=True, exit_on_error=False)
    async def _start_check(self, name: str) -> None:
        """Read a file or a Hub dataset and show the report."""
        own = self._fields.validation_file
        self._reading_from = (self.focused, own)
        path = name if ids.parse(name) else get_absolute_path(name)
        files = schema.Files(train=path, validation=get_absolute_path(own) if own else None)
        self._draft = self.get_draft().with_check(files, None)
        self._check = check = DataCheck(self._draft, path)
        self._show()
        try:
            report = await check.run()
        except FtwizardError as error:
            self._check = None
            self._show()
            self._read_as(await reading_dialogs.ask_after_error(self.app, self._draft, error))
            return
        finally:
            if self._check is check:
                self._check = None
        if self._follow_rows(report):
            return
        # For a Hub dataset this is the downloaded file: the run reads that one.
        files = msgspec.structs.replace(files, train=report.path)
        self._draft = self._draft.with_check(files, report, check.fingerprint_of(report.path))
        self._read_validation = own
        recent_files.remember(name if ids.parse(name) else path, report)
        self._show()
        self._focus_next_step()

    def _follow_rows(self, report: DataReport) -> bool:
        """Take the objective that the rows are for, unless the person chose one; return whether they
        are read again, by its rules."""
        draft = objectives.follow_rows(self._draft, report)
        if draft is None or draft.plan.recipe.objective in self._followed:
            return False
        self._followed.add(draft.plan.recipe.objective)
        is_same, self._draft = draft.target == self._draft.target, draft
        if not is_same:
            self._start_check(self._named)
        return not is_same

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_columns(self) -> None:
        self._read_as(await reading_dialogs.ask_columns(self.app, self._draft))

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_decode(self) -> None:
        self._read_as(await reading_dialogs.ask_encoding(self.app, self._draft))

    def _read_as(self, draft: Draft) -> None:
        """Read the data again if the draft reads it in another way."""
        if draft is not self._draft:
            self._draft = draft
            self._start_check(self._named)

    def _cancel(self) -> None:
        self.workers.cancel_group(self, "check")
        self._check = None
        self._show()

    def _poll(self) -> None:
        """Show the progress of the running check."""
        if (check := self._check) is None:
            return
        self._polls += 1
        had = check.first_look
        check.poll()
        is_first = had is None and check.first_look is not None
        if is_first and check.first_look and self._follow_rows(check.first_look):
            return
        if is_first or (self._polls % POLLS_PER_DRAW == 0 and not check.is_quick):
            self._show()
        if is_first:
            self._focus_next_step()

    def _focus_next_step(self) -> None:
        """Focus the next-step line, unless a person is answering another question."""
        fields, (was, own) = self._fields, self._reading_from
        inside = (fields.validation, fields.query_one("#validation"))
        answers = self.focused is not was and any(field.has_focus_within for field in inside)
        if not answers and fields.validation_file == own:
            self._view.focus_go()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        """Show suggestions, or the report and the next step."""
        report, check = self._report, self._check
        waits = check is not None and not check.is_quick
        self._view.display = report is not None
        is_empty = report is None and check is None and not self._fields.rows.value
        self.query_one("#example").display = is_empty
        self._fields.lay_out(is_read=report is not None, suggests=report is None and not waits)
        width = self.size.width - 4
        if report is not None:
            objective = objectives.describe(self._draft, report)
            self._fields.say(
                report_text.format_summary(
                    report, self._draft.plan.data, width, objective, self._draft.plan.test_share
                )
            )
            self._view.show(report, self._draft)
            changed = "" if self._is_read else "own" if self._lacks_validation_file else "again"
            self._view.show_next_step(
                check.format_status(width)
                if check
                else report_text.format_next_step(report, changed, self._fitting)
            )
        else:
            self._fields.say(check.format_status(width) if check and waits else Text(UNREAD, "dim"))
        self.refresh_bindings()
