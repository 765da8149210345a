"""Setting values: parsing, formatting, and advice."""

from __future__ import annotations

import contextlib
import functools
import operator
import typing
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

import msgspec

from ftwizard import user_paths
from ftwizard.advice import evidence, plan_advice, rank_advice, recipe_advice
from ftwizard.advice.recipe_rules import TYPES, AdvisedValue, Setting, SettingChoice, setting
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models.hub import is_folder
from ftwizard.plan import changes, export_forms
from ftwizard.plan.checks import check_plan, find_problems
from ftwizard.plan.schema import Method, Plan, Recipe
from ftwizard.plan.slurm_checks import find_prelude_problems
from ftwizard.rewards import notation
from ftwizard.rewards.packaged import PACKAGED
from ftwizard.rewards.reward import Reward
from ftwizard.screens.draft import live_estimate, objectives
from ftwizard.screens.draft.drafts import Draft, format_path, get_absolute_path
from ftwizard.text import find_similar, format_learning_rate, make_visible

REWARDS = "recipe.grpo.rewards"
MODEL_REASON = (
    "The base model. Start with a small one: a first run shows in minutes whether the data works. "
    "The same plan then trains a larger model."
)
NO_REWARDS = f"name what scores an answer: one of {', '.join(PACKAGED)}, or rewards.py:my_reward."
NEEDED = "needed"
"""What stands in an empty field that has to be filled."""
UNKNOWN_MODEL = "Size, memory and time are unknown until the next page reads its configuration."
AFTER = Setting(
    name="finish",
    part="finish",
    label="After training",
    reason="Merging turns adapter and base into one 16-bit model that any server loads. The "
    "comparison runs the test set through both models.",
    source="End-to-End Fine-Tuning Pipeline (article)",
    as_of="2026-04",
    options=(
        SettingChoice(value="both", name="merge and compare with the base"),
        SettingChoice(value="merge", name="merge only"),
        SettingChoice(value="compare", name="compare only"),
        SettingChoice(value="neither", name="neither"),
    ),
)
_AFTER_NAMES = {
    (True, True): "both", (True, False): "merge", (False, True): "compare", (False, False): "neither",
}  # fmt: skip
"""The option of ``AFTER`` for merge and compare."""
_ADAPTER_SETTINGS = ("method", "rank", "target_modules")
"""Settings that show a caution about adapting the model."""
PROMPTS_HINT = (
    "Name a text file with one prompt per line, or a data file. Leave it empty to use validation "
    "rows."
)
_TYPE_NAMES = {int: "a whole number", float: "a number"}


def get_advice(draft: Draft, method: Method) -> dict[str, AdvisedValue]:
    """Return the advice for model, data and machine, by setting.

    ``method``: the one in use, on which the other settings depend.
    """
    name = draft.plan.model.name
    advice = plan_advice.advise(
        draft.plan, method, draft.hardware, draft.checked,
        rows=count_trained_rows(draft), parameters=draft.parameters,
        shape=live_estimate.load_shape(name), context=live_estimate.load_context_length(name),
    )  # fmt: skip
    return advice | {item.name: item for item in _advise_by_rows(draft)}


def _advise_by_rows(draft: Draft) -> Iterator[AdvisedValue]:
    """Yield what the checked rows say of the objective, and of its rewards."""
    if draft.checked is None:
        return
    data = evidence.read_evidence(draft.checked)
    yield recipe_advice.advise_objective(objectives.get_format(draft.checked), data.verifiable)
    if draft.plan.recipe.objective == "grpo":
        rewards = recipe_advice.advise_rewards(data.verifiable)
        yield from [rewards] if rewards else []


def get_place_advice(draft: Draft) -> dict[str, AdvisedValue]:
    """Return the advice on where and in how many processes to train, by the settings' keys."""
    advised = rank_advice.advise_processes(draft.plan, draft.machine)
    return {advised.name: advised} if advised else {}


def follow_place_advice(draft: Draft) -> Draft:
    """Return a draft with the advised number of processes, unless the person chose one that counts."""
    fixed = get_fixed_settings(draft.plan)
    for key, advised in get_place_advice(draft).items():
        if key not in draft.touched or key in fixed:
            draft = with_value(draft, setting(key), advised.value)
    return draft


