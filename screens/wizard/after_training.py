"""The page on what follows the training: sets that judge the model, the gate, and exports."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file
from ftwizard.runs.evaluation_plan import SetCheck, SetsReport
from ftwizard.screens import palette, subprocesses
from ftwizard.screens.draft import after_training, texts
from ftwizard.screens.draft.after_training import OWN_SET, OWN_SET_REASON
from ftwizard.screens.draft.drafts import Draft, Fingerprint, PageOutcome, format_path
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.wizard.setting_row import SettingFields, SettingProblem, SettingRow
from ftwizard.screens.wizard.settings_page import SettingsPage

DEBOUNCE_S = 0.4
"""Pause in typing after which a file is read."""
READING = "· reading …"
ANOTHER_SET = "Another set"


class SetField(Horizontal):
    """The name of one of the user's own sets."""

    def __init__(self, file: str, name: str = OWN_SET) -> None:
        super().__init__(classes="field own-set")
        self._label, self._file, self._shown = name, file, format_path(file) if file else ""

    def compose(self) -> ComposeResult:
        yield Static(self._label, classes="name", markup=False)
        yield FileInput(self._shown, _suggest_typed, hint="none; ./ lists files here")

    @property
    def input(self) -> FileInput:
        return self.query_one(FileInput)

    @property
    def typed(self) -> str:
        """Return the text of the field, also before it is composed."""
        return next((line.value.strip() for line in self.query(Input)), self._shown)

    @property
    def file(self) -> str:
        """Return the set as a plan names it; raise FtwizardError for a name that it cannot have."""
        typed = self.typed
        return self._file if typed == self._shown else plan_file.resolve_set(typed, Path.cwd())


