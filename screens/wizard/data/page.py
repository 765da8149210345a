"""The Data page: the data file, its check, and its validation data."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from rich.text import Text
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from ftwizard import user_paths
from ftwizard.data.column_report import ColumnReport
from ftwizard.data.documents import DataReport, Repairs
from ftwizard.data.hub import ids
from ftwizard.errors import FtwizardError
from ftwizard.plan import schema
from ftwizard.screens import layout, palette
from ftwizard.screens.dialogs import command_progress
from ftwizard.screens.dialogs.dialog import ErrorDialog, NoticeDialog
from ftwizard.screens.dialogs.forms import SaveAsDialog
from ftwizard.screens.dialogs.questions import (
    ChooseDialog,
    ConfirmDialog,
    ResultDialog,
    TypedConfirm,
)
from ftwizard.screens.draft import recent_files, texts
from ftwizard.screens.draft.drafts import (
    OWN_FILE,
    SHARES,
    Draft,
    Step,
    format_path,
    get_absolute_path,
)
from ftwizard.screens.draft.suggestions import build_path_suggester, is_data_file
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.wizard.data import column_choices, data_check, new_files, report_text
from ftwizard.screens.wizard.data.columns import ColumnsPage
from ftwizard.screens.wizard.data.data_check import DataCheck
from ftwizard.screens.wizard.data.new_files import FileCommand
from ftwizard.screens.wizard.data.report_view import ReportView
from ftwizard.screens.wizard.page import WizardPage
from ftwizard.text import format_count, make_visible

PENDING = {"own": "Name the validation file", "again": "Read the data again with the changes"}


def format_verdict(report: DataReport, data: schema.Data, width: int) -> Text:
    """Format the verdict with the facts below it, in ``width`` cells."""
    lines = (
        report_text.format_verdict(report),
        report_text.format_facts(report),
        report_text.format_reading(data),
    )
    text = Text("\n").join(filter(None, lines))
    return layout.wrap_hanging(text, 2, width)


def format_next_step(report: DataReport, pending: str = "") -> Text:
    """Format what Enter does next; ``pending``: the one of ``PENDING`` to do first."""
    words = PENDING[pending] if pending else _describe_next_step(report)
    return Text.assemble(("→ ", f"bold {palette.ACCENT}"), words, no_wrap=True)


def _describe_next_step(report: DataReport) -> str:
    if report_text.converts_first(report):
        return "Convert the rows: the target needs another format"
    if report_text.is_wrong_kind(report):
        return "Name another file: the target does not take this kind of rows"
    if not report.usable and report_text.lacks_decoding(report):
        return "Decode the file: it is not UTF-8"
    if not report.usable:
        return "Read it again once it is fixed"
    if report_text.lacks_conversion(report):
        return "Continue with the rows as they are; c converts them first"
    if report.rows > report.usable:
        return f"Continue with the {format_count(report.usable, 'usable row')}"
    return f"Continue with all {format_count(report.rows, 'row')}"


POLL_S = 0.04
"""Interval at which a running check is polled, so that a first look shows at once."""
POLLS_PER_DRAW = 6
"""Polls between two redraws of the progress."""
UNREAD = "Press enter to read and check the file."
UNNAMED = "Enter a file name first; tab completes it."
UNNAMED_OWN = "Name the validation file, or choose a share of the rows."


class DataFields(Vertical):
    """The fields above a report."""

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft

    def compose(self) -> ComposeResult:
        files = self._draft.plan.data.files
        with Horizontal(classes="field"):
            yield Static("Data", classes="name", markup=False)
            yield FileInput(
                format_path(files.train),
                recent_files.suggest_data,
                hint="a file, or a Hub id: ~/data/rows.jsonl, owner/name",
                guess=lambda name: ids.parse(name) is None,
                id="train",
            )
        yield Static(id="verdict", markup=False)
        with Horizontal(classes="field", id="validation"):
            yield Static("Validation", classes="name", markup=False)
            yield Choice(SHARES, self._draft.share, id="share")
        with Horizontal(classes="field", id="own"):
            yield Static("", classes="name", markup=False)
            own = format_path(files.validation or "")
            yield FileInput(
                own, build_path_suggester(is_data_file), hint="the validation file", id="own-file"
            )

    @property
    def rows(self) -> FileInput:
        """Return the field of the data file."""
        return self.query_one("#train", FileInput)

    @property
    def validation(self) -> FileInput:
        """Return the field of the validation file."""
        return self.query_one("#own-file", FileInput)

    @property
    def share(self) -> str:
        """Return the chosen one of ``SHARES``."""
        return self.query_one(Choice).value

    @property
    def validation_file(self) -> str:
        """Return the validation file as typed; empty if none is wanted."""
        return self.validation.value if self.share == OWN_FILE else ""

    def set_validation_file(self, file: str) -> None:
        """Use a separate validation file."""
        self.query_one(Choice).value = OWN_FILE
        self.validation.put(file)

    def set_share(self, share: str) -> None:
        """Use a share of the rows, not a separate file."""
        self.query_one(Choice).value = share
        self.validation.put("")

    def say(self, verdict: Text) -> None:
        self.query_one("#verdict", Static).update(verdict)

    def lay_out(self, *, is_read: bool, suggests: bool) -> None:
        """Show the validation fields once the file is read; ``suggests``: show file names."""
        self.rows.fold(not suggests)
        self.query_one("#validation").display = is_read or self.share == OWN_FILE
        self.query_one("#own").display = self.share == OWN_FILE


class DataPage(WizardPage):
    """Dismisses with a draft that names usable data."""

    STEP = 1
    HELP = (
        "Name your data file, or a dataset on the Hugging Face Hub as owner/name. Its "
        "train split is used. For another, append :split; for a configuration, /configuration. A "
        "dataset is downloaded once and kept as a file. Up and down select a suggestion, tab accepts it. "
        "While the field is empty, files used lately come first; del forgets one.\n\n"
        "Enter reads the file. Findings are listed with the number of rows they affect: ✗ unusable, "
        "! usable but probably a mistake, · worth knowing. Enter on a finding shows its rows. Enter "
        "on the line with the arrow continues.\n\n"
        "Rows with other column names, or in another encoding than UTF-8, are read on request: o "
        "chooses the columns, e the encoding. Your file is not changed.\n\n"
        "Some rows, or a separate file, are kept for validation. Validation loss shows when the "
        "model starts memorizing the training data. Another 10% is the test set, which compares "
        "the tuned model with its base."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "read", "read", key_display="enter", priority=True),
        Binding("enter", "next", "continue", key_display="enter", priority=True),
        Binding("enter", "form", "convert", key_display="enter", priority=True),
        Binding("enter", "decode_all", "decode", key_display="enter", priority=True),
        Binding("enter", "rows", "show rows", key_display="enter", priority=True),
        Binding("enter", "row", "open row", key_display="enter", priority=True),
        Binding("f", "repair", "fix"),
        Binding("s", "split", "split"),
        Binding("c", "convert", "convert"),
        # In an empty field there is nothing else to delete.
        Binding("delete,ctrl+d", "forget", "forget file", key_display="del", priority=True),
        Binding("o", "columns", "columns"),
        Binding("e", "decode", "encoding"),
        Binding("escape", "cancel", "cancel", key_display="esc"),
        Binding("escape", "back", "back", key_display="esc"),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._check: DataCheck | None = None
        """The running check."""
        self._polls = 0
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
        if action in ("read", "next", "form", "decode_all", "rows", "row"):
            return action == self._enter
        if action in ("cancel", "back"):
            return (action == "cancel") == (self._check is not None)
        if action == "forget":
            return bool(self._recent_file)
        if action == "repair":
            return bool(checked and checked.findings)
        if action == "split":
            return bool(checked and checked.usable)
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
        if report_text.converts_first(report):
            return "form"
        if not report.usable and report_text.lacks_decoding(report):
            return "decode_all"
        return "next" if report.usable else "read"

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

    action_read = action_form = action_decode_all = WizardPage.action_next
    action_rows = action_row = WizardPage.action_next

    def go_next(self) -> None:
        self._file_edited()
        if self._enter == "next":
            self._leave()
        elif self._enter == "read":
            self._read()
        elif self._enter == "form":
            self.action_convert()
        elif self._enter == "decode_all":
            self.action_decode()
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
        self.dismiss(Step(draft.allowing("no-validation", not draft.validates), 1))

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
        await self._write(new_files.build_fix(self.get_draft()))

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_split(self) -> None:
        await self._write(new_files.build_split(self.get_draft()))

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_convert(self) -> None:
        draft = self.get_draft()
        if draft.checked is None:
            return
        options, target = new_files.list_targets(draft.checked), str(draft.target or "")
        dialog = ChooseDialog("Convert for which target?", "", options, target)
        if (name := await self.app.push_screen_wait(dialog)) is not None:
            await self._write(new_files.build_conversion(draft, name), converts=True)

    async def _write(self, command: FileCommand, *, converts: bool = False) -> None:
        """Write new files under names to ask for; read them if they are to be used."""
        enter = "write it" if len(command.files) == 1 else "write them"
        names = await self.app.push_screen_wait(
            SaveAsDialog(command.title, command.details, fields=command.files, enter=enter)
        )
        if names is None:
            return
        argv = command.build_argv(names)
        document = await command_progress.run_command(self.app, command.progress, *argv)
        if document is None:
            return
        if command.unchanged:
            changes = new_files.read_changes(document)
            if isinstance(changes, Repairs) and not (changes.changed or changes.left_out):
                title = Text.assemble(report_text.MARKS["ok"], ("Nothing to fix", "bold"))
                details = new_files.describe_unchanged(self._draft, changes)
                await self.app.push_screen_wait(NoticeDialog(title, details))
                return
            heading = new_files.format_written(changes, names[0])
            account = new_files.format_changes(changes, command.unchanged)
            result = ResultDialog(heading, account, "use the new file", "keep the old one")
            if not await self.app.push_screen_wait(result):
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
            await self._show_refusal(name, error)
            return
        finally:
            if self._check is check:
                self._check = None
        # For a Hub dataset this is the downloaded file: the run reads that one.
        files = msgspec.structs.replace(files, train=report.path)
        self._draft = self._draft.with_check(files, report, check.fingerprint_of(report.path))
        self._read_validation = own
        recent_files.remember(name if ids.parse(name) else path, report)
        self._show()
        self._focus_next_step()

    async def _show_refusal(self, name: str, error: FtwizardError) -> None:
        """Show why a file cannot be read; ask for what would make it readable."""
        if encodings := data_check.list_candidate_encodings(error):
            await self._ask_encoding(make_visible(error.message, 500), encodings)
            return
        if error.code == "unknown_format" and await self._ask_columns(only_unknown=True):
            return
        options = data_check.list_candidate_formats(error)
        if not options:
            await self.app.push_screen_wait(ErrorDialog(error))
            return
        question, words = "Which format is it?", make_visible(error.message, 500)
        chosen = await self.app.push_screen_wait(ChooseDialog(question, words, options))
        if chosen is not None:
            self._draft = self._draft.with_data(format=chosen)
            self._start_check(name)

    # ------------------------------------------------------------------ columns and encoding

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_columns(self) -> None:
        await self._ask_columns()

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_decode(self) -> None:
        report = self._draft.checked
        likely = report.likely_encoding if report else None
        if report and likely:
            details = f"In {likely.name} it reads: “{likely.excerpt}”. The file is not changed."
            await self._ask_encoding(details, data_check.list_encodings(report))
        elif encoding := self._draft.plan.data.encoding:
            options = [(encoding, encoding), (data_check.UTF_8, "UTF-8, as if none were chosen")]
            await self._ask_encoding("The file is not changed.", options)

    async def _ask_columns(self, *, only_unknown: bool = False) -> bool:
        """Ask for a column mapping, and read the file again with it.

        ``only_unknown``: unless the training file has a known format. Return whether it was asked.
        """
        plan = self._draft.plan
        path = plan.data.files.train
        encoding = ("--encoding", plan.data.encoding) if plan.data.encoding else ()
        title = f"Reading the columns of {make_visible(format_path(path), 50)}"
        argv = ("columns", path, *encoding)
        document = await command_progress.run_command(self.app, title, *argv)
        if document is None:
            return True
        report = msgspec.convert(document, ColumnReport)
        if only_unknown and report.format is not None:
            return False
        page = ColumnsPage(report, column_choices.format_reason(report), plan.data.columns)
        mapping = await self.app.push_screen_wait(page)
        if mapping is not None:
            self._draft = self._draft.with_data(format="auto", columns=mapping)
            self._start_check(self._named)
        return True

    async def _ask_encoding(self, details: str, options: list[tuple[str, str]]) -> None:
        """Ask for the encoding of the file, and read it again with it."""
        dialog = ChooseDialog("Which encoding is it read in?", details, options)
        chosen = await self.app.push_screen_wait(dialog)
        if chosen is not None:
            encoding = None if chosen == data_check.UTF_8 else chosen
            self._draft = self._draft.with_data(encoding=encoding)
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
            self._fields.say(format_verdict(report, self._draft.plan.data, width))
            self._view.show(report, self._draft)
            changed = "" if self._is_read else "own" if self._lacks_validation_file else "again"
            self._view.show_next_step(
                check.format_status(width) if check else format_next_step(report, changed)
            )
        else:
            self._fields.say(check.format_status(width) if check and waits else Text(UNREAD, "dim"))
        self.refresh_bindings()
