"""Training time estimated without measurements: near published times, and monotone."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.catalog.gpu_specs import GpuSpec, cards, find_gpu
from ftwizard.estimate import duration
from ftwizard.estimate.batching import TrainingPasses
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.plan.schema import Method
from tests.helpers.shapes import PUBLISHED

SIZES = ["smollm2-135m", "llama-3.2-1b", "llama-3.2-3b", "llama-3.1-8b", "llama-3.1-70b"]
CARDS = st.sampled_from([card for card in cards() if card.tflops and card.bandwidth])
METHODS: st.SearchStrategy[Method] = st.sampled_from(["lora", "qlora", "full"])


def get_gpu_spec(name: str) -> GpuSpec:
    gpu = find_gpu(name)
    assert gpu is not None
    return gpu


def make_passes(
    tokens: float, *, passes: float = 1, steps: int = 1, attended: float = 512
) -> TrainingPasses:
    return TrainingPasses(
        steps_per_epoch=1,
        steps=steps,
        passes=passes,
        tokens=tokens,
        padding=0,
        attended=attended,
        cut=0,
    )


def seconds(model: str, method: Method, where: GpuSpec, tokens: int, **more: object) -> float:
    setup = TrainingSetup(method=method, **more)  # type: ignore[arg-type]
    gpu_spec = duration.from_gpu_spec(PUBLISHED[model], setup, where, make_passes(tokens))
    assert gpu_spec is not None
    return gpu_spec.value


QWEN = "github.com/QwenLM/Qwen README.md, profiling: s/iter of 8 passes of one row"
FSDP = "github.com/AnswerDotAI/fsdp_qlora benchmarks_03_2024.md: 1,024 rows on two cards, DDP"
TUNE = "github.com/pytorch/torchtune README.md, optimization flags: 2 packed rows of 4,096"


@pytest.mark.parametrize(
    ("model", "method", "where", "rows", "length", "published", "source"),
    [
        ("qwen-1.8b", "lora", "A100-SXM4-80GB", 1, 2048, 1.7 / 8, QWEN),
        ("qwen-7b", "lora", "A100-SXM4-80GB", 1, 1024, 2.8 / 8, QWEN),
        ("qwen-7b", "qlora", "A100-SXM4-80GB", 1, 2048, 7.0 / 8, QWEN),
        ("qwen-14b", "lora", "A100-SXM4-80GB", 1, 8192, 36.0 / 8, QWEN),
        ("qwen-72b", "qlora", "A100-SXM4-80GB", 1, 1024, 41.4 / 8, QWEN),
        ("llama-2-7b", "lora", "RTX 3090", 4, 2048, 881 / 128, FSDP),
        ("llama-2-7b", "qlora", "RTX 4090", 8, 2048, 450 / 64, FSDP),
        ("llama-3.2-3b", "full", "A100", 2, 4096, 8192 / 7075, TUNE),
    ],
)
def test_published_times_are_matched_within_a_factor_of_1_5(
    model: str, method: Method, where: str, rows: int, length: int, published: float, source: str
) -> None:
    setup = TrainingSetup(
        method=method, batch_size=rows, length=length, head="full", checkpointing=source != TUNE
    )
    attended = 500 if source == TUNE else length
    gpu_spec = duration.from_gpu_spec(
        PUBLISHED[model], setup, get_gpu_spec(where), make_passes(rows * length, attended=attended)
    )
    assert gpu_spec is not None and gpu_spec.low is not None and gpu_spec.high is not None
    assert 1 / 1.5 <= gpu_spec.value / published <= 1.5, source
    assert gpu_spec.low <= published <= gpu_spec.high


@given(METHODS, CARDS, st.integers(1, 10**6), st.booleans())
def test_larger_models_never_take_less_time(
    method: Method, where: GpuSpec, tokens: int, again: bool
) -> None:
    times = [seconds(name, method, where, tokens, checkpointing=again) for name in SIZES]
    # Skip the first: SmolLM2-135M has more layers than the 1B model.
    assert all(item <= other for item, other in itertools.pairwise(times[1:]))


@given(st.sampled_from(SIZES), METHODS, CARDS, st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_tokens_never_take_less_time(
    model: str, method: Method, where: GpuSpec, first: int, other: int
) -> None:
    few, many = sorted((first, other))
    assert seconds(model, method, where, few) <= seconds(model, method, where, many)


@given(st.sampled_from(SIZES), METHODS, CARDS, st.integers(1, 10**5))
def test_checkpointing_and_4_bit_never_save_time(
    model: str, method: Method, where: GpuSpec, tokens: int
) -> None:
    kept, again = (seconds(model, method, where, tokens, checkpointing=c) for c in (False, True))
    assert kept <= again
    assert seconds(model, "lora", where, tokens) <= seconds(model, "qlora", where, tokens)


@given(st.sampled_from(SIZES), METHODS, CARDS, st.integers(1, 10**5), st.integers(1, 500))
def test_time_range_contains_its_value_and_cites_the_gpu(
    model: str, method: Method, where: GpuSpec, tokens: int, passes: int
) -> None:
    gpu_spec = duration.from_gpu_spec(
        PUBLISHED[model],
        TrainingSetup(method=method, precision="bf16" if where.bf16 else "fp16"),
        where,
        make_passes(tokens * passes, passes=passes),
    )
    assert gpu_spec is not None and gpu_spec.low is not None and gpu_spec.high is not None
    assert 0 < gpu_spec.low < gpu_spec.value < gpu_spec.high <= gpu_spec.value * 2.5
    assert where.name in gpu_spec.source and gpu_spec.as_of == where.as_of and gpu_spec.unit == "s"


def test_small_passes_are_bound_by_kernel_launches() -> None:
    where = get_gpu_spec("NVIDIA H100 80GB HBM3")
    setup = TrainingSetup(method="lora")
    few, more = (
        duration.from_gpu_spec(PUBLISHED["llama-3.2-1b"], setup, where, make_passes(tokens))
        for tokens in (128, 512)
    )
    assert few is not None and more is not None and few.value == more.value
    assert "kernel launches" in few.source


def test_unknown_hardware_gives_no_time() -> None:
    shape, setup = PUBLISHED["llama-3.1-8b"], TrainingSetup(method="lora")
    assert duration.from_gpu_spec(shape, setup, None, make_passes(1000)) is None
    assert duration.from_cpu_cores(shape, setup, make_passes(1000), cores=0, bf16=True) is None
    assert duration.from_probe(1000, 0.0, None) is None


def test_mixture_of_experts_time_depends_on_active_parameters() -> None:
    shape = PUBLISHED["qwen3-30b-a3b"]
    assert shape.active < shape.parameters / 8
    where = get_gpu_spec("NVIDIA H100 80GB HBM3")
    mixed = duration.from_gpu_spec(shape, TrainingSetup(method="lora"), where, make_passes(8192))
    assert mixed is not None and mixed.high is not None
    assert seconds("llama-3.2-3b", "lora", where, 8192) < mixed.value
    assert mixed.value < seconds("llama-3.1-70b", "lora", where, 8192)
    assert mixed.high == pytest.approx(mixed.value * duration.MIXTURE)


def test_cpu_time_matches_the_measured_small_model() -> None:
    """SmolLM2-135M, LoRA, 4 rows of 62 tokens on two cores: 198 to 211 tokens per second in bf16,
    131 in fp32."""
    shape, setup = PUBLISHED["smollm2-135m"], TrainingSetup(method="lora", checkpointing=False)
    for bf16, rate in ((True, 204), (False, 131)):
        cpu_cores = duration.from_cpu_cores(
            shape, setup, make_passes(10_000, attended=62), cores=2, bf16=bf16
        )
        assert cpu_cores is not None and cpu_cores.low is not None and cpu_cores.high is not None
        assert 0.8 < cpu_cores.value * rate / 10_000 < 1.25
        assert cpu_cores.high / cpu_cores.low == pytest.approx(9)
        assert "very rough" in cpu_cores.source


def test_probe_gives_a_narrow_range() -> None:
    probe = duration.from_probe(10_000, 100.0, "2026-11-02")
    assert probe is not None and probe.low is not None and probe.high is not None
    assert probe.value == 100 and probe.high / probe.low < 1.5 < 1.5**2
    assert probe.source.startswith("measured: ") and probe.as_of == "2026-11-02"


def test_phases_add_up_to_the_whole_run() -> None:
    shape, setup, where = (
        PUBLISHED["llama-3.1-8b"],
        TrainingSetup(method="lora"),
        get_gpu_spec("NVIDIA L40S"),
    )
    load = make_passes(10**6, passes=250, steps=60)
    training = duration.from_gpu_spec(shape, setup, where, load)
    assert training is not None
    around: dict[str, Any] = {"evaluations": 6, "evaluated": 1e5}
    phases = duration.estimate_phases(training, shape, setup, where, load, **around)
    assert list(phases) == [
        "starting", "loading", "training", "evaluations", "checkpoints", "merging",
    ]  # fmt: skip
    # Six evaluations of a tenth as many tokens, forward only: between a seventh and half of 0.6.
    assert 0.6 / 7 < phases["evaluations"].value / training.value < 0.3
    whole = duration.sum_phases(phases)
    assert whole.value == pytest.approx(sum(item.value for item in phases.values()))
    assert whole.low is not None and whole.high is not None and whole.low < whole.value < whole.high
    bare = duration.estimate_phases(
        training, shape, setup, where, load, evaluations=0, merges=False
    )
    assert list(bare) == ["starting", "loading", "training", "checkpoints"]
    without = duration.estimate_phases(training, shape, setup, None, load, **around)
    assert 0 < without["evaluations"].value < training.value


def test_fp32_takes_longer_than_16_bit() -> None:
    where = get_gpu_spec("NVIDIA A100-SXM4-80GB")
    half = seconds("llama-3.1-8b", "lora", where, 4096)
    assert seconds("llama-3.1-8b", "lora", where, 4096, precision="fp32") > 2 * half


@pytest.mark.parametrize(("where", "peak"), [("Tesla T4", 8.1), ("Tesla V100-SXM2-16GB", 15.7)])
def test_fp32_without_tensor_cores_uses_the_fp32_peak(where: str, peak: float) -> None:
    """QLoRA of an 8B model in fp32: two FLOPs per weight, forward, backward and recomputed."""
    gpu_spec = duration.from_gpu_spec(
        PUBLISHED["llama-3.1-8b"], TrainingSetup(method="qlora", precision="fp32"), get_gpu_spec(where),
        make_passes(1.5e6, passes=750, steps=190),
    )  # fmt: skip
    assert gpu_spec is not None and f"{peak:g} TFLOPS in fp32" in gpu_spec.source
    assert gpu_spec.value > 1.5e6 * 6 * 7e9 / (peak * 1e12)
    for card in cards():
        assert (card.fp32_tflops is None) == card.bf16, "GPUs with bf16 have TF32"


def test_published_shapes_match_their_parameter_counts() -> None:
    for name, billions in (
        ("llama-3.1-8b", 8.03), ("llama-3.1-70b", 70.6), ("llama-3.2-3b", 3.21),
        ("llama-3.2-1b", 1.24), ("smollm2-135m", 0.1345), ("qwen3-30b-a3b", 30.5),
    ):  # fmt: skip
        assert PUBLISHED[name].parameters == pytest.approx(billions * 1e9, rel=0.005)
    assert msgspec.structs.asdict(PUBLISHED["llama-3.1-8b"])["layers"] == 32
