"""What a GGUF file predicts under llama.cpp (cyllama), and the tokens that it makes of texts.

``tool_child`` runs it in a process of its own. Task and outcome are files: logits are large.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

MAX_BATCH = 512


class ScoreTask(msgspec.Struct, frozen=True, kw_only=True):
    """``task.json``: what to measure."""

    file: str
    texts: list[str]
    """Rendered prompts, to be turned into tokens."""
    prompts: list[list[int]]
    answers: list[list[int]]
    """Tokens of an answer to each prompt."""
    scored: int
    """First tokens of each answer whose logits are kept."""
    end_ids: list[int]
    threads: int


class ScoreOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """``outcome.json``; the logits are in ``logits.npy``."""

    tokens: list[list[int]]
    best: list[list[int]]
    unknown_ends: list[int]
    """Those of ``end_ids`` at which llama.cpp does not stop."""


def score(folder: Path) -> None:
    """Carry out ``task.json`` in ``folder``."""
    task = msgspec.json.decode((folder / "task.json").read_bytes(), type=ScoreTask)
    llama: Any = importlib.import_module("cyllama.llama.llama_cpp")

    class Model(llama.LlamaModel):  # type: ignore[misc]
        """A model with the attribute that cyllama's own ``get_logits`` asks for, and lacks."""

        @property
        def n_vocab(self) -> int:
            return int(self.get_vocab().n_vocab)

    parameters = llama.LlamaModelParams()
    parameters.n_gpu_layers = 0
    model = Model(task.file, parameters)
    vocab = model.get_vocab()
    options = llama.LlamaContextParams()
    longest = max(len(p) + len(a) for p, a in zip(task.prompts, task.answers, strict=True))
    options.n_ctx, options.n_batch = longest + 1, MAX_BATCH
    options.n_threads = options.n_threads_batch = task.threads
    context = llama.LlamaContext(model, options)
    rows, best = [], []
    for prompt, answer in zip(task.prompts, task.answers, strict=True):
        scores = _score(llama, context, prompt, answer)
        best.append([int(row.argmax()) for row in scores])
        rows += scores[: task.scored]
    np.save(folder / "logits.npy", np.stack(rows))
    outcome = ScoreOutcome(
        tokens=[_tokenize(vocab, text) for text in task.texts],
        best=best,
        unknown_ends=[token for token in task.end_ids if not vocab.is_eog(token)],
    )
    (folder / "outcome.json").write_bytes(msgspec.json.encode(outcome))


def _tokenize(vocab: Any, text: str) -> list[int]:
    """Return the tokens of a rendered prompt as llama.cpp's server makes them.

    It adds the token that begins a text where the file asks for it, and never a second one.
    """
    first = vocab.get_text(vocab.token_bos()) if vocab.token_bos() >= 0 else ""
    adds = bool(vocab.get_add_bos()) and not (first and text.startswith(first))
    return [int(token) for token in vocab.tokenize(text, adds, True)]


def _score(llama: Any, context: Any, prompt: list[int], answer: list[int]) -> list[np.ndarray]:
    """Return the logits at each token of ``answer``."""
    context.kv_cache_clear(True)
    batch = llama.LlamaBatch(n_tokens=MAX_BATCH, embd=0, n_seq_max=1)
    tokens, first = [*prompt, *answer[:-1]], len(prompt) - 1
    rows = []
    # In batches, as the prompt: token by token, a short answer takes longer than its prompt.
    for start in range(0, len(tokens), MAX_BATCH):
        batch.reset()
        part = range(start, min(start + MAX_BATCH, len(tokens)))
        for position in part:
            batch.add(tokens[position], position, [0], position >= first)
        context.decode(batch)
        rows += [
            np.asarray(context.get_logits_ith(position - start), dtype=np.float32)
            for position in part
            if position >= first
        ]
    return rows
