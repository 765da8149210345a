"""Parts of an ejected script that depend on the training objective: DPO, KTO and GRPO beside SFT."""

from __future__ import annotations

import pprint
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.export import script_rows
from ftwizard.objectives import ObjectiveName
from ftwizard.plan.schema import Plan, Recipe
from ftwizard.rewards import answer_scores, choices, json_answers, quantities, trl_functions, words
from ftwizard.rewards.reward import Reward, name_uniquely
from ftwizard.runs.ejected_script import RowForm
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
TITLES: dict[ObjectiveName, str] = {
    "sft": "", "dpo": "DPO with ", "kto": "KTO with ", "grpo": "GRPO with ",
}  # fmt: skip
_TOKEN_TRAINER = """\
class TokenTrainer(GRPOTrainer):
    \"""GRPO on prompts that are tokenized already, where TRL would apply the chat template.\"""

    def _generate_and_score_completions(self, inputs):
        self.prompt_ids = [row["prompt_ids"] for row in inputs]
        return super()._generate_and_score_completions(inputs)

    def _tokenize_prompts(self, prompts):
        return self.prompt_ids, None, {}"""
Settings = dict[str, tuple[Any, str]]
"""The text of each value, and the reason for it, which may be empty."""


class StepSplit(NamedTuple):
    """What of a step the processes of a script share, so that any number of them trains on its rows."""

    name: str
    """Of the script's variable."""
    parts: int
    """Of all processes together; each has as many."""
    meaning: str
    unit: str

    def can_be_shared(self, processes: int) -> bool:
        """Return whether each of so many processes gets as many parts."""
        return self.parts % processes == 0

    def format_processes(self) -> str:
        """Return the numbers of processes that can share them: ``1, 2 or 4``."""
        *others, last = [str(n) for n in range(1, self.parts + 1) if self.can_be_shared(n)]
        return f"{', '.join(others)} or {last}" if others else last


def find_split(plan: Plan) -> StepSplit:
    """Return what the processes of a plan's script share.

    KTO compares the rows of a batch of all processes with each other, so they share a batch. Of the
    others, each has batches of its own.
    """
    recipe = plan.recipe
    if recipe.objective == "kto":
        return StepSplit(
            "ROWS", recipe.batch_size * plan.ranks, "Rows of a batch, which KTO compares with each other",
            "rows of a batch",
        )  # fmt: skip
    batches = recipe.gradient_accumulation * plan.ranks
    return StepSplit("BATCHES", batches, "Batches of a step", "batches of a step")


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
    split, processes = find_split(plan), requested or plan.where.processes
    if not split.can_be_shared(processes):
        raise FtwizardError(
            f"{processes} processes cannot share {split.parts} {split.unit} evenly.",
            f"Name {split.format_processes()} GPUs, or change recipe.gradient_accumulation.",
        )
    return processes


def name_trainer(recipe: Recipe, form: RowForm, processes: int) -> str:
    """Return the class that the script trains with."""
    if recipe.objective in ("dpo", "kto"):
        return f"Encoded{recipe.objective.upper()}Trainer"
    if recipe.objective == "grpo" and form == "tokens":
        return "TokenTrainer"
    return _name_base(recipe, processes)


def _name_base(recipe: Recipe, processes: int) -> str:
    """Return TRL's class, or the one that lets several processes train on each row once."""
    return f"{recipe.objective.upper()}Trainer" if processes == 1 else "RowsOnceTrainer"


def define_trainer(recipe: Recipe, form: RowForm, processes: int) -> str:
    """Return the source of that class; empty if it is TRL's own."""
    if recipe.objective == "grpo":
        return _TOKEN_TRAINER if form == "tokens" else ""
    if recipe.objective == "sft" and processes == 1:
        return ""
    name = name_trainer(recipe, form, processes)
    if recipe.objective == "sft":
        from ftwizard.export import rank_trainers

        return script_rows.read_source(getattr(rank_trainers, name))
    from ftwizard.train.objectives import encoded_trainers

    return script_rows.read_source(getattr(encoded_trainers, name))


