"""The plan: everything the user decided, one immutable value, one YAML file."""

from __future__ import annotations

import difflib
import io
import os
import re
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.text import visible

InsistName = Literal["no-validation", "many-epochs", "skip-bad-rows"]
Reporter = Literal["wandb", "tensorboard", "trackio"]
MANY_EPOCHS = 3
"""More epochs than this want a look at the validation loss of an earlier run (SPEC H6)."""
MIN_EVALUATIONS = 6
EVALUATION_STEPS = 50


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the plan; a key that it does not know is an error."""


class PathChoice(_Part, frozen=True):
    """Which of the paths was chosen, and why."""

    choice: Literal["local"] = "local"
    """``local``: training on this machine with Hugging Face libraries."""
    why: str = ""
    """The reason, for the record."""


class Files(_Part, frozen=True):
    """The data files; relative names are relative to the plan's folder."""

    train: str
    """Chat rows (``messages``), JSON Lines or a JSON array."""
    validation: str | None = None
    """Rows for the validation loss; without it they are split off ``train``."""
    heldout: str | None = None
    """Rows that tuned and base model are compared on; without it they are split off too."""


class Split(_Part, frozen=True):
    """Shares of ``files.train`` that are set aside; rows of one prompt stay on one side."""

    validation: float | None = None
    """Share for validation, 0.1–0.2 advised (SPEC H6). Default 0.1 without a validation file."""
    heldout: float | None = None
    """Share for the comparison with the base. Default 0.1 without a held-out file."""
    seed: int = 42


class Data(_Part, frozen=True):
    """What it learns from."""

    files: Files
    format: Literal["messages"] = "messages"
    """``messages``: OpenAI chat rows, with an optional top-level ``system`` and ``tools``."""
    split: Split = Split()


class Model(_Part, frozen=True):
    """The base model."""

    name: str
    """A folder with safetensors weights, or an id on the Hugging Face Hub."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; the commit is recorded."""


class Recipe(_Part, frozen=True):
    """How it is trained. Defaults follow SPEC H2, H5, H6."""

    method: Literal["lora"] = "lora"
    rank: int = 16
    """LoRA rank r."""
    alpha: int = 32
    """LoRA scaling numerator: the update is scaled by alpha / rank."""
    dropout: float = 0.05
    """On the adapter's input."""
    target_modules: tuple[str, ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip
    """Modules that get an adapter: the seven projections of a Llama-like block."""
    epochs: float = 3.0
    learning_rate: float = 2e-4
    """Peak rate. About ten times that of full fine-tuning."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after warm-up."""
    warmup: float = 0.03
    """Share of all steps over which the rate rises to its peak."""
    batch_size: int = 4
    """Rows in one forward pass (per device)."""
    gradient_accumulation: int = 1
    """Forward passes in one optimizer step."""
    max_length: int = 1024
    """Tokens of a row that are kept, from its start."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """auto: bf16 where the hardware multiplies it, else fp16 on GPUs and fp32 on CPUs."""
    gradient_checkpointing: bool | None = None
    """Recompute activations to save memory. Default: on GPUs only."""
    evaluation_steps: int | None = None
    """Default: every 50 steps, or as often as six evaluations need."""
    save_steps: int | None = None
    """Checkpoints besides those at each evaluation. Default: none."""
    patience: int = 3
    """Evaluations without a better validation loss after which it stops by itself (SPEC T3)."""
    seed: int = 42


class Where(_Part, frozen=True):
    """What it runs on."""

    gpu: int | None = None
    """Number of the one GPU to use. Default: the first, or the processors without one."""


class Budget(_Part, frozen=True):
    """When to stop by itself."""

    hours: float | None = None
    """Save and stop after this long in one attempt."""


class Finish(_Part, frozen=True):
    """What follows the training, within the run."""

    merge: bool = True
    """Write the adapter into the 16-bit base: one model that any server loads."""
    compare: bool = True
    """Answer the held-out rows with base and tuned model."""
    pairs: int = 5
    """Pairs of answers to show."""
    max_new_tokens: int | None = None
    """Longest answer. Default: one and a half times the longest expected one, plus 16."""


class Plan(_Part, frozen=True):
    """Everything the user decided."""

    data: Data
    model: Model
    path: PathChoice = PathChoice()
    recipe: Recipe = Recipe()
    where: Where = Where()
    budget: Budget = Budget()
    report_to: tuple[Reporter, ...] = ()
    """Where metrics go besides the run's own folder; keys come from the environment."""
    insist: tuple[InsistName, ...] = ()
    """Warnings that the user overruled by name."""
    finish: Finish = Finish()

    @property
    def validation_share(self) -> float:
        """Return the share of the training file that validates."""
        split = self.data.split.validation
        return _default_share(split, self.data.files.validation)

    @property
    def heldout_share(self) -> float:
        """Return the share of the training file that is held out for the comparison."""
        if not self.finish.compare:
            return self.data.split.heldout or 0.0
        return _default_share(self.data.split.heldout, self.data.files.heldout)


def _default_share(share: float | None, file: str | None) -> float:
    if share is not None:
        return share
    return 0.0 if file else 0.1


class PlanError(FtwizardError):
    """The plan cannot be used as it is."""


def load(path: Path, insist: Iterable[str] = ()) -> Plan:
    """Read a plan and check it; file names in it become absolute.

    ``insist`` names warnings to overrule besides those in the plan. Raises PlanError with the line and what to do, FtwizardError when a safety rule forbids it.
    """
    plan = parse(_read(path), str(path))
    plan = _absolute(plan, path.absolute().parent)
    both = tuple(dict.fromkeys((*plan.insist, *map(_insist_name, insist))))
    plan = msgspec.structs.replace(plan, insist=both)
    check(plan)
    return plan


def parse(text: str, name: str = "plan.yaml") -> Plan:
    """Turn YAML 1.2 text into a Plan, without looking at fields together."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="rt", pure=True)
    yaml.version = (1, 2)
    try:
        tree = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark else name
        problem = visible(str(error.problem or error.context).splitlines()[0], 200)
        raise PlanError(f"{where}: {problem}.", "Correct the YAML there.") from None
    except (YAMLError, ValueError) as error:
        raise PlanError(f"{name} is not YAML: {visible(str(error), 200)}.") from None
    if not isinstance(tree, dict):
        raise PlanError(f"{name} holds no plan.", "It needs at least: data.files.train, model.name")
    _refuse_unknown(tree, Plan, "", name)
    plain = _plain(tree)
    try:
        return msgspec.convert(plain, Plan)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at ")
        keys = _keys(at)
        where = f"{name}{_line(tree, keys)}: {'.'.join(keys)}: " if keys else f"{name}: "
        allowed = _allowed(keys)
        hint = f"One of: {', '.join(allowed)}." if allowed else "Correct it there."
        raise PlanError(where + _in_words(message) + ".", hint) from None


def dump(plan: Plan) -> str:
    """Return the plan as YAML that ``load`` reads back as the same value."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt", pure=True)
    yaml.default_flow_style = False
    yaml.width = 100
    out = io.StringIO()
    yaml.dump(msgspec.to_builtins(plan), out)
    return out.getvalue()


