"""Text of an ejected script and of its SkyPilot task: the facts that ``assets/script`` is filled in with."""

from __future__ import annotations

import functools
import inspect
import json
import pprint
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.estimate import training_setup
from ftwizard.export import objective_script, script_rows, templates
from ftwizard.plan.schema import Plan
from ftwizard.rewards.reward import name_uniquely
from ftwizard.runs.ejected_script import SETUP, START_ONE, RowForm, list_commands, start_command
from ftwizard.text import make_visible
from ftwizard.train.objectives import preference, reinforcement

TASK = "task.yaml"
_WIDTH = 96
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


class ScriptFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a script says besides the plan."""

    origin: str
    """``run tickets-1124`` or ``plan tickets.yaml``."""
    version: str
    """ftwizard's version."""
    model: str
    """Folder or id of the base model."""
    model_note: str
    revision: str | None
    precision: Literal["bf16", "fp16", "fp32"]
    attention: str | None
    """None for the model's default."""
    targets: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    """``target_modules`` and ``target_parameters`` of the adapter."""
    form: RowForm
    train: int
    """Rows."""
    mixed: int
    """General rows, at the end of the training rows."""
    validation: int
    total: int
    """Optimizer steps."""
    processes: int = 1
    """Processes that the commands start; any number that divides the batches of a step can train as well."""
    end_ids: tuple[int, ...] = ()
    """Tokens that end an answer."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end a generated answer."""
    router_loss: float | None = None
    """Coefficient of the router loss; None where the model's own is right."""
    checkpointing: str
    """The setting's name in this version of TRL."""
    asks_reference_first: bool = False
    """Whether TRL asks the reference when it builds the trainer."""
    has_experts: bool = False
    """Whether weights of the model may be unused in a pass."""
    initial_adapter: bool = False
    notes: tuple[str, ...] = ()
    """Reasons that the run recorded."""
    left_out: tuple[str, ...] = ()
    """What the run does and the script does not."""


def build(plan: Plan, facts: ScriptFacts) -> str:
    """Return the text of the script."""
    from ftwizard.train.objectives import encoded_trainers

    recipe, batches = plan.recipe, objective_script.count_batches(plan)
    rewards = recipe.grpo.rewards
    return _render(
        "train.py.jinja",
        facts,
        plan=plan,
        recipe=recipe,
        method=training_setup.METHOD_NAMES[recipe.method],
        dtype=_DTYPES[facts.precision],
        commands=list_commands(facts.processes),
        start_one=START_ONE,
        batches=batches,
        divisors=objective_script.format_divisors(batches),
        batch_rows=recipe.batch_size * (plan.ranks if recipe.objective == "kto" else 1),
        evaluation_steps=recipe.evaluation_steps or training_setup.evaluation_steps(facts.total),
        tokenize=script_rows.TOKENIZERS.get(facts.form),
        rewards=list(zip(name_uniquely(rewards), rewards, strict=True)),
        grpo_settings=reinforcement.list_settings(recipe),
        preference=preference,
        encoded_trainers=encoded_trainers,
    )


def build_task(cluster: str, gpu: str, facts: ScriptFacts) -> str:
    """Return the text of the SkyPilot task: its setup installs, its run trains, both in the script's folder.

    Its fields are those of SkyPilot's YAML reference, docs.skypilot.co; SkyPilot 0.14.1 reads the file
    (2026-12). ``gpu``: SkyPilot's name of one, which each process of the script gets.
    """
    return _render(
        "task.yaml.jinja",
        facts,
        cluster=cluster,
        gpu=gpu,
        task=TASK,
        is_folder=Path(facts.model).is_absolute(),
        setup=SETUP,
        start=start_command(facts.processes),
    )


def name_cluster(folder: str) -> str:
    """Return a name that SkyPilot accepts for a cluster, from the name of the script's folder."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
    return f"ft-{name}"[:30].rstrip("-")


def _render(name: str, facts: ScriptFacts, **more: Any) -> str:
    filters: dict[str, Callable[..., str]] = {
        "count": "{:,}".format,
        "repr": repr,
        "pformat": functools.partial(pprint.pformat, sort_dicts=False),
        "quote": _quote,
        "comment": _comment,
        "move_long_comments": _move_long_comments,
        "paragraph": _paragraph,
        "source": _read_source,
    }
    return templates.load(f"script/{name}", filters).render(msgspec.structs.asdict(facts), **more)


def _quote(text: str) -> str:
    """Return a literal of Python and of YAML."""
    if text.isprintable():
        return json.dumps(text, ensure_ascii=False)
    escaped = text.encode("unicode_escape").decode().replace('"', '\\"')
    return f'"{escaped}"'


def _wrap(text: str, begin: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=begin, subsequent_indent=begin,
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def _comment(text: str, indent: str = "") -> str:
    return _wrap(make_visible(text), f"{indent}# ")


def _move_long_comments(lines: str) -> str:
    """Move each comment that makes its line too long above it."""
    return re.sub(
        rf"^(?=.{{{_WIDTH + 1}}})( +)(.*),  # (.*)",
        lambda match: f"{_comment(match[3], match[1])}\n{match[1]}{match[2]},",
        lines,
        flags=re.MULTILINE,
    )


def _paragraph(text: str) -> str:
    """Return lines of a docstring."""
    return _wrap(make_visible(text).replace("\\", "\\\\").replace('"""', "'''"))


def _read_source(function: Any) -> str:
    """Return the source of a function or a class that training uses, without its types."""
    return re.sub(r": Any\b| -> (Any|None)\b", "", inspect.getsource(function)).rstrip()
