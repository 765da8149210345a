"""Plan files: reading with checks and absolute paths, and writing."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import locations, strict_yaml, user_paths
from ftwizard.data import bundled_samples
from ftwizard.data.hub import ids
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder, write_whole
from ftwizard.plan.checks import check_plan, parse_risk
from ftwizard.plan.objective_checks import OBJECTIVE_PARTS
from ftwizard.plan.schema import HOSTED_PROVIDERS, LM_EVAL, OpenAI, Plan, RiskName
from ftwizard.rewards.reward import Reward
from ftwizard.strict_yaml import SettingsError
from ftwizard.text import make_visible

DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in msgspec.structs.fields(Plan) if not field.required
}


def load(
    path: Path,
    allow: Iterable[str] = (),
    *,
    begun: bool = False,
    deferred: Container[RiskName] = (),
) -> Plan:
    """Read and check a plan; make its paths absolute and fill in the learning rate.

    ``allow`` names risks to allow besides those in the plan. ``begun``: the plan of a run that has
    begun, so what was asked at its start is not asked again. ``deferred``: risks that the caller checks.
    Raises SettingsError with the line and what to do, FtwizardError when a safety rule forbids it.
    """
    text = _read(path)
    plan = parse(text, str(path))
    try:
        return complete(plan, path.absolute().parent, allow, begun=begun, deferred=deferred)
    except SettingsError as error:
        if not error.setting:
            raise
        where = strict_yaml.locate(text, error.setting, make_visible(str(path)))
        raise SettingsError(f"{where}{error.message}", error.hint) from None


def complete(
    plan: Plan,
    folder: Path,
    allow: Iterable[str] = (),
    *,
    begun: bool = False,
    deferred: Container[RiskName] = (),
) -> Plan:
    """Check a plan, make its paths absolute (relative to ``folder``) and fill in the learning rate.

    The arguments and errors are those of ``load``.
    """
    plan = _fill_in_learning_rate(make_absolute(plan, folder))
    allowed = tuple(dict.fromkeys((*plan.allow, *map(parse_risk, allow))))
    plan = msgspec.structs.replace(plan, allow=allowed)
    check_plan(plan, ("many-epochs",) if begun else deferred)
    return plan


def parse(text: str, name: str = "plan.yaml") -> Plan:
    """Parse YAML 1.2 text, without checks across fields; raise SettingsError."""
    return strict_yaml.loads(text, Plan, name, _name_recipe)


def _name_recipe(tree: dict[str, Any]) -> None:
    """Take a ``recipe`` of a platform's own settings as the group of that platform."""
    provider, recipe = tree.get("provider"), tree.get("recipe")
    part = HOSTED_PROVIDERS.get(provider) if isinstance(provider, str) else None  # type: ignore[call-overload]
    if part is None or provider in tree or not isinstance(recipe, dict):
        return
    if recipe and all(key in part.__struct_fields__ for key in recipe):
        tree[str(provider)] = tree.pop("recipe")


def dump(plan: Plan, *, defaults: bool = True) -> str:
    """Return the plan as YAML that ``parse`` reads back as the same value.

    All settings are written except those left to the run (None) and, without ``defaults``, those
    that have their default value.
    """
    tree = _to_tree(plan, defaults=defaults)
    for name in _list_unused(plan):
        if getattr(plan, name) == DEFAULTS[name]:
            tree.pop(name, None)
    recipe = tree.get("recipe", {})
    for objective in OBJECTIVE_PARTS.keys() - {plan.recipe.objective}:
        if getattr(plan.recipe, objective) == OBJECTIVE_PARTS[objective]:
            recipe.pop(objective, None)
    return strict_yaml.dumps(tree)


def _list_unused(plan: Plan) -> list[str]:
    """Return the groups of settings that the plan's provider does not read."""
    others: list[str] = [name for name in HOSTED_PROVIDERS if name != plan.provider]
    if plan.is_hosted:
        return [*others, "recipe", "where", "slurm", "samples"]
    return [*others, "hosted", *(["slurm"] if plan.where.scheduler == "none" else [])]