def check(plan: Plan) -> None:
    """Look at fields that only make sense together; raise PlanError or a safety refusal."""
    for problem, hint in _contradictions(plan):
        raise PlanError(problem, hint)
    if not plan.data.files.validation and not plan.validation_share:
        _insist(
            plan,
            "no-validation",
            "Without validation data nobody can see the model overfit.",
            "Set data.split.validation to 0.1, or name data.files.validation.",
        )
    if plan.recipe.epochs > MANY_EPOCHS:
        _insist(
            plan,
            "many-epochs",
            f"{plan.recipe.epochs:g} epochs mostly teach the rows by heart.",
            f"Begin with {MANY_EPOCHS} and look at the validation loss.",
        )


def _insist_name(name: str) -> InsistName:
    known: dict[str, InsistName] = {one: one for one in typing.get_args(InsistName)}
    if name not in known:
        raise FtwizardError(
            f"Nothing is called “{visible(name, 60)}”.", f"Known: {', '.join(known)}.", USAGE
        )
    return known[name]


def _insist(plan: Plan, name: InsistName, problem: str, hint: str) -> None:
    if name not in plan.insist:
        raise FtwizardError(problem, f"{hint} To insist: --insist {name}", DECLINED)


def _contradictions(plan: Plan) -> list[tuple[str, str]]:
    files, split, recipe = plan.data.files, plan.data.split, plan.recipe
    found: list[tuple[str, str]] = []
    for part in ("validation", "heldout"):
        if getattr(files, part) and getattr(split, part):
            found.append(
                (
                    f"Both data.files.{part} and data.split.{part} are given.",
                    "Keep one: a file of its own, or a share of the training file.",
                )
            )
        share = getattr(split, part)
        if share is not None and not 0 <= share <= 0.5:
            found.append(
                (
                    f"data.split.{part} is {share:g}; it is a share between 0 and 0.5.",
                    "Use 0.1 for one row in ten.",
                )
            )
    if plan.validation_share + plan.heldout_share > 0.6:
        found.append(("The splits leave too little to train on.", "Lower data.split."))
    for name, value, low in (
        ("rank", recipe.rank, 1),
        ("alpha", recipe.alpha, 1),
        ("batch_size", recipe.batch_size, 1),
        ("gradient_accumulation", recipe.gradient_accumulation, 1),
        ("max_length", recipe.max_length, 8),
        ("patience", recipe.patience, 1),
        ("evaluation_steps", recipe.evaluation_steps, 1),
        ("save_steps", recipe.save_steps, 1),
    ):
        if value is not None and value < low:
            found.append((f"recipe.{name} is {value}.", f"It is at least {low}."))
    for name, number, high in (
        ("epochs", recipe.epochs, 100.0),
        ("learning_rate", recipe.learning_rate, 1.0),
        ("max_grad_norm", recipe.max_grad_norm, 1e9),
    ):
        if not 0 < number <= high:
            found.append((f"recipe.{name} is {number:g}.", f"It is above 0, at most {high:g}."))
    for name, share in (("dropout", recipe.dropout), ("warmup", recipe.warmup)):
        if not 0 <= share < 1:
            found.append((f"recipe.{name} is {share:g}.", "It is a share, from 0 to below 1."))
    if not recipe.target_modules:
        found.append(("recipe.target_modules is empty.", "Name at least one module."))
    if "lm_head" in recipe.target_modules:
        found.append(
            (
                "recipe.target_modules names lm_head, whose adapter TRL would never train.",
                "Leave lm_head out.",
            )
        )
    if plan.budget.hours is not None and plan.budget.hours <= 0:
        found.append(("budget.hours is not above 0.", "Leave it out for no limit."))
    if plan.finish.pairs < 0 or (plan.finish.max_new_tokens or 1) < 1:
        found.append(("finish.pairs or finish.max_new_tokens is too small.", "Use 5 and 256."))
    if not plan.model.name.strip():
        found.append(("model.name is empty.", "Name a folder or an id on the Hugging Face Hub."))
    return found


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise PlanError(
            f"There is no plan at {visible(str(path))}.", "Check the name; it is a YAML file."
        ) from None
    except UnicodeDecodeError as error:
        raise PlanError(f"{visible(str(path))} is not UTF-8 (byte {error.start}).") from None
    except OSError as error:
        raise PlanError(f"{visible(str(path))} cannot be read: {error.strerror}.") from None


