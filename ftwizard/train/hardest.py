"""The validation rows that the model finds hardest: wrong labels show up there.

Nothing is computed for it: TRL's head returns the loss of each token, and the evaluation that runs
anyway is only listened to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftwizard.data.conversation import to_show
from ftwizard.data.read import Row
from ftwizard.jobs.worker import Worker
from ftwizard.train.tokenise import Encoded

MOST = 20
START = 80
"""Characters of a row that are shown."""


class Hardest(TrainerCallback):
    """Writes a ``rows`` event at each evaluation."""

    def __init__(
        self, worker: Worker, encoded: Sequence[Encoded], rows: Sequence[Row], *, split_off: bool
    ) -> None:
        """``encoded``: what is evaluated, in its order; ``rows``: the same rows and perhaps more;
        ``split_off``: whether they stand in the training file."""
        self._events = worker.events
        self._lines = [one.line for one in encoded]
        self._rows = {row.line: row for row in rows}
        self._file = "train" if split_off else "validation"
        self._losses: list[Any] = []
        self._tokens: list[Any] = []

    def attach(self, trainer: Any) -> None:
        """Listen to the trainer's model."""
        trainer.model.register_forward_hook(self._hear, with_kwargs=True)

    def _hear(self, model: Any, _: Any, given: dict[str, Any], output: Any) -> None:
        if model.training or not given.get("fused_lm_head"):
            return
        losses, tokens = of_rows(output, given)
        self._losses.append(losses)
        self._tokens.append(tokens)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        import torch

        losses, tokens = self._losses, self._tokens
        self._losses, self._tokens = [], []
        if not losses:
            return
        summed = torch.cat(losses).tolist()
        counts = torch.cat(tokens).tolist()
        if len(summed) != len(self._lines):  # not the rows that we know
            return
        found = [
            (total / count, count, line)
            for total, count, line in zip(summed, counts, self._lines, strict=True)
            if count
        ]
        found.sort(key=lambda one: (-one[0] if math.isfinite(one[0]) else -math.inf, one[2]))
        rows = [self._row(*one) for one in found[:MOST]]
        self._events.write("rows", step=state.global_step, rows=rows)

    def _row(self, loss: float, tokens: int, line: int) -> dict[str, Any]:
        start, answer = self._words(line)
        return {
            "row": line,
            "file": self._file,
            "loss": round(loss, 6),
            "tokens": tokens,
            "start": start,
            "answer": answer,
        }

    def _words(self, line: int) -> tuple[str, str]:
        """Return how the row's last question and its answer begin."""
        row = self._rows.get(line)
        if row is None:
            return "", ""
        shown = to_show(row.example, row.conversation)
        prompt = row.conversation.prompt or shown.messages
        return _start(str(prompt[-1]["content"])), _start(row.conversation.answer)


def of_rows(output: Any, given: dict[str, Any]) -> tuple[Any, Any]:
    """Return the summed loss, in nats, and the trained tokens of each row of a batch.

    ``output``: of TRL's head, one place a predicted token; ``given``: the batch, padded, or rows
    laid end to end with positions that begin anew at each.
    """
    import torch

    losses, mask = -output.log_probs.detach().float(), output.label_mask
    if "attention_mask" in given or "position_ids" not in given:
        return losses.sum(1), mask.sum(1)
    # The first token of a row is predicted by none, so that no place is of two rows.
    row = (given["position_ids"][0] == 0).cumsum(0) - 1
    count = int(row[-1]) + 1
    empty = torch.zeros(count, device=losses.device)
    totals = empty.index_add(0, row[1:], losses[0])
    tokens = empty.long().index_add(0, row[1:], mask[0].long())
    return totals, tokens


def _start(text: str) -> str:
    return " ".join(text[: 4 * START].split())[:START]
