"""The questions about the recipe in plain mode."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import msgspec

from ftwizard.advice import model_choice_text, recipe_rules
from ftwizard.advice.model_choice import ModelOption
from ftwizard.advice.recipe_rules import Setting, settings
from ftwizard.errors import FtwizardError
from ftwizard.models import hub_models
from ftwizard.models.hub_models import HUB_NOTES
from ftwizard.models.model_facts import ModelFacts
from ftwizard.plan import machine_checks, schema
from ftwizard.plan.checks import check_plan, find_problems
from ftwizard.screens.draft import (
    drafts,
    model_list,
    objectives,
    place_texts,
    reward_trial,
    setting_values,
    suggestions,
    texts,
)
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.draft.setting_values import find_lines_problem
from ftwizard.screens.plain import data
from ftwizard.screens.plain.prompts import CONTINUE, OTHER, AskFunction, GoBack, Prompter
from ftwizard.slurm.cluster import ClusterReport

PLACE_PARTS = ("where", "slurm")
CLUSTER_KEYS = ("slurm.partition", "slurm.account")
"""Settings that Slurm's own names are listed for."""
LOSS, WRONG_PAIRS = "recipe.dpo.loss_type", "recipe.dpo.label_smoothing"
SETTLED_LATER = {
    "recipe.batch_size": "recipe.grpo.num_generations",  # with the accumulation, groups of answers
    LOSS: WRONG_PAIRS,
}
"""A setting, and that of a later question which settles what it contradicts."""
MAX_MODELS = 6
LABEL_MARGIN = 9
"""Cells that a prompt needs around a label."""
SEARCH, AGAIN = "\0search", "\0again"
SEARCH_QUESTION = "Name, size or license (llama 8b, qwen3, apache)"


def list_questions() -> list[AskFunction]:
    """List the questions after the model."""
    questions: list[AskFunction] = []
    basic = [setting for setting in settings() if not setting.advanced]
    place = [setting for setting in basic if setting.part in PLACE_PARTS]
    for setting in basic:
        if setting.key == "batch_size":  # its advice depends on the number of processes
            questions += [functools.partial(_ask_setting, each) for each in place]
        if setting not in place:
            questions.append(functools.partial(_ask_setting, setting))
        if setting.key == "objective":
            questions.append(follow_objective)
        if setting.key == "epochs":
            questions.append(confirm_epochs)
        if setting.path == LOSS:
            questions.append(ask_wrong_pairs)
    return [*questions, ask_advanced, try_rewards]


def follow_objective(prompter: Prompter, draft: Draft) -> Draft:
    """Check the rows again if the objective needs others; take over what is advised for it."""
    if objectives.needs_other_rows(draft):
        prompter.print(objectives.OTHER_ROWS)
        read = data.check_rows(prompter, draft)
        if read is None:
            raise GoBack("file")
        draft = read
    return setting_values.apply_advice(draft)[0]


