"""What the data page asks: which file, and what validates; the verdict between the two."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from ftwizard.data import hub_id
from ftwizard.screens.draft import OWN_FILE, SHARES, Draft, shown_path
from ftwizard.screens.suggestions import is_data, paths
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.file_input import FileInput


class DataFields(Vertical):
    """The lines above a report."""

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft

    def compose(self) -> ComposeResult:
        files = self._draft.plan.data.files
        with Horizontal(classes="field"):
            yield Static("Rows", classes="name", markup=False)
            yield FileInput(
                shown_path(files.train),
                paths(is_data),
                hint="a file, or a Hub id: ~/data/rows.jsonl, owner/name",
                guess=lambda name: hub_id.parse(name) is None,
                id="train",
            )
        yield Static(id="verdict", markup=False)
        with Horizontal(classes="field", id="validation"):
            yield Static("Validation", classes="name", markup=False)
            yield Choice(SHARES, self._draft.share, id="share")
        with Horizontal(classes="field", id="own"):
            yield Static("", classes="name", markup=False)
            own = shown_path(files.validation or "")
            yield FileInput(own, paths(is_data), hint="the file that validates", id="own-file")

    @property
    def rows(self) -> FileInput:
        """Return the line of the file of rows."""
        return self.query_one("#train", FileInput)

    @property
    def own(self) -> FileInput:
        """Return the line of the file that validates."""
        return self.query_one("#own-file", FileInput)

    @property
    def share(self) -> str:
        """Return which of ``SHARES`` validates."""
        return self.query_one(Choice).value

    @property
    def own_wanted(self) -> str:
        """Return the file that is to validate as it is typed, empty where none is."""
        return self.own.value if self.share == OWN_FILE else ""

    def validate_by(self, file: str) -> None:
        """Have a file of its own validate."""
        self.query_one(Choice).value = OWN_FILE
        self.own.put(file)

    def say(self, verdict: Text) -> None:
        self.query_one("#verdict", Static).update(verdict)

    def lay_out(self, *, known: bool, suggests: bool) -> None:
        """Show what is asked once something is known of the file; ``suggests``: names of files."""
        self.rows.fold(not suggests)
        self.query_one("#validation").display = known or self.share == OWN_FILE
        self.query_one("#own").display = self.share == OWN_FILE