def read_recorded(folder: JobFolder) -> Plan | None:
    """Return the plan in force in a run's newest attempt; None if an earlier version started it.

    It is what the launcher checked and recorded, not the run's ``plan.yaml``, which may have been
    edited since. Raises FtwizardError if the record cannot be read.
    """
    number = folder.newest_attempt()
    record = folder.read_attempt(number) if number else folder.read_job()
    try:
        return msgspec.convert(record.plan, Plan) if record.plan else None
    except msgspec.ValidationError as error:
        raise FtwizardError(
            f"The plan recorded by run {folder.id} could not be read: {make_visible(str(error))}.",
            "It was started by another version of ftwizard: use that one.",
        ) from None


def read_run(folder: JobFolder) -> Plan:
    """Return the plan in force in a run, for views; raise FtwizardError or OSError if unreadable."""
    return read_recorded(folder) or parse(folder.plan.read_text(encoding="utf-8"))


def copy_mix(plan: Plan) -> Plan:
    """Return the plan with the packaged rows of ``data.mix`` replaced by a copied file."""
    mix = plan.data.mix
    if not mix.share:
        return plan
    mix = msgspec.structs.replace(mix, rows=str(bundled_samples.resolve_rows(mix.rows)))
    return msgspec.structs.replace(plan, data=msgspec.structs.replace(plan.data, mix=mix))


def get_path(name: str) -> Path:
    """Return the path of the saved plan of that name."""
    return locations.home_folder() / "plans" / f"{name}.yaml"


def save(plan: Plan, name: str, *, replace: bool = False) -> Path:
    """Save a plan under a name and return its file.

    Raises FtwizardError if it cannot be written, or exists already and ``replace`` is not set.
    """
    file = get_path(name)
    locations.create_private_folder(file.parent)
    try:
        if not replace:
            file.touch(mode=0o600, exist_ok=False)  # of several at once, only one gets the name
        write_whole(file, dump(plan).encode())
    except FileExistsError:
        raise FtwizardError(
            f"A plan {name} already exists: {file}.", "Choose another name."
        ) from None
    except OSError as error:
        if not replace:
            with contextlib.suppress(OSError):
                file.unlink()
        raise FtwizardError(
            f"The plan could not be written to {file}: {error.strerror}."
        ) from error
    return file


def _to_tree(part: msgspec.Struct, *, defaults: bool) -> dict[str, Any]:
    tree = {}
    for field in msgspec.structs.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, msgspec.Struct):
            value = _to_tree(value, defaults=defaults)
        elif not defaults and not field.required and value == field.default:
            continue
        is_empty = value in (None, {}) or (value == "" and field.default == "")
        if not is_empty:
            tree[field.name] = value
    return tree


def _read(path: Path) -> str:
    try:
        return strict_yaml.read_text(path)
    except FileNotFoundError:
        hint = user_paths.suggest_file(path) or "Check the name of the YAML file."
        raise SettingsError(f"Plan {make_visible(str(path))} does not exist.", hint) from None


def _fill_in_learning_rate(plan: Plan) -> Plan:
    """Fill in the default learning rate, so that the plan kept by a run has the number."""
    if plan.recipe.learning_rate is not None or plan.is_hosted:
        return plan
    rate = plan.recipe.default_learning_rate
    recipe = msgspec.structs.replace(plan.recipe, learning_rate=rate)
    return msgspec.structs.replace(plan, recipe=recipe)


