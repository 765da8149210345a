"""The questions about what follows the training in plain mode: sets, gate and exports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.advice.recipe_rules import Setting
from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file
from ftwizard.runs.evaluation_plan import SetCheck, SetsReport
from ftwizard.screens.draft import after_training, setting_values
from ftwizard.screens.draft.after_training import OWN_SET, OWN_SET_REASON
from ftwizard.screens.draft.drafts import Draft, format_path
from ftwizard.screens.plain.prompts import CONTINUE, GoBack, Prompter
from ftwizard.text import make_visible

QUESTION = "After training: change what is judged, the gate, or exports?"
ADD = "\0add"
READING = "Reading the set"


def ask(prompter: Prompter, draft: Draft) -> Draft:
    """Show what follows the training, and offer to change it until the person continues."""
    prompter.explain(after_training.REASON)
    checks: dict[str, SetCheck] = {}
    if draft.plan.evaluate.sets:
        draft = _read_sets(prompter, draft, draft.plan.evaluate.sets, checks)
    while True:
        _print_state(prompter, draft, checks)
        settings = {setting.name: setting for setting in after_training.list_settings(draft)}
        chosen = prompter.choose(QUESTION, _list_choices(draft, settings))
        if chosen == CONTINUE:
            problem = setting_values.find_problem(draft.final_plan)
            if not (problem := problem or after_training.find_answer_problem(draft)):
                return draft
            prompter.print_problem(problem)
            continue
        with contextlib.suppress(GoBack):
            if chosen == ADD:
                draft = _add_set(prompter, draft, checks)
            elif chosen in settings:
                draft = _ask_setting(prompter, draft, settings[chosen])
            else:
                draft = _with_sets(draft, (s for s in draft.plan.evaluate.sets if s != chosen))


def _print_state(prompter: Prompter, draft: Draft, checks: dict[str, SetCheck]) -> None:
    prompter.print(after_training.format_powers(draft, checks), hang=2)
    if not draft.hosted:
        prompter.print(f"Exports: {after_training.describe_exports(draft)}", hang=2)
    for problem in (
        after_training.find_missing_extra(draft),
        after_training.find_judge_problem(draft, checks),
    ):
        if problem:
            prompter.print(f"! {problem}", hang=2)


def _list_choices(draft: Draft, settings: dict[str, Setting]) -> list[tuple[str, str]]:
    choices = [(CONTINUE, "no, continue")]
    for name, setting in settings.items():
        value = setting_values.get_value(draft.plan, setting)
        choices.append((name, f"{setting.label}: {setting_values.describe_value(setting, value)}"))
        if name == "safety":
            for file in draft.plan.evaluate.sets:
                choices.append((file, f"Leave out your set {make_visible(format_path(file), 60)}"))
            choices.append((ADD, "Add a set of your own"))
    return choices


def _ask_setting(prompter: Prompter, draft: Draft, setting: Setting) -> Draft:
    """Ask for one setting; Enter keeps its value."""
    prompter.explain(setting_values.describe_reason(setting, None))
    if setting.name in ("scorer", "answer_pattern"):
        prompter.print(after_training.format_examples(draft), hang=2)
    value = setting_values.get_value(draft.plan, setting)
    if setting.options:
        options = setting_values.list_options(setting)
        chosen = prompter.choose(setting.label, options, str(value))
        changed = setting_values.with_value(
            draft, setting, setting_values.parse_value(setting, chosen)
        )
        if problem := setting_values.find_problem(changed.final_plan):
            prompter.print_problem(problem)
            return draft
        return changed
    shown = setting_values.format_field(setting, value) or setting.empty

    def parse(typed: str) -> Any:
        parsed = value if typed == shown else setting_values.parse_value(setting, typed)
        changed = setting_values.with_value(draft, setting, parsed)
        if problem := _find_problem(setting, changed):
            raise ValueError(problem)
        return parsed

    return setting_values.with_value(
        draft, setting, prompter.ask_value(setting.label, shown, parse=parse)
    )


def _find_problem(setting: Setting, draft: Draft) -> str:
    """Describe what is wrong; what a judge lacks is asked for next, and checked at the end."""
    is_judge = setting.part == "evaluate.judge"
    return "" if is_judge else setting_values.find_problem(draft.final_plan)


def _add_set(prompter: Prompter, draft: Draft, checks: dict[str, SetCheck]) -> Draft:
    """Ask for a file, and read it."""
    prompter.explain(OWN_SET_REASON)
    file = prompter.ask_value(OWN_SET, parse=_parse_set, suggest=after_training.suggest_sets)
    names = dict.fromkeys((*draft.plan.evaluate.sets, file))
    return _read_sets(prompter, _with_sets(draft, names), (file,), checks)


def _parse_set(typed: str) -> str:
    if not typed:
        raise ValueError("Name a file, or lm-eval:TASK.")
    return plan_file.resolve_set(typed, Path.cwd())


def _with_sets(draft: Draft, files: Iterable[str]) -> Draft:
    settings = msgspec.structs.replace(draft.plan.evaluate, sets=tuple(files))
    return draft.with_plan(evaluate=settings)


def _read_sets(
    prompter: Prompter, draft: Draft, files: tuple[str, ...], checks: dict[str, SetCheck]
) -> Draft:
    """Read sets and report on them; return a draft without those that cannot be used."""
    argv = [word for file in files for word in ("--set", file)]
    try:
        document = prompter.run(READING, "eval", "--check", *argv)
        reports = msgspec.convert(document, SetsReport).sets
    except FtwizardError as error:
        reports = [SetCheck(file=file, error=error.message, hint=error.hint) for file in files]
    for report in reports:
        for line in after_training.describe_problems(report):
            prompter.print(line, hang=2)
    checks |= {report.file: report for report in reports}
    unusable = {report.file for report in reports if not report.is_usable}
    return _with_sets(draft, (file for file in draft.plan.evaluate.sets if file not in unusable))
