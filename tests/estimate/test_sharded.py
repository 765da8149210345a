"""Memory per GPU of a model sharded over several GPUs, and the fewest GPUs that hold it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.catalog.model_configs import find_config
from ftwizard.estimate import memory
from ftwizard.estimate.gpu_fit import AvailableGpu, check_fit
from ftwizard.estimate.memory import GIB
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.models.architectures import build_shape
from ftwizard.models.shapes import ModelShape


def _shape(name: str) -> ModelShape:
    result = find_config(name)
    assert result is not None
    return build_shape(result.config, name)


SMALL, LARGE = _shape("meta-llama/Llama-3.1-8B"), _shape("meta-llama/Llama-3.1-70B")
MIXED = _shape("Qwen/Qwen3-30B-A3B")
QLORA = TrainingSetup(method="qlora", batch_size=1, length=512)
SETUPS = st.builds(
    TrainingSetup, method=st.sampled_from(["qlora", "lora", "full"]), batch_size=st.integers(1, 8),
    length=st.sampled_from([256, 1024, 8192]), checkpointing=st.booleans(),
)  # fmt: skip


@given(shape=st.sampled_from([SMALL, LARGE, MIXED]), setup=SETUPS, cards=st.integers(2, 7))
def test_each_added_gpu_lowers_the_peak_per_gpu(
    shape: ModelShape, setup: TrainingSetup, cards: int
) -> None:
    some, more = (memory.estimate_sharded(shape, setup, n) for n in (cards, cards + 1))
    assert more.peak.value < some.peak.value
    assert sum(part.value for part in more.parts.values()) == pytest.approx(more.peak.value)
    alone = memory.estimate_memory(shape, setup)
    whole = alone.parts["weights"].value
    assert more.parts["weights"].value == pytest.approx(whole / (cards + 1))
    if more.moment != "step":
        assert more.parts["gathered"].value == some.parts["gathered"].value > 0, "whole on each"
        assert more.parts["gathered"].value > whole / shape.layers
    assert (cards + 1) * more.peak.value > alone.peak.value
    assert "gathered" not in alone.parts and more.trained == alone.trained


@given(setup=SETUPS, room=st.integers(1, 200))
def test_find_fewest_gpus_returns_the_minimum(setup: TrainingSetup, room: int) -> None:
    fewest_gpus = memory.find_fewest_gpus(LARGE, setup, room * GIB)
    if fewest_gpus is None:
        assert (memory.estimate_sharded(LARGE, setup, memory.MAX_CARDS).peak.high or 0) > room * GIB
        return
    assert (fewest_gpus.memory.peak.high or 0) <= room * GIB
    if fewest_gpus.cards > 2:
        less = memory.estimate_sharded(LARGE, setup, fewest_gpus.cards - 1)
        assert (less.peak.high or 0) > room * GIB


def test_70b_on_24_gib_names_the_sharded_gpu_count() -> None:
    fit = check_fit(LARGE, QLORA, AvailableGpu(name="RTX 4090", memory=24 * GIB))
    assert fit.verdict == "does not fit" and fit.sharded is not None
    assert 2 < fit.sharded.cards <= 4
    assert f"Sharded over {fit.sharded.cards} such GPUs, each would need" in fit.sentence
    settings = f"set where.processes to {fit.sharded.cards} and where.parallel to fsdp."
    assert fit.sentence.endswith(settings)


def test_sharded_fit_names_its_reduced_settings() -> None:
    setup = msgspec.structs.replace(QLORA, method="lora", batch_size=8, length=2048)
    fit = check_fit(LARGE, setup, AvailableGpu(name="RTX 4090", memory=24 * GIB))
    assert fit.sharded is not None
    assert "(QLoRA, 1 row of 2,048 tokens per pass)" in fit.sentence


def test_sharding_is_omitted_when_unneeded_or_insufficient() -> None:
    fit = check_fit(SMALL, QLORA, AvailableGpu(name="RTX 4090", memory=24 * GIB))
    assert fit.sharded is None and "Sharded" not in fit.sentence
    tiny = check_fit(LARGE, QLORA, AvailableGpu(name="a card", memory=4 * GIB))
    assert tiny.sharded is None and "Sharded" not in tiny.sentence
