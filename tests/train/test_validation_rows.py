"""Loss of each row in a padded or packed batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.train.validation_rows import sum_by_row

_rows = st.lists(
    st.lists(st.tuples(st.booleans(), st.integers(0, 40)), min_size=1, max_size=9),
    min_size=1,
    max_size=7,
)
"""For each token, whether it counts toward the loss, and its loss."""


@given(_rows)
def test_padded_and_packed_rows_have_the_same_loss(rows: list[list[tuple[bool, int]]]) -> None:
    """A row's first token has no prediction."""
    wanted = [
        (sum(loss for trained, loss in row[1:] if trained), sum(t for t, _ in row[1:]))
        for row in rows
    ]
    for output, batch in (_padded(rows), _packed(rows)):
        losses, tokens = sum_by_row(output, batch)
        assert [*zip(losses.tolist(), tokens.tolist(), strict=True)] == wanted


def _padded(rows: list[list[tuple[bool, int]]]) -> tuple[Any, dict[str, Any]]:
    width = max(map(len, rows))
    full = [row + [(False, 0)] * (width - len(row)) for row in rows]
    mask = torch.tensor([[trained for trained, _ in row] for row in full])[:, 1:]
    token_losses = torch.tensor([[float(loss) for _, loss in row] for row in full])[:, 1:]
    return SimpleNamespace(log_probs=-token_losses * mask, label_mask=mask), {
        "attention_mask": torch.ones(len(rows), width)
    }


def _packed(rows: list[list[tuple[bool, int]]]) -> tuple[Any, dict[str, Any]]:
    flat = [(trained and index > 0, loss) for row in rows for index, (trained, loss) in enumerate(row)]  # fmt: skip
    mask = torch.tensor([[trained for trained, _ in flat]])[:, 1:]
    token_losses = torch.tensor([[float(loss) for _, loss in flat]])[:, 1:]
    positions = torch.tensor([[index for row in rows for index in range(len(row))]])
    return SimpleNamespace(log_probs=-token_losses * mask, label_mask=mask), {
        "position_ids": positions
    }
