"""Data: which rows it learns from, whether they can be used, and how they read."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

from ftwizard import plan as plans
from ftwizard.data import hub_id
from ftwizard.screens import flow, texts
from ftwizard.screens.ask import Ask
from ftwizard.screens.draft import SHARES, Draft, Step, shown_path, stamp, whole
from ftwizard.screens.page import WizardPage
from ftwizard.screens.suggestions import is_data, paths
from ftwizard.screens.typed import Typed
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.widgets.menu import Line, Menu
from ftwizard.text import plural, visible


class DataPage(WizardPage[Step]):
    """Dismisses with a draft that names data which can be used."""

    STEP = 1
    HELP = (
        "Name the file with your rows: JSON Lines or a JSON array; or a data set on the Hugging Face "
        "Hub, owner/name, with /configuration or :split behind it where train is not meant. It is "
        "fetched once and kept as a file. Chat rows (messages), Alpaca "
        "(instruction, input, output) and prompt/completion are told apart by themselves. Tab "
        "takes a suggestion over, up and down choose one.\n\n"
        "Enter checks the file; the rows and every problem are then listed, and enter goes on.\n\n"
        "A part of the rows is kept for validation: the loss on rows that are not trained on shows "
        "when the model begins to learn yours by heart. Another tenth is held out to compare the "
        "tuned model with its base."
    )

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self._named = ""
        """What stands in the line, as far as it is known."""
        self._problems: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, dict[str, Any]] = {}

    def body(self) -> ComposeResult:
        self._named = shown_path(self._draft.plan.data.files.train)
        with Horizontal(classes="field"):
            yield Static("Rows", classes="name", markup=False)
            yield FileInput(
                self._named,
                paths(is_data),
                hint="a file, or a Hub id: ~/data/rows.jsonl, owner/name",
                guess=lambda name: hub_id.parse(name) is None,
                id="train",
            )
        yield Static(id="verdict", classes="note", markup=False)
        with Horizontal(classes="field", id="validation"):
            yield Static("Validation", classes="name", markup=False)
            yield Choice(SHARES, self._draft.share, id="share")
        with Horizontal(id="look"):
            yield Menu(id="rows")
            with VerticalScroll(id="row"):
                yield Static(id="conversation", markup=False)

    def on_mount(self) -> None:
        self._show()
        if self._draft.checked is None:
            self.query_one(FileInput).focus_input()

    def on_file_input_edited(self, event: FileInput.Edited) -> None:
        if event.value != self._named:
            self._named = event.value
            self._draft = self._draft.reading(plans.Files(train=event.value), None)
            self._show()

    def on_menu_moved(self, event: Menu.Moved) -> None:
        self._read_out(event.id)

    def _read_out(self, id: str) -> None:
        """Show the row, or the problem, that the cursor is on."""
        if problem := self._problems.get(id):
            title = visible(problem["message"])
            text = f"{texts.where(problem)}\n\nWhat to do: {visible(problem['fix'])}."
        elif row := self._rows.get(id):
            title, text = f"row {row['line']}", texts.conversation(row["conversation"])
        else:
            return
        words = Text.assemble((title, "bold"), "\n\n", text)
        self.query_one("#conversation", Static).update(words)
        self.query_one("#row").scroll_home(animate=False)

    def action_back(self) -> None:
        self.dismiss(Step(self._with_answers(), -1))

    @work(group="next", exclusive=True, exit_on_error=False)
    async def action_next(self) -> None:
        line = self.query_one(FileInput)
        if self._draft.checked is None and not line.settle():
            return
        name = line.value
        if not name:
            self.query_one("#verdict", Static).update("Name a file first; tab completes it.")
            return
        if self._draft.is_stale:
            self.notify("The file has changed; it was read again.", markup=False)
        if self._draft.checked is None or self._draft.is_stale:
            await self._check(name)
            return
        draft = self._with_answers()
        if not await self._agreed(draft):
            return
        bad = bool(draft.checked and draft.checked["rows"] > draft.checked["usable"])
        draft = draft.insisting("skip-bad-rows", bad)
        self.dismiss(Step(draft.insisting("no-validation", not draft.plan.validation_share), 1))

    async def _check(self, name: str) -> None:
        on_hub = hub_id.parse(name) is not None
        path = name if on_hub else whole(name)
        app: Any = self.app
        title = f"{'Fetching' if on_hub else 'Reading'} {visible(name, 50)}"
        seen = stamp(path)
        found = await flow.work(app, title, "check", path)
        if found is None:
            return
        # Of a data set on the Hub it is the file that was made: the run reads that one.
        path = found["path"]
        self._draft = self._draft.reading(
            plans.Files(train=path), found, stamp(path) if on_hub else seen
        )
        self._show()
        if found["usable"]:
            self.query_one("#rows", Menu).focus()

    async def _agreed(self, draft: Draft) -> bool:
        """Ask about rows that cannot be used, and about a run that nothing validates."""
        found = draft.checked or {}
        if not found["usable"]:
            self.notify(
                "No row can be used. Correct the file, or name another; enter then reads it.",
                severity="warning", markup=False,
            )  # fmt: skip
            return False
        bad = found["rows"] - found["usable"]
        if bad and not await self.app.push_screen_wait(
            Ask(
                f"Go on without {plural(bad, 'row')}?",
                f"They cannot be used as they are; {plural(found['usable'], 'good row')} are left.",
                "leave them out",
                "back to the list",
            )
        ):
            return False
        return draft.plan.validation_share > 0 or await self.app.push_screen_wait(
            Typed(*texts.NO_VALIDATION)
        )

    def _with_answers(self) -> Draft:
        return self._draft.validating(self.query_one("#share", Choice).value)

    def _show(self) -> None:
        """Show suggestions, or what was found in the file."""
        found = self._draft.checked
        self.query_one(FileInput).fold(found is not None)
        for part in ("#validation", "#look"):
            self.query_one(part).display = found is not None
        verdict = self.query_one("#verdict", Static)
        if found is None:
            verdict.update("Enter reads the file and shows what is in it.")
            return
        verdict.update(texts.verdict(found))
        self._problems = {f"problem:{n}": one for n, one in enumerate(found["findings"])}
        self._rows = {f"row:{row['line']}": row for row in found["preview"]}
        lines = [
            Line(
                Text.assemble(
                    texts.mark(one), f"{one['count']:>5} × ", visible(one["message"], 200)
                ),
                id,
            )
            for id, one in self._problems.items()
        ]
        lines += [
            Line(Text(f"{row['line']:>4}  {texts.first_words(row)}"), id)
            for id, row in self._rows.items()
        ]
        menu = self.query_one("#rows", Menu)
        menu.show(lines)
        if menu.chosen:
            self._read_out(menu.chosen)
