"""The machine that a plan trains on, as far as its estimate depends on it, and the setup there."""

from __future__ import annotations

import math

import msgspec

from ftwizard.catalog import gpu_specs
from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.catalog.prices import PriceRate, Prices
from ftwizard.errors import FtwizardError
from ftwizard.estimate import precision
from ftwizard.estimate.batching import LengthDistribution, Lengths
from ftwizard.estimate.duration import RunSpeed
from ftwizard.estimate.probe_cache import installed_version
from ftwizard.estimate.training_setup import LossHead, TrainingSetup, head_for
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan, Recipe, Where
from ftwizard.quantity import Figure


class TrainingMachine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, as far as it affects time and cost."""

    card: GpuSpec | None = None
    """None without a GPU, and for a GPU that is not in the catalog."""
    gpu: bool = False
    free: int | None = None
    """Bytes free on the smallest of the plan's GPUs; None without one, or if unknown."""
    cores: int = 0
    bfloat16_cpu: bool = False
    hour: PriceRate | None = None
    """Price per hour; None if not set."""
    head: LossHead = "tiled"
    """How the installed TRL computes the loss."""
    speeds: tuple[RunSpeed, ...] = ()
    """Of similar earlier runs; they take precedence over computed speed."""
    probed: float | None = None
    """Tokens per second measured by a probe, padding included; takes precedence over all else."""
    probed_on: str | None = None
    """Date of that probe."""
    probed_processes: int = 1
    """Processes that it measured together."""


def from_facts(plan: Plan, facts: MachineInfo) -> TrainingMachine:
    """Return the machine that a plan trains on, with the plan's GPU."""
    return describe(plan_gpu(plan, facts), facts)


def describe(device: Gpu | None, facts: MachineInfo) -> TrainingMachine:
    """Return the machine with one of its GPUs, None without one."""
    return TrainingMachine(
        card=find_gpu_spec(device), gpu=bool(facts.gpus), cores=facts.cores,
        free=device.free if device else None,
        bfloat16_cpu=facts.bfloat16_cpu, head=head_for(installed_version("trl")),
    )  # fmt: skip


def plan_gpu(plan: Plan, facts: MachineInfo) -> Gpu | None:
    """Return the plan's GPU, else the first one; of several that train together, the one with the
    least free memory. None without a GPU."""
    if plan.where.processes > 1:
        return min(facts.gpus[: plan.where.processes], key=lambda gpu: gpu.free or 0, default=None)
    number = plan.where.gpu or 0
    return facts.gpus[number] if number < len(facts.gpus) else None


def available_bytes(plan: Plan, facts: MachineInfo) -> int | None:
    """Return the bytes available to each process of the plan: its GPU's free memory, else its part
    of the machine's memory.

    None if the driver does not report it.
    """
    device = plan_gpu(plan, facts)
    return device.free if device else facts.memory // plan.where.processes or None


def only_process_share(plan: Plan, facts: MachineInfo) -> MachineInfo:
    """Return the machine facts with only what one process of the plan has: its GPU, else its part of
    the machine's memory."""
    device = plan_gpu(plan, facts)
    if device:
        return msgspec.structs.replace(facts, gpus=(device,))
    return msgspec.structs.replace(facts, memory=facts.memory // plan.where.processes)


def train_alone(plan: Plan) -> Plan:
    """Return the plan with one process on this machine."""
    return msgspec.structs.replace(plan, where=Where(gpu=plan.where.gpu))


def train_here(plan: Plan) -> Plan:
    """Return the plan with the processes of one node, on this machine, as a probe trains."""
    if plan.where.processes == 1:
        return train_alone(plan)
    where = msgspec.structs.replace(plan.where, scheduler="none")
    return msgspec.structs.replace(plan, where=where)


def find_gpu_spec(device: Gpu | None) -> GpuSpec | None:
    return gpu_specs.find_gpu(device.name, device.memory) if device else None


def rental_price(device: Gpu | None, prices: Prices) -> Figure | None:
    """Return the on-demand rental price per hour of the same GPU, as a comparison.

    None if the GPU or its price is unknown.
    """
    spec = find_gpu_spec(device)
    names = (name for name, market in prices.cards() if market == "on demand")
    name = next((name for name in names if spec and gpu_specs.find_gpu(name) == spec), None)
    rate = prices.gpu(name, "on demand")[0] if name else None
    if rate is None or spec is None:
        return None
    figure = rate.figure()
    short = f"{spec.name} on demand"
    return msgspec.structs.replace(figure, source=f"{short}: {figure.source}", short_source=short)


def resolve_setup(
    recipe: Recipe, machine: TrainingMachine, lengths: LengthDistribution | None = None,
    shape: ModelShape | None = None,
) -> TrainingSetup:  # fmt: skip
    """Resolve a recipe for a machine, choosing the open settings as the run does.

    ``lengths``: of the training set, whose rows may all be shorter than the recipe allows;
    ``shape``: None if the model is unknown.
    """
    again, length = recipe.gradient_checkpointing, recipe.max_length
    if lengths is not None and lengths.buckets and not recipe.packing:
        length = min(length, math.ceil(lengths.buckets[-1].upto))
    # Reinforcement trains the model on a prompt and its answer.
    answer = recipe.grpo.max_completion_length if recipe.objective == "grpo" else 0
    computed = precision.resolve_precision(
        recipe, machine.card, gpu=machine.gpu, bf16_cpu=machine.bfloat16_cpu, shape=shape
    )
    return TrainingSetup(
        method=recipe.method, rank=recipe.rank, alpha=recipe.alpha, targets=recipe.target_modules,
        batch_size=recipe.batch_size * recipe.sequences_per_row,
        sequences_per_row=recipe.sequences_per_row, answer_length=answer, accumulation=recipe.gradient_accumulation, length=length + answer,
        checkpointing=machine.gpu if again is None else again, head=machine.head,
        precision=computed, dropout=recipe.dropout > 0 and recipe.objective == "sft",
        reference_passes=recipe.reference_passes,
        reference_copy=recipe.method == "full" and recipe.objective != "sft"
        and not recipe.asks_reference_first,
        attention=precision.resolve_attention(recipe, machine.card, computed, gpu=machine.gpu),
    )  # fmt: skip


def setup(
    plan: Plan, lengths: Lengths, facts: MachineInfo, shape: ModelShape | None = None
) -> TrainingSetup:
    """Return how the plan trains on this machine; ``shape``: None if the model is unknown."""
    return resolve_setup(plan.recipe, from_facts(plan, facts), lengths.get("train"), shape)


def check_settings(
    plan: Plan, facts: MachineInfo, shape: ModelShape | None = None
) -> FtwizardError | None:
    """Return why training refuses a setting of the plan on this machine; None if it runs."""
    machine = from_facts(plan, facts)
    return precision.check_settings(plan.recipe, machine.card, gpu=machine.gpu, shape=shape)


def list_cautions(plan: Plan, facts: MachineInfo) -> list[str]:
    """Return cautions about settings that the plan's GPU runs slowly."""
    return list(precision.describe_emulation(plan.recipe, from_facts(plan, facts).card))
