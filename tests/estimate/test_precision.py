"""Precision and attention by machine: what a run uses, what it refuses, what is slow."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ftwizard.catalog.gpu_specs import GpuSpec, find_gpu
from ftwizard.estimate import duration, plan_estimate, precision
from ftwizard.estimate.batching import Bucket, LengthDistribution
from ftwizard.estimate.training_machine import TrainingMachine, resolve_setup
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.models.architectures import build_shape
from ftwizard.plan.schema import Data, Files, Model, Plan, Recipe
from ftwizard.quantity import Figure
from tests.estimate.test_duration import make_passes
from tests.helpers.shapes import PUBLISHED

GEMMA = build_shape(
    {
        "model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912,
        "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1,
        "vocab_size": 262144, "head_dim": 256,
    },
    "Gemma 3 1B",
)  # fmt: skip
LLAMA = PUBLISHED["llama-3.1-8b"]


def spec(name: str) -> GpuSpec:
    card = find_gpu(name)
    assert card is not None
    return card


@pytest.mark.parametrize(
    ("card", "settings", "expected"),
    [
        ("A100 80 GB", {}, ("bf16", "sdpa")),
        ("A100 80 GB", {"attention": "flash_attention_2"}, ("bf16", "flash_attention_2")),
        ("A100 80 GB", {"attention": "flash_attention_2", "precision": "fp32"}, ("fp32", "sdpa")),
        ("A100 80 GB", {"attention": "eager"}, ("bf16", "eager")),
        ("T4", {}, ("fp16", "sdpa")),
        ("T4", {"method": "qlora"}, ("fp32", "sdpa")),
        ("T4", {"attention": "flash_attention_2"}, ("fp16", "sdpa")),
        ("V100 32 GB", {"precision": "bf16"}, ("bf16", "sdpa")),
        (None, {"precision": "fp16"}, ("fp32", "sdpa")),
        (None, {"attention": "flash_attention_2"}, ("fp32", "sdpa")),
    ],
)
def test_setup_is_what_the_run_uses_on_that_card(
    card: str | None, settings: dict[str, Any], expected: tuple[str, str]
) -> None:
    machine = TrainingMachine(card=spec(card) if card else None, gpu=card is not None)
    setup = resolve_setup(Recipe(**settings), machine)
    assert (setup.precision, setup.attention) == expected


def test_dropout_of_the_recipe_counts() -> None:
    machine = TrainingMachine(card=spec("A100 80 GB"), gpu=True)
    assert resolve_setup(Recipe(), machine).dropout
    assert not resolve_setup(Recipe(dropout=0.0), machine).dropout


def test_gemma_is_never_computed_in_fp16() -> None:
    machine = TrainingMachine(card=spec("T4"), gpu=True)
    assert resolve_setup(Recipe(), machine, shape=GEMMA).precision == "fp32"
    assert resolve_setup(Recipe(precision="fp16"), machine, shape=GEMMA).precision == "fp32"
    assert resolve_setup(Recipe(), machine, shape=LLAMA).precision == "fp16"


@pytest.mark.parametrize(
    ("card", "settings", "reason"),
    [
        ("T4", {"attention": "flash_attention_2"}, r"T4 has 7\.5"),
        ("V100 16 GB", {"attention": "flash_attention_2"}, "V100 SXM 16 GB has 7"),
        ("A100 80 GB", {"attention": "flash_attention_2", "precision": "fp32"}, "needs 16 bit"),
        (None, {"attention": "flash_attention_2"}, "there is none"),
        (None, {"precision": "fp16"}, "there is none"),
    ],
)
def test_what_training_refuses_is_refused_before(
    card: str | None, settings: dict[str, Any], reason: str
) -> None:
    error = precision.check_settings(
        Recipe(**settings), spec(card) if card else None, gpu=card is not None
    )
    assert error is not None and error.hint
    with pytest.raises(type(error), match=reason):
        raise error


@pytest.mark.parametrize("card", ["A100 80 GB", "T4", None])
@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
def test_other_settings_run_everywhere(card: str | None, attention: Any) -> None:
    known = spec(card) if card else None
    assert precision.check_settings(Recipe(attention=attention), known, gpu=bool(card)) is None


def test_fp16_is_refused_for_gemma_only() -> None:
    card, recipe = spec("A100 80 GB"), Recipe(precision="fp16")
    assert precision.check_settings(recipe, card, gpu=True, shape=GEMMA) is not None
    assert precision.check_settings(recipe, card, gpu=True, shape=LLAMA) is None


def _seconds(card: str, **settings: Any) -> Figure:
    setup = TrainingSetup(method="lora", **settings)
    figure = duration.from_gpu_spec(LLAMA, setup, spec(card), make_passes(4096))
    assert figure is not None
    return figure


def test_bf16_without_tensor_cores_is_priced_as_fp32() -> None:
    bf16, fp16 = _seconds("T4", precision="bf16"), _seconds("T4", precision="fp16")
    assert bf16.value > 3 * fp16.value
    assert bf16.highest / bf16.value > fp16.highest / fp16.value, "nothing was measured"
    assert "8.1 TFLOPS in fp32" in bf16.source and "65 TFLOPS" in fp16.source
    assert list(precision.describe_emulation(Recipe(precision="bf16"), spec("T4")))
    assert not list(precision.describe_emulation(Recipe(precision="bf16"), spec("A100 80 GB")))
    assert not list(precision.describe_emulation(Recipe(), spec("T4")))


def test_eager_attention_takes_longer_and_more_so_for_long_rows() -> None:
    def ratio(attended: int) -> float:
        work = make_passes(4096, attended=attended)
        eager, sdpa = (
            duration.from_gpu_spec(
                LLAMA, TrainingSetup(method="lora", attention=cast("Any", kind)), spec("A100 80 GB"), work
            )
            for kind in ("eager", "sdpa")
        )  # fmt: skip
        assert eager is not None and sdpa is not None
        return eager.value / sdpa.value

    assert 1 < ratio(512) < ratio(4096) < ratio(16_384)


def test_eager_attention_of_a_plan_counts_in_memory_and_time() -> None:
    def estimate(**settings: Any) -> plan_estimate.RecipeEstimate:
        plan = Plan(
            data=Data(files=Files(train="rows.jsonl")), model=Model(name="a/model"),
            recipe=Recipe(max_length=4096, **settings),
        )  # fmt: skip
        machine = TrainingMachine(card=spec("A100 80 GB"), gpu=True)
        lengths = {"train": LengthDistribution(
            rows=100, total=409_600, p99=4096,
            buckets=(Bucket(upto=4096, length=4096, rows=100),),
        )}  # fmt: skip
        result = plan_estimate.estimate_on(machine, plan, lengths, LLAMA)
        assert result is not None and result.memory and result.time
        return result

    plain, eager, undropped = estimate(), estimate(attention="eager"), estimate(dropout=0.0)
    assert plain.memory and eager.memory and undropped.memory and plain.time and eager.time
    assert eager.memory.peak.value > plain.memory.peak.value > undropped.memory.peak.value
    assert eager.time.value > plain.time.value
