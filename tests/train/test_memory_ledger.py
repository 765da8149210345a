"""The memory ledger, compared with real tensors and with the closed form."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.estimate.memory import estimate_memory
from ftwizard.estimate.training_setup import FrameworkOverhead, TrainingSetup
from ftwizard.models.architectures import build_shape
from ftwizard.train.memory_ledger import build_model, run_memory_ledger, run_step

TENSORS = FrameworkOverhead(counter="allocated")
SMALL: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "head_dim": 32,
}  # fmt: skip
WIDE = {**SMALL, "hidden_size": 2048, "intermediate_size": 8192, "head_dim": 512}
SETUPS = {
    "lora": TrainingSetup(method="lora", batch_size=2, length=256),
    "lora, nothing recomputed": TrainingSetup(
        method="lora", batch_size=2, length=256, checkpointing=False
    ),
    "qlora, one row": TrainingSetup(method="qlora", batch_size=1, length=512),
    "full": TrainingSetup(method="full", batch_size=2, length=256),
    "full, all logits": TrainingSetup(method="full", batch_size=2, length=256, head="full"),
    "lora in fp32": TrainingSetup(method="lora", batch_size=2, length=256, precision="fp32"),
    "two passes a step": TrainingSetup(method="full", batch_size=1, length=512, accumulation=2),
    "no dropout": TrainingSetup(method="lora", batch_size=2, length=256, dropout=False),
    "eager": TrainingSetup(method="lora", batch_size=2, length=256, attention="eager"),
    "eager in fp32": TrainingSetup(
        method="lora", batch_size=1, length=256, attention="eager", precision="fp32"
    ),
    "eager, full": TrainingSetup(method="full", batch_size=1, length=256, attention="eager"),
}


@pytest.mark.parametrize("name", SETUPS)
def test_fake_tensors_match_the_peak_of_real_tensors(name: str) -> None:
    setup = SETUPS[name]
    # Real rows without padding get no mask; fake rows would.
    stack = msgspec.structs.replace(TENSORS, padded=False)
    real = run_step(build_model(SMALL, setup), setup, stack)
    fake = run_memory_ledger(SMALL, setup, stack=stack)
    assert fake.peak.value == pytest.approx(real.peak, rel=0.04)
    assert fake.trained == real.trained


@pytest.mark.parametrize("name", SETUPS)
def test_closed_form_matches_the_ledger(name: str) -> None:
    setup = msgspec.structs.replace(SETUPS[name], length=2048)
    counted = run_memory_ledger(WIDE, setup, stack=TENSORS).peak.value
    assert estimate_memory(
        build_shape(WIDE, "x"), setup, stack=TENSORS
    ).peak.value == pytest.approx(counted, rel=0.06)


def test_ledger_supports_architectures_without_a_closed_form() -> None:
    config = {
        "model_type": "qwen2_moe", "hidden_size": 64, "intermediate_size": 96,
        "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 500, "num_experts": 4,
        "num_experts_per_tok": 2,
    }  # fmt: skip
    memory_ledger = run_memory_ledger(config, TrainingSetup(method="lora", batch_size=1, length=64))
    assert memory_ledger.parts["weights"].value > 0
    assert sum(part.value for part in memory_ledger.parts.values()) == pytest.approx(
        memory_ledger.peak.value
    )


ROUTED: dict[str, Any] = {
    **SMALL, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "num_experts": 4,
    "num_local_experts": 4,
}  # fmt: skip


MIXED: dict[str, Any] = {
    "hidden_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 32_000, "intermediate_size": 2048,
}  # fmt: skip
MIXTURES: dict[str, dict[str, Any]] = {
    "qwen3_moe": {"num_experts": 32, "num_experts_per_tok": 8, "moe_intermediate_size": 768},
    "gpt_oss": {"num_local_experts": 16, "num_experts_per_tok": 4, "layer_types": ["full_attention"] * 4},
    "llama4_text": {"num_local_experts": 8, "num_experts_per_tok": 1},
}  # fmt: skip
MIXED_SETUPS = {
    "long rows": TrainingSetup(method="qlora", batch_size=4, length=2048),
    "nothing recomputed": TrainingSetup(
        method="lora", batch_size=4, length=512, checkpointing=False
    ),
    "attention alone": TrainingSetup(
        method="lora", batch_size=4, length=2048, targets=("q_proj", "v_proj")
    ),
    "full": TrainingSetup(method="full", batch_size=2, length=1024),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXED_SETUPS)
@pytest.mark.parametrize("model_type", MIXTURES)
def test_closed_form_matches_the_ledger_for_expert_mixtures(model_type: str, name: str) -> None:
    config = {**MIXED, **MIXTURES[model_type], "model_type": model_type}
    counted = run_memory_ledger(config, MIXED_SETUPS[name], stack=TENSORS).peak.value
    memory = estimate_memory(build_shape(config, "x"), MIXED_SETUPS[name], stack=TENSORS)
    assert memory.peak.value == pytest.approx(counted, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("model_type", ["qwen3_moe", "gpt_oss", "llama4_text", "mixtral"])
def test_ledger_counts_experts_in_every_precision_and_method(
    model_type: str, precision: Any, method: Any
) -> None:
    setup = TrainingSetup(method=method, batch_size=2, length=32, precision=precision)
    memory_ledger = run_memory_ledger({**ROUTED, "model_type": model_type}, setup)
    assert memory_ledger.peak.value > memory_ledger.parts["weights"].value > 0


def test_ledger_supports_a_model_without_attention() -> None:
    config = {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 100}
    assert run_memory_ledger(config, TrainingSetup(method="lora", length=32)).trained > 0


def test_ledger_supports_a_model_with_dropout() -> None:
    config = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 500}
    assert run_memory_ledger(config, TrainingSetup(method="qlora", length=32)).trained > 0


def test_unsupported_model_class_raises_a_clear_error(capfd: pytest.CaptureFixture[str]) -> None:
    config = {"model_type": "xlnet", "d_model": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100}
    with pytest.raises(FtwizardError, match="could not be prepared for training: XLNet") as error:
        run_memory_ledger(config, TrainingSetup(method="lora", length=32))
    assert "ftwizard probe" in error.value.hint
    assert "Traceback" not in capfd.readouterr().err


def test_value_dependent_control_flow_raises_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.models.llama import modeling_llama

    def forward(self: Any, x: Any) -> Any:
        return 2 * x if x.sum().item() else x

    monkeypatch.setattr(modeling_llama.LlamaMLP, "forward", forward)
    with pytest.raises(FtwizardError, match="control flow depends on tensor values"):
        run_memory_ledger(SMALL, TrainingSetup(method="full", length=32))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "config",
    [{"model_type": "no_such"}, {**SMALL, "num_attention_heads": 0}, {"model_type": "vit"}, {}],
)
def test_invalid_config_raises_a_clear_error(config: dict[str, Any]) -> None:
    with pytest.raises(FtwizardError, match="cannot build"):
        run_memory_ledger(config, TrainingSetup(method="lora"))
