"""Changed settings: which a run may take over on resume, and from what weights a child run starts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from ftwizard.errors import USAGE, FtwizardError
from ftwizard.plan.schema import HOSTED_PROVIDERS, Plan, PlanPart
from ftwizard.strict_yaml import convert_settings, load_value
from ftwizard.text import find_similar, make_visible

_Part = TypeVar("_Part", bound=PlanPart)
Effect = Literal["resume", "file", "checkpoint", "base"]
"""``resume``: may change on resume; what was trained on stays the same. ``file``: a path, which may
change if the content is the same. The others need a child run. ``checkpoint``: it continues with the
weights of a checkpoint. ``base``: it starts from the base model."""
Changes = Mapping[str, tuple[Any, Any]]
"""Changed settings by full name: the old and the new value."""

PLAN_CHANGED = "plan_changed"
PLAN_UNUSABLE = "plan_unusable"
"""Codes of the errors for a run's plan that was edited so that it cannot take over the changes, and for
one that is missing or cannot be read."""
_SETTINGS: dict[Effect, str] = {
    # Limits, what is observed, what follows the training, and the same function computed otherwise.
    # Early stopping can be made stricter or, by a high patience, put out of reach.
    "resume": """
        provider_reason allow report_to where.gpu where.scheduler
        where.processes where.parallel
        slurm.partition slurm.account slurm.qos slurm.time slurm.gpus slurm.gpu_type slurm.cpus
        slurm.memory slurm.constraint slurm.prelude slurm.requeue slurm.stop_before_s
        budget.minutes budget.hours budget.usd
        samples.count samples.prompts samples.max_tokens
        finish.merge finish.compare finish.pairs finish.max_new_tokens finish.export
        hosted.cancel_on hosted.download foundry.deployment foundry.base_deployment
        recipe.patience recipe.save_steps recipe.gradient_checkpointing recipe.attention
        recipe.padding_free recipe.kernels
        recipe.grpo.answer_template
        evaluate.judge.url evaluate.judge.model evaluate.judge.key_variable
    """,
    "file": "data.files.train data.files.validation data.files.test data.mix.rows",
    # A resumed trainer takes some of these from its checkpoint (the learning rate), and mixes others.
    # `evaluation_steps` moves what patience counts, and which steps can be the best. The gate and what
    # it is measured on are fixed before the first step.
    "checkpoint": """
        recipe.dropout recipe.epochs recipe.max_steps recipe.learning_rate recipe.schedule
        recipe.warmup recipe.batch_size recipe.gradient_accumulation recipe.max_length
        recipe.packing recipe.weight_decay recipe.max_grad_norm recipe.precision
        recipe.evaluation_steps recipe.seed recipe.objective
        recipe.dpo.beta recipe.dpo.loss_type recipe.dpo.loss_weights recipe.dpo.label_smoothing
        recipe.dpo.precompute_ref_log_probs
        recipe.kto.beta recipe.kto.loss_type recipe.kto.desirable_weight
        recipe.kto.undesirable_weight recipe.kto.precompute_ref_log_probs
        recipe.grpo.rewards recipe.grpo.num_generations recipe.grpo.num_generations_eval
        recipe.grpo.max_completion_length recipe.grpo.temperature recipe.grpo.top_p
        recipe.grpo.top_k recipe.grpo.beta recipe.grpo.loss_type recipe.grpo.scale_rewards
        recipe.grpo.epsilon recipe.grpo.epsilon_high recipe.grpo.num_iterations
        recipe.grpo.mask_truncated_completions
        slurm.nodes gate.gain gate.max_general_loss gate.max_safety_loss
        evaluate.sets evaluate.general evaluate.safety evaluate.system evaluate.shots
        evaluate.max_items evaluate.scorer evaluate.answer_pattern evaluate.requires_headroom
    """,
    # Weights of another shape; `alpha` scales the adapter, so that a trained one would have another
    # effect; other rows, of which the parent may have been trained on those that now test the child.
    "base": """
        provider model.name model.revision
        recipe.method recipe.rank recipe.alpha recipe.target_modules
        data.format data.columns data.encoding data.max_rows data.mix.share
        recipe.grpo.reference_column
        data.split.validation data.split.test data.split.group_by data.split.seed
    """,
}
EFFECTS: dict[str, Effect] = {
    name: effect for effect, names in _SETTINGS.items() for name in names.split()
}
"""What a change of each setting of a plan means, by full name."""


def _list_fields(part: type[msgspec.Struct], prefix: str) -> Iterable[str]:
    for field in msgspec.structs.fields(part):
        if isinstance(field.type, type) and issubclass(field.type, PlanPart):
            yield from _list_fields(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


# A job at a platform cannot be changed once it was created.
for _provider, _part in HOSTED_PROVIDERS.items():
    EFFECTS |= {
        name: "base" for name in _list_fields(_part, f"{_provider}.") if name not in EFFECTS
    }


def list_settings(plan: Plan) -> dict[str, Any]:
    """Return each setting of a plan by full name, as plain values: ``recipe.learning_rate``."""
    return dict(_iterate(plan, ""))


def _iterate(part: msgspec.Struct, prefix: str) -> Iterable[tuple[str, Any]]:
    for field in msgspec.structs.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, PlanPart):
            yield from _iterate(value, f"{prefix}{field.name}.")
        else:
            plain = msgspec.to_builtins(value)
            yield prefix + field.name, list(plain) if isinstance(plain, tuple) else plain


def find_changes(old: Plan, new: Plan) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, in the order of the plan."""
    before, after = (list_settings(pin_defaults(plan)) for plan in (old, new))
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def find_refused(old: Plan, changes: Changes) -> list[str]:
    """Return the names of the changes that a run of the plan ``old`` cannot take over on resume."""
    refused = []
    for name, (before, after) in changes.items():
        effect = EFFECTS[name]
        is_moved = effect == "file" and before is not None and after is not None
        # Without a test set there is nothing to compare on.
        lacks_test = name == "finish.compare" and after and not _has_test(old)
        if lacks_test or not (effect == "resume" or is_moved):
            refused.append(name)
    return _judge_rows_per_step(old, changes, refused)


