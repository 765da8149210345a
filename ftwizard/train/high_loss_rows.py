"""Validation rows with the highest loss, where wrong labels show up.

They cost no extra computation: TRL's head returns the loss of each token in evaluations anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback

from ftwizard.data.conversation import to_displayed
from ftwizard.data.reader import ParsedRow
from ftwizard.jobs.worker import Worker
from ftwizard.train.encoder import EncodedRow
from ftwizard.train.moments import Moment, with_moment

MAX_ROWS = 20
MAX_PREVIEW = 80
"""Characters shown of a question and of an answer."""


class HighLossRows(TrainerCallback):
    """Writes a ``rows`` event at each evaluation."""

    def __init__(
        self, worker: Worker, encoded: Sequence[EncodedRow], rows: Sequence[ParsedRow], file: str
    ) -> None:
        """Set up the callback.

        ``encoded`` are the evaluated rows in order; ``rows`` of ``file`` include their source.
        """
        self._events = worker.events
        self._lines = [row.line for row in encoded]
        self._rows = {row.line: row for row in rows}
        self._file = file
        self._batches: list[tuple[Any, Any]] = []
        """The losses and tokens of each batch's rows."""

    def attach(self, trainer: Any) -> None:
        """Collect losses from the trainer's model."""
        trainer.model.register_forward_hook(self._collect, with_kwargs=True)

    def _collect(self, model: Any, _: Any, inputs: dict[str, Any], output: Any) -> None:
        if not model.training and inputs.get("fused_lm_head"):
            self._batches.append(sum_by_row(output, inputs))

    @with_moment
    def on_evaluate(self, moment: Moment) -> None:
        import torch

        batches, self._batches = self._batches, []
        if not batches:
            return
        totals, counts = (torch.cat(parts).tolist() for parts in zip(*batches, strict=True))
        if len(totals) != len(self._lines):  # an evaluation of other rows
            return
        ranked = [
            (total / count, count, line)
            for total, count, line in zip(totals, counts, self._lines, strict=True)
            if count
        ]
        ranked.sort(key=lambda row: (-row[0] if math.isfinite(row[0]) else -math.inf, row[2]))
        rows = [self._to_event(*row) for row in ranked[:MAX_ROWS]]
        self._events.write("rows", step=moment.step, rows=rows)

    def _to_event(self, loss: float, tokens: int, line: int) -> dict[str, Any]:
        """Return the event's entry, with the beginnings of the last question and of the answer."""
        row, start, answer = self._rows.get(line), "", ""
        if row is not None:
            shown = to_displayed(row.example, row.conversation)
            prompt = row.conversation.prompt or shown.messages
            start, answer = str(prompt[-1]["content"]), row.conversation.answer
        return {
            "row": line,
            "file": self._file,
            "loss": round(loss, 6),
            "tokens": tokens,
            "start": _shorten(start),
            "answer": _shorten(answer),
        }


def sum_by_row(output: Any, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """Return the total loss, in nats, and the trainable tokens of each row of a batch.

    ``output`` is that of TRL's head, with one entry per predicted token. ``inputs`` is the batch:
    padded, or rows end to end with positions that restart at each row.
    """
    import torch

    losses, mask = -output.log_probs.detach().float(), output.label_mask
    if "attention_mask" in inputs or "position_ids" not in inputs:
        return losses.sum(1), mask.sum(1)
    # The first token of a row is not predicted, so no entry belongs to two rows.
    row = (inputs["position_ids"][0] == 0).cumsum(0) - 1
    count = int(row[-1]) + 1
    empty = torch.zeros(count, device=losses.device)
    totals = empty.index_add(0, row[1:], losses[0])
    tokens = empty.long().index_add(0, row[1:], mask[0].long())
    return totals, tokens


def _shorten(text: str) -> str:
    return " ".join(text[: 4 * MAX_PREVIEW].split())[:MAX_PREVIEW]
