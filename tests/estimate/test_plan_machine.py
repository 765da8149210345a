"""The machine of a plan: this one, or a node of Slurm as far as the plan names it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ftwizard.estimate import plan_estimate, training_machine
from ftwizard.estimate.batching import Lengths
from ftwizard.estimate.plan_machine import describe_node, find_node_gpu, resolve_machine
from ftwizard.hardware.machine import Gpu
from ftwizard.plan.schema import Data, Files, Model, Plan, Recipe, Slurm, Where
from tests.advice.test_data_settings import draw_lengths
from tests.helpers.machines import make_machine
from tests.helpers.shapes import PUBLISHED

LLAMA = PUBLISHED["llama-3.1-8b"]
ROWS: Lengths = {"train": draw_lengths(5.0, 1.0)}
LOGIN = make_machine(Gpu(name="Tesla T4", memory=15 * 2**30), memory=8 * 10**9, cores=4)


def make_plan(scheduler: Any = "slurm", **slurm: Any) -> Plan:
    return Plan(
        data=Data(files=Files(train="rows")), model=Model(name="m"), recipe=Recipe(),
        where=Where(scheduler=scheduler), slurm=Slurm(**slurm),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gpu_type", "name", "is_smallest"),
    [
        ("a100", "A100 SXM 40 GB", True),
        ("a100_80gb", "A100 SXM 80 GB", False),
        ("nvidia_h100_80gb_hbm3", "H100 SXM", False),
        ("tesla_v100-sxm2-32gb", "V100 SXM 32 GB", False),
        ("rtx_4090", "GeForce RTX 4090", False),
        ("fast", None, False),
        (None, None, False),
    ],
)
def test_names_of_clusters_are_looked_up(
    gpu_type: str | None, name: str | None, is_smallest: bool
) -> None:
    gpu = find_node_gpu(gpu_type)
    assert (gpu.spec.name if gpu.spec else None, gpu.is_smallest) == (name, is_smallest)


def test_a_plan_of_this_machine_has_its_hardware() -> None:
    assert resolve_machine(make_plan("none", gpu_type="a100"), LOGIN) is LOGIN


def test_a_known_type_is_estimated_like_that_gpu() -> None:
    plan = make_plan(gpu_type="a100_80gb", gpus=2)
    node = resolve_machine(plan, LOGIN)
    assert [gpu.name for gpu in node.gpus] == ["A100 SXM 80 GB"] * 2
    result = plan_estimate.estimate_plan(plan, ROWS, LLAMA, node)
    assert result and result.time and result.time.source.startswith("A100 SXM 80 GB")
    fit = plan_estimate.check_plan_fit(plan, ROWS, LLAMA, node)
    assert fit and fit.verdict == "fits" and fit.gpu.name == "A100 SXM 80 GB"
    assert describe_node(plan, node) is None
    assumed = make_plan(gpu_type="a100")
    note = describe_node(assumed, resolve_machine(assumed, LOGIN))
    assert note == "slurm.gpu_type is a100: the smallest of that name is assumed, A100 SXM 40 GB."


@pytest.mark.parametrize("gpu_type", [None, "fast"])
def test_an_unknown_gpu_has_a_memory_need_but_no_fit_and_no_time(gpu_type: str | None) -> None:
    plan = make_plan(gpu_type=gpu_type)
    node = resolve_machine(plan, LOGIN)
    result = plan_estimate.estimate_plan(plan, ROWS, LLAMA, node)
    assert result and result.memory and result.memory.peak.value > LLAMA.parameters * 2
    assert result.time is None and result.whole is None and result.cost is None
    assert plan_estimate.check_plan_fit(plan, ROWS, LLAMA, node) is None
    assert training_machine.available_bytes(plan, node) is None
    note = describe_node(plan, node)
    assert note and "fit and time are unknown" in note
    named = make_machine(Gpu(name="L40S", memory=48 * 2**30))
    assert describe_node(plan, named) is None, "the person named the GPU"


def test_several_processes_on_unknown_gpus_are_assumed_to_use_ddp() -> None:
    plan = make_plan(gpus=4, nodes=2)
    plan = msgspec.structs.replace(plan, where=Where(scheduler="slurm", processes=4))
    result = plan_estimate.estimate_plan(plan, ROWS, LLAMA, resolve_machine(plan, LOGIN))
    assert result and result.parallel and result.parallel.speedup is None
    assert (result.parallel.processes, result.parallel.mode) == (8, "ddp")
    assert result.parallel.reason.startswith("The GPU's memory is unknown here")


def test_a_node_without_gpus_is_as_large_as_the_plan_asks_for() -> None:
    plan = make_plan(gpus=0, cpus=16, memory="64G")
    node = resolve_machine(plan, LOGIN)
    assert (node.gpus, node.cores, node.memory) == ((), 16, 64 * 2**30)
    assert describe_node(plan, node) is None
    result = plan_estimate.estimate_plan(plan, ROWS, LLAMA, node)
    assert result and result.time and result.time.source.startswith("very rough: 16 CPU cores")

    plan = make_plan(gpus=0)
    node = resolve_machine(plan, LOGIN)
    assert training_machine.available_bytes(plan, node) is None
    result = plan_estimate.estimate_plan(plan, ROWS, LLAMA, node)
    assert result and result.memory and result.time is None
    note = describe_node(plan, node)
    assert note and note.endswith("set slurm.cpus and slurm.memory.")


@pytest.mark.parametrize(
    ("text", "size"), [("64G", 64 * 2**30), ("512", 512 * 2**20), ("1.5T", 1.5 * 2**40), ("?", 0)]
)
def test_memory_is_read_in_the_units_of_slurm(text: str, size: float) -> None:
    assert resolve_machine(make_plan(gpus=0, memory=text), LOGIN).memory == size
