"""Base class of the wizard's pages of settings."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.widgets import Static

from ftwizard.advice.recipe_rules import Setting
from ftwizard.plan import schema
from ftwizard.plan.checks import check_plan
from ftwizard.screens import palette
from ftwizard.screens.draft import setting_values
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.widgets.folded_section import FoldedSection
from ftwizard.screens.wizard.page import WizardPage
from ftwizard.screens.wizard.setting_row import SettingFields, SettingProblem, SettingRow
from ftwizard.strict_yaml import SettingsError
from ftwizard.text import format_count


class SettingsPage(WizardPage):
    """Shows settings in rows; explains the focused one, or what keeps the page from being left.

    Textual calls the handlers of a subclass, then those of the same name here.
    """

    STEP = 2
    RESETS: ClassVar[bool] = False
    """Whether an emptied field follows the advice again, or the default."""
    ADVANCED: ClassVar[str] = (
        "A first run does not need these settings. Right expands them, left collapses them."
    )

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._problem = ""
        """Why it did not continue; cleared on the next change."""

    def _compose_rows(self, settings: Sequence[Setting]) -> Iterator[SettingRow | FoldedSection]:
        advanced = [setting for setting in settings if setting.advanced]
        basic = [setting for setting in settings if not setting.advanced]
        for setting in basic:
            yield self._build_row(setting)
        yield FoldedSection(label_advanced(len(advanced)))
        for setting in advanced:
            yield self._build_row(setting)

    def _build_row(self, setting: Setting) -> SettingRow:
        value = setting_values.get_value(self._draft.plan, setting)
        return SettingRow(setting, value, resets=self.RESETS)

    def _put_values(self) -> None:
        """Show the draft's values in all rows."""
        for row in self.query(SettingRow):
            value = setting_values.get_value(self._draft.plan, row.setting)
            is_default = value == setting_values.get_default(row.setting)
            row.put(value, "default" if is_default else "yours")

    def _show_rows(self) -> None:
        """Show the settings that count with the values of the others."""
        plan = self._read_rows()[0].plan
        advanced = 0
        for row in self.query(SettingRow):
            counts = self._applies(row.setting, plan)
            row.set_class(not counts, "unused")
            advanced += counts and row.setting.advanced
        self.query_one(FoldedSection).label = label_advanced(advanced)

    def _applies(self, setting: Setting, plan: schema.Plan) -> bool:
        """Return whether a setting counts with the others."""
        return setting.applies(plan)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        for line in self.query(FileInput):
            line.fold(not line.has_focus_within)
        self._update_texts()

    def on_folded_section_turned(self, event: FoldedSection.Turned) -> None:
        self.query_one(SettingFields).set_class(event.unfolded, "unfolded")

    def on_setting_row_changed(self, event: SettingRow.Changed) -> None:
        self._problem = ""
        self._show_rows()
        self._update_texts()

    def on_file_input_edited(self) -> None:
        self._problem = ""
        self._update_texts()

    def on_resize(self) -> None:
        self._update_texts()

    def get_draft(self) -> Draft:
        return self._read_rows()[0]

    def _take_suggestion(self) -> bool:
        """Complete the model's name as suggested; return whether that is still to be looked at."""
        line = self.query_one(FileInput)
        before = line.value
        line.settle()
        if line.value == before:
            return False
        self.query(SettingRow).first().field.focus()
        return True

    def _read_rows(self) -> tuple[Draft, SettingProblem | None]:
        """Return the draft with the current values, and the first problem."""
        raise NotImplementedError

    def _read_changes(
        self, draft: Draft, problem: SettingProblem | None
    ) -> tuple[Draft, SettingProblem | None]:
        """Return the draft with the values of changed rows, and the first problem."""
        return self._read_values(
            draft, [row for row in self.query(SettingRow) if row.is_changed], problem
        )

    def _read_values(
        self, draft: Draft, rows: Iterable[SettingRow], problem: SettingProblem | None = None
    ) -> tuple[Draft, SettingProblem | None]:
        """Return the draft with the values of rows, and the first problem with one that counts."""
        problems: list[SettingProblem] = []
        for row in rows:
            try:
                draft = setting_values.with_value(draft, row.setting, row.value)
            except ValueError as error:
                problems.append(SettingProblem(str(error), row))
        counting = (
            each for each in problems if each.row and self._applies(each.row.setting, draft.plan)
        )
        return draft, problem or next(counting, None)

    def _find_problem(self, draft: Draft) -> SettingProblem | None:
        """Return the first problem with the settings; risks do not count."""
        try:
            check_plan(draft.final_plan, typing.get_args(schema.RiskName))
        except SettingsError as error:
            return self._explain(error)
        return None

    def _explain(self, error: SettingsError) -> SettingProblem:
        """Return the problem with a setting, named as on this page."""
        row = self._find_row(error.setting)
        text = f"{row.setting.label} {error.problem} {error.hint}" if row else error.text
        return SettingProblem(text, row)

    def _find_row(self, name: str) -> SettingRow | None:
        """Return the row of a setting, named as in a plan: ``recipe.rank``."""
        rows = self.query(SettingRow)
        return next((row for row in rows if row.setting.path == name), None)

    def _show_problem(self, problem: SettingProblem) -> None:
        self._problem = problem.text
        if problem.row and problem.row.setting.advanced:
            self.query_one(FoldedSection).action_turn(True)
            self.call_after_refresh(problem.row.field.focus)  # once it is expanded
        elif problem.row:
            # At once: what is typed as soon as the problem is shown belongs to this field.
            self.set_focus(problem.row.field)
        self._update_texts()

    def _update_texts(self) -> None:
        """Explain the focused setting, and update the preview."""
        draft, problem = self._read_rows()
        problem = problem or self._find_problem(draft)
        # An invalid value has no preview, and the previous one no longer applies.
        part = self.query_one("#prospect", Static)
        if problem:
            is_below = problem.text == self._problem
            part.update("" if is_below else Text(f"→ {problem.text}", "dim"))
        else:
            part.update(self._format_prospect(draft))
        self.query_one("#reason", Static).update(self._format_reason(draft, problem))

    def _format_prospect(self, draft: Draft) -> Text:
        """Return the preview of a valid draft."""
        raise NotImplementedError

    def _format_reason(self, draft: Draft, problem: SettingProblem | None) -> Text:
        """Return why it did not continue, else the explanation of the focused row."""
        if self._problem:
            return Text.assemble(("✗ ", f"bold {palette.BAD}"), self._problem)
        if self.query_one(FoldedSection).has_focus:
            return Text.assemble(("Advanced", "bold"), f"  {self.ADVANCED}")
        row = next((row for row in self.query(SettingRow) if row.has_focus_within), None)
        return self._format_row_reason(draft, row, problem)

    def _format_row_reason(
        self, draft: Draft, row: SettingRow | None, problem: SettingProblem | None
    ) -> Text:
        """Return the explanation of a row; None for the page's other fields."""
        raise NotImplementedError


def label_advanced(count: int) -> str:
    """Return the label of the section of advanced settings."""
    return f"advanced: {format_count(count, 'more setting')}"
