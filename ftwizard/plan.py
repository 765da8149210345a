"""The plan: everything the user decided, one immutable value, one YAML file."""

from __future__ import annotations

import typing
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard import plan_names, plan_rules, strict_yaml
from ftwizard.data.format_names import FormatChoice
from ftwizard.data.together import GroupBy
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.text import visible

RiskName = Literal["no-validation", "many-epochs", "skip-bad-rows"]
Provider = Literal["local"]
Reporter = Literal["wandb", "tensorboard", "trackio"]
Method = Literal["lora", "qlora", "full"]
LEARNING_RATES: dict[Method, float] = {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5}
"""Peak rates for a method where the plan names none: adapters take about ten times the rate of all
weights (SPEC H5)."""
MANY_EPOCHS = 3
"""More epochs than this want a look at the validation loss of an earlier run (SPEC H6)."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the plan; a key that it does not know is an error."""


class Files(_Part, frozen=True):
    """The data files; relative names are relative to the plan's folder."""

    train: str
    """Rows of one of ``data.format``, JSON Lines or a JSON array."""
    validation: str | None = None
    """Rows for the validation loss; without it they are split off ``train``."""
    test: str | None = None
    """Rows that tuned and base model are compared on; without it they are split off too."""


class Split(_Part, frozen=True):
    """Shares of ``files.train`` that are set aside; rows that belong together stay together."""

    validation: float | None = None
    """Share for validation, 0.1–0.2 advised (SPEC H6). Default 0.1 without a validation file."""
    test: float | None = None
    """Share for the comparison with the base. Default 0.1 without a held-out file."""
    group_by: GroupBy = "near-copies"
    """What keeps rows in one part. ``near-copies``: a prompt in common (ignoring case and white
    space) or near-duplicate text, with every kind of row in each part; ``prompts``: exactly the same
    prompt."""
    seed: int = 42
    """Of the draw, also of that of ``data.mix``."""


class Mix(_Part, frozen=True):
    """General examples among the rows that are trained on, against forgetting (SPEC D8). They
    validate nothing and are compared on nothing."""

    share: float = 0.0
    """Of all rows that are trained on, these included; 0.05–0.1 is advised, 0 is none."""
    rows: str = "general"
    """``general``, the set that comes with ftwizard, or a file of rows of any format that is read.
    Each is taken once at most, and none whose prompt stands in the other files."""


class Data(_Part, frozen=True):
    """What it learns from."""

    files: Files
    format: FormatChoice = "auto"
    """``openai-chat``: messages, with an optional top-level ``system`` and ``tools``;
    ``prompt-completion``: TRL's, both text or both messages; ``alpaca``: ``instruction``,
    ``input``, ``output``; ``auto``: told apart by the keys of all rows, file by file."""
    split: Split = Split()
    mix: Mix = Mix()


class Model(_Part, frozen=True):
    """The base model."""

    name: str
    """A folder with safetensors weights, or an id on the Hugging Face Hub."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; the commit is recorded."""


