"""Batching of rows into passes: token counts and padding, with and without packing."""

from __future__ import annotations

import math
import random
from array import array
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data import histogram
from ftwizard.data.tokens.stats import TokenLengths
from ftwizard.estimate import batching, training_setup
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.plan.schema import Recipe
from ftwizard.train import packing
from ftwizard.train.encoder import EncodedRow

ROWS = st.lists(st.integers(1, 5000), min_size=1, max_size=300)


def make_token_lengths(rows: list[int], **changes: Any) -> TokenLengths:
    total = sum(rows)
    tokens: dict[str, Any] = {
        "rows": len(rows), "total": total, "low": total, "high": total, "exact": True,
        "encoding": "o200k", "over_limit": 0, "limit": None,
        **histogram.summarize_lengths(array("I", rows)),
    }  # fmt: skip
    return TokenLengths(**tokens | changes)


def make_lengths(rows: list[int]) -> LengthDistribution:
    check_tokens = batching.from_check_tokens(make_token_lengths(rows))
    assert check_tokens is not None
    return check_tokens


def make_passes(rows: LengthDistribution, **changed: Any) -> batching.TrainingPasses:
    settings = Recipe(batch_size=4, gradient_accumulation=2, epochs=3.0, max_length=1024)
    return batching.compute_passes(rows, msgspec.structs.replace(settings, **changed))


@given(ROWS)
def test_lengths_keep_the_row_count_and_the_mean(rows: list[int]) -> None:
    result = make_lengths(rows)
    assert result.rows == len(rows)
    assert math.isclose(result.mean, sum(rows) / len(rows), rel_tol=0.02, abs_tol=0.1)
    assert math.isclose(sum(bucket.rows for bucket in result.buckets), len(rows))
    edges = [bucket.upto for bucket in result.buckets]
    assert edges == sorted(edges) and all(bucket.length <= bucket.upto for bucket in result.buckets)


@pytest.mark.parametrize("tokens", [None, make_token_lengths([])])
def test_missing_token_counts_give_no_lengths(tokens: TokenLengths | None) -> None:
    assert batching.from_check_tokens(tokens) is None


def test_sampled_lengths_scale_to_the_whole_file() -> None:
    rows = [100, 200, 300]
    check_tokens = batching.from_check_tokens(make_token_lengths(rows, total=600_000, high=600_000))
    assert (
        check_tokens is not None
        and check_tokens.rows == 3000
        and math.isclose(check_tokens.total, 600_000)
    )


@given(ROWS, st.integers(1, 16), st.integers(1, 8), st.sampled_from([1.0, 2.5, 3.0]), st.booleans())
def test_passes_steps_and_padding_are_consistent(
    rows: list[int], batch: int, accumulation: int, epochs: float, packed: bool
) -> None:
    result = make_passes(
        make_lengths(rows),
        batch_size=batch,
        gradient_accumulation=accumulation,
        epochs=epochs,
        packing=packed,
    )
    assert result.tokens > 0 and result.padding >= 0 and 0 <= result.padding_share < 1
    assert 0 <= result.cut <= 1 and result.attended <= 1024 + 1e-6
    assert result.steps >= 1 and result.passes >= result.steps / 2
    if packed:
        assert result.padding == 0
    else:
        assert result.steps == training_setup.total_steps(len(rows), batch, accumulation, epochs)


@given(ROWS, st.integers(1, 8))
def test_larger_batches_never_reduce_padding(rows: list[int], batch: int) -> None:
    item, more = (make_passes(make_lengths(rows), batch_size=size) for size in (batch, batch * 2))
    assert more.padding >= item.padding - 1e-6


def test_batch_size_1_needs_no_padding() -> None:
    assert make_passes(make_lengths([10, 500, 900]), batch_size=1).padding < 1e-6


def test_padding_matches_random_batches() -> None:
    draw = random.Random(5)
    rows = [max(1, round(draw.lognormvariate(5, 0.8))) for _ in range(4000)]
    shuffled = [rows[:]]
    for _ in range(5):
        draw.shuffle(rows)
        shuffled.append(rows[:])
    actual = sum(
        4 * max(min(n, 1024) for n in order[at : at + 4])
        for order in shuffled
        for at in range(0, 4000, 4)
    ) / len(shuffled)
    result = make_passes(make_lengths(rows), epochs=1.0)
    assert math.isclose(result.tokens + result.padding, actual, rel_tol=0.05)