def ask_wrong_pairs(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for the share of wrong pairs, if the chosen loss needs one."""
    settings = {problem.setting for problem in find_problems(draft.final_plan)}
    if WRONG_PAIRS not in settings:
        return draft
    return _ask_setting(recipe_rules.setting("dpo.label_smoothing"), prompter, draft)


def try_rewards(prompter: Prompter, draft: Draft) -> Draft:
    """Try the rewards on ten rows; ask for others until the training may start with them."""
    if draft.plan.recipe.objective != "grpo":
        return draft
    if reward_trial.runs_own_code(draft.final_plan):
        prompter.note(reward_trial.OWN_CODE)
    while True:
        report = None
        try:
            with drafts.temporary_plan(draft) as plan:
                document = prompter.run(reward_trial.TITLE, "rewards", plan)
        except FtwizardError as error:
            prompter.print_problem(error)
        else:
            report = reward_trial.read_report(document)
            prompter.print(reward_trial.format_heading(report), hang=2)
            for line in reward_trial.format_result(report).split("\n", allow_blank=True):
                prompter.print(line, hang=2)
        if report is not None and report.verdict == "ok":
            return reward_trial.with_verdict(draft, report)
        options = [(OTHER, "name other rewards"), (AGAIN, "try them again")]
        if report is not None and report.is_allowable:
            words = reward_trial.ANYWAY if report.verdict == "error" else "continue"
            options.append((CONTINUE, words))
        chosen = prompter.choose("What now?", options)
        if chosen == CONTINUE and report is not None:
            return reward_trial.with_verdict(draft, report)
        if chosen == OTHER:
            draft = _ask_setting(recipe_rules.setting("grpo.rewards"), prompter, draft)


def ask_model(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for the base model: one of those that suit best, of a search, or any other."""
    prompter.explain(setting_values.MODEL_REASON)
    name = draft.plan.model.name
    others: tuple[ModelFacts, ...] = ()
    words = ""
    while True:
        matches = model_list.search(draft, words, others)
        if words and not matches:
            prompter.print_problem(f"No model matches “{words}”.")
        _explain_recommendation(prompter, draft, matches[:MAX_MODELS])
        chosen = prompter.choose("Model", _list_models(prompter, matches, name), name)
        with contextlib.suppress(GoBack):
            if chosen == SEARCH:
                words = prompter.ask_line(SEARCH_QUESTION, check=lambda typed: "")
                others += _search_hub(prompter, words)
                continue
            if chosen == OTHER:
                suggest = model_list.build_suggester(draft)
                chosen = prompter.ask_value(
                    "Model id or folder", name, parse=_parse_model, suggest=suggest
                )
            if problem := _find_refusal(matches, chosen):
                prompter.print_problem(problem)
                continue
            return _with_model(draft, setting_values.resolve_model(chosen))


def _list_models(
    prompter: Prompter, matches: Sequence[ModelOption], name: str
) -> list[tuple[str, str]]:
    """Return value and label of each choice: the current model, the matches, search and others."""
    width = prompter.width - LABEL_MARGIN
    listed = {
        option.name: "".join(span.text for span in model_choice_text.format_line(option, width))
        for option in matches[:MAX_MODELS]
    }
    own = {name: name} if name and name not in listed else {}
    return [
        *own.items(), *listed.items(), (SEARCH, "search by name, size or license"),
        (OTHER, "another: a Hugging Face Hub id, or a folder"),
    ]  # fmt: skip


def _explain_recommendation(
    prompter: Prompter, draft: Draft, matches: Sequence[ModelOption]
) -> None:
    basis = model_list.build_basis(draft)
    prompter.note(model_choice_text.LEGEND)
    for option in matches:
        if why := model_choice_text.describe_recommendation(option, basis):
            prompter.note(f"Recommended: {option.name}. {why}")


def _search_hub(prompter: Prompter, words: str) -> tuple[ModelFacts, ...]:
    """Search the Hub; print a note if it did not take part."""
    results, state = hub_models.search_hub(words)
    if note := HUB_NOTES[state]:
        prompter.note(note)
    return hub_models.add_configs(results)


def _find_refusal(matches: Sequence[ModelOption], name: str) -> str:
    """Return why a listed model cannot be trained; empty if nothing is known against it."""
    option = next((option for option in matches if option.name == name), None)
    return option.refusal_text if option is not None else ""


def _with_model(draft: Draft, name: str) -> Draft:
    same = name == draft.plan.model.name
    return draft.with_plan(model=draft.plan.model if same else schema.Model(name=name))


def _parse_model(name: str) -> str:
    if not name:
        raise ValueError("Enter a model id, or a folder with a model.")
    return setting_values.resolve_model(name)


def _ask_setting(setting: Setting, prompter: Prompter, draft: Draft) -> Draft:
    """Ask for one setting, if it counts with the others; Enter takes the advised value."""
    if not setting_values.applies(setting, draft.plan, draft.machine):
        return draft
    draft = setting_values.follow_place_advice(draft)
    advice = setting_values.get_advice(draft, draft.plan.recipe.method)
    advised = {**setting_values.get_place_advice(draft), **advice}.get(setting.key)
    now = setting_values.get_value(draft.plan, setting)
    is_followed = advised is not None and setting.key not in draft.touched
    usual = setting_values.to_value(advised) if advised and is_followed else now
    explained = setting.explained_for(draft.plan.recipe.objective)
    prompter.explain(setting_values.describe_reason(explained, advised))
    origin = "yours" if setting.key in draft.touched else "advised" if advised else "default"
    prompter.note(setting_values.describe_sources(explained, advised, origin))
    # What is asked later follows the advice for the answers so far.
    shown = setting_values.with_value(setting_values.apply_advice(draft)[0], setting, usual)
    if about := place_texts.describe_row(setting, shown, _read_cluster(setting, prompter)):
        prompter.note(about)
    if setting.options:
        value = _choose_option(prompter, setting, usual)
    elif setting.in_lines:
        value = _ask_lines(prompter, setting, str(usual or ""))
    else:
        value = _ask_value(setting, prompter, draft, usual)
    changed = setting_values.resolve_prompt_file(setting_values.with_value(draft, setting, value))
    return changed if value == usual else changed.with_touched(setting.key)


def _ask_value(setting: Setting, prompter: Prompter, draft: Draft, usual: Any) -> Any:
    names_file = setting.key == "prompts"

    def parse(typed: str) -> Any:
        value = setting_values.parse_value(setting, typed)
        changed = setting_values.with_value(draft, setting, value)
        if setting.part == "slurm":  # the number of processes follows, unless it was chosen
            changed = setting_values.follow_place_advice(changed)
        problem = _find_problem(setting, changed)
        if not problem and names_file:
            problem = setting_values.find_prompts_problem(changed)
        if problem:
            raise ValueError(problem)
        return value

    is_rewards = setting.path == setting_values.REWARDS
    format = setting_values.format_rewards if is_rewards else setting_values.format_input
    is_needed = setting.empty == setting_values.NEEDED
    default = format(usual) or ("" if is_needed else setting.empty)
    suggest = suggestions.suggest_prompts if names_file else None
    return prompter.ask_value(setting.label, default, parse=parse, suggest=suggest)


def _find_problem(setting: Setting, draft: Draft) -> str:
    """Describe what a value contradicts; empty if nothing, or what a later question settles."""
    later = SETTLED_LATER.get(setting.path)
    for problem in find_problems(draft.final_plan):
        if problem.setting != later:
            return problem.text
    mismatch = machine_checks.find_problem(draft.final_plan, draft.machine)
    return mismatch.text if mismatch else ""


def _read_cluster(setting: Setting, prompter: Prompter) -> ClusterReport | None:
    """Ask Slurm what it has, for the settings that name it; None if it does not answer."""
    if setting.key not in CLUSTER_KEYS:
        return None
    try:
        return msgspec.convert(prompter.run(place_texts.ASKING, "slurm"), ClusterReport)
    except FtwizardError as error:
        prompter.note(error.text)
        return None


def _ask_lines(prompter: Prompter, setting: Setting, text: str) -> str:
    """Ask for a text line by line; an empty line ends it. Enter at once keeps ``text``."""
    if text:
        prompter.print(text.rstrip("\n"))
        options = [("keep", "keep these lines"), ("new", "write others"), ("none", "none")]
        if (chosen := prompter.choose(setting.label, options)) != "new":
            return text if chosen == "keep" else ""
    lines: list[str] = []
    while line := prompter.ask_line(
        f"{setting.label}, line {len(lines) + 1} (Enter: no more)", check=find_lines_problem
    ):
        lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def confirm_epochs(prompter: Prompter, draft: Draft) -> Draft:
    """Confirm more epochs than advised."""
    if draft.plan.recipe.epochs <= schema.MANY_EPOCHS:
        return draft.allowing("many-epochs", False)
    if (before := drafts.find_earlier_run(draft)) and before.falling:
        prompter.note(before.summary)
        return draft.allowing("many-epochs", False)
    try:
        check_plan(draft.final_plan)
    except FtwizardError as error:
        prompter.confirm_phrase(error.message, *texts.MANY_EPOCHS)
        return draft.allowing("many-epochs")
    return draft


def _choose_option(prompter: Prompter, setting: Setting, value: Any) -> Any:
    """Ask for one of a setting's options; Enter takes ``value``."""
    options = setting_values.list_options(setting)
    chosen = prompter.choose(setting.label, options, str(value))
    return setting_values.parse_value(setting, chosen)


def ask_advanced(prompter: Prompter, draft: Draft) -> Draft:
    """Offer the advanced settings until the person continues."""
    question = "Change an advanced setting? A first run does not need any."
    while True:
        by_name = {
            setting.key: setting
            for setting in settings()
            if setting.advanced and setting_values.applies(setting, draft.plan, draft.machine)
        }
        options = [(CONTINUE, "no, continue")]
        for name, setting in by_name.items():
            value = setting_values.get_value(draft.plan, setting)
            options.append((name, f"{setting.label}: {setting_values.format_value(name, value)}"))
        if (chosen := prompter.choose(question, options)) == CONTINUE:
            return draft
        with contextlib.suppress(GoBack):
            draft = _ask_setting(by_name[chosen], prompter, draft)