def list_settings(recipe: Recipe, form: RowForm, *, asks_reference_first: bool) -> Settings:
    """Return the settings of the objective, under TRL's names."""
    if recipe.objective == "sft":
        return {
            "max_length": (recipe.max_length, "longer rows are cut at the end"),
            "packing": (
                recipe.packing,
                "rows of one sequence do not see each other" if recipe.packing else "",
            ),
            "assistant_only_loss": (
                form == "messages", "" if form == "messages" else "the rows have labels"
            ),
            "eval_packing": (False, ""),
        }  # fmt: skip
    if recipe.objective == "grpo":
        return _list_grpo(recipe)
    settings: Settings = {
        "max_length": (None, "the rows are cut already"),
        "precompute_ref_log_probs": (
            asks_reference_first,
            "asks the reference once, before the first step" if asks_reference_first else "",
        ),
        "disable_dropout": (True, "the model and its reference are compared on the same terms"),
    }
    if recipe.objective == "kto":
        kto = recipe.kto
        return settings | {
            "beta": (kto.beta, "weight of the penalty for leaving the reference"),
            "loss_type": (repr(kto.loss_type), ""),
            "desirable_weight": (kto.desirable_weight, ""),
            "undesirable_weight": (kto.undesirable_weight, ""),
            "train_sampling_strategy": (repr("sequential"), "the file is shuffled already"),
        }
    dpo = recipe.dpo
    losses = [dpo.loss_type] if isinstance(dpo.loss_type, str) else list(dpo.loss_type)
    return settings | {
        "beta": (dpo.beta, "weight of the penalty for leaving the reference"),
        "loss_type": (losses, ""),
        "loss_weights": (None if dpo.loss_weights is None else list(dpo.loss_weights), ""),
        "label_smoothing": (dpo.label_smoothing, ""),
    }


def _list_grpo(recipe: Recipe) -> Settings:
    from ftwizard.train.objectives import reinforcement

    reasons = {
        "num_generations": "answers to each prompt, which are compared with each other",
        "beta": "weight of the penalty for leaving the model at the start",
        "max_completion_length": "tokens",
        "disable_dropout": "probabilities are compared with those of the sampled answers",
        "per_device_eval_batch_size": "whole groups of answers",
    }
    return {
        name: (repr(value), reasons.get(name, ""))
        for name, value in reinforcement.list_settings(recipe).items()
    }


def import_rewards(rewards: Sequence[Reward]) -> Iterator[str]:
    """Yield the imports of the reward functions."""
    if any(reward.file is None for reward in rewards):
        yield f"from {COPIES} import answer_scores, trl_functions"
    elif rewards:
        yield f"from {COPIES} import trl_functions"
    for name, reward in zip(name_uniquely(rewards), rewards, strict=True):
        if reward.file is not None:
            renamed = "" if name == reward.name else f" as {name}"
            yield f"from {reward.file.stem} import {reward.name}{renamed}"


def list_rewards(rewards: Sequence[Reward]) -> Iterator[str]:
    """Yield the list of the functions that TRL calls."""
    yield "# TRL passes rows and tokens of answers. Each function gets the texts and columns that it takes."
    yield "rewards = ["
    for name, reward in zip(name_uniquely(rewards), rewards, strict=True):
        if reward.file is not None:
            yield f"    trl_functions.from_function({name!r}, {name}, tokenizer),"
            continue
        yield "    trl_functions.from_score("
        yield f"        {name!r},"
        yield f"        answer_scores.{reward.name},"
        options = pprint.pformat(reward.options, width=80, sort_dicts=False)
        yield textwrap.indent(f"{options},", " " * 8)
        yield "        tokenizer,"
        yield "    ),"
    yield "]"


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


class ObjectiveFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a script says of its objective besides the plan."""

    asks_reference_first: bool = False
    """Whether TRL asks the reference when it builds the trainer."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a generated answer."""
