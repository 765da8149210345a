"""The settings page of hosted platforms: the model, the method, and the platform's own settings."""

from __future__ import annotations

from dataclasses import replace

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from ftwizard.advice.recipe_rules import Setting
from ftwizard.catalog.account import AccountModel
from ftwizard.errors import FtwizardError
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan import schema
from ftwizard.screens import palette, subprocesses
from ftwizard.screens.draft import accounts, hosted_settings, setting_values, texts
from ftwizard.screens.draft.drafts import Draft, PageOutcome, get_absolute_path
from ftwizard.screens.draft.suggestions import Suggest
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.wizard.setting_row import SettingFields, SettingProblem, SettingRow
from ftwizard.screens.wizard.settings_page import SettingsPage
from ftwizard.text import make_visible

NO_MODEL = "Choose a model first: up and down select a suggestion, tab accepts it."
MODEL_REASON = (
    "The base model at the platform. The suggestions are the models that this account may tune with "
    "the method."
)
OTHER_ROWS = "This method needs other rows, so they are checked again."


class HostedSettingsPage(SettingsPage):
    """Dismisses with a draft that names a model and the platform's settings."""

    NOTES = (
        "Settings have the platform's own names.",
        "auto leaves a value to the platform.",
        "Every setting is checked against the platform's bounds.",
        "Budget: a job that would cost more is not started.",
    )

    def __init__(self, draft: Draft) -> None:
        super().__init__(hosted_settings.with_region(draft.with_destination()))
        assert self._draft.hosted is not None
        self._service: HostedProvider = self._draft.hosted
        self._settings = hosted_settings.list_settings(self._service)
        self._counts = {row.setting.path: row.applies for row in self._settings}

    def body(self) -> ComposeResult:
        with SettingFields(id="recipe"):
            with Horizontal(classes="field", id="model"):
                yield Static("model", classes="name", markup=False)
                yield FileInput(
                    self._draft.plan.model.name, self._build_suggester(), hint="a model of the platform",
                    guess=lambda name: self._find_model(name) is None, id="model-name",
                )  # fmt: skip
            yield from self._compose_rows([row.setting for row in self._settings])
        yield Static(id="prospect", markup=False)
        yield Static(id="reason", markup=False)

    def on_mount(self) -> None:
        self._put_values()
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

    def on_file_input_edited(self) -> None:
        self._show_rows()  # other families of models have other settings

    def on_setting_row_changed(self, event: SettingRow.Changed) -> None:
        if event.row.setting.name in hosted_settings.METHOD_NAMES:
            draft = self._read_rows()[0]
            suggest = accounts.build_suggester(draft.account, accounts.get_method(draft))
            self.query_one(FileInput).suggest_from(suggest)

    def _show_rows(self) -> None:
        """Show the settings that count with the others, and the region of the model."""
        region = self._find_region_row()
        if region is not None and not region.is_changed:
            plan = self._read_rows()[0].plan
            region.put(setting_values.get_value(plan, region.setting), "of the model")
        super()._show_rows()

    def _applies(self, setting: Setting, plan: schema.Plan) -> bool:
        return self._counts[setting.path](plan)

    def _read_rows(self) -> tuple[Draft, SettingProblem | None]:
        """Return the draft with the current values, and the first problem."""
        draft = self._draft
        name = self.query_one(FileInput).value
        if name != draft.plan.model.name:
            draft = draft.with_plan(model=schema.Model(name=name))
        draft, problem = self._read_changes(draft, None)
        region = self._find_region_row()
        if region is not None and not region.is_changed:
            draft = hosted_settings.with_region(draft)
        return draft, problem

    def _find_region_row(self) -> SettingRow | None:
        """Return the row of the region, which follows the model until the person types another."""
        name = schema.HOSTED_PROVIDERS[self._service].REGION
        return self._find_row(f"{self._service}.{name}") if name else None

    def _find_problem(self, draft: Draft) -> SettingProblem | None:
        """Return what the platform would refuse; risks do not count."""
        if not draft.plan.model.name:
            return SettingProblem(NO_MODEL)
        model = self._find_model(draft.plan.model.name)
        method = accounts.get_method(draft)
        if model is not None and not model.tunable:
            reason = make_visible(model.note, 300)
            text = f"{make_visible(model.name, 60)} cannot be tuned. {reason}".rstrip()
            return SettingProblem(f"{text} {self._name_other(method)}")
        if model is not None and accounts.OWN_METHODS[self._service][method] not in model.methods:
            text = f"{make_visible(model.name, 60)} cannot be tuned with {method}."
            return SettingProblem(f"{text} {self._name_other(method)}")
        try:
            return super()._find_problem(draft)
        except FtwizardError as error:
            return SettingProblem(error.text)

    def _name_other(self, method: str) -> str:
        """Return what to do instead of a model that cannot be tuned with a method."""
        account = self._draft.account
        models = accounts.list_models(account, method) if account else []
        if not models:
            return "Change the method, or go back with esc for another account."
        return f"Type another above, such as {make_visible(models[0].id, 60)}."

    # --- leaving ----------------------------------------------------------------------------

    @work(group="next", exclusive=True, exit_on_error=False)
    async def go_next(self) -> None:
        if self._take_suggestion():
            return
        draft, problem = self._read_rows()
        if problem is None:
            try:
                plan = hosted_settings.resolve_grader(draft.plan, get_absolute_path)
                draft = draft.with_plan(**{plan.provider: plan.platform_settings})
            except FtwizardError as error:
                problem = SettingProblem(f"grader: {error.text}")
        problem = problem or self._find_problem(draft)
        if problem:
            self._show_problem(problem)
            return
        if draft.checked is not None and draft.target != draft.checked_for:
            self.notify(OTHER_ROWS, markup=False)
            self.dismiss(PageOutcome(draft, -1))
            return
        self.dismiss(PageOutcome(draft, 1))

    # --- texts ------------------------------------------------------------------------------

    def _format_prospect(self, draft: Draft) -> Text:
        name = accounts.get_name(self._service)
        text = Text.assemble(("→ ", palette.ACCENT), f"{draft.plan.model.name} at {name}")
        model = self._find_model(draft.plan.model.name)
        if model is None:
            return text.append("  not in the list of this account", "dim")
        if words := accounts.describe_model(model):
            text.append(f"  {words}", "dim")
        if model.note:
            text.append(f"\n  {make_visible(model.note, 300)}", "dim")
        return text

    def _format_row_reason(
        self, draft: Draft, row: SettingRow | None, problem: SettingProblem | None
    ) -> Text:
        if row is None:
            return Text.assemble(("model", "bold"), f"  {MODEL_REASON}")
        return texts.format_reason(row.setting, None, row.origin)
