"""Test loss and first-ranked tokens of a merged model, compared with its adapter on the same base.

The proof of the weights shows that the merge is right; this shows whether rounding to 16 bit
changed what the model says.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any, NamedTuple

from ftwizard.data.example import IGNORE_INDEX
from ftwizard.evaluate import placement
from ftwizard.export.merge import Say, say_nothing
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import Plan
from ftwizard.runs.merge_proof import BehaviorCheck, MergeProof
from ftwizard.runs.result import TrainResult
from ftwizard.train import dataset, model_loading, runtime
from ftwizard.train.encoder import EncodedRow, Encoder, encode_rows

MAX_ROWS = 32
"""Test rows that are compared: some hundred tokens tell whether the models are the same."""
MAX_LOSS_DIFFERENCE = 0.02
MAX_LOSS_CHANGE = 0.05
"""Largest difference of the losses, in nats a token, and as a share of the adapter's loss."""
MIN_AGREEMENT = 0.97
"""Least share of tokens that both rank first. Near ties flip with any rounding, also between two
loads of one model in other batch sizes."""
MAX_TIES = 2
"""Tokens that may differ however few there are."""


class _Prediction(NamedTuple):
    loss: float
    """Summed over the answer's tokens, in nats."""
    tokens: list[int]
    """First-ranked token at each place of the answer."""


def check_behavior(
    folder: JobFolder,
    plan: Plan,
    trained: TrainResult,
    base: Path,
    merged: Path,
    proof: MergeProof,
    say: Say = say_nothing,
) -> BehaviorCheck | str:
    """Compare a run's merged model with its adapter on test rows; return why it cannot be done, if so.

    Each model is loaded in turn, in the precision of the run, or in 32 bit if it was merged into that. ``proof`` has what was merged how.
    """
    if trained.method == "full":
        return "there is no adapter to compare with"
    rows = _read_rows(folder, plan, trained, base)
    if not rows:
        return "there is no test set"
    precision = runtime.choose_precision(plan.recipe, model_loading.read_config(base))
    if proof.dtype == "float32":
        precision = "fp32"
    if placement.choose_device(merged, None, precision) is None:
        return placement.make_memory_error(merged, precision).message.rstrip(".")
    say("comparing with the adapter", done=0, total=2 * len(rows), unit="rows")
    adapter = _predict(_load_adapter(base, folder.adapter, proof, precision), rows, say, 0)
    whole = _predict(model_loading.load_model(merged, precision), rows, say, len(rows))
    pairs = [
        mine == other
        for a, b in zip(adapter, whole, strict=True)
        for mine, other in zip(a.tokens, b.tokens, strict=True)
    ]
    count = len(pairs)
    losses = [sum(item.loss for item in part) / count for part in (adapter, whole)]
    return BehaviorCheck(
        rows=len(rows), tokens=count, adapter_loss=losses[0], merged_loss=losses[1],
        agreement=sum(pairs) / count,
        max_loss_difference=max(MAX_LOSS_DIFFERENCE, MAX_LOSS_CHANGE * losses[0]),
        min_agreement=min(MIN_AGREEMENT, 1 - MAX_TIES / count),
    )  # fmt: skip


def _read_rows(folder: JobFolder, plan: Plan, trained: TrainResult, base: Path) -> list[EncodedRow]:
    """Return the first test rows, encoded as in training."""
    try:
        rows = dataset.read_test_set(folder).rows[:MAX_ROWS]
    except FileNotFoundError:
        return []
    if not rows:
        return []
    tokenizer = model_loading.load_tokenizer(folder.adapter)
    stop_ids = model_loading.read_stop_ids(base) | set(trained.end_ids)
    encoded, _ = encode_rows(
        Encoder(tokenizer, stop_ids), rows, plan.recipe.max_length, needed=False
    )
    return encoded


def _load_adapter(base: Path, adapter: Path, proof: MergeProof, precision: str) -> Any:
    """Load the adapter on the weights that it was merged into, with the strength of the merge."""
    with model_loading.importing():
        from peft import PeftModel

    if proof.onto == "dequantized":
        model = model_loading.load_to_train(base, "qlora", precision)
    else:
        model = model_loading.load_model(base, precision)
    tuned = PeftModel.from_pretrained(model, adapter)
    for module in tuned.modules():
        if isinstance(scaling := getattr(module, "scaling", None), dict):
            scaling.update({name: value * proof.scale for name, value in scaling.items()})
    return tuned


def _predict(model: Any, rows: list[EncodedRow], say: Say, done: int) -> list[_Prediction]:
    import torch

    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    predictions = []
    for row in rows:
        ids = torch.tensor([row.input_ids], device=model.device)
        labels = torch.tensor(row.labels[1:], device=model.device)
        positions = (labels != IGNORE_INDEX).nonzero().flatten()
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, positions].float()
        loss = torch.nn.functional.cross_entropy(logits, labels[positions], reduction="sum")
        predictions.append(_Prediction(float(loss), logits.argmax(-1).tolist()))
        say(
            "comparing with the adapter",
            done=done + len(predictions),
            total=2 * len(rows),
            unit="rows",
        )
    del model
    gc.collect()
    return predictions
