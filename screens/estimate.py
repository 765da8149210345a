"""Estimate: what the plan comes to, counted, before a second of training is spent."""

from __future__ import annotations

from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftwizard.errors import FtwizardError
from ftwizard.screens import flow, texts, values
from ftwizard.screens.draft import Draft, Step, passing_file
from ftwizard.screens.page import WizardPage
from ftwizard.screens.problem import Problem


class EstimatePage(WizardPage[Step]):
    """Counts with the model's own tokenizer; dismisses with a draft that knows the figures."""

    STEP = 3
    HELP = (
        "Every row was rendered in the model's own chat template and cut into its own tokens, "
        "just as the training will do it. Loss is taken on answers alone.\n\n"
        "Time is known once a run of this model has trained here; disk is what the run keeps."
    )

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self._changes: list[str] = []

    def body(self) -> ComposeResult:
        with VerticalScroll(id="estimate"):
            yield Static(id="figures", markup=False)

    def on_mount(self) -> None:
        self.query_one("#estimate").focus()
        if self._draft.estimate is None:
            self._begin()
        self.call_after_refresh(self._show)

    def action_back(self) -> None:
        self.dismiss(Step(self._draft, -1))

    def action_next(self) -> None:
        if self._draft.estimate is not None:
            self.dismiss(Step(self._draft, 1))

    @work(group="count", exclusive=True, exit_on_error=False)
    async def _begin(self) -> None:
        try:
            await self._count()
        except FtwizardError as error:
            await self.app.push_screen_wait(Problem(error))
            self.dismiss(Step(self._draft, -1))

    async def _count(self) -> None:
        app: Any = self.app
        if self._draft.is_stale:
            await self.app.push_screen_wait(Problem(texts.changed(self._draft)))
            self.dismiss(Step(self._draft, -2))
            return
        draft, again = self._draft, True
        while again:
            with passing_file(draft) as file:
                found = await flow.work(app, texts.COUNTING, "estimate", file)
            if found is None:
                self.dismiss(Step(self._draft, -1))
                return
            self._draft = draft.counted(found)
            # Now that the size of the model is known, more is advised than before.
            draft, changes = values.suited(self._draft)
            again = bool(changes) and not self._changes
            self._changes = self._changes or changes
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        found, part = self._draft.estimate, self.query_one("#figures", Static)
        if found and part.size.width:
            said = texts.figures(found, self._draft.plan.recipe.max_length)
            said.append_text(texts.suited(self._changes))
            part.update(texts.hanging(said, texts.NAMES_WIDTH, part.size.width))
