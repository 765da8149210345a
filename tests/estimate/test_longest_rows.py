"""The longest rows that fit: the last step that does, never more than the estimate allows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftwizard.estimate import gpu_fit, report_text
from ftwizard.estimate.longest_rows import (
    MAX_TOKENS,
    STEP,
    LongestRows,
    find_longest,
    find_longest_rows,
)
from ftwizard.estimate.memory import estimate_cpu_memory, estimate_memory
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.hardware.machine import Gpu
from ftwizard.plan.schema import Data, Files, Model, Plan, Recipe
from tests.estimate.test_memory import LLAMA_8B, SETUPS
from tests.helpers.machines import make_machine
from tests.helpers.shapes import PUBLISHED

GB = 10**9


def _verdict(setup: TrainingSetup, length: int, free: float) -> str:
    memory = estimate_memory(LLAMA_8B, msgspec.structs.replace(setup, length=length))
    return gpu_fit.judge_fit(memory, gpu_fit.AvailableGpu(name="a GPU", memory=free))


@settings(max_examples=60)
@given(
    setup=SETUPS, free=st.floats(4 * GB, 200 * GB), context=st.sampled_from([None, 8192, 131_072])
)
def test_longest_rows_fit_and_the_next_step_does_not(
    setup: TrainingSetup, free: float, context: int | None
) -> None:
    longest = find_longest(setup, lambda item: estimate_memory(LLAMA_8B, item), free, context)
    assert longest.fits <= longest.may_fit <= longest.limit == (context or MAX_TOKENS)
    if longest.fits:
        assert _verdict(setup, longest.fits, free) == "fits"
        assert longest.high is not None and longest.high <= free
    if longest.fits < longest.limit:
        assert _verdict(setup, longest.fits + STEP, free) != "fits"
    if longest.may_fit > longest.fits:
        assert _verdict(setup, longest.may_fit, free) == "tight", "it may fit, no more"
    if longest.may_fit < longest.limit:
        assert _verdict(setup, longest.may_fit + STEP, free) == "does not fit"


@settings(max_examples=40)
@given(setup=SETUPS, free=st.floats(8 * GB, 100 * GB))
def test_more_memory_fewer_rows_and_less_memory_per_token_never_shorten_them(
    setup: TrainingSetup, free: float
) -> None:
    def longest(free: float = free, **changed: Any) -> int:
        other = msgspec.structs.replace(setup, **changed)
        return find_longest(other, lambda item: estimate_memory(LLAMA_8B, item), free).fits

    assert longest(free=2 * free) >= longest()
    assert longest(batch_size=1) >= longest(batch_size=setup.batch_size)
    assert longest(attention="sdpa") >= longest(attention="eager")
    assert longest(checkpointing=True) >= longest(checkpointing=False)
    assert longest(dropout=False) >= longest(dropout=True)


def _plan(**recipe: Any) -> Plan:
    return Plan(
        data=Data(files=Files(train="rows.jsonl")), model=Model(name="a/model"),
        recipe=Recipe(**recipe),
    )  # fmt: skip


def test_rows_of_the_plan_come_first_and_then_one_row_per_pass() -> None:
    machine = make_machine(Gpu(name="NVIDIA L4", memory=24 * GB))
    shape = PUBLISHED["llama-3.1-8b"]
    four, one = find_longest_rows(_plan(method="qlora"), {}, shape, machine, context=131_072)
    assert (four.batch_size, one.batch_size) == (4, 1)
    assert 3.5 * four.fits < one.fits < 5 * four.fits
    (alone,) = find_longest_rows(_plan(method="qlora", batch_size=1), {}, shape, machine)
    assert alone.fits == one.fits
    assert find_longest_rows(_plan(), {}, None, machine) == ()
    unknown = make_machine(Gpu(name="NVIDIA L4", memory=None))
    assert find_longest_rows(_plan(), {}, shape, unknown) == ()
    assert find_longest_rows(_plan(target_modules=("c_attn",)), {}, shape, machine) == ()


def test_rows_on_the_cpu_are_judged_by_its_wider_range() -> None:
    machine = make_machine(memory=16 * GB)
    shape = PUBLISHED["smollm2-135m"]
    (_, one) = find_longest_rows(_plan(), {}, shape, machine)
    setup = TrainingSetup(method="lora", batch_size=1, length=one.fits, checkpointing=False)
    assert estimate_cpu_memory(shape, setup).peak.highest <= 16 * GB
    assert one.may_fit > 1.5 * one.fits


@pytest.mark.parametrize(
    ("fits", "may_fit", "text"),
    [
        (3200, 4544, "3,200 tokens fit, 4,544 may fit"),
        (3200, 3200, "3,200 tokens fit"),
        (0, 512, "512 tokens may fit, none surely"),
        (0, 0, "none fits"),
        (8192, 8192, "8,192 tokens fit, all that the model was made for"),
        (4096, 8192, "4,096 tokens fit, 8,192 may fit"),
    ],
)
def test_text_never_says_that_what_may_fit_fits(fits: int, may_fit: int, text: str) -> None:
    longest = LongestRows(batch_size=4, fits=fits, may_fit=may_fit, limit=8192)
    assert report_text.describe_longest(longest) == text


def test_model_too_large_for_any_row_is_said_once_with_a_way_out() -> None:
    none = [LongestRows(batch_size=size, fits=0, may_fit=0, limit=8192) for size in (4, 1)]
    (text,) = report_text._format_longest(none)
    assert text == "none fits: choose a smaller model, or a machine with more memory"
