"""Loss of each validation row, and what it adds to an evaluation."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.train.validation_rows import ROW_LOSSES, ValidationRows, sum_by_row
from tests.helpers.checkpoints import save

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


class Trainer:
    """Evaluates eight rows in batches of four, as the real trainer does."""

    def __init__(self, output: Path) -> None:
        self.state: Any = SimpleNamespace(max_steps=100, eval_steps=10, log_history=[])
        self.args: Any = SimpleNamespace(output_dir=str(output))
        events: Any = SimpleNamespace(write=lambda *_, **__: None)
        encoded: Any = [SimpleNamespace(line=line, rejected=None) for line in range(1, 9)]
        worker: Any = SimpleNamespace(events=events)
        self.callback = ValidationRows(worker, encoded, [], "train", rows_per_step=4)

    def begin(self, step: int) -> None:
        self.state.global_step = step
        self.callback.on_train_begin(self.args, self.state, SimpleNamespace())

    def evaluate(self, step: int, *totals: float) -> dict[str, Any]:
        tokens = [10, 20, 30, 40]
        self.callback._batches = [
            (torch.tensor(totals[:4]), torch.tensor(tokens)),
            (torch.tensor(totals[4:]), torch.tensor(tokens)),
        ]
        loss = (sum(totals[:4]) / 100 + sum(totals[4:]) / 100) / 2
        self.state.global_step = step
        self.state.log_history.append({"step": step, "eval_loss": loss})
        metrics: dict[str, Any] = {"eval_loss": loss}
        self.callback.on_evaluate(self.args, self.state, SimpleNamespace(), metrics=metrics)
        return metrics

    def save(self, step: int, loss: float) -> None:
        save(Path(self.args.output_dir), step, loss)
        self.callback.save(Path(self.args.output_dir) / f"checkpoint-{step}", step)


FIRST = (9.0, 21.0, 28.0, 44.0, 12.0, 20.0, 35.0, 39.0)
SECOND = tuple(total + 2.0 for total in FIRST)


def test_evaluations_are_compared_with_the_best_before(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    trainer.begin(0)
    first = trainer.evaluate(10, *FIRST)
    assert first["eval_rows"] == 8 and first["eval_step_noise"] > 0 and "eval_rise" not in first
    second = trainer.evaluate(20, *SECOND)
    assert second["eval_rise"] == pytest.approx(second["eval_loss"] - first["eval_loss"])
    assert trainer.state.log_history[-1]["eval_rise"] == second["eval_rise"]
    third = trainer.evaluate(30, *FIRST)
    assert third["eval_rise"] == pytest.approx(0), "still compared with the first"


def test_resumed_run_compares_with_the_best_checkpoint(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    trainer.begin(0)
    first = trainer.evaluate(10, *FIRST)
    trainer.save(10, first["eval_loss"])
    assert (tmp_path / "checkpoint-10" / ROW_LOSSES).is_file()
    again = Trainer(tmp_path)
    again.begin(15)
    assert again.evaluate(20, *SECOND)["eval_rise"] > 0
    early = Trainer(tmp_path)
    early.begin(5)
    assert "eval_rise" not in early.evaluate(20, *SECOND), "a later checkpoint is of another run"


def test_pairs_of_all_processes_are_in_the_order_of_their_rows() -> None:
    """Each had every other batch; of the last one, the second process had only a repeated pair."""

    class Group:
        size = 2

        def gather(self, own: list[list[float]]) -> list[list[list[float]]]:
            return [own, [[3.0, 4.0], [9.0]]]

    rows: Any = [SimpleNamespace(line=n, rejected=None) for n in range(1, 6)]
    group: Any = Group()
    own = ValidationRows(SimpleNamespace(events=None), rows, [], "train", 1.0, group)  # type: ignore[arg-type]
    own._batches = [(torch.tensor([1.0, 2.0]), None), (torch.tensor([5.0]), None)]
    own._merge_pairs()
    ((losses, weights),) = own._batches
    assert losses.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0] and weights.tolist() == [1] * 5
