"""Several rows in one sequence, for speed, and the proof that none of them sees another.

TRL packs best-fit decreasing and lays a batch end to end, with positions that begin anew at each
row. Whether attention stays within a row is up to the model: transformers builds the mask from the
positions, flash attention takes the lengths, but recurrent layers, ALiBi and some others know
neither. So it is tried on the loaded model before the first step.
"""

from __future__ import annotations

from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.train.tokenise import Encoded

PROVED_TOKENS = 32
"""Tokens of a row that the proof looks at."""
LEAK_TOLERANCE = {"fp32": 1e-5, "bf16": 1e-3, "fp16": 1e-3}
"""How far logits may move when the neighbour changes, as a share of their norm: rounding. It is
none where rows are multiplied alike; models that leak were measured at 0.0025 to 0.09."""
SHIFT_TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 5e-2}
"""How far packed logits may be from those of the row alone, which other kernels may compute."""


def dataset(rows: list[Encoded], *, pack_to: int | None = None, lines: bool = False) -> Any:
    """Return rows as the trainer takes them, packed into sequences of ``pack_to`` tokens or not.

    Packing is TRL's, in the rows' order by thousands; a row is never divided. ``lines``: a column
    more that has each token's line.
    """
    from datasets import Dataset

    columns = {"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]}
    if lines:
        columns["lines"] = [[r.line] * len(r.input_ids) for r in rows]
    plain = Dataset.from_dict(columns)
    if pack_to is None:
        return plain
    from trl.data_utils import pack_dataset

    return pack_dataset(plain, pack_to, "bfd")


def reconcile(held: Any, given: list[Encoded]) -> None:
    """Raise FtwizardError if the trainer holds other rows, or tokens, than it was given."""
    lengths = _lengths(held) if held is not None else []
    if sorted(lengths) != sorted(len(row.input_ids) for row in given):
        raise FtwizardError(
            f"{len(given):,} rows were given to the trainer, {len(lengths):,} are in it, or not whole.",
            "This is a fault of ftwizard with this version of TRL; please report it.",
        )


def _lengths(held: Any) -> list[int]:
    """Return the tokens of each row of a dataset, packed or not."""
    import pyarrow.compute as pc

    table = held.with_format("arrow")[:]
    if "seq_lengths" in table.column_names:
        return [n for row in table["seq_lengths"].to_pylist() for n in row]
    found: list[int] = pc.list_value_length(table["input_ids"]).to_pylist()
    return found


def prove(trainer: Any, rows: list[Encoded], precision: str) -> None:
    """Try on the trainer's model that a packed row gives the logits that it gives alone.

    The batches are those of the training. A row stands alone, behind another, and behind that one
    reversed. Raises FtwizardError when its logits tell the difference.
    """
    model = trainer.model
    first, row = (r.input_ids[:PROVED_TOKENS] for r in (rows[0], rows[-1]))
    model.eval()
    try:
        with trainer.compute_loss_context_manager():
            alone, packed, other = (
                _logits(model, trainer.data_collator, before, row)
                for before in ([], first, first[::-1])
            )
    except ValueError as error:  # transformers knows of some layers that they cannot
        raise _mixes(model, str(error).split(". ")[0]) from None
    leak, shift = _distance(packed, other), _distance(packed, alone)
    if leak > LEAK_TOLERANCE[precision] or shift > SHIFT_TOLERANCE[precision]:
        moved = max(leak, shift)
        raise _mixes(model, f"its logits move by {moved:.2%} with the row that is packed before it")


def _mixes(model: Any, why: str) -> FtwizardError:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    attention = base.config.get_text_config()._attn_implementation
    return FtwizardError(
        f"recipe.packing would let rows see each other in {type(base).__name__}: {why}.",
        f"Leave recipe.packing out: this model (attention: {attention}) does not keep packed rows "
        "apart.",
    )


def _logits(model: Any, collate: Any, neighbour: list[int], row: list[int]) -> Any:
    """Return the logits (tokens, vocabulary) of ``row`` behind ``neighbour``."""
    import torch

    ids = [*neighbour, *row]
    lengths = [len(part) for part in (neighbour, row) if part]
    batch = collate([{"input_ids": ids, "labels": ids, "seq_lengths": lengths}])
    del batch["labels"]
    inputs = {k: v.to(model.device) if hasattr(v, "to") else v for k, v in batch.items()}
    with torch.no_grad():
        return model(**inputs, use_cache=False).logits[0, len(neighbour) :]


def _distance(one: Any, other: Any) -> float:
    return float((one.float() - other.float()).norm() / other.float().norm())