def make_absolute(plan: Plan, folder: Path) -> Plan:
    """Return the plan with its paths absolute, relative to ``folder``.

    Raises SettingsError for an invalid file name, and for a data set on the Hub.
    """
    old = plan.data.files
    files: dict[str, str | None] = {}
    for part in ("train", "validation", "test"):
        name = getattr(old, part)
        files[part] = name and _resolve_data(f"data.files.{part}", name, folder)
    mix = plan.data.mix
    if mix.rows not in bundled_samples.ROW_SETS:
        mix = msgspec.structs.replace(mix, rows=_resolve_data("data.mix.rows", mix.rows, folder))
    sampling = plan.samples
    if isinstance(sampling.prompts, str) and sampling.prompts.strip():
        name = _resolve("samples.prompts", sampling.prompts, folder)
        sampling = msgspec.structs.replace(sampling, prompts=name)
    sets = tuple(resolve_set(name, folder) for name in plan.evaluate.sets)
    scorer = resolve_function("evaluate.scorer", plan.evaluate.scorer, folder)
    evaluate = msgspec.structs.replace(plan.evaluate, sets=sets, scorer=scorer)
    model = plan.model
    if plan.is_hosted:
        plan = _resolve_grader(plan, folder)
    elif model.name.startswith((".", "~", "/")) or user_paths.is_folder(folder / model.name):
        model = msgspec.structs.replace(model, name=_resolve("model.name", model.name, folder))
    if plan.recipe.grpo.rewards:
        plan = _resolve_rewards(plan, folder)
    data = msgspec.structs.replace(plan.data, files=msgspec.structs.replace(old, **files), mix=mix)
    return msgspec.structs.replace(
        plan, data=data, model=model, samples=sampling, evaluate=evaluate
    )


def _resolve_grader(plan: Plan, folder: Path) -> Plan:
    settings = plan.platform_settings
    if not isinstance(settings, OpenAI) or not isinstance(settings.grader, str):
        return plan
    grader = _resolve(f"{plan.provider}.grader", settings.grader, folder)
    settings = msgspec.structs.replace(settings, grader=grader)
    return msgspec.structs.replace(plan, **{str(plan.provider): settings})


def _resolve_rewards(plan: Plan, folder: Path) -> Plan:
    """Return the plan with the files of its rewards absolute."""
    rewards = tuple(
        msgspec.structs.replace(
            reward, function=resolve_function("recipe.grpo.rewards", reward.function, folder)
        )
        for reward in plan.recipe.grpo.rewards
    )
    grpo = msgspec.structs.replace(plan.recipe.grpo, rewards=rewards)
    return msgspec.structs.replace(plan, recipe=msgspec.structs.replace(plan.recipe, grpo=grpo))


def resolve_function(setting: str, function: str, folder: Path) -> str:
    """Return a function with its file absolute; a packaged one as it is."""
    reward = Reward(function=function)
    if reward.file is None:
        return function
    return f"{_resolve(setting, str(reward.file), folder)}:{reward.name}"


def _resolve(setting: str, name: str, folder: Path) -> str:
    try:
        return str(user_paths.make_absolute(name, folder))
    except FtwizardError as error:
        raise SettingsError(f"{setting}: {error.message}", error.hint) from None


def resolve_set(name: str, folder: Path) -> str:
    """Return the absolute path of a file of items, or a task of lm-eval as it is."""
    task = name.removeprefix(LM_EVAL)
    if task == name:
        return _resolve_data("evaluate.sets", name, folder)
    is_file = task.endswith((".yaml", ".yml"))
    return LM_EVAL + _resolve("evaluate.sets", task, folder) if is_file else name


def _resolve_data(setting: str, name: str, folder: Path) -> str:
    """Refuse a Hub id: a plan names files, so that a run does not change with the Hub."""
    if ids.parse(name) and not user_paths.exists(folder / name):
        raise SettingsError(
            f"Data file {make_visible(str(folder / name), 200)} does not exist; {setting} looks like "
            "a data set on the Hugging Face Hub.",
            f"Run ftwizard check {make_visible(name, 200)}, then name the file that it prints.",
        )
    return _resolve(setting, name, folder)
