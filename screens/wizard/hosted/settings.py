"""The settings page of hosted platforms: the model, the method, and the platform's own settings."""

from __future__ import annotations

import typing
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.widgets import Static

from ftwizard.catalog.account import AccountModel
from ftwizard.errors import FtwizardError
from ftwizard.kept_keys import HostedService
from ftwizard.plan import schema
from ftwizard.plan.checks import check_plan
from ftwizard.screens import palette, subprocesses
from ftwizard.screens.draft import accounts, hosted_settings, setting_values, texts
from ftwizard.screens.draft.drafts import Draft, Step, get_absolute_path
from ftwizard.screens.draft.suggestions import Suggest
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.widgets.folded_section import FoldedSection
from ftwizard.screens.wizard.page import WizardPage
from ftwizard.screens.wizard.setting_row import Problem, SettingFields, SettingRow
from ftwizard.strict_yaml import SettingsError
from ftwizard.text import make_visible

NO_MODEL = "Choose a model first: up and down select a suggestion, tab accepts it."
MODEL_REASON = (
    "The base model at the platform. The suggestions are the models that this account may tune with "
    "the method."
)
ADVANCED = "A first run does not need these settings. Right expands them, left collapses them."
OTHER_ROWS = "This method needs other rows, so they are checked again."


class HostedSettingsPage(WizardPage):
    """Dismisses with a draft that names a model and the platform's settings."""

    STEP = 2
    NOTES = (
        "Settings have the platform's own names.",
        "auto leaves a value to the platform.",
        "Every setting is checked against the platform's bounds.",
        "Budget: a job that would cost more is not started.",
    )
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft.with_place())
        assert self._draft.hosted is not None
        self._service: HostedService = self._draft.hosted
        self._settings = hosted_settings.list_settings(self._service)
        self._applies = {row.setting.name: row.applies for row in self._settings}
        self._problem = ""
        """Why it did not continue; cleared on the next change."""

    def body(self) -> ComposeResult:
        plan = self._draft.plan
        with SettingFields(id="recipe"):
            with Horizontal(classes="field", id="model"):
                yield Static("model", classes="name", markup=False)
                yield FileInput(
                    plan.model.name, self._build_suggester(), hint="a model of the platform",
                    guess=lambda name: self._find_model(name) is None, id="model-name",
                )  # fmt: skip
            rows = [row.setting for row in self._settings]
            advanced = [setting for setting in rows if setting.advanced]
            for setting in rows[: len(rows) - len(advanced)]:
                yield SettingRow(setting, setting_values.get_value(plan, setting))
            yield FoldedSection(f"advanced: {len(advanced)} more settings")
            for setting in advanced:
                yield SettingRow(setting, setting_values.get_value(plan, setting))
        yield Static(id="prospect", markup=False)
        yield Static(id="reason", markup=False)

    def on_mount(self) -> None:
        for row in self.query(SettingRow):
            row.set_class(row.setting.advanced, "advanced")
            value = setting_values.get_value(self._draft.plan, row.setting)
            is_default = value == setting_values.get_default(row.setting)
            row.put(value, "default" if is_default else "yours")
        self._show_rows()
        self._update_texts()
        self.query(SettingRow).first().field.focus()
        if self._draft.account is None:
            self._look_up_account()

    @work(group="account", exclusive=True, exit_on_error=False)
    async def _look_up_account(self) -> None:
        """Look up the models of the account again, as after a draft was continued."""
        try:
            argv = accounts.check_arguments(self._service)
            report = accounts.decode_report(await subprocesses.run_command(*argv))
        except (FtwizardError, OSError):
            return  # the last page says why, before anything is uploaded
        if self.is_attached and report.models:
            self._draft = replace(self._draft, account=report)
            self.query_one(FileInput).suggest_from(self._build_suggester())
            self._update_texts()

    def _build_suggester(self) -> Suggest:
        return accounts.build_suggester(self._draft.account, accounts.get_method(self._draft))

    def _find_model(self, name: str) -> AccountModel | None:
        account = self._draft.account
        return accounts.find_model(account, name) if account else None

    # --- answers ----------------------------------------------------------------------------

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        line = self.query_one(FileInput)
        line.fold(not line.has_focus_within)
        self._update_texts()

    def on_folded_section_turned(self, event: FoldedSection.Turned) -> None:
        self.query_one("#recipe").set_class(event.unfolded, "unfolded")

    def on_file_input_edited(self) -> None:
        self._problem = ""
        self._update_texts()

    def on_setting_row_changed(self, event: SettingRow.Changed) -> None:
        self._problem = ""
        self._show_rows()
        if event.row.setting.name in hosted_settings.METHOD_NAMES:
            draft = self._read_rows()[0]
            suggest = accounts.build_suggester(draft.account, accounts.get_method(draft))
            self.query_one(FileInput).suggest_from(suggest)
        self._update_texts()

    def _show_rows(self) -> None:
        """Show the settings that count with the others."""
        plan = self._read_rows()[0].plan
        for row in self.query(SettingRow):
            row.set_class(not self._applies[row.setting.name](plan), "unused")

    def on_resize(self) -> None:
        self._update_texts()

    def get_draft(self) -> Draft:
        return self._read_rows()[0]

    def _read_rows(self) -> tuple[Draft, Problem | None]:
        """Return the draft with the current values, and the first problem."""
        draft, problem = self._draft, None
        name = self.query_one(FileInput).value
        if name != draft.plan.model.name:
            draft = draft.with_plan(model=schema.Model(name=name))
        for row in self.query(SettingRow):
            if not row.is_changed:
                continue
            try:
                draft = setting_values.with_value(draft, row.setting, row.value)
            except ValueError as error:
                problem = problem or Problem(str(error), row)
        return draft, problem

    def _find_problem(self, draft: Draft) -> Problem | None:
        """Return what the platform would refuse; risks do not count."""
        if not draft.plan.model.name:
            return Problem(NO_MODEL)
        model = self._find_model(draft.plan.model.name)
        method = accounts.get_method(draft)
        if model is not None and not model.tunable:
            return Problem(f"{make_visible(model.name, 60)} cannot be tuned. {model.note}")
        if model is not None and accounts.OWN_METHODS[self._service][method] not in model.methods:
            return Problem(f"{make_visible(model.name, 60)} cannot be tuned with {method}.")
        try:
            check_plan(draft.final_plan, typing.get_args(schema.RiskName))
        except SettingsError as error:
            names = {
                f"{row.setting.part}.{row.setting.name}": row for row in self.query(SettingRow)
            }
            row = names.get(error.setting)
            text = f"{row.setting.label} {error.problem} {error.hint}" if row else error.text
            return Problem(text, row)
        except FtwizardError as error:
            return Problem(error.text)
        return None

    # --- leaving ----------------------------------------------------------------------------

    @work(group="next", exclusive=True, exit_on_error=False)
    async def go_next(self) -> None:
        line = self.query_one(FileInput)
        before = line.value
        line.settle()
        if line.value != before:  # let the person see the suggestion first
            self.query(SettingRow).first().field.focus()
            return
        draft, problem = self._read_rows()
        if problem is None:
            try:
                plan = hosted_settings.resolve_grader(draft.plan, get_absolute_path)
                draft = draft.with_plan(**{plan.provider: plan.platform_settings})
            except FtwizardError as error:
                problem = Problem(f"grader: {error.text}")
        problem = problem or self._find_problem(draft)
        if problem:
            self._show_problem(problem)
            return
        if draft.checked is not None and draft.target != draft.checked_for:
            self.notify(OTHER_ROWS, markup=False)
            self.dismiss(Step(draft, -1))
            return
        self.dismiss(Step(draft, 1))

    def _show_problem(self, problem: Problem) -> None:
        self._problem = problem.text
        self._update_texts()
        if problem.row is None:
            return
        if problem.row.setting.advanced:
            self.query_one(FoldedSection).action_turn(True)
        self.call_after_refresh(problem.row.field.focus)  # once it is expanded

    # --- texts ------------------------------------------------------------------------------

    def _update_texts(self) -> None:
        """Explain the focused setting; show the problem, or what the model is."""
        draft, problem = self._read_rows()
        problem = problem or self._find_problem(draft)
        part = self.query_one("#prospect", Static)
        if problem:
            is_below = problem.text == self._problem
            part.update("" if is_below else Text(f"→ {problem.text}", "dim"))
        else:
            part.update(self._format_prospect(draft))
        self.query_one("#reason", Static).update(self._format_reason())

    def _format_prospect(self, draft: Draft) -> Text:
        name = accounts.get_name(self._service)
        text = Text.assemble(("→ ", palette.ACCENT), f"{draft.plan.model.name} at {name}")
        model = self._find_model(draft.plan.model.name)
        if model is None:
            return text.append("  not in the list of this account", "dim")
        if words := accounts.describe_model(model):
            text.append(f"  {words}", "dim")
        return text

    def _format_reason(self) -> Text:
        """Return the problem, else the explanation of the focused row."""
        if self._problem:
            return Text.assemble(("✗ ", f"bold {palette.BAD}"), self._problem)
        if self.query_one(FoldedSection).has_focus:
            return Text.assemble(("Advanced", "bold"), f"  {ADVANCED}")
        row = next((row for row in self.query(SettingRow) if row.has_focus_within), None)
        if row is None:
            return Text.assemble(("model", "bold"), f"  {MODEL_REASON}")
        return texts.format_reason(row.setting, None, row.origin)