def get_fixed_settings(plan: Plan) -> frozenset[str]:
    """Return the settings, by key, whose advised value is the only possible one: a Slurm job has one
    process for each of its GPUs."""
    has_gpus = plan.where.scheduler == "slurm" and plan.slurm.gpus > 0
    return frozenset({"where.processes"} if has_gpus else ())


def applies(setting: Setting, plan: Plan, machine: MachineInfo) -> bool:
    """Return whether a setting counts with a plan's others, on a machine that can use it."""
    if not setting.applies(plan):
        return False
    is_on_cluster = plan.where.scheduler == "slurm"
    can_use = {
        "where.scheduler": machine.slurm or is_on_cluster,
        "where.processes": _counts_processes(plan, machine),
        "where.parallel": plan.ranks > 1,
    }
    return can_use.get(setting.path, True)


def _counts_processes(plan: Plan, machine: MachineInfo) -> bool:
    """Return whether the number of processes is asked for."""
    if get_fixed_settings(plan):
        return plan.where.processes != plan.slurm.gpus  # only as long as they contradict
    is_on_cluster = plan.where.scheduler == "slurm"
    return is_on_cluster or len(machine.gpus) > 1 or plan.where.processes > 1


def apply_advice(draft: Draft) -> tuple[Draft, list[str]]:
    """Return a draft with the advised settings, except those that the person has chosen, and a
    list of the changes. The advice depends on the model's size, known only after counting.
    """
    chosen = plan_advice.choose(
        draft.plan.recipe, {*draft.touched, "objective"}, functools.partial(get_advice, draft)
    )
    named: list[str] = []
    for name, advice in chosen.items():
        before, value = get_value(draft.plan, setting(name)), to_value(advice)
        if value != before:
            shown = f"{format_value(name, before)} → {format_value(name, value)}"
            named.append(f"{setting(name).label}: {shown}")
            draft = with_value(draft, setting(name), value)
    return draft, named


def to_value(advice: AdvisedValue) -> Any:
    """Return the value of advice as a plan has it."""
    rewards = setting(advice.name).path == REWARDS
    return parse_value(setting(advice.name), str(advice.value)) if rewards else advice.value


def format_value(name: str, value: Any, *, details: bool = True) -> str:
    """Format a setting's value; ``details``: with the description of a choice."""
    return describe_value(setting(name), value, details=details)


def describe_value(setting: Setting, value: Any, *, details: bool = True) -> str:
    """Format a value; ``details``: with the description of a choice."""
    if setting.in_lines:
        return summarize_lines(value) or setting.empty
    if not setting.options:
        return format_field(setting, value) or setting.empty
    choice = setting.option(value)
    return choice.label if details else choice.name


def count_trained_rows(draft: Draft) -> int | None:
    """Count the training examples: from the estimate, else from the shares that are set aside.

    An estimate from a model's configuration alone has no counts.
    """
    if draft.estimate and (train := draft.estimate.parts.get("train")):
        return train.used
    if draft.checked is None:
        return None
    return plan_advice.count_training_rows(draft.plan, draft.checked)


def describe_model(name: str, recipe: Recipe) -> str:
    """Describe the named model."""
    if name and live_estimate.load_shape(name) is None:
        return f"{UNKNOWN_MODEL} {MODEL_REASON}"
    return live_estimate.describe_caution(name, recipe) or MODEL_REASON


def find_cautions(draft: Draft, *, falling: bool = False) -> dict[str, str]:
    """Return the cautions for these settings, by setting.

    ``falling``: an earlier run on the same data ended with falling validation loss.
    """
    shape = live_estimate.load_shape(draft.plan.model.name)
    size = draft.parameters or (shape.parameters if shape else None)
    messages: dict[str, str] = {}
    for warning in recipe_advice.warnings(draft.plan.recipe, size, draft.earlier, falling=falling):
        name = "epochs" if warning.allow == "many-epochs" else "learning_rate"
        messages.setdefault(name, warning.message)
    if about := live_estimate.describe_caution(draft.plan.model.name, draft.plan.recipe):
        messages.update(dict.fromkeys(_ADAPTER_SETTINGS, about))
    return messages


def resolve_model(typed: str) -> str:
    """Return the model as a plan names it, with a folder as absolute path.

    Raises FtwizardError if the folder name is invalid.
    """
    return get_absolute_path(typed) if is_folder(typed) else typed


def describe_reason(setting: Setting, advised: AdvisedValue | None) -> str:
    """Describe what a setting does, and why its value is advised."""
    if advised and advised.reason not in setting.reason:
        return f"{setting.reason} {advised.reason}"
    return setting.reason


