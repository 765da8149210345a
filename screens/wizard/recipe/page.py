"""The Recipe page: the model and its training settings, with reasons and sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Static

from ftwizard.advice.recipe_rules import AdvisedValue, Setting, settings
from ftwizard.advice.run_history import EarlierLoss
from ftwizard.background import run_in_thread
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.models import hub, hub_models
from ftwizard.plan import machine_checks, schema
from ftwizard.plan.checks import check_plan
from ftwizard.screens import palette
from ftwizard.screens.dialogs import command_progress
from ftwizard.screens.dialogs.questions import ResultDialog, TypedConfirm
from ftwizard.screens.draft import (
    drafts,
    live_estimate,
    model_list,
    objectives,
    place_texts,
    reward_trial,
    setting_values,
    texts,
    time_limit,
)
from ftwizard.screens.draft.drafts import Draft, PageOutcome
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.wizard.setting_row import SettingFields, SettingProblem, SettingRow
from ftwizard.screens.wizard.settings_page import SettingsPage
from ftwizard.screens.wizard.time_limit import switch
from ftwizard.slurm import cluster
from ftwizard.slurm.cluster import ClusterReport
from ftwizard.strict_yaml import SettingsError

NO_MODEL = "Choose a model first: up and down select a suggestion, tab accepts it, ctrl+l lists all models."
_PLACE_KEYS = ("where.scheduler", "where.processes", "slurm.nodes", "slurm.gpus")
"""Settings that decide how many processes train together."""
MARGINS = 4
"""Cells left and right of the preview."""


class RecipePage(SettingsPage):
    """Dismisses with a draft that names a model and how to train it."""

    RESETS = True
    NOTES = (
        "Model: a Hub id, or a folder with safetensors weights.",
        "A part of a name opens the list of models.",
        "Objective: what it learns from; the rows decide which fit.",
        "Every setting begins with a value that suits first runs.",
        "An emptied field has that value again.",
        "Its reason and source are below the list.",
        "→ shows memory, time and cost on this machine.",
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+l", "models", "models", key_display="^l", tooltip="list of models, with a search"
        ),
        Binding(
            "ctrl+r",
            "rewards",
            "try rewards",
            key_display="^r",
            priority=True,
            tooltip="try the rewards on ten rows",
        ),
        Binding(
            "ctrl+t",
            "limit",
            "quick look",
            key_display="^t",
            priority=True,
            tooltip="reduce the run to some minutes, or undo that",
        ),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._advised: dict[str, AdvisedValue] = {}
        self._tried: object = None
        """What the rewards were tried with, once nothing keeps the page from being left."""
        self._cluster: ClusterReport | None = None
        """What Slurm has, once it answered."""
        self._cluster_note = ""
        """Why that is unknown."""
        self._earlier_run: EarlierLoss | None = None
        """An earlier run on the same data that informs the number of epochs."""

    def body(self) -> ComposeResult:
        with SettingFields(id="recipe"):
            with Horizontal(classes="field", id="model"):
                yield Static("Model", classes="name", markup=False)
                yield FileInput(
                    self._draft.plan.model.name,
                    model_list.build_suggester(self._draft),
                    hint="owner/model, or a folder",
                    id="model-name",
                )
            yield from self._compose_rows(settings())
        yield Static(id="prospect", markup=False)
        yield Static(id="reason", markup=False)

    def on_mount(self) -> None:
        self._put_values()
        self.refresh_bindings()
        self._find_earlier_run()
        if self._draft.machine.slurm:
            self._read_cluster()
        self.query_one(FileInput).focus_input()
        if not self._draft.plan.model.name and not hub.is_offline():
            self._check_hub()

    @work(group="hub", exclusive=True, exit_on_error=False)
    async def _check_hub(self) -> None:
        """Without the Hub, suggest what is here first."""
        if not await run_in_thread(hub_models.is_reachable) and self.is_attached:
            suggest = model_list.build_suggester(self._draft, is_hub_away=True)
            self.query_one(FileInput).suggest_from(suggest)

    @work(group="cluster", exclusive=True, exit_on_error=False)
    async def _read_cluster(self) -> None:
        """Ask Slurm what it has; its partitions and accounts are suggestions."""
        self._cluster_note = place_texts.ASKING
        try:
            self._cluster = await run_in_thread(cluster.read_cluster)
            self._cluster_note = ""
        except FtwizardError as error:
            self._cluster_note = error.text
        if not self.is_attached:
            return
        if report := self._cluster:
            names = {
                "slurm.partition": [each.name for each in report.partitions],
                "slurm.account": report.accounts,
                "slurm.gpu_type": sorted({t for each in report.partitions for t in each.gpu_types}),
            }
            for path, suggested in names.items():
                if row := self._find_row(path):
                    row.suggest(suggested)
        self._update_texts()

    def _applies(self, setting: Setting, plan: schema.Plan) -> bool:
        return setting_values.applies(setting, plan, self._draft.machine)

    def _put_values(self) -> None:
        """Show the draft's values in all rows, then those that are advised."""
        draft = self._draft
        for row in self.query(SettingRow):
            name, value = row.setting.key, setting_values.get_value(draft.plan, row.setting)
            if draft.limit and time_limit.is_limited(draft, name):
                row.put(value, f"{draft.limit.minutes:g} min")
            else:
                row.put(value, "yours" if name in draft.touched else "default")
        self._apply_advice()
        self._show_rows()

    @work(group="limit", exclusive=True, exit_on_error=False)
    async def action_limit(self) -> None:
        """Reduce the run to some minutes, or undo that."""
        if (draft := self._read_usable_draft()) is None:
            return
        if (changed := await switch(self.app, draft)) is not None:
            self._draft = changed
            self._problem = ""
            self._put_values()
            self._update_texts()

    def _read_usable_draft(self) -> Draft | None:
        """Return the draft with the current values; None once it is shown what keeps it from use."""
        draft, problem = self._read_rows()
        problem = problem or self._find_problem(draft)
        if problem is None and not draft.plan.model.name:
            problem = SettingProblem(NO_MODEL)
        if problem is None:
            return draft
        self._show_problem(problem)
        return None

    def on_file_input_edited(self) -> None:
        self._apply_advice()
        self._find_earlier_run()

    def action_models(self) -> None:
        """Open the list of models; take over the chosen one."""
        self._choose_model()

    def _choose_model(self, typed: str = "") -> None:
        from ftwizard.screens.wizard.recipe.models import ModelsPage

        self.app.push_screen(ModelsPage(self.get_draft(), typed), self._take_model)

    def _take_model(self, name: str | None) -> None:
        if name is None:
            return
        line = self.query_one(FileInput)
        line.put(name)
        line.focus_input()
        if live_estimate.load_shape(name) is None:
            self._learn_shape(name)

    @work(group="shape", exclusive=True, exit_on_error=False)
    async def _learn_shape(self, name: str) -> None:
        """Read the configuration of a model on the Hub, which its memory and advice depend on."""
        await run_in_thread(hub_models.fetch_config, name)
        live_estimate.load_shape.cache_clear()
        live_estimate.load_context_length.cache_clear()
        if self.is_attached and self.query_one(FileInput).value == name:
            self._apply_advice()
            self._update_texts()

    def on_setting_row_changed(self, event: SettingRow.Changed) -> None:
        if not event.row.edited:  # emptied
            self._forget_choice(event.row.setting)
        if event.row.setting.key == "learning_rate":
            self._draft, _ = self._read_rows()  # remembers for which model it was chosen
        if event.row.setting.key in ("objective", "method", "grpo.num_generations", *_PLACE_KEYS):
            self._apply_advice()
            self.refresh_bindings()
        if event.row.setting.key == "epochs":
            self._find_earlier_run()

    def _forget_choice(self, setting: Setting) -> None:
        """Follow the advice on a setting again."""
        draft = self._draft.without_touched(setting.key)
        default = setting_values.get_default(setting)
        self._draft = setting_values.with_value(draft, setting, default)
        self._apply_advice()

    @work(group="next", exclusive=True, exit_on_error=False)
    async def go_next(self) -> None:
        if self._take_suggestion():
            return
        draft, problem = read = self._read_rows()
        if await run_in_thread(model_list.is_search, draft, draft.plan.model.name):
            self._choose_model(draft.plan.model.name)
            return
        name = setting_values.resolve_model(draft.plan.model.name)
        if name != draft.plan.model.name:  # a run has another working directory
            draft = draft.with_plan(model=schema.Model(name=name))
        if not problem and not draft.plan.model.name:
            problem = SettingProblem(NO_MODEL)
        if not problem and (
            text := await run_in_thread(setting_values.find_prompts_problem, draft)
        ):
            problem = SettingProblem(text, self._find_row("samples.prompts"))
        draft = draft if problem else setting_values.resolve_prompt_file(draft)
        while not problem:
            try:
                check_plan(draft.final_plan, await _find_supported_risks(draft))
                if mismatch := machine_checks.find_problem(draft.final_plan, draft.machine):
                    raise mismatch
            except SettingsError as error:
                problem = self._explain(error)
            except FtwizardError as error:
                if error.exit_code != DECLINED:
                    problem = SettingProblem(error.text)
                elif not await self.app.push_screen_wait(
                    TypedConfirm(error.message, *texts.MANY_EPOCHS)
                ):
                    return
                else:
                    draft = draft.allowing("many-epochs")
            else:
                if self._read_rows() != read:  # something was changed meanwhile
                    return
                if objectives.needs_other_rows(draft):
                    self.notify(objectives.OTHER_ROWS, markup=False)
                    self.dismiss(PageOutcome(draft, -1))
                elif (tried := await self._try_rewards(draft)) is not None:
                    self.dismiss(PageOutcome(tried, 1))
                return
        if self._read_rows() == read:
            self._show_problem(problem)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "rewards" and self.is_mounted:
            return self._read_rows()[0].plan.recipe.objective == "grpo"
        return super().check_action(action, parameters)

    @work(group="rewards", exclusive=True, exit_on_error=False)
    async def action_rewards(self) -> None:
        """Try the rewards on ten rows, and show what each answer gets."""
        if (draft := self._read_usable_draft()) is None:
            return
        self._tried = None
        await self._try_rewards(draft, shows=True)

    async def _try_rewards(self, draft: Draft, *, shows: bool = False) -> Draft | None:
        """Return the draft once its rewards were tried; None if the person stays on the page.

        ``shows``: also where nothing is wrong with them.
        """
        plan = draft.final_plan
        if plan.recipe.objective != "grpo" or reward_trial.get_subject(plan) == self._tried:
            return draft
        title = reward_trial.TITLE
        if reward_trial.runs_own_code(plan):
            title = f"{title}. {reward_trial.OWN_CODE}"
        with drafts.temporary_plan(draft) as file:
            document = await command_progress.run_command(self.app, title, "rewards", file)
        if document is None:
            self._focus_rewards()
            return None
        report = reward_trial.read_report(document)
        heading, account = reward_trial.format_heading(report), reward_trial.format_result(report)
        if not report.is_allowable:
            await self.app.push_screen_wait(ResultDialog(heading, account, "back", "back"))
            self._focus_rewards()
            return None
        if report.verdict == "ok" and not shows:
            self.notify(heading.plain, markup=False)
        else:
            go_on = reward_trial.ANYWAY if report.verdict == "error" else "continue"
            keys = ("close", "back") if shows else (go_on, "back")
            if not await self.app.push_screen_wait(ResultDialog(heading, account, *keys)):
                self._focus_rewards()
                return None
        self._tried = reward_trial.get_subject(plan) if report.verdict != "error" else None
        return reward_trial.with_verdict(draft, report)

    def _focus_rewards(self) -> None:
        if row := self._find_row(setting_values.REWARDS):
            self.set_focus(row.field)

    def _find_problem(self, draft: Draft) -> SettingProblem | None:
        problem = super()._find_problem(draft)
        mismatch = machine_checks.find_problem(draft.final_plan, draft.machine)
        if problem is None and mismatch is not None:
            problem = self._explain(mismatch)
        return problem if problem and problem.row else None  # the model may still be missing

    def _read_rows(self) -> tuple[Draft, SettingProblem | None]:
        """Return the draft with the current values, and the first problem."""
        draft = self._draft
        name = self.query_one(FileInput).value
        if name != draft.plan.model.name:
            draft = draft.with_plan(model=schema.Model(name=name))
        rows = self.query(SettingRow)
        for row in rows:
            draft = draft.with_touched(row.setting.key) if row.edited else draft
        draft, problem = self._read_values(draft, rows)
        many = draft.plan.recipe.epochs > schema.MANY_EPOCHS
        return (draft if many else draft.allowing("many-epochs", False)), problem

    def _apply_advice(self) -> None:
        """Fill in advised values where the person has chosen none."""
        rows = {row.setting.key: row for row in self.query(SettingRow)}
        method: schema.Method = rows["method"].value
        place = setting_values.get_place_advice(self._read_rows()[0])
        self._put_advised(rows, place)
        draft = self._read_rows()[0]  # the rows of a step are shared by the processes
        if not rows["method"].edited:
            method = cast(schema.Method, setting_values.get_advice(draft, method)["method"].value)
        self._advised = {**place, **setting_values.get_advice(draft, method)}
        self._put_advised(rows, self._advised)

    def _put_advised(
        self, rows: Mapping[str, SettingRow], advised: Mapping[str, AdvisedValue]
    ) -> None:
        fixed = setting_values.get_fixed_settings(self._read_rows()[0].plan)
        for name, advice in advised.items():
            if name in rows and (name in fixed or not rows[name].edited):
                rows[name].put(advice.value, "advised")

    @work(group="before", exclusive=True, exit_on_error=False)
    async def _find_earlier_run(self) -> None:
        """Find an earlier run on the same data that informs the number of epochs."""
        before = await run_in_thread(drafts.find_earlier_run, self._read_rows()[0])
        if before != self._earlier_run:
            self._earlier_run = before
            self._update_texts()

    def _format_prospect(self, draft: Draft) -> Text:
        text = live_estimate.format_prospect(draft, self.size.width - MARGINS)
        return text.append_text(texts.format_limit(draft, "^t undoes it"))

    def _format_row_reason(
        self, draft: Draft, row: SettingRow | None, problem: SettingProblem | None
    ) -> Text:
        if row is None:
            name = self.query_one(FileInput).value
            return Text.assemble(
                ("Model", "bold"), f"  {setting_values.describe_model(name, draft.plan.recipe)}"
            )
        setting = row.setting
        text, before = Text(), self._earlier_run
        falling = before is not None and before.falling
        cautions = setting_values.find_cautions(draft, falling=falling)
        cautions |= place_texts.find_cautions(draft.plan, self._cluster)
        if not (problem and problem.row is row) and (caution := cautions.get(setting.key)):
            text.append("! ", f"bold {palette.WARNING}").append(f"{caution}\n")
        if setting.key == "epochs" and before and draft.plan.recipe.epochs > schema.MANY_EPOCHS:
            text.append_text(texts.format_earlier_run(before, draft.plan.recipe.epochs))
        if about := place_texts.describe_row(setting, draft, self._cluster):
            text.append(f"{about}\n")
        if setting.part == "slurm" and self._cluster_note:
            text.append(f"{self._cluster_note}\n", "dim")
        explained = setting.explained_for(draft.plan.recipe.objective)
        return text.append_text(
            texts.format_reason(explained, self._advised.get(setting.key), row.origin)
        )


async def _find_supported_risks(draft: Draft) -> tuple[schema.RiskName, ...]:
    """Return the risks that need no confirmation: many epochs, if an earlier run on the same data
    supports them."""
    if draft.plan.recipe.epochs <= schema.MANY_EPOCHS:
        return ()
    before = await run_in_thread(drafts.find_earlier_run, draft)  # may read a large file
    return ("many-epochs",) if before and before.falling else ()
