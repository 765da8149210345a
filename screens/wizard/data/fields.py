"""The fields of the Data page: the data file and its validation data."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from ftwizard.data.hub import ids
from ftwizard.screens.draft import recent_files
from ftwizard.screens.draft.drafts import OWN_FILE, Draft, format_path
from ftwizard.screens.draft.suggestions import build_path_suggester, is_data_file
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.file_input import FileInput


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
            yield Choice(self._draft.shares, self._draft.share, id="share")
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
        """Return the chosen one of the draft's ``shares``."""
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
        """Show the validation fields once the file is read, where the platform takes such rows.

        ``suggests``: show file names.
        """
        self.rows.fold(not suggests)
        takes, has_own = self._draft.plan.takes_validation, self.share == OWN_FILE
        self.query_one("#validation").display = takes and (is_read or has_own)
        self.query_one("#own").display = takes and has_own