def _judge_rows_per_step(old: Plan, changes: Changes, refused: list[str]) -> list[str]:
    """Return the refused changes where the number of processes may change as well.

    A run may move to another number if each step takes as many rows as before: twice the processes
    with half the accumulation. Otherwise its steps would mean something else from there on.
    """
    names = ("where.processes", "recipe.gradient_accumulation")
    before = (old.where.processes, old.recipe.gradient_accumulation)
    if names[0] not in changes:
        return refused
    after = tuple(
        changes[name][1] if name in changes else value
        for name, value in zip(names, before, strict=True)
    )
    if math.prod(after) == math.prod(before):
        return [name for name in refused if name != names[1]]
    return [*refused, names[0]]


def _has_test(plan: Plan) -> bool:
    return bool(plan.data.files.test or plan.test_share)


def pin_defaults(plan: Plan) -> Plan:
    """Return the plan with the shares of its split written out.

    Their defaults depend on other settings, of which ``finish.compare`` may change later.
    """
    files, split = plan.data.files, plan.data.split
    if split.validation is None and not files.validation:
        split = msgspec.structs.replace(split, validation=plan.validation_share)
    if split.test is None and not files.test:
        split = msgspec.structs.replace(split, test=plan.test_share)
    return msgspec.structs.replace(plan, data=msgspec.structs.replace(plan.data, split=split))


def replace_setting(plan: Plan, name: str, value: Any) -> Plan:
    """Return the plan with one setting replaced, by its full name: ``recipe.dpo.beta``."""
    return _replace(plan, name.split("."), value)


def _replace(part: _Part, names: Sequence[str], value: Any) -> _Part:
    name, *deeper = names
    if deeper:
        value = _replace(getattr(part, name), deeper, value)
    return msgspec.structs.replace(part, **{name: value})


def set_values(plan: Plan, texts: Iterable[str]) -> Plan:
    """Return the plan with settings replaced: ``recipe.epochs=2``, or ``epochs=2`` where it is clear.

    Values are YAML. Raises FtwizardError (USAGE) for an unknown name or an invalid value.
    """
    tree = msgspec.to_builtins(plan)
    try:
        for text in texts:
            _set_value(tree, text)
        return convert_settings(tree, Plan, "--set")
    except FtwizardError as error:
        raise FtwizardError(error.message, error.hint, USAGE) from None


def _set_value(tree: dict[str, Any], text: str) -> None:
    name, sign, value = text.partition("=")
    if not sign:
        raise FtwizardError(
            f"--set {make_visible(text, 60)} has no value.",
            "Write it as --set recipe.learning_rate=1e-4.",
        )
    *groups, last = _find_name(name.strip(), tree["provider"]).split(".")
    for group in groups:
        tree = tree[group]
    tree[last] = load_value(value, f"--set {make_visible(name, 60)}")


def _find_name(name: str, provider: str) -> str:
    """Return the full name of a setting, which may be given without its group.

    A short name means none of other providers.
    """
    others = tuple(f"{other}." for other in (*HOSTED_PROVIDERS, "recipe") if other != provider)
    if provider == "local":
        others = tuple(name for name in others if name != "recipe.")
    matches = [
        full
        for full in EFFECTS
        if full == name or (full.endswith(f".{name}") and not full.startswith(others))
    ]
    if name in EFFECTS or len(matches) == 1:
        return name if name in EFFECTS else matches[0]
    shown = make_visible(name, 60)
    if matches:
        message = f"--set: “{shown}” is the name of {len(matches)} settings."
        raise FtwizardError(message, f"Choose one: {', '.join(matches)}.")
    near = find_similar(name, [*EFFECTS, *(full.rpartition(".")[2] for full in EFFECTS)])
    hint = f"Did you mean {near}?" if near else "The settings are listed in docs/training.md."
    raise FtwizardError(f"--set: “{shown}” is not a setting.", hint)
