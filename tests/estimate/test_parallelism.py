"""The choice between DDP and FSDP."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest

from ftwizard.catalog.model_configs import find_config
from ftwizard.estimate.memory import GIB
from ftwizard.estimate.parallelism import ParallelChoice, choose_parallel
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.models.architectures import build_shape
from ftwizard.models.shapes import ModelShape


def _shape(name: str) -> ModelShape:
    result = find_config(name)
    assert result is not None
    return build_shape(result.config, name)


SMALL, LARGE = _shape("meta-llama/Llama-3.1-8B"), _shape("meta-llama/Llama-3.1-70B")
QLORA = TrainingSetup(method="qlora", batch_size=1, length=512)
FULL = TrainingSetup(method="full", batch_size=1, length=512, checkpointing=True)


def choose(
    shape: ModelShape | None,
    setup: TrainingSetup,
    gib: float | None,
    processes: int = 2,
    requested: Literal["auto", "ddp", "fsdp"] = "auto",
) -> ParallelChoice:
    free = None if gib is None else gib * GIB
    return choose_parallel(
        requested, shape=shape, setup=setup, processes=processes, free_bytes=free
    )


@pytest.mark.parametrize("requested", ["ddp", "fsdp"])
def test_the_plan_decides_against_the_estimate(requested: Literal["ddp", "fsdp"]) -> None:
    for shape, gib in ((SMALL, 80), (LARGE, 24), (None, None)):
        choice = choose(shape, QLORA, gib, requested=requested)
        assert choice == ParallelChoice(mode=requested, reason="Set in the plan (where.parallel).")


def test_a_model_that_fits_one_gpu_is_not_sharded() -> None:
    choice = choose(SMALL, QLORA, 24)
    assert choice.mode == "ddp"
    assert choice.reason.startswith("It fits: the whole model needs ")
    assert choice.reason.endswith(" on each GPU, with 25.8 GB free.")


def test_a_model_that_only_fits_sharded_is_sharded() -> None:
    choice = choose(LARGE, QLORA, 24, processes=4)
    assert choice.mode == "fsdp"
    assert choice.reason.startswith("One GPU does not fit: the whole model needs ")
    assert "sharded over 4 GPUs, " in choice.reason
    assert "probably" not in choice.reason


def test_a_full_fine_tune_moves_to_fsdp_as_gpus_are_added() -> None:
    few = choose(SMALL, FULL, 40, processes=2)
    assert few.mode == "fsdp" and few.reason.endswith("it probably runs out of memory.")
    many = choose(SMALL, FULL, 80, processes=8)
    assert many.mode == "fsdp" and "probably" not in many.reason


def test_the_smaller_the_gpu_the_more_it_is_sharded() -> None:
    choices = [choose(SMALL, QLORA, tenth / 10) for tenth in range(40, 140)]
    verdicts = [choice.reason.split(":")[0] for choice in choices]
    assert list(dict.fromkeys(verdicts)) == [
        "One GPU does not fit",
        "One GPU may not fit",
        "It fits",
    ]
    for choice, verdict in zip(choices, verdicts, strict=True):
        assert choice.mode == ("ddp" if verdict == "It fits" else "fsdp")


def test_what_is_unknown_stays_ddp_and_is_named() -> None:
    assert choose(None, QLORA, 24).reason == "The memory of this model cannot be estimated."
    absent = msgspec.structs.replace(QLORA, targets=("no_such_layer",))
    assert choose(LARGE, absent, 24).reason == "The memory of this model cannot be estimated."
    cpu = choose(LARGE, QLORA, None)
    assert cpu.mode == "ddp" and cpu.reason.startswith("No GPU memory is known")
    old = msgspec.structs.replace(QLORA, precision="fp16")
    assert choose(LARGE, old, 24).mode == "ddp"
