"""Estimate: what the plan comes to, counted, before a second of training is spent."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftwizard.errors import FtwizardError
from ftwizard.screens import (
    crash,
    estimate_texts,
    flow,
    hour,
    hour_texts,
    palette,
    prospect,
    texts,
    values,
)
from ftwizard.screens.ask import Ask
from ftwizard.screens.draft import Draft, Step, passing_file
from ftwizard.screens.page import WizardPage
from ftwizard.screens.problem import Problem
from ftwizard.text import plural

PROBING = "Probing: real steps at the longest rows"


def smaller(draft: Draft, found: dict[str, Any]) -> str:
    """Return what a probe has found of a batch that was too large."""
    recipe = draft.plan.recipe
    return (
        f"A batch of {plural(recipe.batch_size, 'row')} ran out of memory; "
        f"{found['batch_size']} with {found['gradient_accumulation']} passes a step fit, and the "
        "optimizer sees the same batch."
    )


class EstimatePage(WizardPage[Step]):
    """Counts with the model's own tokenizer; dismisses with a draft that knows the figures."""

    STEP = 3
    HELP = (
        "Every row was rendered in the model's own chat template and cut into its own tokens, "
        "just as the training will do it. Loss is taken on answers alone.\n\n"
        "Memory and time are worked out from the model's configuration, the rows and this machine, "
        "as ranges; earlier runs and a probe come before that. p probes: it takes a few real steps "
        "at the longest rows and measures, which costs a minute or two. c shows what every path "
        "costs. h takes what an hour of this machine costs: the cost of the run follows, on the "
        "recipe's page too, and a run keeps what it was started with. Disk is what the run keeps."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "probe", "probe: measure it"),
        Binding("c", "costs", "costs"),
        Binding("h", "hour", "price an hour"),
        Binding("tab", "app.focus_next", show=False),  # there is but one thing to be on
    ]

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

    def action_costs(self) -> None:
        from ftwizard.screens.costs import CostsPage

        def priced(draft: Draft | None) -> None:
            if draft is not None:
                self._draft = self._draft.priced(draft.hour)
                self._show()

        self.app.push_screen(CostsPage(self._draft), priced)

    @work(group="hour", exclusive=True, exit_on_error=False)
    async def action_hour(self) -> None:
        """Ask what an hour of this machine costs."""
        app: Any = self.app
        guide = hour_texts.guide_of(self._draft.estimate)
        price = await hour.ask(app, self._draft.hour, guide)
        self._draft = self._draft.priced(price)
        self._show()

    @work(group="count", exclusive=True, exit_on_error=False)
    async def action_probe(self) -> None:
        """Measure memory and speed by a few real steps; take the batch that fits, if asked to."""
        app: Any = self.app
        with passing_file(self._draft) as file:
            found = await flow.work(app, PROBING, "probe", file)
        if found is None:
            return
        batch = {name: found[name] for name in ("batch_size", "gradient_accumulation")}
        if found["halved"] and await self.app.push_screen_wait(
            Ask("Take the batch that fits?", smaller(self._draft, found), "take it", "keep mine")
        ):
            for name in batch:
                self._draft = self._draft.touching(name)
            self._draft = self._draft.with_recipe(**batch)
        await self._count()

    def go_on(self) -> None:
        if self._draft.estimate is not None:
            self.dismiss(Step(self._draft, 1))

    @work(group="count", exclusive=True, exit_on_error=False)
    async def _begin(self) -> None:
        try:
            await self._count()
        except Exception as error:  # noqa: BLE001 (else a blank page, which leads nowhere)
            known = error if isinstance(error, FtwizardError) else crash.told(error)
            await self.app.push_screen_wait(Problem(known))
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
            said = estimate_texts.figures(
                found, self._draft.plan.recipe.max_length, self._draft.hour
            )
            said.append_text(texts.suited(self._changes))
            plan = self._draft.plan
            if caution := prospect.caution(plan.model.name, plan.recipe):
                said.append("\n! ", f"bold {palette.WARNING}").append(caution)
            part.update(texts.hanging(said, estimate_texts.NAMES_WIDTH, part.size.width))
