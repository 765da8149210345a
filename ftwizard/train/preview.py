"""What a plan comes to before it is trained: rows, tokens, steps, parameters; nothing is guessed.

The same functions read, split, mask and cut the rows as in the training itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from ftwizard.estimate import batches
from ftwizard.estimate.batches import Lengths
from ftwizard.plan import Plan
from ftwizard.train import adapter, base_model, packing, quiet, rows, schedule, targets
from ftwizard.train.tokenise import Encoder, Report


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one plan."""

    parts: dict[str, Report]
    """``train``, ``validation``, ``test``, ``mix`` → what becomes of the rows."""
    mix_short: str | None
    """What is said where there are fewer general rows than the plan asks for."""
    sequences: int
    """What the training file comes to: rows, or packed sequences."""
    steps_per_epoch: int
    steps: int
    evaluate_every: int
    """Steps between two looks at the validation loss; 0 where nothing validates."""
    tokens: int
    """Tokens that pass through the model in training, all epochs."""
    parameters: int
    """Of the base model."""
    trained: int
    """Parameters that are trained."""
    adapted: list[str]
    """Modules that get an adapter; empty where every weight is trained."""
    lengths: dict[str, Lengths | None]
    """``train``, ``validation`` → how long the rows are, cut as the plan says."""


def preview(plan: Plan, base: Path, say: Callable[..., None]) -> Preview:
    """Count what ``plan`` comes to with the tokenizer and configuration in ``base``.

    Raises FtwizardError for rows or a model that cannot be used, as the training would.
    """
    parts = rows.load(plan, {})
    say("loading", what="libraries")
    quiet.libraries()
    base_model.load_config(base)  # a model that cannot be loaded is refused before its rows
    encoder = Encoder(base_model.load_tokenizer(base), base_model.stop_ids(base))
    recipe = plan.recipe

    def progress(name: str) -> Callable[[int, int], None]:
        def report(done: int, total: int) -> None:
            say("tokenising", what=f"{name} rows", done=done, total=total, unit="rows")

        return report

    encoded, reports = rows.encode_parts(encoder, parts, recipe.max_length, progress)
    rows.check_lengths(base, encoded)
    train = encoded["train"]
    sequences = len(train)
    if recipe.packing:
        say("packing")
        sequences = len(packing.dataset(train, pack_to=recipe.max_length))
    say("loading", what="the model's shape")
    parameters, trained, adapted = _parameters(plan, base)
    sizes = (sequences, recipe.batch_size, recipe.gradient_accumulation)
    steps = schedule.total_steps(*sizes, recipe.epochs)
    every = recipe.evaluation_steps or schedule.evaluation_steps(steps)
    return Preview(
        parts=reports,
        mix_short=rows.shortage(plan, parts),
        sequences=sequences,
        steps_per_epoch=schedule.total_steps(*sizes, 1),
        steps=steps,
        evaluate_every=every if reports["validation"].kept else 0,
        tokens=round(sum(len(row.input_ids) for row in train) * recipe.epochs),
        parameters=parameters,
        trained=trained,
        adapted=adapted,
        lengths={
            name: batches.of_rows([len(row.input_ids) for row in encoded[name]])
            for name in ("train", "validation")
        },
    )


def _parameters(plan: Plan, base: Path) -> tuple[int, int, list[str]]:
    """Return how many parameters the model has, how many are trained, and where adapters go.

    The model is made without its weights.
    """
    model = base_model.without_weights(base)
    total = sum(p.numel() for p in model.parameters())
    if plan.recipe.method == "full":
        return total, total, []
    import torch
    from peft import get_peft_model

    found = targets.resolve(model, plan.recipe.target_modules)
    with torch.device("meta"):
        tuned = get_peft_model(model, adapter.config(plan.recipe, found))
    trained = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    return total, trained, [*found.modules, *found.parameters]
