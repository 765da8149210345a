"""Recipe: the model and how it is trained; each setting with its reason and where it came from."""

from __future__ import annotations

import msgspec
from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

from ftwizard import models
from ftwizard import plan as plans
from ftwizard.advice import recipe as advice
from ftwizard.advice.recipe import Advised, Method
from ftwizard.advice.setting import Choice as Option
from ftwizard.advice.setting import Setting, settings
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.plan import Finish
from ftwizard.screens import palette
from ftwizard.screens.draft import Draft, Step
from ftwizard.screens.page import WizardPage
from ftwizard.screens.typed import Typed
from ftwizard.screens.widgets.file_input import FileInput, paths
from ftwizard.screens.widgets.fold import Fold
from ftwizard.screens.widgets.setting_row import SettingRow, reason

MODEL_REASON = (
    "The base model. Begin with a small one: a first run shows in minutes whether the rows teach "
    "what they should, and the same plan then trains a larger one."
)
AFTER = Setting(
    name="finish",
    label="After training",
    reason="Merged, the adapter and its base are one 16-bit model that any server loads. The "
    "comparison answers held-out rows with both models.",
    source="founding article",
    as_of="2026-04",
    options=(
        Option(value="both", label="merge, and compare with the base"),
        Option(value="merge", label="merge only"),
        Option(value="compare", label="compare only"),
        Option(value="neither", label="neither"),
    ),
)


class RecipePage(WizardPage[Step]):
    """Dismisses with a draft that names a model and how to train it."""

    STEP = 2
    HELP = (
        "The model: a folder with safetensors weights, an id on the Hugging Face Hub, or one of "
        "the suggestions (tab takes it over). Every setting has a value that suits most first "
        "runs; below the list stands why, and where that comes from.\n\n"
        "Up and down move, left and right choose. The last line unfolds what a first run can do "
        "without."
    )

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self._settings = settings()
        self._advised: dict[str, Advised] = {}

    def body(self) -> ComposeResult:
        plan = self._draft.plan
        with VerticalScroll(id="recipe"):
            with Horizontal(classes="field", id="model"):
                yield Static("Model", classes="name", markup=False)
                yield FileInput(
                    plan.model.name,
                    _suggest,
                    hint="owner/model, or a folder",
                    guess=False,
                    id="model-name",
                )
            for one in self._settings:
                if not one.advanced:
                    yield SettingRow(one, getattr(plan.recipe, one.name))
            yield SettingRow(AFTER, _after(plan.finish))
            yield Fold(f"advanced: {sum(one.advanced for one in self._settings)} more settings")
            for one in self._settings:
                if one.advanced:
                    yield SettingRow(one, getattr(plan.recipe, one.name))
        yield Static(id="reason", markup=False)

    def on_mount(self) -> None:
        for row in self.query(SettingRow):
            row.set_class(row.setting.advanced, "advanced")
            if row.setting.name in self._draft.touched:
                row.put(getattr(self._draft.plan.recipe, row.setting.name), "yours")
        self._advise()
        self.query_one(FileInput).focus_input()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.query_one(FileInput).fold(not self.query_one(FileInput).has_focus_within)
        self._explain()

    def on_fold_turned(self, event: Fold.Turned) -> None:
        self.query_one("#recipe").set_class(event.unfolded, "unfolded")

    def on_setting_row_changed(self, event: SettingRow.Changed) -> None:
        self._draft = self._draft.touching(event.row.setting.name)
        if event.row.setting.name == "method":
            self._advise()
        self._explain()

    def action_back(self) -> None:
        draft, _ = self._read()
        self.dismiss(Step(draft, -1))

    @work(group="next", exclusive=True, exit_on_error=False)
    async def action_next(self) -> None:
        self.query_one(FileInput).settle()
        draft, problem = self._read()
        if not problem and not draft.plan.model.name:
            problem = "Name a model first; up and down choose a suggestion, tab takes it over."
        while not problem:
            try:
                plans.check(draft.plan)
            except FtwizardError as error:
                if error.exit_code != DECLINED:
                    problem = f"{error.message} {error.hint}"
                elif not await self.app.push_screen_wait(
                    Typed(error.message, "More is accepted when you insist.", "many epochs")
                ):
                    return
                else:
                    draft = draft.insisting("many-epochs")
            else:
                self.dismiss(Step(draft, 1))
                return
        self.query_one("#reason", Static).update(
            Text.assemble(("✗ ", f"bold {palette.BAD}"), problem)
        )

    def _read(self) -> tuple[Draft, str]:
        """Return the draft with what the rows say, and what is wrong with one of them."""
        draft, values, problem = self._draft, {}, ""
        for row in self.query(SettingRow):
            try:
                values[row.setting.name] = row.value
            except ValueError as error:
                problem = problem or str(error)
        after = values.pop("finish", "both")
        name = self.query_one(FileInput).value
        draft = draft.with_plan(
            model=draft.plan.model if name == draft.plan.model.name else plans.Model(name=name),
            finish=msgspec.structs.replace(
                draft.plan.finish,
                merge=after in ("both", "merge"),
                compare=after in ("both", "compare"),
            ),
        ).with_recipe(**values)
        many = draft.plan.recipe.epochs > plans.MANY_EPOCHS
        return (draft if many else draft.insisting("many-epochs", False)), problem

    def _advise(self) -> None:
        """Put advised values where the person has chosen none."""
        rows = {row.setting.name: row for row in self.query(SettingRow)}
        method: Method = rows["method"].value if "method" in rows else "lora"
        found = self._draft.estimate or {}
        trained = (found.get("parts") or {}).get("train", {}).get("kept")
        usable = (self._draft.checked or {}).get("usable")
        advised = advice.advise(
            method, found.get("parameters"), trained or usable, self._draft.machine
        )
        self._advised = {one.name: one for one in advised}
        for name, one in self._advised.items():
            if name in rows and name not in self._draft.touched:
                rows[name].put(one.value, "advised")

    def _explain(self) -> None:
        """Say why the setting in focus has its value."""
        row = next((r for r in self.query(SettingRow) if r.has_focus_within), None)
        pane = self.query_one("#reason", Static)
        if row is None:
            pane.update(Text.assemble(("Model", "bold"), f"  {MODEL_REASON}"))
            return
        advised = self._advised.get(row.setting.name)
        why = row.setting.reason
        if advised and advised.reason != why:
            why = f"{why} {advised.reason}"
        pane.update(reason(row.setting, why, row.origin))


def _after(finish: Finish) -> str:
    return {(True, True): "both", (True, False): "merge", (False, True): "compare"}.get(
        (finish.merge, finish.compare), "neither"
    )


def _suggest(typed: str) -> list[tuple[str, str, str]]:
    """Suggest models that are here or known; folders once a path is begun."""
    if typed.startswith((".", "~", "/")):
        return list(paths(lambda _: False)(typed))
    return [(name, name, note) for name, note in models.known() if typed.lower() in name.lower()]
