"""The log-probability of general text before the first step and at each evaluation.

It shows what the training costs elsewhere.

It needs no answers, so it costs one forward pass over about 2,200 tokens on a GPU, half of them on a
CPU. With SmolLM2-135M on two cores, a GRPO step of 8 answers of 64 tokens takes seven times as long.

The texts are the same each time and nothing is sampled, so equal weights have equal scores, but for
rounding in 16 bit. It does not score skills: a model may forget how to answer, and find general text
as likely as before. The evaluation after the training measures both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from transformers import TrainerCallback

from ftwizard.jobs.worker import Worker
from ftwizard.train.encoder import Encoder
from ftwizard.train.moments import Moment, with_moment
from ftwizard.train.sample_callback import evaluation_mode

SCORE = "eval_general_logp"
"""Mean log-probability of a token of the general text, in nats; higher is better."""
MAX_BATCH_TOKENS = 512
"""Tokens of a forward pass, padding included: their logits are computed in 32 bit."""


class GeneralScore(TrainerCallback):
    """Adds ``eval_general_logp`` to the results of each evaluation, and writes that before training.

    It does not affect the training: modes and random state are restored. A failure ends it, never the
    training. Of several processes the first measures alone, as long as each has all weights.
    """

    def __init__(self, worker: Worker, encoder: Encoder, texts: Sequence[str]) -> None:
        """Set up the callback; ``texts`` need no chat template."""
        self._events = worker.events
        self._encoder = encoder
        self._texts = list(texts)
        self._trainer: Any = None

    def attach(self, trainer: Any) -> None:
        """Add the score before the trainer logs an evaluation, and within its time."""
        self._trainer = trainer
        evaluate = trainer.evaluation_loop

        def evaluate_with_text(*args: Any, **kwargs: Any) -> Any:
            output = evaluate(*args, **kwargs)
            score = self._measure()
            if score is not None:
                output.metrics[SCORE] = score
            return output

        trainer.evaluation_loop = evaluate_with_text

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        if moment.step or not moment.validates or (score := self._measure()) is None:
            return
        self._events.write("eval", step=0, epoch=0.0, **{SCORE: score})
        # By which the run is diagnosed, also once it was resumed.
        moment.state.log_history.append({"step": 0, "epoch": 0.0, SCORE: score})

    def _measure(self) -> float | None:
        """Return the score; None without texts."""
        trainer = self._trainer
        if not self._texts:
            return None
        self._events.write("phase", phase="evaluating", what="general text")
        try:
            with evaluation_mode(trainer):
                return round(compute_mean_logp(trainer.model, self._encode(trainer.model)), 6)
        except Exception as error:  # noqa: BLE001 (such as memory that suffices only for training)
            self._give_up(trainer.state.global_step, error)
            return None

    def _encode(self, model: Any) -> list[list[int]]:
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        rows = (
            [int(i) for i in self._encoder.tokenizer(text)["input_ids"]] for text in self._texts
        )
        return [row[:context] for row in rows if len(row) > 1]

    def _give_up(self, step: int, error: Exception) -> None:
        self._texts = []
        reason = (str(error).splitlines() or [""])[0][:200]
        self._events.write_finding(
            "general_text_failed",
            "General text could not be measured, and is off for this run: "
            f"{type(error).__name__}: {reason}",
            step=step,
        )
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def compute_mean_logp(model: Any, rows: Sequence[Sequence[int]]) -> float:
    """Return the mean log-probability, in nats, of all tokens of ``rows`` but the first of each.

    ``model`` must be in evaluation mode.
    """
    import torch

    total, count = 0.0, 0
    # Not inference_mode: tensors that a model caches in it cannot be used in training later.
    with torch.no_grad():
        for batch in _make_batches(rows):
            width = len(batch[0])
            ids = torch.zeros((len(batch), width), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for index, row in enumerate(batch):
                ids[index, : len(row)] = torch.tensor(row)
                mask[index, : len(row)] = 1
            ids, mask = ids.to(model.device), mask.to(model.device)
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            labels = ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
            total -= float(
                torch.nn.functional.cross_entropy(
                    logits[:, :-1].float().flatten(0, 1), labels.flatten(), reduction="sum"
                )
            )
            count += sum(map(len, batch)) - len(batch)
    return total / count


def _make_batches(rows: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """Yield rows of similar length together, the longest of each batch first."""
    batch: list[Sequence[int]] = []
    for row in sorted(rows, key=len, reverse=True):
        if batch and len(batch[0]) * (len(batch) + 1) > MAX_BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
