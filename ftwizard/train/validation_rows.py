"""The loss of each validation row: which are highest, and what a change of their mean proves.

Wrong labels show up among the highest. The losses cost no extra computation: TRL's head returns the
loss of each token in evaluations anyway.
"""

from __future__ import annotations

import itertools
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
from ftwizard.train import pair_losses
from ftwizard.train.encoder import EncodedRow
from ftwizard.train.moments import Moment, with_moment
from ftwizard.train.rank_group import ALONE, RankGroup

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
        group: RankGroup = ALONE,
    ) -> None:
        """Set up the callback.

        ``encoded`` are the evaluated rows in order; ``rows`` of ``file`` include their source. Each
        process of ``group`` evaluates some of them.
        """
        self._events = worker.events
        self._group = group
        self._rows_per_step = rows_per_step
        self._lines = [row.line for row in encoded]
        self._pair_tokens = {row.line: row.trained for row in encoded if row.rejected}
        self._rows = {row.line: row for row in rows}
        self._file = file
        self._batches: list[tuple[Any, Any]] = []
        """The losses and tokens of each batch's rows."""
        self._correct: list[Any] = []
        """Tokens that were the most likely ones, of each batch's rows, where processes share them."""
        self._best: RowLosses | None = None
        self._newest: RowLosses | None = None

    def attach(self, trainer: Any) -> None:
        """Collect losses from the trainer's model; of pairs, from its comparison with the reference."""
        if is_preference := hasattr(trainer, "ref_model"):
            pair_losses.collect(trainer, lambda *batch: self._batches.append(batch))
        else:
            trainer.model.register_forward_hook(self._collect, with_kwargs=True)
        if self._group.size == 1:
            return
        evaluate = trainer.evaluation_loop

        def evaluate_together(*args: Any, **kwargs: Any) -> Any:
            self._batches, self._correct = [], []
            output = evaluate(*args, **kwargs)
            if is_preference:
                self._merge_pairs()
            else:
                self._merge(trainer, output)
            return output

        trainer.evaluation_loop = evaluate_together

    def _collect(self, model: Any, _: Any, inputs: dict[str, Any], output: Any) -> None:
        if not model.training and inputs.get("fused_lm_head"):
            self._batches.append(sum_by_row(output, inputs))
            if self._group.size > 1:
                self._correct.append(_sum_rows(output.is_top1, inputs))

    def _merge_pairs(self) -> None:
        """Make the losses of all processes' pairs those that one process would have collected."""
        import torch

        shares = self._group.gather([losses.tolist() for losses, _ in self._batches])
        turns = itertools.chain.from_iterable(itertools.zip_longest(*shares, fillvalue=[]))
        losses = torch.tensor(list(itertools.chain.from_iterable(turns))[: len(self._lines)])
        self._batches = [(losses, torch.ones(len(losses), dtype=torch.long))] if len(losses) else []

    def _merge(self, trainer: Any, output: Any) -> None:
        """Make the batches of all processes those that one alone would have evaluated.

        Process r had batches r, r + N and so on, the last ones filled up with rows of the beginning.
        The trainer's means would count these.
        """
        import torch

        own = [
            [part.tolist() for part in (*batch, correct)]
            for batch, correct in zip(self._batches, self._correct, strict=True)
        ]
        shares = self._group.gather(own)
        turns = itertools.chain.from_iterable(
            itertools.zip_longest(*shares, fillvalue=([], [], []))
        )
        totals, counts, correct = (
            list(itertools.chain.from_iterable(parts))[: len(self._lines)]
            for parts in zip(*turns, strict=True)
        )
        if len(totals) != len(self._lines):  # an evaluation of other rows
            return
        size = int(trainer.args.per_device_eval_batch_size)
        cuts = [slice(start, start + size) for start in range(0, len(totals), size)]
        self._batches = [
            (torch.tensor(totals[cut]), torch.tensor(counts[cut], dtype=torch.long)) for cut in cuts
        ]
        output.metrics["eval_loss"] = float(_weigh(self._batches).mean())
        trainer._metrics["eval"]["mean_token_accuracy"] = [
            sum(correct[cut]) / max(1, sum(counts[cut])) for cut in cuts
        ]

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
        self._newest = RowLosses(moment.step, _weigh(batches).tolist())
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
            "tokens": self._pair_tokens.get(line, tokens),
            "start": _shorten(start),
            "answer": _shorten(answer),
        }


def sum_by_row(output: Any, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """Return the total loss, in nats, and the trainable tokens of each row of a batch.

    ``output`` is that of TRL's head, with one entry per predicted token. ``inputs`` is the batch:
    padded, or rows end to end with positions that restart at each row.
    """
    losses = -output.log_probs.detach().float()
    return _sum_rows(losses, inputs), _sum_rows(output.label_mask, inputs)


def _sum_rows(values: Any, inputs: dict[str, Any]) -> Any:
    """Return the sum of ``values``, one per predicted token, for each row of a batch."""
    import torch

    if not values.is_floating_point():
        values = values.long()
    if "attention_mask" in inputs or "position_ids" not in inputs:
        return values.sum(1)
    # The first token of a row is not predicted, so no entry belongs to two rows.
    row = (inputs["position_ids"][0] == 0).cumsum(0) - 1
    empty = torch.zeros(int(row[-1]) + 1, dtype=values.dtype, device=values.device)
    return empty.index_add(0, row[1:], values[0])


def _weigh(batches: Sequence[tuple[Any, Any]]) -> Any:
    """Return the part of each row in the trainer's loss.

    That is the mean over batches, by their rows, of the mean over tokens.
    """
    import torch

    return torch.cat([t * len(n) / n.sum().clamp(min=1) for t, n in batches])


def _shorten(text: str) -> str:
    return " ".join(text[: 4 * MAX_PREVIEW].split())[:MAX_PREVIEW]