def describe_sources(setting: Setting, advised: AdvisedValue | None, origin: str) -> str:
    """Describe where a value comes from, with dates; ``origin``: default, advised or yours.

    The advice and the description of a setting may have different sources.
    """
    is_chosen = origin not in ("default", "advised")
    start = f"{origin} ({describe_default(setting, advised)})" if is_chosen else origin
    if advised is None or origin == "default":
        return f"{start}: {setting.source}, {setting.as_of}"
    text = f"{start}: {advised.source}, {advised.as_of}"
    if advised.source == setting.source or advised.reason in setting.reason:
        return text
    return f"{text}; setting: {setting.source}, {setting.as_of}"


def find_problem(plan: Plan) -> str:
    """Describe a contradiction in a plan; empty if there is none. Allowable risks do not count."""
    try:
        check_plan(plan)
    except FtwizardError as error:
        return error.text if error.exit_code != DECLINED else ""
    return ""


def find_new_problem(before: Plan, after: Plan) -> str:
    """Describe a contradiction that a change makes; empty if it makes none.

    What was wrong before, such as a setting that is still missing, does not keep others from a change.
    """
    old = {problem.text for problem in find_problems(before)}
    return next((each.text for each in find_problems(after) if each.text not in old), "")


def describe_default(setting: Setting, advised: AdvisedValue | None) -> str:
    """Describe the value that a setting has if the person chooses nothing."""
    if advised:
        return f"advised: {describe_value(setting, advised.value, details=False)}"
    default = describe_value(setting, get_default(setting))
    return default if default == NEEDED else f"default: {default}"


def get_value(plan: Plan, setting: Setting) -> Any:
    """Return a plan's value for a setting."""
    if setting is AFTER:
        return _AFTER_NAMES[plan.finish.merge, plan.finish.compare]
    if setting.name in export_forms.KINDS:
        return ",".join(_list_forms(plan, setting.name))
    return operator.attrgetter(setting.path)(plan)


def get_default(setting: Setting) -> Any:
    """Return the value of a plan that does not name the setting."""
    if setting is AFTER:
        return "both"
    return "" if setting.name in export_forms.KINDS else setting.default


def _list_forms(plan: Plan, kind: str) -> list[str]:
    return [form for form in plan.finish.export if export_forms.parse(form).kind == kind]


def with_value(draft: Draft, setting: Setting, value: Any) -> Draft:
    """Return a draft with this value for a setting."""
    if setting is AFTER:
        merge, compare = value in ("both", "merge"), value in ("both", "compare")
        finish = msgspec.structs.replace(draft.plan.finish, merge=merge, compare=compare)
        return draft.with_plan(finish=finish)
    before = get_value(draft.plan, setting)
    if setting.path == REWARDS:
        value = notation.keep_limits(value, before)
    if value == before:
        return draft
    if setting.name in export_forms.KINDS:
        own = _list_forms(draft.plan, setting.name)
        others = [form for form in draft.plan.finish.export if form not in own]
        export = sorted((*others, *filter(None, value.split(","))), key=_order_form)
        finish = msgspec.structs.replace(draft.plan.finish, export=tuple(export))
        return draft.with_plan(finish=finish)
    part = setting.part.partition(".")[0]
    changed = changes.replace_setting(draft.plan, setting.path, value)
    return draft.with_plan(**{part: getattr(changed, part)})


def _order_form(form: str) -> int:
    return export_forms.KINDS.index(export_forms.parse(form).kind)


def find_prompts_problem(draft: Draft) -> str:
    """Describe what is wrong with the prompt file; empty if it is fine or none is named."""
    named = draft.plan.samples.prompts
    if not isinstance(named, str) or not (problem := user_paths.explain_problem(named)):
        return ""
    return f"{setting('prompts').label}: {problem} {PROMPTS_HINT}"


def resolve_prompt_file(draft: Draft) -> Draft:
    """Return a draft with an absolute path of the prompt file, as a run has another working
    directory. Raises FtwizardError if the name is invalid."""
    samples = draft.plan.samples
    if not isinstance(samples.prompts, str):
        return draft
    return draft.with_plan(
        samples=msgspec.structs.replace(samples, prompts=get_absolute_path(samples.prompts))
    )


