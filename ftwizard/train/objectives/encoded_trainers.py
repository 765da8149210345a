"""TRL's preference trainers for rows that are encoded already."""

from __future__ import annotations

from typing import Any

from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer


class EncodedDPOTrainer(DPOTrainer):
    """DPO on encoded pairs."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Return the rows as they are, where TRL would tokenize, and drop some."""
        return dataset


class EncodedKTOTrainer(KTOTrainer):
    """KTO on encoded answers."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Return the rows as they are, where TRL would tokenize, and drop some."""
        return dataset