class AfterTrainingPage(SettingsPage):
    """Dismisses with a draft that says how its model is judged, and in which forms it is exported."""

    PANE = "#after"
    ADVANCED = "The prompted base model, an answer pattern, the number of items, and a judge. Right expands."
    NOTES = (
        "Enter accepts all of it: these values suit first runs.",
        "Your own set is read at once; what is wrong is listed.",
        "→ shows what is asked, and what so many items can show.",
        "The gate is fixed when the run begins.",
        "GGUF and Ollama are rehearsed before step 1 (minutes).",
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "scroll_pane(1)", "more", show=False, tooltip="scroll"),
        Binding("pageup", "scroll_pane(-1)", "back", show=False, tooltip="scroll"),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._settings = after_training.list_settings(draft)
        self._checks: dict[tuple[str, Fingerprint | None], SetCheck] = {}
        """Sets that were read, by name and content."""
        self._is_reading = False

    def body(self) -> ComposeResult:
        with SettingFields(id="after"):
            for row in self._compose_rows(self._settings):
                yield row
                if row.id == "setting-safety":
                    with Vertical(id="own-sets"):
                        for index, file in enumerate((*self._draft.plan.evaluate.sets, "")):
                            yield SetField(file, ANOTHER_SET if index else OWN_SET)
                    yield Static(id="set-report", markup=False)
        yield Static(id="prospect", markup=False)
        yield Static(id="reason", markup=False)

    def on_mount(self) -> None:
        self._put_values()
        self.query(SettingRow).first().field.focus()
        self._update_texts()
        if self._draft.plan.evaluate.sets:
            self._read_sets_soon(0)

    def on_file_input_edited(self) -> None:
        if all(field.typed for field in self.query(SetField)):  # offer one more
            self.query_one("#own-sets").mount(SetField("", ANOTHER_SET))
        self._read_sets_soon(DEBOUNCE_S)

    def _read_rows(self) -> tuple[Draft, SettingProblem | None]:
        """Return the draft with the current values, and the first problem."""
        draft, problem = self._draft, None
        files: list[str] = []
        for field in self.query(SetField):
            try:
                files += [field.file] if field.typed else []
            except FtwizardError as error:
                problem = SettingProblem(f"{OWN_SET}: {error.text}")
        settings = msgspec.structs.replace(draft.plan.evaluate, sets=tuple(dict.fromkeys(files)))
        draft = draft.with_plan(evaluate=settings)
        return self._read_changes(draft, problem)

    # --- the user's own sets ----------------------------------------------------------------

    def _get_checks(self, draft: Draft) -> dict[str, SetCheck]:
        """Return the reports on the sets of a draft that were read, by file."""
        stamps = map(after_training.get_stamp, draft.plan.evaluate.sets)
        return {stamp[0]: self._checks[stamp] for stamp in stamps if stamp in self._checks}

    @work(group="sets", exclusive=True, exit_on_error=False)
    async def _read_sets_soon(self, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        await self._read_sets()

    async def _read_sets(self) -> None:
        """Read the named sets that were not read yet; the command that reads them loads no model."""
        draft = self.get_draft()
        files = [name for name in draft.plan.evaluate.sets if name not in self._get_checks(draft)]
        if not files:
            self._update_texts()
            return
        stamps = [after_training.get_stamp(file) for file in files]
        self._is_reading = True
        self._update_texts()
        try:
            argv = [word for file in files for word in ("--set", file)]
            document = await subprocesses.run_command("eval", "--check", *argv)
            checks = msgspec.convert(document, SetsReport).sets
        except (FtwizardError, OSError) as error:
            text = error.text if isinstance(error, FtwizardError) else str(error)
            checks = [SetCheck(file=file, error=text) for file in files]
        finally:
            self._is_reading = False
        self._checks |= dict(zip(stamps, checks, strict=True))
        if self.is_attached:
            self._update_texts()

    # --- leaving ----------------------------------------------------------------------------

    @work(group="sets", exclusive=True, exit_on_error=False)
    async def go_next(self) -> None:
        for field in self.query(SetField):
            before = field.typed
            if before and not field.input.settle():
                return  # a folder to descend into
            if field.typed != before:  # let the person see what was completed
                return
        draft, problem = read = self._read_rows()
        problem = problem or self._find_problem(draft)
        if not problem and (unanswered := after_training.find_answer_problem(draft)):
            problem = SettingProblem(unanswered)
        if not problem:
            await self._read_sets()
            checks = self._get_checks(draft)
            unusable = next((file for file, check in checks.items() if not check.is_usable), None)
            if unusable is not None:
                name = format_path(unusable)
                problem = SettingProblem(
                    f"{OWN_SET}: {name} cannot be used. Correct it, or remove its name."
                )
        if self._read_rows() != read and not problem:
            return  # something was changed meanwhile
        if problem is None:
            self.dismiss(PageOutcome(draft, 1))
            return
        self._show_problem(problem)

    # --- texts ------------------------------------------------------------------------------

    def _update_texts(self) -> None:
        super()._update_texts()
        draft = self.get_draft()
        self._show_reports(draft, self._get_checks(draft))

    def _format_prospect(self, draft: Draft) -> Text:
        return after_training.format_powers(draft, self._get_checks(draft))

    def _show_reports(self, draft: Draft, checks: dict[str, SetCheck]) -> None:
        lines = [
            line for check in checks.values() for line in after_training.describe_problems(check)
        ]
        if self._is_reading:
            lines.append(READING)
        if judge := after_training.find_judge_problem(draft, checks):
            lines.append(f"! {judge}")
        report = self.query_one("#set-report", Static)
        report.display = bool(lines)
        report.update(Text("\n".join(lines)))

    def _format_row_reason(
        self, draft: Draft, row: SettingRow | None, problem: SettingProblem | None
    ) -> Text:
        if row is None:
            return Text.assemble((OWN_SET, "bold"), f"  {OWN_SET_REASON}")
        text = Text()
        if row.setting.part == "finish" and draft.plan.finish.export:
            if missing := after_training.find_missing_extra(draft):
                text.append("! ", f"bold {palette.WARNING}").append(f"{missing}\n")
            text.append(f"Exports: {after_training.describe_exports(draft)}\n")
        if row.setting.name in ("scorer", "answer_pattern"):
            text.append_text(after_training.format_examples(draft))
        return text.append_text(texts.format_reason(row.setting, None, row.origin))


def _suggest_typed(typed: str) -> Sequence[tuple[str, str, str]]:
    """Suggest files once something is typed: the field may stay empty."""
    return after_training.suggest_sets(typed) if typed.strip() else []
