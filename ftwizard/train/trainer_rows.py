"""The rows of a training objective as the dataset that its trainer takes, and their batches.

TRL would tokenize preference rows itself: with the model's chat template as it is, with what follows
the end of a turn, and without those whose prompt fills the max length. Ours are encoded as ``ftwizard
mask`` shows them, so the trainer is given token ids and labels.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ftwizard.data.example import IGNORE_INDEX
from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import Recipe
from ftwizard.train import model_loading, packing
from ftwizard.train.encoder import EncodedRow

PAIR = ("chosen", "rejected")
"""Prefixes of the columns of a pair; those of a labeled answer have none."""
KL = "KL_"
"""Prefix of TRL's columns with a prompt and the answer to another one."""


def build_dataset(rows: list[EncodedRow], recipe: Recipe, ranks: int = 1) -> Any:
    """Return training rows as the dataset of the recipe's objective, packed if it says so.

    ``ranks``: processes that train together.
    """
    if recipe.objective == "sft":
        return packing.build_dataset(rows, pack_to=recipe.max_length if recipe.packing else None)
    return build_in_order(order(rows, recipe), recipe, ranks)


def order(rows: Sequence[Any], recipe: Recipe) -> Sequence[Any]:
    """Return training rows in the order in which the trainer gets them.

    KTO needs a fixed one, in which each row is paired with others of its batch.
    """
    if recipe.objective != "kto":
        return rows
    return random.Random(recipe.seed).sample(rows, len(rows))


def build_in_order(rows: Sequence[EncodedRow], recipe: Recipe, ranks: int = 1) -> Any:
    """Return rows in this order as the dataset of the recipe's objective, not packed.

    ``ranks`` processes take a batch each of rows that follow one another.
    """
    if recipe.objective == "sft":
        return packing.build_dataset(list(rows))
    with model_loading.importing():
        from datasets import Dataset

    if recipe.objective == "dpo":
        return Dataset.from_dict(_pair_columns(rows))
    columns = {**_columns("", rows), "label": [row.label is True for row in rows]}
    if recipe.kto.loss_type == "kto":
        columns |= _columns(KL, list(mismatch(rows, recipe.batch_size * ranks)))
    return Dataset.from_dict(columns)


def share_reference(dataset: Any, path: Path) -> None:
    """Let TRL keep what the reference says of a dataset in ``path``, where all processes find it.

    The first one writes it, and all read it. Of rows in memory, TRL takes a folder of each process.
    """
    if dataset is not None:
        dataset._get_cache_file_path = lambda fingerprint: str(path)


def _pair_columns(rows: Sequence[EncodedRow]) -> dict[str, list[list[int]]]:
    rejected = [row.rejected for row in rows if row.rejected]
    return _columns("chosen_", rows) | _columns("rejected_", rejected)


def _columns(prefix: str, rows: Sequence[EncodedRow]) -> dict[str, Any]:
    return {
        f"{prefix}input_ids": [row.input_ids for row in rows],
        f"{prefix}labels": [row.labels for row in rows],
    }


def mismatch(rows: Sequence[EncodedRow], batch_size: int) -> Iterable[EncodedRow]:
    """Yield each row's prompt with the answer to the row before it in its batch, of the first to the
    last.

    KTO estimates from them how far the model has moved from its reference. Source: ``KTOTrainer.
    _prepare_dataset`` of TRL 1.16. A last batch of one row takes the answer of the row before.
    """
    starts = [*range(0, len(rows), batch_size), len(rows)]
    for start, end in pairwise(starts):
        batch = rows[start:end]
        last = rows[start - 1] if len(batch) == 1 else batch[-1]
        for row, other in zip(batch, [last, *batch[:-1]], strict=True):
            yield _join(row, other)


def _join(row: EncodedRow, other: EncodedRow) -> EncodedRow:
    """Return the prompt of ``row`` with the answer of ``other``."""
    cut, begin = find_answer(row), find_answer(other)
    return EncodedRow(
        line=row.line,
        input_ids=[*row.input_ids[:cut], *other.input_ids[begin:]],
        labels=[*row.labels[:cut], *other.labels[begin:]],
    )


def find_answer(row: EncodedRow) -> int:
    """Return the index of the first trainable token: what is before it is the prompt."""
    return next(i for i, label in enumerate(row.labels) if label != IGNORE_INDEX)


def verify_rows(dataset: Any, rows: Sequence[EncodedRow]) -> None:
    """Raise FtwizardError if a preference trainer's dataset does not hold exactly ``rows``."""
    names = [] if dataset is None else dataset.column_names
    columns = [name for name in names if name.endswith("input_ids") and not name.startswith(KL)]
    given = sorted(len(row.input_ids) for whole in rows for row in whole.sequences)
    if sorted(len(ids) for name in columns for ids in dataset[name]) != given:
        raise FtwizardError(
            f"The trainer dropped or changed rows: it was given {len(rows):,} and has "
            f"{0 if dataset is None else len(dataset):,}.",
            "This is a bug in ftwizard with this version of TRL. Please report it.",
        )


class PreferenceCollator:
    """Pads the rows of a batch: of pairs, first all chosen answers, then all rejected ones.

    Batches have the fields of TRL's own collators. Its ``completion_mask`` is 1 for the tokens that
    count toward the loss.
    """

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch of tensors."""
        import torch

        first = rows[0]
        if "label" not in first:
            batch = self._pad("", [(row, f"{side}_") for side in PAIR for row in rows])
        else:
            batch = self._pad("", [(row, "") for row in rows])
            batch["label"] = torch.tensor([row["label"] for row in rows])
            if f"{KL}input_ids" in first:
                batch |= self._pad(KL, [(row, KL) for row in rows])
        # Of the reference model, if TRL asked it before the first step.
        for name in first:
            if name.startswith("ref_"):
                batch[name] = torch.tensor([row[name] for row in rows])
        return batch

    def _pad(self, name: str, sequences: Sequence[tuple[dict[str, Any], str]]) -> dict[str, Any]:
        import torch

        ids = [row[f"{prefix}input_ids"] for row, prefix in sequences]
        labels = [row[f"{prefix}labels"] for row, prefix in sequences]
        width = max(map(len, ids))
        masks = [[int(label != IGNORE_INDEX) for label in row] for row in labels]
        padded = {
            "input_ids": (ids, self._pad_id),
            "attention_mask": ([[1] * len(row) for row in ids], 0),
            "completion_mask": (masks, 0),
        }
        return {
            f"{name}{field}": torch.tensor([[*row, *[fill] * (width - len(row))] for row in values])
            for field, (values, fill) in padded.items()
        }
