"""Texts about where a draft trains."""

from __future__ import annotations

from ftwizard.errors import FtwizardError
from ftwizard.hardware.machine import Gpu
from ftwizard.plan import schema
from ftwizard.screens.draft import place_texts
from ftwizard.screens.draft.drafts import Draft
from ftwizard.slurm import cluster
from ftwizard.slurm.cluster import ClusterReport
from tests.helpers.machines import make_machine
from tests.screens.wizard.data.reports import report
from tests.slurm.test_cluster import SINFO

REPORT = ClusterReport(partitions=cluster.parse_partitions(SINFO))


def make_draft(gpu_bytes: float, where: schema.Where, slurm: schema.Slurm | None = None) -> Draft:
    gpu = Gpu(name="NVIDIA GeForce RTX 4090", memory=int(gpu_bytes))
    draft = Draft(make_machine(gpu, gpu)).with_check(
        schema.Files(train="/data/a.jsonl"), report("x")
    )
    recipe = schema.Recipe(method="full", batch_size=1, max_length=256)
    return draft.with_plan(
        model=schema.Model(name="Qwen/Qwen3-0.6B"), recipe=recipe, where=where,
        slurm=slurm or schema.Slurm(),
    )  # fmt: skip


def test_mode_and_its_reason_follow_the_memory_of_a_gpu() -> None:
    two = schema.Where(processes=2)
    fits = place_texts.describe_place(make_draft(85e9, two))
    assert fits.startswith("2 GPUs of this machine. auto uses DDP. It fits: the whole model needs ")
    assert " on each GPU. 2 processes × 1 row × 1 pass = 2 rows in each step." in fits
    small = place_texts.describe_place(make_draft(8e9, two))
    assert "auto uses FSDP. One GPU does not fit" in small
    chosen = make_draft(8e9, schema.Where(processes=2, parallel="ddp"))
    assert "DDP, as you chose." in place_texts.describe_place(chosen)
    assert place_texts.describe_place(make_draft(8e9, schema.Where())) == ""


def test_job_is_described_with_what_it_asks_for() -> None:
    where = schema.Where(scheduler="slurm", processes=4)
    slurm = schema.Slurm(partition="gpu", nodes=2, gpus=4, gpu_type="h100", time="4:00:00")
    text = place_texts.describe_place(make_draft(8e9, where, slurm))
    assert text.startswith(
        "a Slurm job in partition gpu: 2 nodes with 4 h100 GPUs, up to 4:00:00. "
    )
    assert "8 processes × 1 row × 1 pass = 8 rows in each step." in text
    alone = make_draft(8e9, schema.Where(scheduler="slurm"), schema.Slurm(gpus=0))
    assert place_texts.describe_place(alone) == (
        "a Slurm job in the default partition: 1 node with its CPU."
    )


def test_what_the_cluster_does_not_have_is_named_by_field() -> None:
    def find(**settings: object) -> dict[str, str]:
        slurm = schema.Slurm(**settings)  # type: ignore[arg-type]
        plan = make_draft(8e9, schema.Where(scheduler="slurm"), slurm).plan
        return place_texts.find_cautions(plan, REPORT)

    assert find() == {} and find(partition="gpu,cpu", gpus=9) == {}
    assert find(partition="none") == {
        "slurm.partition": "Slurm lists no partition none, only: gpu, cpu, empty, old."
    }
    assert find(partition="gpu", nodes=9, gpus=9, gpu_type="v100") == {
        "slurm.nodes": "gpu has 6 nodes.",
        "slurm.gpus": "A node of gpu has 8 GPUs.",
        "slurm.gpu_type": "gpu has a100, h100.",
    }
    assert find(partition="cpu") == {
        "slurm.gpus": "A node of cpu has no GPU. 0 trains on the CPU of its nodes."
    }
    assert find(partition="old", gpus=2) == {"slurm.partition": "old does not start jobs now."}


def test_refusal_names_the_field_of_the_setting() -> None:
    error = FtwizardError("Slurm refused the job: x.", "Lower slurm.time.", code="slurm.time")
    assert place_texts.describe_refusal(error) == (
        "Slurm refused the job: x. Lower slurm.time. It is “Time limit” on the Recipe page."
    )
    other = FtwizardError("Slurm does not answer.", code="unheard-of")
    assert place_texts.describe_refusal(other) == "Slurm does not answer."
