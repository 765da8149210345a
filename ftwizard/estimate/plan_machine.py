"""The machine that a plan trains on: this one, or a node of a Slurm cluster.

What is unknown of a node stays unknown: the login node's hardware says nothing about it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from ftwizard.catalog import gpu_specs
from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.plan.schema import Plan
from ftwizard.text import make_visible

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", re.IGNORECASE)
_UNITS = {"k": 2**10, "": 2**20, "m": 2**20, "g": 2**30, "t": 2**40}
"""Slurm's units of memory; without one, it means megabytes."""


class NodeGpu(NamedTuple):
    """The GPU that a type of the cluster names."""

    spec: GpuSpec | None
    """None if the catalog does not have it."""
    is_smallest: bool = False
    """Whether GPUs of that name have several sizes, of which this is the smallest."""


def find_node_gpu(gpu_type: str | None) -> NodeGpu:
    """Look up a GPU by the cluster's name for it: ``a100``, ``a100_80gb``, ``nvidia_h100_80gb_hbm3``."""
    name = re.sub(r"[_:]", " ", gpu_type or "")
    spec = gpu_specs.find_typed_gpu(name) if name else None
    if spec is None:
        return NodeGpu(None)
    alike = [card for card in gpu_specs.cards() if card.words == spec.words]
    if len(alike) == 1 or re.search(r"\d\s*gi?b\b", name, re.IGNORECASE):
        return NodeGpu(spec)
    return NodeGpu(min(alike, key=lambda card: card.memory), is_smallest=True)


def resolve_machine(plan: Plan, facts: MachineInfo) -> MachineInfo:
    """Return the facts about the machine that the plan trains on.

    ``facts``: about this machine. Of a node, a GPU of unknown kind has no memory, and cores and
    memory that the plan does not ask for are 0.
    """
    if plan.where.scheduler != "slurm":
        return facts
    slurm = plan.slurm
    spec = find_node_gpu(slurm.gpu_type).spec
    gpu = Gpu(name=_name_gpu(plan), memory=spec.usable if spec else None)
    return msgspec.structs.replace(
        facts,
        gpus=(gpu,) * slurm.gpus,
        no_gpu=None if slurm.gpus else "the job asks for none (slurm.gpus: 0)",
        no_gpu_cause=None,
        cores=slurm.cpus or 0,
        memory=_parse_memory(slurm.memory),
    )


def _name_gpu(plan: Plan) -> str:
    kind = make_visible(plan.slurm.gpu_type or "", 40)
    if spec := find_node_gpu(plan.slurm.gpu_type).spec:
        return spec.name
    return f"a GPU of type {kind}" if kind else "a GPU of the cluster"


def _parse_memory(text: str | None) -> int:
    """Return the bytes of ``slurm.memory``; 0 if it is not set, or invalid."""
    match = _MEMORY.fullmatch((text or "").strip())
    return round(float(match[1]) * _UNITS[match[2].lower()]) if match else 0


def describe_node(plan: Plan, node: MachineInfo) -> str | None:
    """Describe what an estimate for a Slurm job assumes about its node; None if all is known.

    ``node``: as ``resolve_machine`` returned it, or with GPUs that the person named.
    """
    slurm = plan.slurm
    if node.gpus and node.gpus[0].name != _name_gpu(plan):
        return None
    if not node.gpus:
        if slurm.cpus and slurm.memory:
            return None
        return "The node is unknown: to estimate fit and time, set slurm.cpus and slurm.memory."
    kind = make_visible(slurm.gpu_type or "", 40)
    gpu = find_node_gpu(slurm.gpu_type)
    if gpu.spec is None:
        example = "ftwizard estimate PLAN --gpu 'A100 80 GB'"
        if kind:
            return (
                f"GPUs of type {kind} are not in the catalog, so fit and time are unknown. Name the "
                f"GPU: {example}"
            )
        return (
            "The job may get any GPU, so fit and time are unknown. Set slurm.gpu_type, or name the "
            f"GPU: {example}"
        )
    if gpu.is_smallest:
        return f"slurm.gpu_type is {kind}: the smallest of that name is assumed, {gpu.spec.name}."
    return None