def summarize_lines(text: str) -> str:
    """Return the first line of a text, and how many there are; empty without one."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return make_visible(lines[0], 60) if lines else ""
    return f"{len(lines)} lines: {make_visible(lines[0], 40)} …"


def find_lines_problem(text: str) -> str:
    """Return why the shell lines of a job cannot be used; empty if they can."""
    problems = find_prelude_problems(text)
    return next((f"It {each.problem} {each.hint}" for each in problems), "")


def list_options(setting: Setting) -> list[tuple[str, str]]:
    """List text and label of each option of a setting."""
    return [(str(option.value), option.label) for option in setting.options]


def format_field(setting: Setting, value: Any) -> str:
    """Format a value as it is typed into the field of a setting."""
    if setting.in_points:
        return f"{value * 100:g}"
    if setting.path == REWARDS and isinstance(value, tuple):
        return make_visible(format_rewards(value))
    if setting.in_lines:
        return str(value)
    return make_visible(value) if isinstance(value, str) else format_input(value)


def format_rewards(rewards: Sequence[Reward]) -> str:
    """Format rewards as they are typed, with files relative to the working directory."""
    return notation.format_rewards(rewards, format_path)


def format_input(value: Any) -> str:
    """Format a value as it is typed; empty for “auto”."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        short = format_learning_rate(value) if 0 < value < 1e-3 else f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)


def can_be_automatic(setting: Setting) -> bool:
    """Tell whether a setting may be left to the run."""
    return type(None) in typing.get_args(TYPES[setting.part][setting.name])


def parse_value(setting: Setting, typed: str) -> Any:
    """Parse typed text, or a chosen option, into the plan's type; raise ValueError with a message."""
    if setting.options:
        return next(option.value for option in setting.options if str(option.value) == typed)
    if setting.in_lines:
        return typed.rstrip("\n") + "\n" if typed.strip() else ""
    kind, text = TYPES[setting.part][setting.name], typed.strip()
    if setting.path == REWARDS:
        return _parse_rewards(setting, text)
    parts = typing.get_args(kind) or (kind,)
    if text in ("", setting.empty) and can_be_automatic(setting):
        return None
    words = [
        word for part in parts if typing.get_origin(part) is Literal for word in get_args(part)
    ]
    if str in parts or text in words:
        return text
    if setting.typed:
        return _parse_words(setting, text, words)
    if setting.in_points:
        return _parse_points(setting, text)
    if any(typing.get_origin(kind_part) is tuple for kind_part in (kind, *parts)):
        return tuple(text.replace(",", " ").split())
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        names = (words for kind_part, words in _TYPE_NAMES.items() if kind_part in parts)
        wanted = " or ".join([next(names, "another value"), *words])
        reason = f"“{make_visible(text, 30)}” is not {wanted}." if text else f"enter {wanted}."
        raise ValueError(f"{setting.label}: {reason}") from None


def _parse_words(setting: Setting, text: str, words: Sequence[str]) -> tuple[str, ...]:
    """Return several of ``words``, which a text separates by commas or blanks."""
    names = tuple(text.replace(",", " ").split())
    for name in names or ("",):
        if name not in words:
            near = find_similar(name, words)
            shown = (
                f"“{make_visible(name, 30)}” is not one of its values."
                if name
                else "enter a value."
            )
            hint = f"Did you mean {near}?" if near else f"Choose from {', '.join(words)}."
            raise ValueError(f"{setting.label}: {shown} {hint}")
    return names


def _parse_rewards(setting: Setting, text: str) -> tuple[Reward, ...]:
    try:
        rewards = notation.parse_rewards(text)
    except FtwizardError as error:
        raise ValueError(f"{setting.label}: {error.text}") from None
    for reward in rewards:
        if reward.file and (problem := user_paths.explain_problem(str(reward.file))):
            raise ValueError(f"{setting.label}: {problem}")
    if not rewards:
        raise ValueError(f"{setting.label}: {NO_REWARDS}")
    return rewards


def _parse_points(setting: Setting, text: str) -> float:
    """Return the share that points of 100 are; 7.1 points are 0.071."""
    with contextlib.suppress(InvalidOperation):
        points = Decimal(text.replace(",", "."))
        if points.is_finite() and 0 <= points < 100:
            return float(points / 100)
    shown = f"“{make_visible(text, 30)}” is not a number" if text else "enter a number"
    raise ValueError(f"{setting.label}: {shown} of points from 0 to below 100.")
