"""Training further from a run, for another objective: preferences or rewards after supervised training."""

from __future__ import annotations

import json
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from textual.app import App

from ftwizard import user_paths
from ftwizard.advice import plan_advice, recipe_advice
from ftwizard.background import run_in_thread
from ftwizard.data.documents import DataReport
from ftwizard.data.format_names import Format
from ftwizard.data.mapping.column_map import ColumnMap
from ftwizard.errors import FtwizardError
from ftwizard.hardware import machine
from ftwizard.hardware.machine import MachineInfo
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import changes, checks, plan_file, schema
from ftwizard.plan.schema import Plan
from ftwizard.rewards import notation
from ftwizard.rewards.reward import Reward
from ftwizard.runs.next_steps import SuggestedStep
from ftwizard.screens.dialogs.command_progress import run_command
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.dialogs.forms import FormDialog
from ftwizard.screens.draft.suggestions import MAX_CHARACTERS
from ftwizard.text import make_visible

_ADVISED = ("epochs", "batch_size", "gradient_accumulation", "max_length")
"""Settings that follow the objective and its rows."""
NO_OBJECTIVE = FtwizardError(
    "These rows are for supervised training.",
    "Name a file of pairs (DPO) or labeled answers (KTO), or rewards for it (GRPO).",
)


class Further(NamedTuple):
    """What to train further on."""

    file: str
    rewards: tuple[Reward, ...]
    """Empty for preferences."""


class FurtherDialog(FormDialog[Further]):
    """Asks for the rows, and for the rewards that score answers to them."""

    MAX_LENGTH = MAX_CHARACTERS

    def __init__(self) -> None:
        super().__init__(
            "Train it further?",
            "A new run starts from the best adapter, with other rows. Pairs: DPO. Answers labeled true or "
            "false: KTO. With rewards, such as numeric_answer, 0.2*length_limit=50: GRPO.",
            fields=[("Data", ""), ("Rewards", "")],
            enter="read the rows",
        )

    def parse(self, typed: list[str]) -> Further:
        name, rewards = (text.strip() for text in typed)
        if problem := user_paths.explain_problem(name) if name else "Name a data file.":
            raise ValueError(problem)
        return Further(str(user_paths.make_absolute(name)), notation.parse_rewards(rewards))


async def ask(app: App[Any], folder: JobFolder) -> SuggestedStep | None:
    """Ask for the rows of a further training; return its step, None if there is none."""
    chosen = await app.push_screen_wait(FurtherDialog())
    if chosen is None:
        return None
    title = f"Reading {make_visible(chosen.file, 50)}"
    document = await run_command(app, title, "check", chosen.file)
    if document is None:
        return None
    try:
        facts = await run_in_thread(machine.read_machine_info)
        parent = plan_file.read_run(folder)
        report = msgspec.convert(document, DataReport)
        return make_step(parent, make_plan(parent, chosen, report, facts))
    except FtwizardError as error:
        await app.push_screen_wait(ErrorDialog(error))
        return None


def make_plan(parent: Plan, chosen: Further, report: DataReport, facts: MachineInfo) -> Plan:
    """Return the plan of a run that trains further; raise FtwizardError if it is none.

    ``report``: of the check of the rows. What suits other rows is as in any new plan.
    """
    format: Format | None = next(
        (name for name in typing.get_args(Format) if name == report.format), None
    )
    objective = "grpo" if chosen.rewards else recipe_advice.choose_objective(format)
    if objective == "sft" or (objective == "grpo" and not chosen.rewards):
        raise NO_OBJECTIVE
    data = msgspec.structs.replace(
        parent.data, files=schema.Files(train=chosen.file), format="auto", columns=ColumnMap(),
        encoding=None, mix=schema.Mix(),
    )  # fmt: skip
    recipe = msgspec.structs.replace(
        parent.recipe, objective=objective, packing=False, padding_free=False, dpo=schema.DPO(),
        kto=schema.KTO(), grpo=schema.GRPO(rewards=chosen.rewards),
    )  # fmt: skip
    plan = msgspec.structs.replace(parent, data=data, recipe=recipe)
    rows = plan_advice.count_training_rows(plan, report)
    advised = plan_advice.advise(plan, recipe.method, facts, report, rows=rows)
    values = {name: advised[name].value for name in _ADVISED if name in advised}
    plan = msgspec.structs.replace(plan, recipe=msgspec.structs.replace(recipe, **values))
    checks.check_plan(plan, typing.get_args(schema.RiskName))
    return plan


def make_step(parent: Plan, plan: Plan) -> SuggestedStep:
    """Return the step that branches the parent's run with a plan's settings."""
    names = {"dpo": "pairs (DPO)", "kto": "labeled answers (KTO)", "grpo": "rewards (GRPO)"}
    options = ("branch", _list_options(parent, plan))
    return SuggestedStep(f"train it further with {names[plan.recipe.objective]}", *options)


def _list_options(parent: Plan, plan: Plan) -> tuple[str, ...]:
    settings: Sequence[str] = [
        f"{name}={json.dumps(after, ensure_ascii=False)}"
        for name, (_, after) in changes.find_changes(parent, plan).items()
    ]
    return tuple(word for setting in settings for word in ("--set", setting))
