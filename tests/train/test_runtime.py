"""Precision and attention for the hardware, and unsupported requests."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.hardware import hub_kernels, machine
from ftwizard.plan.schema import Recipe
from ftwizard.train import runtime

LLAMA = {"model_type": "llama"}
GEMMA = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}
TURING, HOPPER = (7, 5), (9, 0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that sets the GPU capability that torch reports, or no GPU."""

    def see(
        capability: tuple[int, int] | None, *, flash_attn: bool = True, kernels: str | None = None
    ) -> None:
        cuda = SimpleNamespace(
            is_available=lambda: capability is not None,
            is_bf16_supported=lambda including_emulation: capability and capability >= (8, 0),
            get_device_capability=lambda: capability,
            get_device_name=lambda: "Tesla T4",
        )
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        monkeypatch.setattr(machine, "is_installed", lambda name: flash_attn)
        monkeypatch.setattr(hub_kernels, "explain_missing", lambda: kernels)
        monkeypatch.setattr(runtime, "model_has_flash", lambda base: base == Path("able"))

    return see


@pytest.mark.parametrize(
    ("capability", "method", "config", "precision"),
    [
        (HOPPER, "lora", LLAMA, "bf16"),
        (HOPPER, "qlora", GEMMA, "bf16"),
        (TURING, "lora", LLAMA, "fp16"),
        (TURING, "full", LLAMA, "fp16"),
        (TURING, "qlora", LLAMA, "fp32"),
        (TURING, "lora", GEMMA, "fp32"),
        (TURING, "lora", {"text_config": {"model_type": "gemma2"}}, "fp32"),
    ],
)
def test_precision_follows_gpu_method_and_model(
    gpu: Any, capability: Any, method: Any, config: dict[str, Any], precision: str
) -> None:
    gpu(capability)
    assert runtime.choose_precision(Recipe(method=method), config) == precision


@pytest.mark.parametrize("has_bf16", [True, False])
def test_precision_without_a_gpu_follows_the_cpu(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, has_bf16: bool
) -> None:
    gpu(None)
    monkeypatch.setattr(machine, "has_bfloat16_cpu", lambda: has_bf16)
    assert runtime.choose_precision(Recipe(), LLAMA) == ("bf16" if has_bf16 else "fp32")
    assert runtime.choose_precision(Recipe(precision="fp32"), LLAMA) == "fp32"


def test_fp16_is_refused_for_gemma_and_without_gpu(gpu: Any) -> None:
    gpu(TURING)
    assert runtime.choose_precision(Recipe(precision="fp16"), LLAMA) == "fp16"
    with pytest.raises(FtwizardError, match="Gemma") as refusal:
        runtime.choose_precision(Recipe(precision="fp16"), GEMMA)
    assert "auto" in refusal.value.hint
    gpu(None)
    with pytest.raises(FtwizardError, match="needs a GPU"):
        runtime.choose_precision(Recipe(precision="fp16"), LLAMA)


@pytest.mark.parametrize(
    ("capability", "flash_attn", "precision", "base", "attention"),
    [
        (HOPPER, True, "bf16", "able", "flash_attention_2"),
        (HOPPER, True, "bf16", "unable", None),
        (HOPPER, True, "fp32", "able", None),
        (HOPPER, False, "bf16", "able", None),
        (TURING, True, "fp16", "able", None),
        (None, True, "bf16", "able", None),
    ],
)
def test_flash_attention_is_chosen_only_where_supported(
    gpu: Any, capability: Any, flash_attn: bool, precision: str, base: str, attention: str | None
) -> None:
    gpu(capability, flash_attn=flash_attn)
    assert runtime.choose_attention(Recipe(), precision, Path(base)) == attention
    assert runtime.choose_attention(Recipe(attention="eager"), precision, Path(base)) == "eager"


def test_requested_flash_attention_is_used_or_refused(gpu: Any) -> None:
    recipe = Recipe(attention="flash_attention_2")
    gpu(HOPPER)
    assert runtime.choose_attention(recipe, "bf16", Path("able")) == "flash_attention_2"
    with pytest.raises(FtwizardError, match="needs 16 bit"):
        runtime.choose_attention(recipe, "fp32", Path("able"))
    gpu(TURING)
    with pytest.raises(FtwizardError, match=r"Ampere generation or newer, not Tesla T4"):
        runtime.choose_attention(recipe, "fp16", Path("able"))
    gpu(HOPPER, flash_attn=False)
    with pytest.raises(FtwizardError, match=r"not installed \(pip install flash-attn"):
        runtime.choose_attention(recipe, "fp16", Path("able"))


def test_kernels_from_the_hub_are_used_or_refused_with_the_command(gpu: Any) -> None:
    recipe = Recipe(attention=hub_kernels.FLASH_ATTENTION, kernels=True)
    gpu(HOPPER, flash_attn=False)
    chosen = runtime.choose_attention(recipe, "bf16", Path("able"))
    assert chosen == "kernels-community/flash-attn2"
    runtime.check_kernels(recipe)
    with pytest.raises(FtwizardError, match="not supported for this model"):
        runtime.choose_attention(recipe, "bf16", Path("unable"))
    gpu(HOPPER, kernels="it is missing")
    with pytest.raises(FtwizardError, match=r"it is missing \(pip install 'kernels"):
        runtime.choose_attention(recipe, "bf16", Path("able"))
    with pytest.raises(FtwizardError, match=r"it is missing \(pip install 'kernels"):
        runtime.check_kernels(recipe)
    gpu(None)
    with pytest.raises(FtwizardError, match="there is none"):
        runtime.choose_attention(recipe, "bf16", Path("able"))
    with pytest.raises(FtwizardError, match="needs an NVIDIA GPU, and there is none"):
        runtime.check_kernels(recipe)
    runtime.check_kernels(Recipe())