class Recipe(_Part, frozen=True):
    """How it is trained. Defaults follow SPEC H2, H5, H6."""

    method: Method = "lora"
    """``lora``: an adapter beside 16-bit weights; ``qlora``: the same beside 4-bit weights (NF4,
    double quantisation), for less memory; ``full``: all weights, for about 16 bytes of memory a
    weight."""
    rank: int = 16
    """LoRA rank r."""
    alpha: int = 32
    """LoRA scaling numerator: the update is scaled by alpha / rank."""
    dropout: float = 0.05
    """On the adapter's input."""
    target_modules: tuple[str, ...] | None = None
    """Modules that get an adapter. Default: the seven projections of a Llama-like block (q, k, v,
    o, gate, up, down), in other models every linear layer of the blocks; fused experts too, never
    routers or the output layer."""
    epochs: float = 3.0
    learning_rate: float | None = None
    """Peak rate. Default: the method's, 2e-4 for LoRA and QLoRA, 2e-5 for full fine-tuning."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after warm-up."""
    warmup: float = 0.03
    """Share of all steps over which the rate rises to its peak."""
    batch_size: int = 4
    """Rows, or packed sequences, in one forward pass (per device)."""
    gradient_accumulation: int = 1
    """Forward passes in one optimizer step."""
    max_length: int = 1024
    """Tokens of a row that are kept, from its start."""
    packing: bool = False
    """Fill sequences of ``max_length`` tokens with several rows, which do not see each other:
    faster where rows are short, in fewer and larger steps. Refused for models that mix them."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """auto: bf16 where the hardware multiplies it, else fp32 on CPUs, for QLoRA and for Gemma,
    fp16 on other GPUs. Gemma in fp16 is refused."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """auto: flash attention where the package flash-attn and a GPU of the Ampere generation or
    newer are there, else sdpa."""
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
    usd: float | None = None
    """Save and stop when all attempts together have cost so many US dollars. The price of an hour
    of the machine must be known."""


class Finish(_Part, frozen=True):
    """What follows the training, within the run."""

    merge: bool = True
    """Write the adapter into the 16-bit base: one model that any server loads. A full fine-tune
    is one already."""
    compare: bool = True
    """Answer the held-out rows with base and tuned model."""
    pairs: int = 5
    """Pairs of answers to show."""
    max_new_tokens: int | None = None
    """Longest answer. Default: one and a half times the longest expected one, plus 16."""


class Samples(_Part, frozen=True):
    """A few fixed prompts that the model answers before the first step and at each evaluation, so
    that one sees it learn."""

    count: int = 3
    """Validation rows whose prompts are taken where ``prompts`` names none, spread over lengths;
    0 asks nothing at all."""
    prompts: tuple[str, ...] | str | None = None
    """Your own prompts; or a file of rows of any format, whose answers are then shown as expected,
    or a ``.txt`` file with a prompt on each line. 20 at most are taken."""
    max_tokens: int = 64
    """Longest answer. An evaluation's samples may take half as long as it does, or a second."""


class Plan(_Part, frozen=True, kw_only=True):
    """Everything the user decided."""

    provider: Provider = "local"
    """Where it is trained. ``local``: on this machine, with the Hugging Face libraries."""
    provider_reason: str = ""
    """Why that provider was chosen, for the record."""
    data: Data
    model: Model
    recipe: Recipe = Recipe()
    where: Where = Where()
    budget: Budget = Budget()
    samples: Samples = Samples()
    report_to: tuple[Reporter, ...] = ()
    """Where metrics go besides the run's own folder; keys come from the environment."""
    allow: tuple[RiskName, ...] = ()
    """Warnings that the user overruled by name."""
    finish: Finish = Finish()

    @property
    def validation_share(self) -> float:
        """Return the share of the training file that validates."""
        split = self.data.split.validation
        return _default_share(split, self.data.files.validation)

    @property
    def test_share(self) -> float:
        """Return the share of the training file that is held out for the comparison."""
        if not self.finish.compare:
            return self.data.split.test or 0.0
        return _default_share(self.data.split.test, self.data.files.test)


def _default_share(share: float | None, file: str | None) -> float:
    if share is not None:
        return share
    return 0.0 if file else 0.1


PlanError = strict_yaml.SettingsError
"""The plan cannot be used as it is."""


def load(
    path: Path,
    allow: Iterable[str] = (),
    *,
    begun: bool = False,
    later: Container[RiskName] = (),
) -> Plan:
    """Read a plan and check it; file names become absolute, the learning rate a number.

    ``allow`` names risks to allow besides those in the plan. ``begun``: the plan of a run that has
    begun, so what was asked at its start is not asked again. ``later``: risks that the caller checks.
    Raises PlanError with the line and what to do, FtwizardError when a safety rule forbids it.
    """
    plan = parse(_read(path), str(path))
    plan = _with_rate(plan_names.whole(plan, path.absolute().parent))
    allowed = tuple(dict.fromkeys((*plan.allow, *map(parse_risk, allow))))
    plan = msgspec.structs.replace(plan, allow=allowed)
    check(plan, ("many-epochs",) if begun else later)
    return plan


