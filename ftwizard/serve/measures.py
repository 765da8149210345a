"""Measures of how far one form of a model is from another, on the same tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Rows = np.ndarray
"""Logits: one row per token, one column per word of the vocabulary."""


def nmse(reference: Rows, other: Rows) -> float:
    """Return the mean squared error of ``other``, normalized by the mean square of ``reference``.

    Logits are compared without their mean, which no probability depends on.
    """
    expected, actual = _center(reference), _center(other)
    return float(((actual - expected) ** 2).sum() / (expected**2).sum())


def divergence(reference: Rows, other: Rows) -> float:
    """Return the mean Kullback–Leibler divergence of ``other`` from ``reference``, in nats."""
    expected, actual = log_probabilities(reference), log_probabilities(other)
    return float((np.exp(expected) * (expected - actual)).sum(-1).mean())


def strength(base: Rows, tuned: Rows, other: Rows) -> tuple[float, float]:
    """Return where ``other`` lies on the line from ``base`` (0) to ``tuned`` (1), and how far off it.

    The second is the length of what is left, as a share of the distance from base to tuned.
    """
    line, point = _center(tuned) - _center(base), _center(other) - _center(base)
    square = float((line**2).sum())
    if square == 0.0:
        return float("nan"), float("nan")
    factor = float((line * point).sum()) / square
    return factor, float(np.sqrt(((point - factor * line) ** 2).sum() / square))


def log_probabilities(logits: Rows) -> Rows:
    """Return the natural logarithm of the softmax of each row."""
    shifted = logits - logits.max(-1, keepdims=True)
    result: Rows = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def difference(reference: Rows, other: Rows, tokens: Sequence[int]) -> float:
    """Return the largest difference of a token's log-probability, in nats; one token per row."""
    index = np.arange(len(tokens)), np.asarray(tokens)
    delta = log_probabilities(reference)[index] - log_probabilities(other)[index]
    return float(np.abs(delta).max())


def _center(logits: Rows) -> Rows:
    result: Rows = logits - logits.mean(-1, keepdims=True)
    return result