def test_packed_sequence_count_matches_trl() -> None:
    draw = random.Random(6)
    lengths = [min(512, max(4, round(draw.lognormvariate(4.3, 0.7)))) for _ in range(600)]
    rows = [
        EncodedRow(line=at, input_ids=[1] * length, labels=[1] * length)
        for at, length in enumerate(lengths)
    ]
    actual = len(packing.build_dataset(rows, pack_to=512))
    result = make_passes(
        make_lengths(lengths), max_length=512, packing=True, batch_size=1, epochs=1.0
    )
    assert math.isclose(result.passes, actual, rel_tol=0.05)


def test_inexact_count_sets_the_upper_bound_factor() -> None:
    check_tokens = batching.from_check_tokens(make_token_lengths([100, 200], low=150, high=600))
    assert (
        check_tokens is not None
        and check_tokens.most == 2.0
        and make_lengths([100, 200]).most == 1.0
    )


def test_zero_rows_raise_value_error() -> None:
    with pytest.raises(ValueError):
        make_passes(make_lengths([5]).scaled(0))


@given(ROWS, st.integers(1, 6000))
def test_cut_share_is_close_to_the_exact_share(rows: list[int], length: int) -> None:
    result = batching.cut_share(make_lengths(rows), length)
    actual = sum(row > length for row in rows) / len(rows)
    below = [bucket.rows for bucket in make_lengths(rows).buckets]
    assert abs(result - actual) <= max(below) / len(rows) + 1e-9


def test_longest_row_is_limited_by_max_length() -> None:
    alike = make_lengths([500] * 10)
    assert [batching.longest_row_tokens(alike, most) for most in (400, 1024)] == [400, 500]
    assert batching.longest_row_tokens(None, 1024) == 0


@given(st.integers(1, 10**7), st.floats(0.1, 1e5))
def test_rows_of_a_known_mean_keep_their_total(rows: int, mean: float) -> None:
    lengths = batching.from_mean(rows, mean)
    total = sum(bucket.length * bucket.rows for bucket in lengths.buckets)
    assert total == pytest.approx(rows * mean) and lengths.total == rows * mean
    assert sum(bucket.rows for bucket in lengths.buckets) == pytest.approx(rows)
    ends = [bucket.upto for bucket in lengths.buckets]
    assert ends == sorted(ends) and all(
        bucket.length <= bucket.upto * (1 + 1e-9) for bucket in lengths.buckets
    )


@pytest.mark.parametrize(("batch", "ratio"), [(1, 1.0), (4, 1.69), (16, 2.55)])
def test_rows_of_a_known_mean_are_padded_as_in_real_files(batch: int, ratio: float) -> None:
    """In 11 public files, the longest of 4 rows has 1.2 to 2.4 times the mean, of 16 1.4 to 5.1."""
    recipe = Recipe(batch_size=batch, epochs=1, max_length=10**6)
    passes = batching.compute_passes(batching.from_mean(5000, 300.0), recipe)
    assert passes.tokens == pytest.approx(1_500_000)
    assert (passes.tokens + passes.padding) / passes.tokens == pytest.approx(ratio, rel=0.05)


def test_packed_rows_of_a_known_mean_are_not_padded() -> None:
    recipe = Recipe(batch_size=4, epochs=1, max_length=2048, packing=True)
    assert batching.compute_passes(batching.from_mean(5000, 300.0), recipe).padding == 0


@given(st.floats(1, 1e5), st.none() | st.integers(512, 131_072))
def test_max_length_fits_most_rows_of_a_known_mean(mean: float, context: int | None) -> None:
    length = batching.fitting_max_length(mean, 1024, context)
    assert length >= max(1024, mean)
    assert length <= max(1024, math.ceil(mean), context or math.inf)
    if context is None or context > 4 * mean:
        assert batching.cut_share(batching.from_mean(10_000, mean), length) < 0.02