def parse(text: str, name: str = "plan.yaml") -> Plan:
    """Turn YAML 1.2 text into a Plan, without looking at fields together; raise PlanError."""
    return strict_yaml.loads(text, Plan, name)


def dump(plan: Plan) -> str:
    """Return the plan as YAML that ``parse`` reads back as the same value.

    Every setting stands in it, but for those that are left to the run (None).
    """
    return strict_yaml.dumps(_said(plan))


def _said(part: msgspec.Struct) -> dict[str, Any]:
    values = ((name, getattr(part, name)) for name in part.__struct_fields__)
    said = ((name, _said(v) if isinstance(v, msgspec.Struct) else v) for name, v in values)
    return {name: value for name, value in said if value not in (None, {})}


def check(plan: Plan, later: Container[RiskName] = ()) -> None:
    """Look at fields that only make sense together; raise PlanError or a safety refusal.

    ``later``: warnings that the caller sees to, as only earlier runs tell whether they hold.
    """
    for problem, hint in plan_rules.contradictions(plan):
        raise PlanError(problem, hint)
    if not validates(plan) and "no-validation" not in later:
        _require_allowed(
            plan,
            "no-validation",
            "Without validation data nobody can see the model overfit.",
            "Set data.split.validation to 0.1, or name data.files.validation.",
        )
    if "many-epochs" not in later:
        check_epochs(plan)


def validates(plan: Plan) -> bool:
    """Say whether any rows validate."""
    return bool(plan.data.files.validation or plan.validation_share)


def check_epochs(plan: Plan, earlier: str = "") -> None:
    """Refuse more than ``MANY_EPOCHS`` that the plan does not allow; ``earlier`` says of an earlier run
    why it does not speak for them. Raises FtwizardError."""
    if plan.recipe.epochs > MANY_EPOCHS:
        _require_allowed(
            plan,
            "many-epochs",
            f"{plan.recipe.epochs:g} epochs mostly teach the rows by heart.",
            earlier or f"Begin with {MANY_EPOCHS} and look at the validation loss.",
        )


def parse_risk(name: str) -> RiskName:
    """Return the warning that ``name`` overrules; raise FtwizardError if there is none."""
    known: dict[str, RiskName] = {one: one for one in typing.get_args(RiskName)}
    if name not in known:
        raise FtwizardError(
            f"Nothing is called “{visible(name, 60)}”.", f"Known: {', '.join(known)}.", USAGE
        )
    return known[name]


def _require_allowed(plan: Plan, name: RiskName, problem: str, hint: str) -> None:
    if name not in plan.allow:
        raise FtwizardError(problem, f"{hint} Or pass --allow {name}", DECLINED)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise PlanError(
            f"There is no plan at {visible(str(path))}.", "Check the name; it is a YAML file."
        ) from None
    except UnicodeDecodeError as error:
        raise PlanError(
            f"{visible(str(path))} is not UTF-8 (byte {error.start}).", "A plan is text, in YAML."
        ) from None
    except IsADirectoryError:
        raise PlanError(f"{visible(str(path))} is a folder.", "Name the plan in it.") from None
    except OSError as error:
        raise PlanError(
            f"{visible(str(path))} cannot be read: {error.strerror}.",
            "See who may read it: ls -l",
        ) from None
    except ValueError:
        raise PlanError(f"{visible(str(path))} is no name that a file can have.") from None


def _with_rate(plan: Plan) -> Plan:
    """Fill in the method's learning rate, so that the plan that a run keeps says the number."""
    if plan.recipe.learning_rate is not None:
        return plan
    rate = LEARNING_RATES[plan.recipe.method]
    recipe = msgspec.structs.replace(plan.recipe, learning_rate=rate)
    return msgspec.structs.replace(plan, recipe=recipe)
