"""Path: where the fine-tuning happens; a few questions, a recommendation, and its reasons."""

from __future__ import annotations

import datetime
from typing import ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

from ftwizard.advice import path as advice
from ftwizard.advice.path import Recommendation
from ftwizard.catalog import PathId, catalog
from ftwizard.screens import texts
from ftwizard.screens.ask import Ask
from ftwizard.screens.draft import UNANSWERED, Draft, Step, asked, options
from ftwizard.screens.page import WizardPage
from ftwizard.screens.widgets.choice import Choice


class PathPage(WizardPage[Step]):
    """Dismisses with a draft that knows the path."""

    STEP = 0
    HELP = (
        "Three ways lead to a fine-tuned model: training on a machine of yours, a provider's API, "
        "or a cloud service. What this machine can answer is not asked. Each answer changes the "
        "recommendation below at once; you may choose another path, and see what that costs.\n\n"
        "Up and down move between the questions, left and right change an answer. Page up and "
        "page down read on below."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "read(1)", "read on", key_display="pgdn"),
        Binding("pageup", "read(-1)", "read back", show=False),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self._asked = asked(draft)

    def body(self) -> ComposeResult:
        here = texts.this_machine(self._draft.machine)
        yield Static(here, classes="note one-line", markup=False)
        for question in self._asked:
            with Horizontal(classes="question"):
                yield Static(question.text, classes="name", markup=False)
                given = self._draft.answers.get(question.id, question.assumed or UNANSWERED)
                yield Choice(options(question), given, id=f"answer-{question.id}")
        with Horizontal(classes="question", id="paths"):
            yield Static("Path", classes="name", markup=False)
            names = [(one.id, one.name) for one in catalog().paths]
            yield Choice(names, self._draft.path or "local", id="path")
        with VerticalScroll(id="advice", can_focus=False):
            yield Static(id="words", markup=False)

    def on_mount(self) -> None:
        self._recommend()
        self.query(Choice).first().focus()

    def on_choice_changed(self, event: Choice.Changed) -> None:
        if event.choice.id == "path":
            self._draft = self._draft.on_path(cast(PathId, event.value))
        self._recommend()

    def action_read(self, by: int) -> None:
        pane = self.query_one("#advice")
        pane.scroll_relative(y=by * max(1, pane.size.height - 1), animate=False)

    def action_back(self) -> None:
        self.dismiss(Step(self._answered(), -1))

    @work(group="next", exclusive=True, exit_on_error=False)
    async def action_next(self) -> None:
        draft = self._answered()
        found = self._recommendation(draft)
        if found.wrong_tool and not await self.app.push_screen_wait(
            Ask("Fine-tune for facts that change?", found.fit or "", "go on all the same", "back")
        ):
            return
        self.dismiss(Step(draft.recommending(found.path, found.reasons), 1))

    def _answered(self) -> Draft:
        given: dict[str, str] = {
            question.id: value
            for question in self._asked
            if (value := self.query_one(f"#answer-{question.id}", Choice).value) != UNANSWERED
        }
        return self._draft.answering(given)

    def _recommendation(self, draft: Draft) -> Recommendation:
        return advice.recommend(draft.machine, draft.answers, datetime.date.today())

    def _recommend(self) -> None:
        draft = self._answered()
        found = self._recommendation(draft)
        chooser = self.query_one("#path", Choice)
        if draft.path is None:
            with self.prevent(Choice.Changed):
                chooser.value = found.path
        said = texts.advice(found, cast(PathId, chooser.value))
        part = self.query_one("#words", Static)
        part.update(texts.hanging(said, 4, part.size.width or self.size.width - 5))
        self.query_one("#advice").scroll_home(animate=False)
