"""Memory estimates: parts that add up, ranges that hold published peaks, monotone settings."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.catalog.model_configs import ModelConfig, configs
from ftwizard.errors import FtwizardError
from ftwizard.estimate.memory import (
    CPU_LIBRARIES,
    GIB,
    PARTS,
    MemoryEstimate,
    estimate_cpu_memory,
    estimate_memory,
)
from ftwizard.estimate.training_setup import FrameworkOverhead, TrainingSetup, head_for
from ftwizard.models.architectures import build_shape
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Method
from tests.helpers.shapes import PUBLISHED

LLAMA_8B = build_shape(
    {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
    "Llama 3.1 8B",
)  # fmt: skip
SETUPS = st.builds(
    TrainingSetup,
    method=st.sampled_from(["qlora", "lora", "full"]),
    rank=st.sampled_from([1, 8, 64]),
    batch_size=st.integers(1, 16),
    accumulation=st.integers(1, 4),
    length=st.sampled_from([128, 1024, 8192]),
    checkpointing=st.booleans(),
    head=st.sampled_from(["tiled", "full"]),
    precision=st.sampled_from(["bf16", "fp16", "fp32"]),
    attention=st.sampled_from(["sdpa", "eager", "flash_attention_2"]),
    dropout=st.booleans(),
)


def _peak(setup: TrainingSetup) -> float:
    return estimate_memory(LLAMA_8B, setup).peak.value


@given(setup=SETUPS)
def test_parts_add_up_to_the_peak(setup: TrainingSetup) -> None:
    memory = estimate_memory(LLAMA_8B, setup)
    assert tuple(memory.parts) == tuple(name for name in PARTS if name != "gathered")
    assert sum(part.value for part in memory.parts.values()) == pytest.approx(memory.peak.value)
    assert all(part.value >= 0 and part.source for part in memory.parts.values())
    low, high = memory.peak.low, memory.peak.high
    assert low is not None and high is not None
    assert low < memory.peak.value < high and high / low <= 1.35


@pytest.mark.parametrize("model", configs(), ids=lambda item: item.name)
@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_peak_range_starts_above_weights_adapter_and_optimizer(
    model: ModelConfig, method: Method
) -> None:
    memory = estimate_memory(build_shape(model.config, model.source), TrainingSetup(method=method))
    sure = sum(memory.parts[name].value for name in ("weights", "adapter", "optimizer"))
    assert memory.peak.low is not None and sure <= memory.peak.low < memory.peak.value


@given(setup=SETUPS)
def test_larger_settings_never_use_less_memory(setup: TrainingSetup) -> None:
    def more(**changed: object) -> float:
        return _peak(msgspec.structs.replace(setup, **changed))

    here = _peak(setup)
    assert more(batch_size=setup.batch_size + 1) > here or peaks_in_step(setup)
    assert more(length=setup.length + 1) > here or peaks_in_step(setup)
    assert more(checkpointing=True) <= more(checkpointing=False)
    assert more(head="tiled") <= more(head="full")
    assert more(dropout=False) <= more(dropout=True)
    flash, sdpa, eager = (more(attention=kind) for kind in ("flash_attention_2", "sdpa", "eager"))
    assert flash <= sdpa <= eager


def test_eager_attention_grows_with_the_square_of_the_length() -> None:
    def scores(length: int, checkpointing: bool) -> float:
        setup = TrainingSetup(
            method="lora", batch_size=1, length=length, checkpointing=checkpointing
        )
        return _peak(msgspec.structs.replace(setup, attention="eager")) - _peak(setup)

    # 32 heads × 8,192² scores × 12 bytes of one block, or at least 6 bytes of each of 32 blocks.
    one_block = 32 * 8192**2 * 12
    assert scores(8192, True) == pytest.approx(one_block, rel=0.25)
    assert scores(8192, False) > 32 * one_block / 2
    for checkpointing in (True, False):
        assert scores(8192, checkpointing) > 3.5 * scores(4096, checkpointing)


@pytest.mark.parametrize(
    ("rows", "length", "settings", "measured"),
    [
        # Growth of the resident memory over that of the libraries, in bytes, in one real step of
        # LoRA on SmolLM2-135M with TRL 1.16, peft 0.21 and torch 2.13 on the CPU, 2026-11.
        (1, 768, {}, 3.390e9),
        (1, 768, {"dropout": False}, 2.636e9),
        (1, 768, {"attention": "eager"}, 4.128e9),
        (1, 768, {"attention": "eager", "dropout": False}, 3.359e9),
        (2, 512, {}, 4.211e9),
        (4, 174, {"precision": "bf16"}, 2.3e9),
    ],
)
def test_measured_peaks_on_the_cpu_are_close_to_the_estimate(
    rows: int, length: int, settings: dict[str, Any], measured: float
) -> None:
    setup = TrainingSetup(
        method="lora", batch_size=rows, length=length, checkpointing=False,
        **{"precision": "fp32", **settings},
    )  # fmt: skip
    peak = estimate_cpu_memory(PUBLISHED["smollm2-135m"], setup).peak
    assert peak.value - CPU_LIBRARIES[1] == pytest.approx(measured, rel=0.06)
    assert peak.lowest < measured + CPU_LIBRARIES[1] < peak.highest


def test_range_on_the_cpu_starts_above_the_permanent_tensors() -> None:
    large = msgspec.structs.replace(LLAMA_8B, layers=320)  # libraries are negligible next to it
    setup = TrainingSetup(
        method="lora", batch_size=1, length=128, checkpointing=True, precision="fp32"
    )
    memory = estimate_cpu_memory(large, setup)
    assert memory.peak.lowest >= memory.sure


def peaks_in_step(setup: TrainingSetup) -> bool:
    """Return whether memory peaks in the optimizer step, which does not depend on tokens."""
    return estimate_memory(LLAMA_8B, setup).moment == "step"


def test_missing_target_modules_raise_an_error() -> None:
    with pytest.raises(FtwizardError, match="target_modules"):
        estimate_memory(LLAMA_8B, TrainingSetup(method="lora", targets=("c_attn",)))


def test_8b_qlora_fits_in_16_gib_as_the_article_states() -> None:
    memory = estimate_memory(LLAMA_8B, TrainingSetup(method="qlora", batch_size=1, length=2048))
    assert memory.peak.high is not None and memory.peak.high < 16 * GIB
    assert memory.parts["weights"].value / GIB == pytest.approx(5.31, abs=0.02)


@pytest.mark.parametrize(
    ("version", "head"),
    [
        ("1.16.0", "tiled"), ("1.10.0.dev0", "tiled"), ("2.0", "tiled"), ("1.9.1", "full"),
        ("0.24.0", "full"), ("none", "full"), (None, "tiled"),
    ],
)  # fmt: skip
def test_loss_head_depends_on_the_trl_version(version: str | None, head: str) -> None:
    assert head_for(version) == head


def test_memory_estimate_round_trips_through_builtins() -> None:
    memory = estimate_memory(LLAMA_8B, TrainingSetup(method="qlora"))
    assert msgspec.convert(msgspec.to_builtins(memory), MemoryEstimate) == memory


LLAMA_3B = build_shape(
    {
        "model_type": "llama", "hidden_size": 3072, "intermediate_size": 8192,
        "num_hidden_layers": 28, "num_attention_heads": 24, "num_key_value_heads": 8,
        "vocab_size": 128256, "head_dim": 128, "tie_word_embeddings": True,
    },
    "Llama 3.2 3B",
)  # fmt: skip
PURE = FrameworkOverhead(
    adapter_bytes=2, full_bytes=2, autocast=False, padded=False, counter="allocated"
)
PEFT_LOOP = FrameworkOverhead(
    full_bytes=2, autocast=False, logit_bytes=14, stranded_bytes=0,
    fused_optimizer=False, counter="reserved",
)  # fmt: skip
MLP = ("gate_proj", "up_proj", "down_proj")
PUBLISHED_PEAKS = [
    # pytorch/torchtune README at bd2a0fc7: peak active memory of Llama 3.2 3B on an A100.
    (LLAMA_3B, TrainingSetup(method="full", batch_size=2, length=4096, checkpointing=False, head="full"),
     PURE, 60.0),
    (LLAMA_3B, TrainingSetup(method="full", batch_size=2, length=4096), PURE, 24.9),
    # Same source: QLoRA of Llama 3.1 8B on an RTX 4090.
    (LLAMA_8B, TrainingSetup(method="qlora", rank=8, batch_size=2, length=2048, dropout=False), PURE, 7.4),
    # huggingface/peft method_comparison/MetaMathQA at 5d602fdb: peak reserved, on an L40S.
    (LLAMA_3B, TrainingSetup(method="full", length=768, checkpointing=False, head="full"), PEFT_LOOP, 36.2),
    (LLAMA_3B, TrainingSetup(method="lora", rank=10, targets=MLP, length=768, checkpointing=False,
                     head="full", dropout=False), PEFT_LOOP, 23.0),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "setup", "stack", "gib"), PUBLISHED_PEAKS)
def test_published_peaks_lie_in_the_range(
    shape: ModelShape, setup: TrainingSetup, stack: FrameworkOverhead, gib: float
) -> None:
    peak = estimate_memory(shape, setup, stack=stack).peak
    assert peak.low is not None and peak.high is not None
    assert peak.low <= gib * GIB <= peak.high
    assert peak.value == pytest.approx(gib * GIB, rel=0.08)


def test_peak_range_is_equally_narrow_for_every_model() -> None:
    for config in configs():
        peak = estimate_memory(
            build_shape(config.config, config.source), TrainingSetup(method="qlora")
        ).peak
        assert peak.low and peak.high and 1.3 < peak.high / peak.low <= 1.35, config.name
