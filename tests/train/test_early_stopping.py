"""Evaluation intervals, step counts and early-stopping patience."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from ftwizard.estimate.training_setup import evaluation_steps, total_steps
from ftwizard.train.callbacks import Patience, is_scheduled


@given(st.integers(1, 100_000))
def test_runs_evaluate_every_50_steps_and_at_least_six_times(total: int) -> None:
    every = evaluation_steps(total)
    assert 1 <= every <= 50
    assert total // every >= min(6, total)
    if total >= 300:
        assert every == 50


@given(
    rows=st.integers(1, 500),
    batch=st.integers(1, 16),
    accumulation=st.integers(1, 8),
    epochs=st.floats(0.1, 5),
)
def test_total_steps_match_the_trainers_formula(
    rows: int, batch: int, accumulation: int, epochs: float
) -> None:
    """The formula of transformers' ``Trainer.set_initial_training_values``."""
    batches = math.ceil(rows / batch)
    each = max(batches // accumulation + int(batches % accumulation > 0), 1)
    assert total_steps(rows, batch, accumulation, epochs) == max(1, math.ceil(epochs * each))


def test_requested_evaluations_do_not_count_toward_patience() -> None:
    assert [step for step in range(1, 26) if is_scheduled(step, 10, 25)] == [10, 20, 25]
    patience = Patience(2)
    history = [{"step": step, "eval_loss": loss} for step, loss in
               ((5, 1.0), (6, 2.0), (7, 3.0), (10, 4.0), (12, 9.0))]  # fmt: skip
    patience.replay([*history, {"step": 13, "loss": 1.0}], 5)
    assert (patience.best_step, patience.since_best, patience.is_exhausted) == (5, 1, False)


def test_patience_counts_evaluations_without_a_higher_reward() -> None:
    patience = Patience(2)
    history = [{"step": step, "eval_reward": reward} for step, reward in
               ((5, 0.1), (10, 0.4), (15, 0.4), (20, -1.0))]  # fmt: skip
    patience.replay(history, 5)
    assert (patience.best_cost, patience.best_step, patience.is_exhausted) == (-0.4, 10, True)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.integers(1, 5))
def test_patience_counts_evaluations_since_the_best(losses: list[float], patience: int) -> None:
    recorded = Patience(patience)
    for step, loss in enumerate(losses):
        fired = recorded.update(step, loss)
        best = min(losses[: step + 1])
        assert recorded.best_cost == best
        assert recorded.best_step == losses.index(best)
        assert fired == (step - losses.index(best) >= patience)
