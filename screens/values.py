"""The settings of a plan as they are typed and chosen, and what is advised for them."""

from __future__ import annotations

import typing
from typing import Any

import msgspec

from ftwizard import file_names, forecast
from ftwizard import plan as plans
from ftwizard.advice import recipe as advice
from ftwizard.advice.recipe import Advised, Method
from ftwizard.advice.setting import PARTS, TYPES, Choice, Setting, setting
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.estimate import batches
from ftwizard.models import is_folder
from ftwizard.plan import Finish, Plan, Recipe
from ftwizard.screens import prospect
from ftwizard.screens.draft import Draft, whole
from ftwizard.text import visible

MODEL_REASON = (
    "The base model. Begin with a small one: a first run shows in minutes whether the rows teach "
    "what they should, and the same plan then trains a larger one."
)
UNKNOWN_MODEL = (
    "Its size is not known yet, so neither are memory and time; the next page looks it up."
)
AFTER = Setting(
    name="finish",
    label="After training",
    reason="Merged, the adapter and its base are one 16-bit model that any server loads. The "
    "comparison answers held-out rows with both models.",
    source="End-to-End Fine-Tuning Pipeline (article)",
    as_of="2026-04",
    options=(
        Choice(value="both", label="merge, and compare with the base"),
        Choice(value="merge", label="merge only"),
        Choice(value="compare", label="compare only"),
        Choice(value="neither", label="neither"),
    ),
)
_ADAPTER = ("method", "rank", "target_modules")
"""Settings that a caution about how the model is adapted stands with."""
PROMPTS_HINT = (
    "Name a text file with a prompt on each line, or a file of rows; with “validation rows”, or "
    "nothing, these are asked."
)
_KINDS = {int: "a whole number", float: "a number"}


def advised(draft: Draft, method: Method) -> dict[str, Advised]:
    """Return what is advised for model, rows and machine, by setting.

    ``method``: the one in use, which the others depend on.
    """
    spread = batches.lengths((draft.checked or {}).get("tokens"))
    shape = prospect.shape(draft.plan.model.name)
    size = draft.parameters or (shape.parameters if shape else None)
    named = advice.advise(
        method, size, trained_rows(draft), draft.machine,
        lengths=spread, shape=shape, context=prospect.context(draft.plan.model.name),
    )  # fmt: skip
    way = advice.method_for(size, forecast.on_its_gpu(draft.plan, draft.machine), shape=shape)
    return {one.name: one for one in (way, *named)}


def suited(draft: Draft) -> tuple[Draft, list[str]]:
    """Return a draft whose settings are those advised now, but for what the person has chosen.

    Each change is named: what a model of this size needs is known only once it was counted.
    """
    recipe, method = draft.plan.recipe, draft.plan.recipe.method
    if "method" not in draft.touched:
        method = typing.cast(Method, advised(draft, method)["method"].value)
    changed = {
        name: one.value
        for name, one in advised(draft, method).items()
        if name not in draft.touched and one.value != getattr(recipe, name)
    }
    named = [
        f"{setting(name).label}: {said(name, getattr(recipe, name))} → {said(name, value)}"
        for name, value in changed.items()
    ]
    return draft.with_recipe(**changed), named


def said(name: str, value: Any) -> str:
    """Return a setting's value in words."""
    known = setting(name)
    return known.option(value).label if known.options else shown_value(value) or known.empty


def trained_rows(draft: Draft) -> int | None:
    """Return how many rows are trained on: counted, or by the shares that are set aside.

    An estimate by a model's configuration alone has encoded none, so it counts none.
    """
    if draft.estimate and (train := draft.estimate["parts"].get("train")):
        return int(train["kept"])
    if draft.checked is None:
        return None
    share = 1 - draft.plan.validation_share - draft.plan.test_share
    return round(int(draft.checked["usable"]) * share)


def about_model(name: str, recipe: Recipe) -> str:
    """Return what is to be known of the model that is named."""
    if name and prospect.shape(name) is None:
        return f"{UNKNOWN_MODEL} {MODEL_REASON}"
    return prospect.caution(name, recipe) or MODEL_REASON


def cautions(draft: Draft, *, falling: bool = False) -> dict[str, str]:
    """Return what should be thought about before training with these settings, by setting.

    ``falling``: the validation loss of an earlier run on the same rows still fell at its end.
    """
    known = prospect.shape(draft.plan.model.name)
    size = draft.parameters or (known.parameters if known else None)
    found: dict[str, str] = {}
    for one in advice.warnings(draft.plan.recipe, size, draft.earlier, falling=falling):
        name = "epochs" if one.allow == "many-epochs" else "learning_rate"
        found.setdefault(name, one.message)
    if about := prospect.caution(draft.plan.model.name, draft.plan.recipe):
        found.update(dict.fromkeys(_ADAPTER, about))
    return found


