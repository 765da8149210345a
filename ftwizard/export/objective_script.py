"""What an ejected script needs by its training objective: processes, reward functions, limits."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import Plan
from ftwizard.rewards import answer_scores, choices, json_answers, quantities, trl_functions, words
from ftwizard.rewards.reward import Reward
from ftwizard.text import make_visible

COPIES = "reward_functions"
"""Folder of the script with copies of ftwizard's reward functions."""
_ADAPTERS = (trl_functions,)
_SCORES = (answer_scores, choices, json_answers, quantities, words)
_RESERVED = frozenset(
    ("train", COPIES, "torch", "transformers", "trl", "peft", "datasets", "accelerate", "tokenizers",
     "safetensors", "bitsandbytes", "kernels", "regex", "jsonschema", "numpy")
) | sys.stdlib_module_names  # fmt: skip
"""Names of modules that a file next to the script would replace."""


def count_batches(plan: Plan) -> int:
    """Return the batches of a step, of all processes of a script together.

    Each process has as many. KTO compares the rows of a batch of all processes with each other: there,
    the ranks of the plan share one.
    """
    recipe = plan.recipe
    return recipe.gradient_accumulation * (1 if recipe.objective == "kto" else plan.ranks)


def format_divisors(batches: int) -> str:
    """Return the numbers of processes that can share the batches: ``1, 2 or 4``."""
    *others, last = [str(n) for n in range(1, batches + 1) if batches % n == 0]
    return f"{', '.join(others)} or {last}" if others else last


def choose_processes(plan: Plan, requested: int | None) -> int:
    """Return the processes that a script is started in: as many as ``requested``, or as the plan has
    on one machine; for other objectives than SFT, one.

    Raises FtwizardError if they cannot train as the plan does.
    """
    if plan.recipe.objective != "sft":
        if requested is not None and requested > 1:
            raise FtwizardError(
                f"A script of {plan.recipe.objective.upper()} trains in one process, on one GPU.",
                "Name a GPU without a count, or train with ftwizard on several.",
            )
        return 1
    batches, processes = count_batches(plan), requested or plan.where.processes
    if batches % processes:
        raise FtwizardError(
            f"{processes} processes cannot share {batches} batches of a step evenly.",
            f"Name {format_divisors(batches)} GPUs, or change recipe.gradient_accumulation.",
        )
    return processes


def copy_rewards(rewards: Sequence[Reward]) -> dict[str, str]:
    """Return the files of the reward functions by name; raise FtwizardError for one that has no place.

    Files of the user's own stand next to the script, ftwizard's in a folder.
    """
    if not rewards:
        return {}
    files = {f"{COPIES}/__init__.py": '"""Reward functions, copied from ftwizard."""\n'}
    has_packaged = any(reward.file is None for reward in rewards)
    for module in (*_ADAPTERS, *(_SCORES if has_packaged else ())):
        path = Path(str(module.__file__))
        text = path.read_text(encoding="utf-8").replace("ftwizard.rewards", COPIES)
        files[f"{COPIES}/{path.name}"] = text
    own = {reward.file.absolute() for reward in rewards if reward.file is not None}
    for path in sorted(own):
        shown = make_visible(path.name, 60)
        is_free = path.stem.isidentifier() and path.stem not in _RESERVED
        if not is_free or path.name in files:
            raise FtwizardError(
                f"The file of rewards {shown} cannot be ejected: the script imports it by this name"
                + (", which another file has." if is_free else ", which is taken or is no name."),
                "Rename it, and correct recipe.grpo.rewards of the plan.",
            )
        try:
            files[path.name] = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            raise FtwizardError(
                f"The file of rewards {shown} could not be read: {make_visible(str(error), 100)}.",
                "Restore it, or correct recipe.grpo.rewards of the plan.",
            ) from None
    return files


def list_limits(plan: Plan) -> Iterator[str]:
    """Yield what the run adds to TRL's own training of the objective, and the script cannot."""
    own = [r.file for r in plan.recipe.grpo.rewards if r.file is not None]
    if plan.recipe.objective == "grpo" and own:
        names = " and ".join(sorted({make_visible(path.name, 60) for path in own}))
        yield f"the process of {names} with its limits of time and memory"
        yield "the check of the rewards that it returns"
        yield f"what {names} imports (copy or install it)"
    if plan.recipe.objective == "grpo":
        yield "the checkpoint before a reward function that fails"
    if plan.recipe.objective in ("dpo", "kto"):
        yield "the check that model and reference agree before the first step"


def get_packages(plan: Plan) -> Mapping[str, None]:
    """Return the packages that the packaged reward functions need."""
    rewards = plan.recipe.grpo.rewards if plan.recipe.objective == "grpo" else ()
    packaged = [reward for reward in rewards if reward.file is None]
    has_schema = any("schema" in reward.options for reward in packaged)
    return dict.fromkeys(
        (*(("regex",) if packaged else ()), *(("jsonschema",) if has_schema else ()))
    )
