"""The Estimate page: steps, memory, time and cost of the plan, before training."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from ftwizard.errors import FtwizardError
from ftwizard.estimate import speed_options
from ftwizard.estimate.probe_cache import ProbeReport
from ftwizard.estimate.report import EstimateReport
from ftwizard.estimate.speed_options import SpeedComparison
from ftwizard.screens import crash_log, layout, palette
from ftwizard.screens.costs import hour_price
from ftwizard.screens.dialogs import command_progress
from ftwizard.screens.dialogs.dialog import ErrorDialog, NoticeDialog
from ftwizard.screens.dialogs.questions import ConfirmDialog
from ftwizard.screens.draft import live_estimate, setting_values, texts, time_limit
from ftwizard.screens.draft.drafts import Draft, temporary_plan
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.screens.wizard.page import WizardPage
from ftwizard.screens.wizard.time_limit import switch

PRICE_HINT, PROBE_HINT = "h sets the hourly price", "p measures it"
TO_RECIPE, TO_DATA = -2, -3
"""Pages back, where another answer is needed."""
ELSEWHERE = FtwizardError(
    "This plan trains on a node of the cluster. A probe here would measure the login node.",
    "Save the plan. Then ftwizard probe PLAN prints the command that measures on a node.",
)
PROBE_TITLE = "Probing: training steps on the longest rows"
COMPARISON_TITLE = "Comparing: the same steps with each faster setting"


def describe_smaller_batch(draft: Draft, probe: ProbeReport) -> str:
    """Describe how a probe reduced a batch size that ran out of memory."""
    recipe = draft.plan.recipe
    return (
        f"Batch size {recipe.batch_size} ran out of memory. Batch size {probe.batch_size} with "
        f"{probe.gradient_accumulation} gradient accumulation steps fits. The effective batch "
        "size stays the same."
    )


def describe_comparison(comparison: SpeedComparison) -> str:
    """Describe what each option gained, a line each; those that are not possible come last."""
    lines, absent = [], []
    for option in comparison.options[1:]:
        if option.gain is None:
            absent.append(option.name)
            continue
        is_same = speed_options.trains_the_same(option, comparison.options[0])
        steps = "" if is_same else f", in {option.steps_per_epoch:,} steps per epoch"
        lines.append(f"{option.name}: {option.gain:+.0%}{steps}")
    if absent:
        lines.append(f"Not possible here: {'; '.join(absent)}. Why: ftwizard probe --compare")
    return "\n".join(lines)


class EstimatePage(WizardPage):
    """Counts tokens with the model's tokenizer; dismisses with a draft that has the estimate."""

    STEP = 3
    NOTES = (
        "Counted with the model's tokenizer, as in training.",
        "Memory and time are ranges; a probe or a run replaces them.",
        "Longest: rows of so many tokens fit, or may fit.",
        "A run keeps the hourly price that it was started with.",
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "p", "probe", "probe (measure)", tooltip="measure memory and speed: a few real steps"
        ),
        Binding("f", "compare", "faster", tooltip="measure kernels and layouts, offer the best"),
        Binding(
            "ctrl+t,t",
            "limit",
            "quick look",
            key_display="^t",
            tooltip="reduce the run to some minutes, or undo that",
        ),
        Binding("c", "costs", "costs", tooltip="costs of every offer"),
        Binding("h", "hour", "hourly price", tooltip="hourly price of this machine"),
        Binding(
            "tab", "app.focus_next", show=False, tooltip="next field"
        ),  # there is only one field
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._changes: list[str] = []
        self._tightened = False
        """Whether the exact count showed more than the time limit, and the run was reduced again."""

    def body(self) -> ComposeResult:
        with ScrollPane(id="estimate"):
            yield Static(id="figures", markup=False)

    def on_mount(self) -> None:
        self.query_one("#estimate").focus()
        if self._draft.estimate is None:
            self._begin()
        self.call_after_refresh(self._show)

    def update_costs(self) -> None:
        self._show()

    @work(group="hour", exclusive=True, exit_on_error=False)
    async def action_hour(self) -> None:
        """Ask for the hourly price of this machine."""
        self._draft = await hour_price.ask_price(self.app, self._draft)
        self._show()

    @work(group="count", exclusive=True, exit_on_error=False)
    async def action_limit(self) -> None:
        """Reduce the run to some minutes, or undo that; then count again."""
        if (changed := await switch(self.app, self._draft)) is not None:
            self._draft, self._tightened = changed, False
            self._changes = []  # other rows, other advice
            await self._count()

    @work(group="count", exclusive=True, exit_on_error=False)
    async def action_probe(self) -> None:
        """Measure memory and speed with a few training steps; offer the batch size that fits."""
        if self._draft.plan.where.scheduler == "slurm":
            await self.app.push_screen_wait(ErrorDialog(ELSEWHERE))
            return
        with temporary_plan(self._draft) as file:
            document = await command_progress.run_command(self.app, PROBE_TITLE, "probe", file)
        if document is None:
            return
        probe = msgspec.convert(document, ProbeReport)
        batch = {name: getattr(probe, name) for name in ("batch_size", "gradient_accumulation")}
        if probe.halved > 0 and await self.app.push_screen_wait(
            ConfirmDialog(
                "Use the batch size that fits?",
                describe_smaller_batch(self._draft, probe),
                "use it",
                "keep mine",
            )
        ):
            for name in batch:
                self._draft = self._draft.with_touched(name)
            self._draft = self._draft.with_recipe(**batch)
        await self._count()

    @work(group="count", exclusive=True, exit_on_error=False)
    async def action_compare(self) -> None:
        """Measure settings that change the speed; offer the fastest that trains the same."""
        if self._draft.plan.where.scheduler == "slurm":
            await self.app.push_screen_wait(ErrorDialog(ELSEWHERE))
            return
        with temporary_plan(self._draft) as file:
            document = await command_progress.run_command(
                self.app, COMPARISON_TITLE, "probe", file, "--compare"
            )
        if document is None:
            return
        comparison = msgspec.convert(document, SpeedComparison)
        details = describe_comparison(comparison)
        if not comparison.fastest:
            question = "No other setting is faster by more than chance"
            await self.app.push_screen_wait(NoticeDialog(Text(question, "bold"), details))
            return
        settings = speed_options.format_settings(comparison.fastest)
        question = f"Train {comparison.gain:.0%} faster with {settings}?"
        if await self.app.push_screen_wait(ConfirmDialog(question, details, "use it", "keep mine")):
            for name in comparison.fastest:
                self._draft = self._draft.with_touched(name)
            self._draft = self._draft.with_recipe(**comparison.fastest)
            await self._count()

    def go_next(self) -> None:
        if self._draft.estimate is not None:
            self.leave(1)

    @work(group="count", exclusive=True, exit_on_error=False)
    async def _begin(self) -> None:
        try:
            await self._count()
        except Exception as error:  # noqa: BLE001 (else the page stays blank)
            problem = error if isinstance(error, FtwizardError) else crash_log.to_user_error(error)
            await self.app.push_screen_wait(ErrorDialog(problem))
            self.leave(TO_RECIPE)

    async def _count(self) -> None:
        if self._draft.is_stale:
            await self.app.push_screen_wait(ErrorDialog(texts.file_changed_error(self._draft)))
            self.leave(TO_DATA)
            return
        draft, again, title = self._draft, True, texts.COUNTING
        while again:
            with temporary_plan(draft) as file:
                document = await command_progress.run_command(self.app, title, "estimate", file)
            if document is None:  # canceled, or it failed: most often because of the model
                self.leave(TO_RECIPE)
                return
            self._draft = draft.with_estimate(msgspec.convert(document, EstimateReport))
            # The model's size is known now, so more advice applies.
            draft, changes = setting_values.apply_advice(self._draft)
            again = bool(changes) and not self._changes
            if not (again or self._tightened) and (tighter := time_limit.tighten(self._draft)):
                draft, again, self._tightened = tighter, True, True
            self._changes = self._changes or changes
            title = texts.COUNTING_AGAIN
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        part = self.query_one("#figures", Static)
        if self._draft.estimate and part.size.width:
            words = texts.format_estimate(self._draft, PRICE_HINT, PROBE_HINT)
            words.append_text(texts.format_adjustments(self._changes))
            plan = self._draft.plan
            words.append_text(texts.format_limit(self._draft, "^t undoes it"))
            if caution := live_estimate.describe_caution(plan.model.name, plan.recipe):
                words.append("\n! ", f"bold {palette.WARNING}").append(caution)
            part.update(layout.wrap_hanging(words, texts.ESTIMATE_NAMES_WIDTH, part.size.width))