def model_name(typed: str) -> str:
    """Return the model as a plan names it: a folder by its whole path.

    Raises FtwizardError where no folder can be called so.
    """
    return whole(typed) if is_folder(typed) else typed


def reason(setting: Setting, advised: Advised | None) -> str:
    """Return what a setting does, and why it has the advised value."""
    if advised and advised.reason not in setting.reason:
        return f"{setting.reason} {advised.reason}"
    return setting.reason


def sources(setting: Setting, advised: Advised | None, origin: str) -> str:
    """Say where a setting's value comes from, with dates: ``default``, ``advised`` or ``yours``.

    What is advised has a source of its own; what the setting does has another.
    """
    start = f"yours; {usual(setting, advised)}" if origin == "yours" else origin
    if advised is None or origin == "default":
        return f"{start}: {setting.source}, {setting.as_of}"
    found = f"{start}: {advised.source}, {advised.as_of}"
    if advised.source == setting.source or advised.reason in setting.reason:
        return found
    return f"{found}; setting: {setting.source}, {setting.as_of}"


def problem(plan: Plan) -> str:
    """Say what in a plan contradicts itself; warnings that can be overruled are none."""
    try:
        plans.check(plan)
    except FtwizardError as error:
        return f"{error.message} {error.hint}" if error.exit_code != DECLINED else ""
    return ""


def after(finish: Finish) -> str:
    """Return what is chosen of ``AFTER``."""
    return {(True, True): "both", (True, False): "merge", (False, True): "compare"}.get(
        (finish.merge, finish.compare), "neither"
    )


def usual(setting: Setting, advised: Advised | None) -> str:
    """Return in words what a setting would be if the person chose nothing."""
    if advised:
        return f"advised is {said(setting.name, advised.value).partition(':')[0]}"
    if setting is AFTER:
        return f"the default is “{AFTER.option('both').label}”"
    return f"the default is {said(setting.name, getattr(PARTS[setting.part](), setting.name))}"


def value_of(plan: Plan, setting: Setting) -> Any:
    """Return what a plan has for a setting."""
    if setting is AFTER:
        return after(plan.finish)
    return getattr(getattr(plan, setting.part), setting.name)


def with_value(draft: Draft, setting: Setting, value: Any) -> Draft:
    """Return a draft whose plan has this value for a setting."""
    if setting is AFTER:
        return draft.with_plan(finish=finishing(draft.plan.finish, value))
    part = msgspec.structs.replace(getattr(draft.plan, setting.part), **{setting.name: value})
    return draft.with_plan(**{setting.part: part})


def prompts_problem(draft: Draft) -> str:
    """Say what is wrong with the file of prompts; empty where none is named, or it is there."""
    named = draft.plan.samples.prompts
    if not isinstance(named, str) or not (problem := file_names.problem(named)):
        return ""
    return f"{setting('prompts').label}: {problem} {PROMPTS_HINT}"


def settled(draft: Draft) -> Draft:
    """Return a draft whose file of prompts is named by its whole path: a run does not stand where
    this wizard does. Raises FtwizardError where no file can be called so."""
    samples = draft.plan.samples
    if not isinstance(samples.prompts, str):
        return draft
    return draft.with_plan(samples=msgspec.structs.replace(samples, prompts=whole(samples.prompts)))


def finishing(finish: Finish, chosen: str) -> Finish:
    """Return what follows the training, by a choice of ``AFTER``."""
    return msgspec.structs.replace(
        finish, merge=chosen in ("both", "merge"), compare=chosen in ("both", "compare")
    )


def shown_value(value: Any) -> str:
    """Return a value as it is typed; empty for “automatic”."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        short = advice.in_words(value) if 0 < value < 1e-3 else f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)


def can_be_automatic(setting: Setting) -> bool:
    """Say whether a setting may be left to the run."""
    return type(None) in typing.get_args(TYPES[setting.part][setting.name])


def read_value(setting: Setting, typed: str) -> Any:
    """Return what was typed as the plan's own type; raise ValueError with a sentence."""
    kind, text = TYPES[setting.part][setting.name], typed.strip()
    parts = typing.get_args(kind) or (kind,)
    if text in ("", setting.empty) and can_be_automatic(setting):
        return None
    if str in parts:
        return text
    if any(typing.get_origin(one) is tuple for one in (kind, *parts)):
        return tuple(text.replace(",", " ").split())
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        wanted = next((words for one, words in _KINDS.items() if one in parts), "another value")
        said = f"“{visible(text, 30)}” is not {wanted}." if text else f"give {wanted}."
        raise ValueError(f"{setting.label}: {said}") from None
