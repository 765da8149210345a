"""Rows that several processes get twice, so that each has as many batches as the others.

The last batches of an epoch are filled up with rows of its beginning. Trained on again, they would
count twice; one process alone never repeats them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftwizard.train.rank_group import RankGroup

NO_LOSS = -100
"""Label of a token without loss."""
_ROW_TOKENS = "ftwizard_row_tokens"


class RepeatedRows:
    """Takes repeated rows out of the last batch of an epoch."""

    def __init__(self, trainer: Any, group: RankGroup) -> None:
        """Wrap the batches that ``trainer`` trains on."""
        self._state = trainer.accelerator.gradient_state
        self._rank = group.rank
        self._size = int(trainer.args.per_device_train_batch_size)
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
            if self._state.end_of_dataloader and self._state.remainder > 0:
                own = min(max(0, self._state.remainder - self._rank * self._size), len(tokens))
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
