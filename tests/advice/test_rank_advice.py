"""Advice for several processes: how many, and the rows that each takes in a step."""

from __future__ import annotations

import msgspec
import pytest

from ftwizard.advice import rank_advice
from ftwizard.advice.recipe_rules import AdvisedValue
from ftwizard.hardware.machine import Gpu
from ftwizard.plan import schema
from ftwizard.plan.schema import Plan
from tests.helpers.machines import make_machine

GPU = Gpu(name="NVIDIA H100 80GB HBM3", memory=85 * 10**9)
PLAN = Plan(data=schema.Data(files=schema.Files(train="a.jsonl")), model=schema.Model(name="m"))


def make_plan(
    processes: int = 1, nodes: int = 1, *, on_cluster: bool = False, gpus: int = 1
) -> Plan:
    scheduler = "slurm" if on_cluster else "none"
    return Plan(
        data=PLAN.data, model=PLAN.model,
        where=schema.Where(processes=processes, scheduler=scheduler),  # type: ignore[arg-type]
        slurm=schema.Slurm(nodes=nodes, gpus=gpus),
    )  # fmt: skip


def advise(batch: int, accumulation: int) -> dict[str, AdvisedValue]:
    values = {"batch_size": batch, "gradient_accumulation": accumulation}
    return {
        name: AdvisedValue(name=name, value=value, reason="", as_of="2026", source="")
        for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("batch", "accumulation", "ranks", "shared"),
    [
        (4, 4, 2, (4, 2)),
        (4, 4, 4, (4, 1)),
        (4, 4, 8, (2, 1)),
        (4, 4, 32, (1, 1)),
        (8, 2, 3, (5, 1)),
    ],
)
def test_step_of_several_processes_has_the_rows_of_one_where_it_can(
    batch: int, accumulation: int, ranks: int, shared: tuple[int, int]
) -> None:
    advised = rank_advice.share_step(make_plan(ranks), advise(batch, accumulation))
    assert (advised["batch_size"].value, advised["gradient_accumulation"].value) == shared
    total = ranks * shared[0] * shared[1]
    assert f"{total} rows in it together" in advised["gradient_accumulation"].reason


@pytest.mark.parametrize("ranks", [2, 3, 4, 5, 8, 16])
def test_shared_step_has_whole_groups_of_answers(ranks: int) -> None:
    recipe = schema.Recipe(objective="grpo", grpo=schema.GRPO(num_generations=8))
    plan = msgspec.structs.replace(make_plan(ranks), recipe=recipe)
    advised = rank_advice.share_step(plan, advise(8, 2))
    rows, passes = advised["batch_size"].value, advised["gradient_accumulation"].value
    answers = int(rows or 0) * int(passes or 0) * ranks
    assert answers % 8 == 0 and answers >= 16
    assert f"{answers} answers in it together" in advised["gradient_accumulation"].reason


def test_kto_keeps_two_answers_in_each_batch() -> None:
    plan = msgspec.structs.replace(make_plan(8), recipe=schema.Recipe(objective="kto"))
    assert rank_advice.share_step(plan, advise(2, 2))["batch_size"].value == 2


def test_one_process_keeps_its_advice() -> None:
    advice = advise(4, 4)
    assert rank_advice.share_step(make_plan(), advice) is advice


def test_processes_are_advised_where_there_can_be_several() -> None:
    one, four = make_machine(GPU), make_machine(GPU, GPU, GPU, GPU)
    assert rank_advice.advise_processes(make_plan(), one) is None
    advised = rank_advice.advise_processes(make_plan(), four)
    assert advised is not None and advised.value == 1 and "has 4 GPUs" in advised.reason
    job = make_plan(on_cluster=True, gpus=8)
    advised = rank_advice.advise_processes(job, one)
    assert advised is not None and advised.value == 8
    on_cpu = rank_advice.advise_processes(make_plan(on_cluster=True, gpus=0), one)
    assert on_cpu is not None and on_cpu.value == 1


def test_step_is_described_over_all_nodes() -> None:
    assert rank_advice.describe_step(make_plan()) == ""
    text = rank_advice.describe_step(make_plan(2, 2, on_cluster=True, gpus=2))
    assert text == "4 processes × 4 rows × 1 pass = 16 rows in each step."