def _absolute(plan: Plan, folder: Path) -> Plan:
    def whole(name: str | None) -> str | None:
        return name and os.path.normpath(folder / Path(name).expanduser())

    old = plan.data.files
    files = Files(
        train=whole(old.train) or "", validation=whole(old.validation), heldout=whole(old.heldout)
    )
    model = plan.model
    if model.name.startswith((".", "~", "/")) or (folder / model.name).is_dir():
        model = msgspec.structs.replace(model, name=whole(model.name))
    data = msgspec.structs.replace(plan.data, files=files)
    return msgspec.structs.replace(plan, data=data, model=model)


def _refuse_unknown(tree: Any, kind: Any, at: str, name: str) -> None:
    """Raise PlanError for the first key that ``kind`` lacks, with its line and the nearest."""
    known = {f.name: f.type for f in msgspec.structs.fields(kind)}
    for key, value in tree.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            guess = f"Did you mean {at}{near[0]}?" if near else f"Known here: {', '.join(known)}."
            line = tree.lc.data[key][0] + 1 if key in tree.lc.data else 1
            raise PlanError(
                f"{name}, line {line}: {visible(f'{at}{key}', 100)} is not a setting.", guess
            )
        part = known[key]
        if isinstance(part, type) and issubclass(part, msgspec.Struct) and isinstance(value, dict):
            _refuse_unknown(value, part, f"{at}{key}.", name)


def _plain(value: Any) -> Any:
    """Turn ruamel's round-trip values into plain ones."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _keys(at: str) -> list[str]:
    """``$.data.files[0]`` → ``["data", "files", "0"]``."""
    return re.findall(r"[A-Za-z_][A-Za-z0-9_]*|\d+", at.strip("`").removeprefix("$"))


def _line(tree: Any, keys: list[str]) -> str:
    line = None
    for key in keys:
        try:
            line = tree.lc.data[int(key) if isinstance(tree, list) else key][0] + 1
            tree = tree[int(key) if isinstance(tree, list) else key]
        except (KeyError, TypeError, AttributeError, IndexError):
            break
    return f", line {line}" if line else ""


def _allowed(keys: list[str]) -> tuple[str, ...]:
    """Return the words that the setting at ``keys`` may be, if it is one of a few."""
    kind: Any = Plan
    for key in keys:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            kind = typing.get_type_hints(kind).get(key)
    found = re.findall(r"Literal\[([^\]]*)\]", str(kind))
    return tuple(word.strip().strip("'") for word in ",".join(found).split(",") if word.strip())


_WORDS = {
    "`int`": "a whole number", "`float`": "a number", "`str`": "text", "`bool`": "true or false",
    "`array`": "a list", "`object`": "a group of settings", "`null`": "nothing",
}  # fmt: skip


def _in_words(message: str) -> str:
    """Say msgspec's message as a person would."""
    if missing := re.search(r"missing required field `(\w+)`", message):
        return f"{missing[1]} is missing"
    message = message.replace(" | null`", "`")
    for code, words in _WORDS.items():
        message = message.replace(code, words)
    message = message.replace("Invalid enum value", "it cannot be")
    return visible(message[:1].lower() + message[1:], 200)
