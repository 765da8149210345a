"""The trainer of ejected scripts that train in several processes, on each row once.

The last batches of an epoch, and of an evaluation, are filled up with rows of their beginning, so that
each process has as many as the others. The script contains the source of the class.
"""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer.sft_trainer import SFTTrainer


class RowsOnceTrainer(SFTTrainer):
    """SFT without the rows that several processes repeat at the end of an epoch or an evaluation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.collate_rows, self.data_collator = self.data_collator, self.collate_counted

    def collate_counted(self, rows: Any) -> dict[str, Any]:
        """Return a batch with the number of tokens of each row."""
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        return {**self.collate_rows(rows), "lengths": lengths}

    def leave_out_repeats(self, batch: Any, rows: Any, size: int) -> Any:
        """Take the labels of repeated rows out of a batch of ``size`` rows."""
        lengths = batch.pop("lengths")
        remainder = len(rows) % (size * self.accelerator.num_processes)
        if remainder and self.accelerator.gradient_state.end_of_dataloader:
            own = max(0, remainder - self.accelerator.process_index * size)
            if "attention_mask" in batch:
                batch["labels"][own:] = -100
            else:  # rows laid end to end
                batch["labels"][:, int(lengths[:own].sum()) :] = -100
        return batch

    def get_batch_samples(self, epoch_iterator: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the batches of a step, which count their tokens together."""
        size, rows = self.args.per_device_train_batch_size, self.train_dataset
        batches = (self.leave_out_repeats(batch, rows, size) for batch in epoch_iterator)
        return super().get_batch_samples(batches, *args, **kwargs)

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Evaluate a batch."""
        size, rows = self.args.per_device_eval_batch_size, self.eval_dataset
        inputs = self.leave_out_repeats(inputs, rows, size)
        return super().prediction_step(model, inputs, *args, **kwargs)
