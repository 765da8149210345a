"""Packing of several rows into a sequence, and the check that rows end to end do not see each other.

TRL packs best-fit decreasing and lays a batch end to end, with positions that restart at each row.
``recipe.padding_free`` does so with rows that are not packed.
Whether attention stays within a row depends on the model: transformers builds the mask from the
positions, flash attention uses the lengths, but recurrent layers, ALiBi and some others use
neither. So it is tested on the loaded model before the first step.
"""

from __future__ import annotations

from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.train import model_loading
from ftwizard.train.encoder import EncodedRow

CHECKED_TOKENS = 32
"""Tokens of each row used in the check."""
LEAK_TOLERANCE = {"fp32": 1e-5, "bf16": 1e-3, "fp16": 1e-3}
"""How far rounding may move logits when the neighbor changes, as a share of their norm. Usually 0;
models that leak were measured at 0.0025 to 0.09."""
SHIFT_TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 5e-2}
"""How far packed logits may be from those of the row alone, which other kernels may compute."""


def build_dataset(
    rows: list[EncodedRow], *, pack_to: int | None = None, lines: bool = False
) -> Any:
    """Return rows as the trainer's dataset, packed into sequences of ``pack_to`` tokens if set.

    TRL packs thousands of rows at a time, in order, and never splits a row. ``lines`` adds a column
    with each token's line.
    """
    with model_loading.importing():
        from datasets import Dataset

    columns = {
        "input_ids": [row.input_ids for row in rows],
        "labels": [row.labels for row in rows],
    }
    if lines:
        columns["lines"] = [[row.line] * len(row.input_ids) for row in rows]
    dataset = Dataset.from_dict(columns)
    if pack_to is None:
        return dataset
    from trl.data_utils import pack_dataset

    return pack_dataset(dataset, pack_to, "bfd")


def verify_rows(dataset: Any, rows: list[EncodedRow]) -> None:
    """Raise FtwizardError if the trainer's dataset does not hold exactly ``rows``."""
    lengths = _row_lengths(dataset) if dataset is not None else []
    if sorted(lengths) != sorted(len(row.input_ids) for row in rows):
        raise FtwizardError(
            f"The trainer dropped or changed rows: it was given {len(rows):,} and has "
            f"{len(lengths):,}.",
            "This is a bug in ftwizard with this version of TRL. Please report it.",
        )


def _row_lengths(dataset: Any) -> list[int]:
    import pyarrow.compute

    table = dataset.with_format("arrow")[:]
    if "seq_lengths" in table.column_names:
        return [length for lengths in table["seq_lengths"].to_pylist() for length in lengths]
    lengths: list[int] = pyarrow.compute.list_value_length(table["input_ids"]).to_pylist()
    return lengths


def verify_isolation(
    trainer: Any, rows: list[EncodedRow], precision: str, setting: str = "packing"
) -> None:
    """Check that a packed row has the same logits as alone, on the trainer's model and batches.

    The row is run alone, after another row, and after that row reversed. Raises FtwizardError, which
    names the recipe's ``setting``, if its logits differ.
    """
    model = trainer.model
    neighbor, row = (rows[index].input_ids[:CHECKED_TOKENS] for index in (0, -1))
    model.eval()
    try:
        with trainer.compute_loss_context_manager():
            alone, packed, reordered = (
                _logits(model, trainer.data_collator, before, row)
                for before in ([], neighbor, neighbor[::-1])
            )
    except ValueError as error:  # transformers refuses some layers that do not support packing
        raise _packing_error(model, setting, str(error).split(". ")[0]) from None
    leak, shift = _relative_distance(packed, reordered), _relative_distance(packed, alone)
    if leak > LEAK_TOLERANCE[precision] or shift > SHIFT_TOLERANCE[precision]:
        difference = max(leak, shift)
        raise _packing_error(
            model, setting, f"logits change by {difference:.2%} with the row packed before"
        )


def _packing_error(model: Any, setting: str, reason: str) -> FtwizardError:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    attention = base.config.get_text_config()._attn_implementation
    return FtwizardError(
        f"recipe.{setting} would let rows see each other in {type(base).__name__}: {reason}.",
        f"Remove recipe.{setting}: this model (attention: {attention}) does not support it.",
    )


def _logits(model: Any, collate: Any, neighbor: list[int], row: list[int]) -> Any:
    """Return the logits (tokens, vocabulary) of ``row`` after ``neighbor``."""
    import torch

    ids = [*neighbor, *row]
    lengths = [len(part) for part in (neighbor, row) if part]
    batch = collate([{"input_ids": ids, "labels": ids, "seq_lengths": lengths}])
    del batch["labels"]
    inputs = {
        name: value.to(model.device) if hasattr(value, "to") else value
        for name, value in batch.items()
    }
    with torch.no_grad():
        return model(**inputs, use_cache=False).logits[0, len(neighbor) :]


def _relative_distance(logits: Any, reference: Any) -> float:
    return float((logits.float() - reference.float()).norm() / reference.float().norm())
