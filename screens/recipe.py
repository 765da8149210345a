"""Recipe: the model and how it is trained; each setting with its reason and where it came from."""

from __future__ import annotations

from typing import cast

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

from ftwizard import plan as plans
from ftwizard.advice.recipe import Advised, Method
from ftwizard.advice.setting import settings
from ftwizard.earlier import Earlier
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.screens import palette, prospect, remembered, texts
from ftwizard.screens.beside import beside
from ftwizard.screens.draft import Draft, Step
from ftwizard.screens.page import WizardPage
from ftwizard.screens.suggestions import models
from ftwizard.screens.typed import Typed
from ftwizard.screens.values import (
    AFTER,
    about_model,
    advised,
    cautions,
    model_name,
    prompts_problem,
    settled,
    value_of,
    with_value,
)
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.widgets.fold import Fold
from ftwizard.screens.widgets.setting_row import SettingRow

ADVANCED = "What a first run can do without. Right unfolds these lines, left folds them again."

MARGINS = 4
"""Cells left and right of what it all leads to."""


class Fields(VerticalScroll, can_focus=False, inherit_bindings=False):
    """Lines that up and down move among; the one in focus is scrolled to."""


class RecipePage(WizardPage[Step]):
    """Dismisses with a draft that names a model and how to train it."""

    STEP = 2
    HELP = (
        "The model: a folder with safetensors weights, an id on the Hugging Face Hub, or one of "
        "the suggestions (tab takes it over). Every setting has a value that suits most first "
        "runs; below the list stands why, and where that comes from.\n\n"
        "Up and down move, left and right choose. The last line unfolds what a first run can do "
        "without.\n\n"
        "→ is what all of it leads to on this machine. What it costs is told once the price of an "
        "hour is known: h on the next page says it."
    )

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self._settings = settings()
        self._advised: dict[str, Advised] = {}
        self._problem = ""
        """Why it did not go on; until something is changed."""
        self._before: Earlier | None = None
        """What an earlier run on the same rows says of many epochs."""

    def body(self) -> ComposeResult:
        plan = self._draft.plan
        with Fields(id="recipe"):
            with Horizontal(classes="field", id="model"):
                yield Static("Model", classes="name", markup=False)
                yield FileInput(
                    plan.model.name,
                    models,
                    hint="owner/model, or a folder",
                    id="model-name",
                )
            for one in self._settings:
                if not one.advanced:
                    yield SettingRow(one, value_of(plan, one))
            yield SettingRow(AFTER, value_of(plan, AFTER))
            yield Fold(f"advanced: {sum(one.advanced for one in self._settings)} more settings")
            for one in self._settings:
                if one.advanced:
                    yield SettingRow(one, value_of(plan, one))
        yield Static(id="prospect", markup=False)
        yield Static(id="reason", markup=False)

    def on_mount(self) -> None:
        for row in self.query(SettingRow):
            row.set_class(row.setting.advanced, "advanced")
            if row.setting is not AFTER and row.setting.name in self._draft.touched:
                row.put(value_of(self._draft.plan, row.setting), "yours")
        self._advise()
        self._look_back()
        self.query_one(FileInput).focus_input()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.query_one(FileInput).fold(not self.query_one(FileInput).has_focus_within)
        self._explain()

    def on_fold_turned(self, event: Fold.Turned) -> None:
        self.query_one("#recipe").set_class(event.unfolded, "unfolded")

    def on_file_input_edited(self) -> None:
        self._problem = ""
        self._advise()
        self._look_back()
        self._explain()

    def on_setting_row_changed(self, event: SettingRow.Changed) -> None:
        self._problem = ""
        if event.row.setting.name == "learning_rate":
            self._draft, _ = self._read()  # for which model it was chosen is remembered
        if event.row.setting.name == "method":
            self._advise()
        if event.row.setting.name == "epochs":
            self._look_back()
        self._explain()

    def on_resize(self) -> None:
        self._explain()

    def action_back(self) -> None:
        draft, _ = self._read()
        self.dismiss(Step(draft, -1))

    @work(group="next", exclusive=True, exit_on_error=False)
    async def go_on(self) -> None:
        line = self.query_one(FileInput)
        before = line.value
        line.settle()
        if line.value != before:  # what was suggested is looked at first
            self.query(SettingRow).first().focus_field()
            return
        draft, problem = read = self._read()
        name = model_name(draft.plan.model.name)
        if name != draft.plan.model.name:  # a run does not stand where this wizard does
            draft = draft.with_plan(model=plans.Model(name=name))
        if not problem and not draft.plan.model.name:
            problem = "Name a model first; up and down choose a suggestion, tab takes it over."
        if not problem and not (problem := await beside(prompts_problem, draft)):
            draft = settled(draft)
        while not problem:
            try:
                plans.check(draft.plan, await _spoken_for(draft))
            except FtwizardError as error:
                if error.exit_code != DECLINED:
                    problem = f"{error.message} {error.hint}"
                elif not await self.app.push_screen_wait(Typed(error.message, *texts.MANY_EPOCHS)):
                    return
                else:
                    draft = draft.allowing("many-epochs")
            else:
                if self._read() == read:  # else somebody has gone on to change it
                    self.dismiss(Step(draft, 1))
                return
        if self._read() != read:
            return
        row = self._row_of(problem)
        self._problem = (
            problem.replace(f"{row.setting.part}.{row.setting.name} ", f"{row.setting.label} ")
            if row
            else problem
        )
        self._explain()
        if row:
            self._go_to(row)

    def _row_of(self, problem: str) -> SettingRow | None:
        """Return the line that a problem is about."""
        for row in self.query(SettingRow):
            one = row.setting
            if problem.startswith((f"{one.label}:", f"{one.part}.{one.name} ")):
                return row
        return None

    def _go_to(self, row: SettingRow) -> None:
        """Put the focus on a line."""
        if row.setting.advanced:
            self.query_one(Fold).action_turn(True)
        self.call_after_refresh(row.focus_field)  # once it is unfolded

    def _read(self) -> tuple[Draft, str]:
        """Return the draft with what the rows say, and what is wrong with one of them."""
        draft, problem = self._draft, ""
        name = self.query_one(FileInput).value
        if name != draft.plan.model.name:
            draft = draft.with_plan(model=plans.Model(name=name))
        for row in self.query(SettingRow):
            draft = draft.touching(row.setting.name) if row.edited else draft
            try:
                draft = with_value(draft, row.setting, row.value)
            except ValueError as error:
                problem = problem or str(error)
        many = draft.plan.recipe.epochs > plans.MANY_EPOCHS
        return (draft if many else draft.allowing("many-epochs", False)), problem

    def _advise(self) -> None:
        """Put advised values where the person has chosen none."""
        rows = {row.setting.name: row for row in self.query(SettingRow)}
        method: Method = rows["method"].value
        draft = self._draft.with_plan(model=plans.Model(name=self.query_one(FileInput).value))
        if not rows["method"].edited:
            method = cast(Method, advised(draft, method)["method"].value)
        self._advised = advised(draft, method)
        for name, one in self._advised.items():
            if name in rows and not rows[name].edited:
                rows[name].put(one.value, "advised")

    @work(group="before", exclusive=True, exit_on_error=False)
    async def _look_back(self) -> None:
        """Look for an earlier run on the same rows that speaks for many epochs, or against them."""
        before = await beside(remembered.before, self._read()[0])
        if before != self._before:
            self._before = before
            self._explain()

    def _explain(self) -> None:
        """Say why the setting in focus has its value, and what all of them come to."""
        draft, problem = self._read()
        # What no value can be read from comes to nothing: what it came to before is not true now.
        part = self.query_one("#prospect", Static)
        told = Text.assemble(("→ ", "dim"), (problem, "dim"))
        part.update(told if problem else prospect.line(draft, self.size.width - MARGINS))
        self.query_one("#reason", Static).update(self._reason(draft))

    def _reason(self, draft: Draft) -> Text:
        """Return what stands in the way, or what is to be known of the line in focus."""
        if self._problem:
            return Text.assemble(("✗ ", f"bold {palette.BAD}"), self._problem)
        if self.query_one(Fold).has_focus:
            return Text.assemble(("Advanced", "bold"), f"  {ADVANCED}")
        row = next((r for r in self.query(SettingRow) if r.has_focus_within), None)
        if row is None:
            name = self.query_one(FileInput).value
            return Text.assemble(("Model", "bold"), f"  {about_model(name, draft.plan.recipe)}")
        one = row.setting
        text, before = Text(), self._before
        falling = before is not None and before.falling
        if caution := cautions(draft, falling=falling).get(one.name):
            text.append("! ", f"bold {palette.WARNING}").append(f"{caution}\n")
        if one.name == "epochs" and before and draft.plan.recipe.epochs > plans.MANY_EPOCHS:
            text.append_text(texts.earlier_run(before, draft.plan.recipe.epochs))
        return text.append_text(texts.reason(one, self._advised.get(one.name), row.origin))


async def _spoken_for(draft: Draft) -> tuple[plans.RiskName, ...]:
    """Return the warnings that need no insistence: many epochs, where an earlier run of the same
    rows speaks for them."""
    if draft.plan.recipe.epochs <= plans.MANY_EPOCHS:
        return ()
    before = await beside(remembered.before, draft)  # it may read a large file
    return ("many-epochs",) if before and before.falling else ()
