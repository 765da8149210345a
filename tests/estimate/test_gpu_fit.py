"""GPU fit: verdicts, changes that make a plan fit, and messages when none does."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.catalog.gpu_specs import cards
from ftwizard.catalog.model_configs import find_config
from ftwizard.estimate import plan_estimate
from ftwizard.estimate.batching import Bucket, LengthDistribution
from ftwizard.estimate.gpu_fit import (
    AvailableGpu,
    Fit,
    MemorySaving,
    check_fit,
    find_large_enough,
    judge_fit,
)
from ftwizard.estimate.memory import GIB, estimate_memory
from ftwizard.estimate.memory_savings import MIN_LENGTH, MIN_RANK, minimize_memory
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.hardware.machine import Gpu as Card
from ftwizard.models.architectures import build_shape
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Data, Files, Model, Plan, Recipe
from tests.helpers.machines import make_machine


def _shape(name: str) -> ModelShape:
    result = find_config(name)
    assert result is not None
    return build_shape(result.config, name)


SMALL, LARGE = _shape("meta-llama/Llama-3.1-8B"), _shape("meta-llama/Llama-3.1-70B")
SHAPES = [
    SMALL, LARGE, _shape("Qwen/Qwen3-0.6B"), _shape("google/gemma-3-4b-it"),
    _shape("openai/gpt-oss-20b"), _shape("meta-llama/Llama-4-Scout-17B-16E-Instruct"),
]  # fmt: skip
SETUPS = st.builds(
    TrainingSetup,
    method=st.sampled_from(["qlora", "lora", "full"]),
    rank=st.sampled_from([1, 8, 16, 100, 256]),
    alpha=st.sampled_from([None, 1, 16, 32, 100, 512]),
    batch_size=st.integers(1, 24),
    accumulation=st.integers(1, 4),
    length=st.sampled_from([100, 256, 1000, 2048, 8192, 131_072]),
    checkpointing=st.booleans(),
    head=st.sampled_from(["tiled", "full"]),
    precision=st.sampled_from(["bf16", "fp16", "fp32"]),
)
ROOM = st.integers(1, 200 * GIB)
RANKS = {"fits": 0, "tight": 1, "does not fit": 2}


def _spread(upto: float, rows: list[int]) -> LengthDistribution:
    """Return rows in buckets of one width, up to ``upto`` tokens."""
    wide = upto / len(rows)
    buckets = tuple(
        Bucket(upto=wide * (i + 1), length=wide * (i + 0.5), rows=n) for i, n in enumerate(rows)
    )
    return LengthDistribution(rows=sum(rows), total=sum(rows) * upto / 2, p99=upto, buckets=buckets)


SPREADS = st.none() | st.builds(
    _spread, st.floats(64, 20_000), st.lists(st.integers(1, 1_000), min_size=1, max_size=5)
)


def _fit(shape: ModelShape, setup: TrainingSetup, room: float, **more: object) -> Fit:
    gpu = AvailableGpu(name="a GPU", memory=room)
    return check_fit(shape, setup, gpu, **more)  # type: ignore[arg-type]


def _kinds(change: MemorySaving) -> set[str]:
    return set(change.setting.split(", "))


@given(shape=st.sampled_from(SHAPES), setup=SETUPS, room=ROOM, spread=SPREADS)
def test_offered_changes_improve_the_verdict(
    shape: ModelShape, setup: TrainingSetup, room: int, spread: LengthDistribution | None
) -> None:
    result = _fit(shape, setup, room, spread=spread)
    assert not (result.verdict == "fits" and result.changes) and result.sentence
    assert len({change.verdict for change in result.changes}) <= 1
    for change in result.changes:
        assert change.setup is not None and change.setup != setup
        again = estimate_memory(shape, change.setup)
        assert again == change.memory and change.description and change.costs
        assert judge_fit(again, result.gpu) == change.verdict
        assert RANKS[change.verdict] < RANKS[result.verdict]
        rows = change.setup.batch_size * change.setup.accumulation
        assert rows == setup.batch_size * setup.accumulation
        assert change.setup.length >= min(setup.length, MIN_LENGTH)
        assert change.setup.rank >= min(setup.rank, MIN_RANK)


@given(shape=st.sampled_from(SHAPES), setup=SETUPS, room=ROOM, more=st.integers(0, 100 * GIB))
def test_more_memory_never_worsens_the_verdict(
    shape: ModelShape, setup: TrainingSetup, room: int, more: int
) -> None:
    here, there = _fit(shape, setup, room), _fit(shape, setup, room + more)
    assert RANKS[there.verdict] <= RANKS[here.verdict]
    if there.verdict == here.verdict and any(change.verdict == "fits" for change in here.changes):
        assert there.changes and all(change.verdict == "fits" for change in there.changes)
        assert len(_kinds(there.changes[0])) <= len(_kinds(here.changes[0]))


@given(setup=SETUPS, room=ROOM, used=st.integers(0, 220 * GIB))
def test_used_memory_is_subtracted_from_the_gpu(setup: TrainingSetup, room: int, used: int) -> None:
    busy = check_fit(SMALL, setup, AvailableGpu(name="x", memory=room, used=used))
    alone = _fit(SMALL, setup, max(0, room - used))
    assert (busy.verdict, busy.changes) == (alone.verdict, alone.changes)
    assert RANKS[busy.verdict] >= RANKS[_fit(SMALL, setup, room).verdict]
    assert ("in use" in busy.sentence) == bool(used)


@given(setup=SETUPS, room=ROOM)
def test_change_settings_list_the_recipe_differences(setup: TrainingSetup, room: int) -> None:
    recipe = Recipe(
        method=setup.method, rank=setup.rank, batch_size=setup.batch_size,
        gradient_accumulation=setup.accumulation, max_length=setup.length,
        gradient_checkpointing=setup.checkpointing,
    )  # fmt: skip
    for change in _fit(SMALL, setup, room).changes:
        new, target = msgspec.structs.replace(recipe, **change.settings), change.setup
        assert target is not None
        assert (new.method, new.rank, new.batch_size, new.gradient_accumulation) == (
            target.method, target.rank, target.batch_size, target.accumulation,
        )  # fmt: skip
        assert (new.max_length, new.gradient_checkpointing) == (target.length, target.checkpointing)
        named = {kind.removeprefix("recipe.") for kind in _kinds(change)}
        along = {"gradient_accumulation", "alpha"}
        assert named - {"trl"} == set(change.settings) - along
        if "rank" in change.settings and setup.alpha is not None:
            alpha = change.settings["alpha"]
            assert alpha * setup.rank == setup.alpha * change.settings["rank"]
            assert f"alpha {alpha} instead of {setup.alpha}" in change.description
        else:
            assert "alpha" not in change.settings
        assert ("trl" in named) == (target.head != setup.head)


@given(setup=SETUPS, shape=st.sampled_from(SHAPES))
def test_minimized_memory_is_never_larger(setup: TrainingSetup, shape: ModelShape) -> None:
    bottom = minimize_memory(setup, lambda item: estimate_memory(shape, item))
    here, there = estimate_memory(shape, setup).peak, estimate_memory(shape, bottom).peak
    assert there.high is not None and here.high is not None and there.high <= here.high
    assert (bottom.length, bottom.rank) == (setup.length, setup.rank)


def test_8b_qlora_fits_in_16_gb_as_the_article_states() -> None:
    result = _fit(SMALL, TrainingSetup(method="qlora", batch_size=1, length=2048), 16e9)
    assert result.verdict == "fits" and result.changes == ()
    assert result.sentence.startswith("It fits")


@pytest.mark.parametrize(("gib", "text"), [(80.0, "fits"), (7.5, "tight"), (4.0, "does not fit")])
def test_verdict_depends_on_the_peak_range(gib: float, text: str) -> None:
    memory = estimate_memory(SMALL, TrainingSetup(method="qlora", batch_size=1, length=512))
    assert judge_fit(memory, AvailableGpu(name="a GPU", memory=gib * GIB)) == text


def test_least_costly_change_comes_first() -> None:
    setup = TrainingSetup(method="lora", length=2048, head="full")
    first, *_ = _fit(SMALL, setup, 29 * GIB).changes
    assert (first.setting, first.settings, first.costs) == ("trl", {}, "nothing")
    assert first.description.startswith("TRL 1.10 or newer")
    result = _fit(SMALL, msgspec.structs.replace(setup, head="tiled"), 24 * GIB).changes
    assert result[0].settings == {"batch_size": 2, "gradient_accumulation": 2}
    assert result[-1].settings == {"method": "qlora"}


@pytest.mark.parametrize("rows", [5, 6, 7, 16])
def test_smaller_batch_keeps_the_rows_per_step(rows: int) -> None:
    setup = TrainingSetup(method="qlora", batch_size=rows, accumulation=3, length=2048)
    result = _fit(SMALL, setup, 13e9)
    batch = next(change for change in result.changes if change.setting == "recipe.batch_size")
    assert batch.setup is not None
    assert batch.setup.batch_size * batch.setup.accumulation == rows * 3
    if rows % 2 == 0:  # and not smaller than necessary
        twice = msgspec.structs.replace(batch.setup, batch_size=batch.setup.batch_size * 2)
        assert judge_fit(estimate_memory(SMALL, twice), result.gpu) != "fits"


def test_lower_rank_is_offered_only_if_alpha_can_follow() -> None:
    setup = TrainingSetup(method="qlora", rank=256, alpha=1, batch_size=1, length=512)
    ranks = [change.settings.get("rank") for change in _fit(SMALL, setup, 12 * GIB).changes]
    assert set(ranks) <= {None}
    setup = msgspec.structs.replace(setup, alpha=64)
    (lower,) = [
        change for change in _fit(SMALL, setup, 12 * GIB).changes if change.setting == "recipe.rank"
    ]
    assert lower.settings["rank"] == 4 * lower.settings["alpha"]


def test_shorter_length_costs_its_share_of_truncated_rows() -> None:
    setup = TrainingSetup(method="qlora", batch_size=4, length=4096)

    def find_changes(long_rows: int) -> list[MemorySaving]:
        buckets = (
            Bucket(upto=500, length=400, rows=1_000),
            Bucket(upto=4096, length=4_000, rows=long_rows),
        )
        rows, total = 1_000 + long_rows, 4e5 + 4e3 * long_rows
        spread = LengthDistribution(rows=rows, total=total, p99=4_000, buckets=buckets)
        return list(_fit(SMALL, setup, 16 * GIB, spread=spread).changes)

    few, many = find_changes(2), find_changes(3_000)
    assert "max_length" in few[0].settings and few[0].costs == "0.2% more of the rows are truncated"
    assert (
        "max_length" in many[-1].settings and many[-1].costs == "75% more of the rows are truncated"
    )


def test_two_changes_are_offered_when_no_single_one_suffices() -> None:
    result = _fit(
        SMALL, TrainingSetup(method="full", batch_size=8, length=8192), 16 * GIB, cards=cards()
    )
    assert result.changes and all(len(_kinds(change)) == 2 for change in result.changes)
    assert result.changes[0].verdict == "fits"
    assert "No single change is enough" in result.sentence
    assert "As it is, " in result.sentence


def test_all_changes_are_combined_when_two_do_not_suffice() -> None:
    setup = TrainingSetup(method="full", batch_size=16, length=4096, checkpointing=False)
    (result,) = _fit(SMALL, setup, 9 * GIB).changes
    assert _kinds(result) >= {"recipe.method", "recipe.batch_size", "recipe.gradient_checkpointing"}


def test_larger_gpu_is_not_suggested_when_none_suffices() -> None:
    small = tuple(card for card in cards() if card.name == "T4")
    result = _fit(LARGE, TrainingSetup(method="lora", length=2048), 16 * GIB, cards=small)
    assert "no known single GPU is large enough" in result.sentence
    assert "Use a smaller model or a hosted provider." in result.sentence
    assert "larger GPU" not in result.sentence


def test_sentence_gives_a_range_in_gb_and_the_nominal_gib() -> None:
    result = _fit(SMALL, TrainingSetup(method="qlora", length=1024), 80 * GIB)
    assert re.search(r"it needs [\d.]+–[\d.]+ GB, and .* has 85\.9 GB \(80 GiB\)", result.sentence)


def test_70b_on_16_gib_suggests_a_smaller_model_or_larger_gpu() -> None:
    setup = TrainingSetup(method="qlora", batch_size=4, length=2048)
    result = _fit(LARGE, setup, 16 * GIB, smaller=[("Llama 8B", SMALL)], cards=cards())
    assert result.verdict == "does not fit"
    assert [change.setting for change in result.changes] == ["model"]
    assert "No change makes this model fit: even QLoRA with 1 row of 2,048" in result.sentence
    assert "For that, a GPU with 80 GB is large enough" in result.sentence
    alone = _fit(LARGE, setup, 16 * GIB)
    assert alone.changes == () and "is large enough" not in alone.sentence
    assert "Use a larger GPU, a smaller model or a hosted provider." in alone.sentence


def test_70b_qlora_fits_80_gb_but_not_24_gb() -> None:
    setup = TrainingSetup(method="qlora", batch_size=1, length=2048)
    small, large = (AvailableGpu(name="x", memory=size * GIB) for size in (24, 79.6))
    assert check_fit(LARGE, setup, small).verdict == "does not fit"
    assert check_fit(LARGE, setup, large).verdict == "fits"


def test_find_large_enough_returns_the_smallest_gpus() -> None:
    need = estimate_memory(SMALL, TrainingSetup(method="qlora", batch_size=1, length=2048))
    large_enough = find_large_enough(need, cards())
    assert large_enough and need.peak.high is not None
    assert all(item.memory * 1e9 >= need.peak.high for item in large_enough)
    known = [card for card in cards() if card.tflops and card.bf16]
    smallest = min(card.memory for card in known if card.memory * 1e9 >= need.peak.high)
    assert {item.memory for item in large_enough} == {smallest}
    assert find_large_enough(estimate_memory(LARGE, TrainingSetup(method="full")), cards()) == ()


def test_counted_memory_scales_the_changes_too() -> None:
    setup = TrainingSetup(method="qlora", rank=64, batch_size=1, length=1024)
    closed = estimate_memory(SMALL, setup)
    double = msgspec.structs.replace(closed.peak, value=closed.peak.value * 2, low=None, high=None)
    counted = msgspec.structs.replace(closed, peak=double)
    result = _fit(SMALL, setup, closed.peak.value * 1.5, counted=counted)
    assert result.verdict == "does not fit" and result.memory == counted
    # By the closed form alone, any small saving would seem enough.
    assert "recipe.rank" not in [change.setting for change in result.changes]
    for change in result.changes:
        assert change.setup is not None
        again = estimate_memory(SMALL, change.setup).peak.value
        assert change.memory.peak.value == pytest.approx(2 * again)


@pytest.mark.parametrize(
    ("gib", "judged", "text"),
    [
        (80, "fits", "It fits: it needs "),
        (0.1, "does not fit", "is large enough"),
    ],
)
def test_counted_memory_is_judged_without_a_shape(gib: float, judged: str, text: str) -> None:
    """Covers models like Phi-2 and Falcon, whose tensors only the ledger counts."""
    counted = estimate_memory(SMALL, TrainingSetup(method="qlora"))
    plan = Plan(data=Data(files=Files(train="rows")), model=Model(name="m"), recipe=Recipe())
    facts = make_machine(
        Card(name="a GPU", memory=int(gib * GIB)), memory=64 * 10**9, cores=8, disk_free=10**12
    )
    plan_fit = plan_estimate.check_plan_fit(plan, {}, None, facts, counted=counted)
    assert plan_fit is not None and plan_fit.verdict == judged and text in plan_fit.sentence
    assert plan_fit.memory == counted and plan_fit.changes == ()
    assert plan_estimate.check_plan_fit(plan, {}, None, facts) is None


def test_escape_sequences_in_names_are_neutralized() -> None:
    setup = TrainingSetup(method="qlora", length=2048)
    fit = check_fit(
        LARGE, setup, AvailableGpu(name="a\x1b[31m", memory=16e9), smaller=[("b\x1b[2J", SMALL)]
    )
    assert "\x1b" not in fit.sentence + "".join(change.description for change in fit.changes)
