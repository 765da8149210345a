"""Batches of a probe, compared with those of a training."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ftwizard.estimate import training_setup
from ftwizard.train import probe, probe_runner

_lengths = st.lists(st.integers(1, 400), min_size=1, max_size=60)
_batch = st.integers(1, 12)


@given(_lengths, st.integers(1, 80))
def test_longest_rows_come_first_and_repeat_when_few(lengths: list[int], count: int) -> None:
    indexes = probe.longest(lengths, count)
    assert len(indexes) == count
    first = [lengths[index] for index in indexes[: len(lengths)]]
    assert first == sorted(lengths, reverse=True)[:count]


@given(_lengths, _batch)
def test_no_training_batch_exceeds_the_probe_batch(lengths: list[int], batch: int) -> None:
    size, _ = probe.effective_batch(batch, 1, len(lengths))
    top = [lengths[index] for index in probe.longest(lengths, size)]
    order = [lengths[index] for index in probe.shuffled(lengths, len(lengths), 7)]
    for flat in (False, True):
        worst = sum(probe.tokens_per_pass(top, size, flat=flat))
        assert max(probe.tokens_per_pass(order, batch, flat=flat)) <= worst


@given(_lengths, _batch, st.integers(0, 5))
def test_padding_never_reduces_tokens_per_epoch(lengths: list[int], batch: int, seed: int) -> None:
    flat = probe.tokens_per_epoch(lengths, batch, seed, flat=True)
    padded = probe.tokens_per_epoch(lengths, batch, seed, flat=False)
    assert flat == sum(lengths) <= padded <= len(lengths) * max(lengths)
    assert probe.tokens_per_epoch(lengths, 1, seed, flat=False) == flat


@given(st.integers(2, 64), st.integers(1, 16))
def test_halving_keeps_rows_per_step_down_to_batch_one(batch: int, accumulation: int) -> None:
    whole = batch * accumulation
    while batch > 1:
        smaller, more = probe_runner.halve(batch, accumulation)
        assert smaller * more == whole and 2 * smaller <= batch
        batch, accumulation = smaller, more
    assert (batch, accumulation) == (1, whole)


def test_halve_picks_the_next_smaller_divisor() -> None:
    assert probe_runner.halve(8, 2) == (4, 4)
    assert probe_runner.halve(6, 1) == (3, 2)
    assert probe_runner.halve(3, 2) == (1, 6)


@given(_batch, st.integers(1, 8), st.integers(1, 60))
def test_effective_batch_is_limited_by_the_rows(batch: int, accumulation: int, rows: int) -> None:
    size, passes = probe.effective_batch(batch, accumulation, rows)
    assert 1 <= size <= min(batch, rows) and 1 <= passes <= accumulation
    if training_setup.total_steps(rows, batch, accumulation, 1) == 1:
        assert (passes - 1) * size < rows <= size * passes
