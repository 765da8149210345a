"""Path: where the fine-tuning happens; a few questions, a recommendation, and its reasons."""

from __future__ import annotations

import datetime
from typing import ClassVar, cast

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

from ftwizard.advice import path as advice
from ftwizard.advice.path import Recommendation
from ftwizard.advice.questions import wanted_size
from ftwizard.catalog.paths import PathId, Size, catalog
from ftwizard.screens import path_costs, path_texts, texts
from ftwizard.screens.ask import Ask
from ftwizard.screens.beside import beside
from ftwizard.screens.draft import UNANSWERED, Draft, Step, asked, options
from ftwizard.screens.page import WizardPage
from ftwizard.screens.path_costs import Priced
from ftwizard.screens.path_texts import Known
from ftwizard.screens.widgets.choice import Choice

ROOMY = 110
"""Columns of a window from which questions are asked in full."""


class PathPage(WizardPage[Step]):
    """Dismisses with a draft that knows the path."""

    STEP = 0
    HELP = (
        "Three ways lead to a fine-tuned model: training on a machine of yours, a provider's API, "
        "or a cloud service. What this machine can answer is not asked. Each answer changes the "
        "recommendation below at once; you may choose another path, and see what that costs.\n\n"
        "Before your rows are read the prices are those of a unit of training. Come back afterwards "
        "(esc on the page of the data) and they are what these rows cost by each path, with what "
        "the rows themselves speak for; c then shows every offer.\n\n"
        "Up and down move between the questions, left and right change an answer. Page up and "
        "page down read on below."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "read(1)", "more", key_display="pgdn"),
        Binding("pageup", "read(-1)", "read back", show=False),
        Binding("c", "costs", "costs"),
    ]

    def __init__(self, draft: Draft, today: datetime.date | None = None) -> None:
        super().__init__()
        self._draft = draft
        self._today = today or datetime.date.today()
        self._asked = asked(draft)
        self._put: str = draft.path or "local"
        """The path that the page itself has marked last."""
        self._evidence = path_costs.evidence(draft)
        self._priced: dict[Size, Priced | None] = {}
        """What the rows cost everywhere, by the size of the model."""
        self._reads_on = False
        """Whether there is more than is seen."""
        self._pricing: set[Size] = set()
        """Sizes whose costs are being worked out."""

    def body(self) -> ComposeResult:
        yield Static(id="here", classes="note one-line", markup=False)
        for question in self._asked:
            with Horizontal(classes="question"):
                yield Static(question.text, classes="name", markup=False)
                given = self._draft.answers.get(question.id, question.assumed or UNANSWERED)
                yield Choice(options(question), given, id=f"answer-{question.id}")
        with Horizontal(classes="question", id="paths"):
            yield Static("Path", classes="name", markup=False)
            names = [(one.id, one.name) for one in catalog().paths]
            yield Choice(names, self._put, id="path")
        with VerticalScroll(id="advice", can_focus=False):
            yield Static(id="words", markup=False)

    def on_mount(self) -> None:
        self.query(Choice).first().focus()
        self._recommend()

    def on_resize(self, event: events.Resize) -> None:
        """Ask in as many words as there is room for."""
        roomy = event.size.width >= ROOMY
        for question, name in zip(self._asked, self.query(".question > .name"), strict=False):
            cast(Static, name).update(question.text if roomy else question.short)
        here = texts.this_machine(self._draft.machine, event.size.width - 4)
        self.query_one("#here", Static).update(here)
        self.call_after_refresh(self._recommend)

    def on_choice_changed(self, event: Choice.Changed) -> None:
        if event.choice.id == "path":
            self._draft = self._draft.on_path(cast(PathId, event.value))
        self._recommend()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "costs":
            return path_costs.is_known(self._draft)
        if action == "read" and self.is_mounted:
            return self._reads_on
        return True

    def action_read(self, by: int) -> None:
        pane = self.query_one("#advice")
        pane.scroll_relative(y=by * max(1, pane.size.height - 1), animate=False)

    def action_costs(self) -> None:
        """Show every offer for these rows."""
        from ftwizard.screens.costs import CostsPage

        def priced(draft: Draft | None) -> None:
            if draft is not None and draft.hour != self._draft.hour:
                self._draft = self._draft.priced(draft.hour)
                self.workers.cancel_group(self, "price")
                self._priced.clear()
                self._pricing.clear()
                self._recommend(from_the_top=False)

        shown = CostsPage(self._recommended(self._answered()), self._today)
        self.app.push_screen(shown, priced)

    def action_back(self) -> None:
        self.dismiss(Step(self._answered(), -1))

    @work(group="next", exclusive=True, exit_on_error=False)
    async def go_on(self) -> None:
        draft = self._answered()
        found = self._recommendation(draft)
        if found.wrong_tool and not await self.app.push_screen_wait(
            Ask("Fine-tune for facts that change?", found.fit or "", "go on all the same", "back")
        ):
            return
        self.dismiss(Step(self._recommended(draft), 1))

    def _answered(self) -> Draft:
        given: dict[str, str] = {
            question.id: value
            for question in self._asked
            if (value := self.query_one(f"#answer-{question.id}", Choice).value) != UNANSWERED
        }
        path = self.query_one("#path", Choice).value
        draft = self._draft if path == self._put else self._draft.on_path(cast(PathId, path))
        return draft.answering(given)

    def _recommendation(self, draft: Draft) -> Recommendation:
        return advice.recommend(draft.machine, draft.answers, self._today)

    def _recommended(self, draft: Draft) -> Draft:
        found = self._recommendation(draft)
        return draft.recommending(found.path, found.reasons, found.platform)

    def _recommend(self, *, from_the_top: bool = True) -> None:
        """Say what follows from the answers; where these are the same, one reads on."""
        draft = self._answered()
        found = self._recommendation(draft)
        chooser = self.query_one("#path", Choice)
        if draft.path is None and chooser.value == self._put:  # else a message of it is to come
            self._put = found.path
            with self.prevent(Choice.Changed):
                chooser.value = found.path
        part = self.query_one("#words", Static)
        known, width = self._known(draft), part.size.width or self.size.width - 5
        part.update(
            path_texts.page(
                found, cast(PathId, chooser.value), known, width, "c shows all of them", self._today
            )
        )
        if from_the_top:
            self.query_one("#advice").scroll_home(animate=False)
        self.call_after_refresh(self._name_keys)

    def _name_keys(self) -> None:
        """Name the key that reads on where there is more to read; to draw keys anew is slow."""
        if (reads := bool(self.query_one("#advice").max_scroll_y)) != self._reads_on:
            self._reads_on = reads
            self.refresh_bindings()

    def _known(self, draft: Draft) -> Known:
        """Return what is known of the rows; what is not known yet is being worked out."""
        if not path_costs.is_known(draft):
            return Known(self._evidence)
        size = wanted_size(draft.answers)
        if size not in self._priced:
            if size not in self._pricing:
                self._pricing.add(size)
                self._price(draft, size)
            return Known(self._evidence, counting=True)
        if (priced := self._priced[size]) is None:
            return Known(self._evidence)
        costs = priced.by_path(draft, self._today)
        return Known(self._evidence, costs, priced.tokens, own_left_out=priced.own_left_out)

    @work(group="price", exit_on_error=False)
    async def _price(self, draft: Draft, size: Size) -> None:
        self._priced[size] = await beside(path_costs.priced, draft, self._today)
        self._recommend(from_the_top=False)
