"""The loss of each validation row: which are highest, and what a change of their mean proves.

Wrong labels show up among the highest. The losses cost no extra computation: TRL's head returns the
loss of each token in evaluations anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from transformers import TrainerCallback

from ftwizard.data.conversation import to_displayed
from ftwizard.data.reader import ParsedRow
from ftwizard.diagnosis.rows import RowLosses, compare, measure_step_noise
from ftwizard.jobs.folder import read_json, write_whole
from ftwizard.jobs.worker import Worker
from ftwizard.runs import checkpoints
from ftwizard.train.encoder import EncodedRow
from ftwizard.train.moments import Moment, with_moment

MAX_ROWS = 20
MAX_PREVIEW = 80
"""Characters shown of a question and of an answer."""
ROW_LOSSES = "row_losses.json"
"""File of a checkpoint: the losses of its evaluation, which a resumed run compares later ones with."""


class ValidationRows(TrainerCallback):
    """Writes a ``rows`` event at each evaluation, and adds what the rows prove to its metrics.

    ``eval_rows`` is their count, ``eval_step_noise`` the result of ``measure_step_noise``.
    ``eval_rise``, ``eval_rise_low`` and ``eval_rise_high`` are the change since the best evaluation
    before.
    """

    def __init__(
        self,
        worker: Worker,
        encoded: Sequence[EncodedRow],
        rows: Sequence[ParsedRow],
        file: str,
        rows_per_step: float,
    ) -> None:
        """Set up the callback.

        ``encoded`` are the evaluated rows in order; ``rows`` of ``file`` include their source.
        """
        self._events = worker.events
        self._rows_per_step = rows_per_step
        self._lines = [row.line for row in encoded]
        self._rows = {row.line: row for row in rows}
        self._file = file
        self._batches: list[tuple[Any, Any]] = []
        """The losses and tokens of each batch's rows."""
        self._best: RowLosses | None = None
        self._newest: RowLosses | None = None

    def attach(self, trainer: Any) -> None:
        """Collect losses from the trainer's model."""
        trainer.model.register_forward_hook(self._collect, with_kwargs=True)

    def _collect(self, model: Any, _: Any, inputs: dict[str, Any], output: Any) -> None:
        if not model.training and inputs.get("fused_lm_head"):
            self._batches.append(sum_by_row(output, inputs))

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        folder = Path(str(moment.args.output_dir))
        saved = [item for item in checkpoints.all_complete(folder) if item.step <= moment.step]
        if best := checkpoints.find_best(saved):
            self._best = read_json(folder / best.name / ROW_LOSSES, RowLosses)

    @with_moment
    def on_evaluate(self, moment: Moment) -> None:
        import torch

        batches, self._batches = self._batches, []
        if not batches:
            return
        totals, counts = (torch.cat(parts).tolist() for parts in zip(*batches, strict=True))
        if len(totals) != len(self._lines):  # an evaluation of other rows
            return
        self._events.write("rows", step=moment.step, rows=self._rank(totals, counts))
        # The trainer's loss is the mean over batches, by their rows, of the mean over tokens.
        weighted = torch.cat([t * len(n) / n.sum().clamp(min=1) for t, n in batches])
        self._newest = RowLosses(moment.step, weighted.tolist())
        self._compare(self._newest, measure_step_noise(totals, counts, self._rows_per_step), moment)

    def _rank(self, totals: Sequence[float], counts: Sequence[int]) -> list[dict[str, Any]]:
        ranked = [
            (total / count, count, line)
            for total, count, line in zip(totals, counts, self._lines, strict=True)
            if count
        ]
        ranked.sort(key=lambda row: (-row[0] if math.isfinite(row[0]) else -math.inf, row[2]))
        return [self._to_event(*row) for row in ranked[:MAX_ROWS]]

    def _compare(self, now: RowLosses, step_noise: float, moment: Moment) -> None:
        if not math.isfinite(now.loss):
            return
        facts = {"eval_rows": len(now.losses), "eval_step_noise": step_noise}
        looks = math.ceil(moment.state.max_steps / max(1, moment.state.eval_steps or 1))
        if self._best and (change := compare(self._best, now, looks)):
            facts |= {
                "eval_rise": change.value,
                "eval_rise_low": change.low,
                "eval_rise_high": change.high,
            }
        moment.metrics.update(facts)
        # The trainer's history, by which a resumed run is diagnosed, has a copy of the metrics.
        history = moment.state.log_history
        if history and history[-1].get("step") == moment.step and "eval_loss" in history[-1]:
            history[-1].update(facts)
        if self._best is None or now.loss < self._best.loss:
            self._best = now

    def save(self, checkpoint: Path, step: int) -> None:
        """Add the losses to a checkpoint, if they were measured at its step."""
        if self._newest is not None and self._newest.step == step:
            write_whole(checkpoint / ROW_LOSSES, msgspec.json.encode(self._newest))

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
