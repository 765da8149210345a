"""Rows that several processes get twice, so that each has as many batches as the others.

The last batches of an epoch are filled up with rows of its beginning. Trained on again, they would
count twice; one process alone never repeats them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

from ftwizard.train.rank_group import RankGroup

NO_LOSS = -100
"""Label of a token without loss."""
_ROW_TOKENS = "ftwizard_row_tokens"
_REMAINDER = "ftwizard_remainder"


class RepeatedRows:
    """Takes repeated rows out of the last batch of an epoch."""

    def __init__(self, trainer: Any, group: RankGroup) -> None:
        """Wrap the batches that ``trainer`` trains on."""
        self._state = trainer.accelerator.gradient_state
        self._rank = group.rank
        self._size = int(trainer.args.per_device_train_batch_size)
        # accelerate does not know it in an epoch that a resumed run begins in the middle.
        self._remainder = len(trainer.train_dataset) % (self._size * group.size)
        get_loader, get_samples = trainer.get_train_dataloader, trainer.get_batch_samples
        collate = trainer.data_collator

        def collate_counted(rows: list[dict[str, Any]]) -> Any:
            import torch

            batch = collate(rows)
            batch[_ROW_TOKENS] = torch.tensor([len(row["input_ids"]) for row in rows])
            return batch

        def get_counted_loader() -> Any:
            trainer.data_collator = collate_counted
            try:
                return get_loader()
            finally:
                trainer.data_collator = collate

        def get_own_samples(iterator: Iterator[Any], *args: Any, **kwargs: Any) -> Any:
            return get_samples(self._without_repeats(iterator), *args, **kwargs)

        trainer.get_train_dataloader = get_counted_loader
        trainer.get_batch_samples = get_own_samples

    def _without_repeats(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            tokens = batch.pop(_ROW_TOKENS)
            if self._state.end_of_dataloader and self._remainder:
                own = min(max(0, self._remainder - self._rank * self._size), len(tokens))
                if own < len(tokens):
                    batch = cut(batch, tokens.tolist(), own)
            yield batch


def cut(batch: dict[str, Any], tokens: list[int], rows: int) -> dict[str, Any]:
    """Return a batch with its first ``rows`` only; without any, one row that has no loss is left.

    ``tokens`` are those of each row. Rows laid end to end stay, without loss: their attention is
    described by positions and lengths, which are of the whole batch.
    """
    if "attention_mask" not in batch:
        labels = batch["labels"].clone()
        labels[:, sum(tokens[:rows]) :] = NO_LOSS
        return {**batch, "labels": labels}
    kept = {name: value[: max(1, rows)] for name, value in batch.items()}
    if not rows:
        kept["labels"] = kept["labels"].new_full(kept["labels"].shape, NO_LOSS)
    return kept


class RepeatedPreferences:
    """Takes repeated rows out of the last batches of a preference training, and of its evaluations.

    The loss of a preference batch is the mean over its rows. So that each row weighs as much in the
    last batch of an epoch, a process's loss weighs as much as it has rows of its own. The processes are
    then as one whose batches are as large as theirs together. TRL's figures are those of all rows.
    """

    def __init__(self, trainer: Any, group: RankGroup) -> None:
        """Wrap what ``trainer`` computes, trained on and evaluated."""
        self._trainer = trainer
        self._group = group
        self._state = trainer.accelerator.gradient_state
        self._gather = trainer.accelerator.gather
        self._compute = trainer.compute_loss
        self._size = self._remainder = 0
        """Rows of a process's batch, and of all processes' last one; 0: it is full."""
        self._evaluated: list[tuple[Any, int]] = []
        """The sum of losses and the rows of each batch of an evaluation."""
        get_samples, evaluate = trainer.get_batch_samples, trainer.evaluation_loop
        gather_for_metrics = trainer.accelerator.gather_for_metrics

        def get_tagged_samples(iterator: Iterator[Any], *args: Any, **kwargs: Any) -> Any:
            return get_samples(self._tag(iterator), *args, **kwargs)

        def evaluate_each_once(*args: Any, **kwargs: Any) -> Any:
            self._evaluated = []
            output = evaluate(*args, **kwargs)
            shares = group.gather(
                (
                    sum(float(total) for total, _ in self._evaluated),
                    sum(n for _, n in self._evaluated),
                )
            )
            totals, rows = (sum(parts) for parts in zip(*shares, strict=True))
            if "eval_loss" in output.metrics:
                output.metrics["eval_loss"] = totals / max(1, rows)
            return output

        trainer.get_batch_samples = get_tagged_samples
        trainer.evaluation_loop = evaluate_each_once
        trainer.compute_loss = self._compute_own
        trainer.accelerator.gather = self._gather_own
        # In a loss, accelerate would drop values of whole batches: it looks at the newest one fetched.
        trainer.accelerator.gather_for_metrics = lambda value, *args, **kwargs: (
            self._gather_own(value) if self._size else gather_for_metrics(value, *args, **kwargs)
        )
        if hasattr(trainer, "_compute_kl_logps"):
            compute_kl = trainer._compute_kl_logps
            trainer._compute_kl_logps = lambda *args: self._weigh(compute_kl(*args))

    @property
    def _own(self) -> int:
        """Return how many rows of this process's batch are no repeats."""
        if not self._remainder:
            return self._size
        return min(max(0, self._remainder - self._group.rank * self._size), self._size)

    def _weigh(self, value: Any) -> Any:
        """Return ``value``, a mean over this process's rows, such that the processes' mean is that over
        all rows."""
        if value is None or not self._remainder:
            return value
        return value * (self._own * self._group.size / self._remainder)

    def _count_remainder(self, dataset: Sized, size: int) -> int:
        """Return the rows of all processes' newest batch; 0 if it is full.

        accelerate does not know them in an epoch that a resumed run begins in the middle.
        """
        return len(dataset) % (size * self._group.size) if self._state.end_of_dataloader else 0

    def _tag(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield batches with what they lack: a step fetches all of them before it computes the first."""
        trainer = self._trainer
        size = int(trainer.args.per_device_train_batch_size)
        for batch in batches:
            yield {**batch, _REMAINDER: self._count_remainder(trainer.train_dataset, size)}

    def _compute_own(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        settings, is_training = self._trainer.args, self._trainer.model.training
        if is_training:
            self._size = int(settings.per_device_train_batch_size)
            self._remainder = int(inputs.pop(_REMAINDER))
        else:
            self._size = int(settings.per_device_eval_batch_size)
            self._remainder = self._count_remainder(self._trainer.eval_dataset, self._size)
        try:
            if self._own < self._size:
                inputs = cut_preferences(inputs, self._size, self._own)
            if "ref_KL_logps" in inputs:
                inputs["ref_KL_logps"] = self._weigh(inputs["ref_KL_logps"])
            loss = self._compute(model, inputs, *args, **kwargs)
            if is_training:
                return self._weigh(loss)
            self._evaluated.append((loss.detach() * self._own, self._own))
            return loss
        finally:
            self._size = self._remainder = 0

    def _gather_own(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the values of all processes, one for each row or one for each process, without those
        of repeated rows."""
        if not self._remainder:
            return self._gather(value, *args, **kwargs)
        if not value.dim():
            return self._gather(value if self._own else value.new_zeros(()))
        padded = value.new_zeros(self._size)
        padded[: len(value)] = value
        return self._gather(padded)[: self._remainder]


def cut_preferences(batch: dict[str, Any], size: int, rows: int) -> dict[str, Any]:
    """Return a batch of ``size`` pairs or answers with its first ``rows`` only, or one if that is 0.

    Of pairs, the rejected answers follow all chosen ones.
    """
    import torch

    kept = max(1, rows)
    return {
        name: torch.cat([value[:kept], value[size : size + kept]])
        if len(value) == 2 * size
        else value[:kept]
        for name, value in batch.items()
    }
