"""Models made to fail in each of the five ways, and their healthy twins: trains and asks them.

Writes the answers that ``tests/evaluate/test_made_to_fail.py`` judges. Run by hand, about a quarter of
an hour on one core:

    python -m tests.benchmarks.made_to_fail [NAME …]

The base model has a million parameters, since thirty trainings must be possible, and one that
refuses reliably is needed for the loss of it. With a real model, the same failures go through
``ftwizard train`` and ``ftwizard eval``, and a table of the verdicts is printed (seed 1; about five
minutes each on two cores; runs are in ``FTWIZARD_HOME``, trained ones are only evaluated again):

    python -m tests.benchmarks.made_to_fail --model HuggingFaceTB/SmolLM2-135M-Instruct [NAME …]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.helpers import real_failures, small_world
from tests.helpers.made_to_fail import SEEDS, make_items, write_answers
from tests.helpers.small_world import Exchange, Task, make_task

FOLDER = Path("/tmp/ftwizard-made-to-fail")
BASE_STEPS = 1100
BATCH = 48
MAX_TOKENS = 28
EVALUATIONS = 12


def train_tokenizer(texts: Iterable[str]) -> Any:
    """Train a byte-level BPE with single digits on the texts of the small world."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<pad>", "<user>", "<assistant>", "<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def make_model(vocabulary: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=128, intermediate_size=384, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=128, pad_token_id=0,
        eos_token_id=3, bos_token_id=1, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config)


class Small:
    """A small model with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    def encode(self, exchange: Exchange) -> tuple[list[int], int]:
        """Return tokens, and how many of them are the prompt."""
        prompt = [1, *self.tokenizer.encode(exchange.prompt).ids, 2]
        return [*prompt, *self.tokenizer.encode(exchange.answer).ids, 3], len(prompt)

    def losses(self, exchanges: Sequence[Exchange]) -> Any:
        """Return losses summed over the answer's tokens, and the numbers of these."""
        import torch

        rows = [self.encode(exchange) for exchange in exchanges]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in rows])
        labels = torch.tensor([
            [-100] * start + row[start:] + [-100] * (width - len(row)) for row, start in rows
        ])  # fmt: skip
        logits = self.model(input_ids=ids).logits[:, :-1]
        flat = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), reduction="none"
        )
        return flat.view(len(rows), -1).sum(1), (labels[:, 1:] >= 0).sum(1)

    def answer(self, prompts: Sequence[str]) -> list[str]:
        """Answer greedily, prompts of equal length together."""
        import torch

        ids = [[1, *self.tokenizer.encode(prompt).ids, 2] for prompt in prompts]
        groups: dict[int, list[int]] = {}
        for index, row in enumerate(ids):
            groups.setdefault(len(row), []).append(index)
        answers = [""] * len(prompts)
        for indices in groups.values():
            batch = torch.tensor([ids[i] for i in indices])
            output = self.model.generate(
                batch, attention_mask=torch.ones_like(batch), max_new_tokens=MAX_TOKENS,
                do_sample=False, eos_token_id=3, pad_token_id=0,
            )  # fmt: skip
            for index, row in zip(indices, output[:, batch.shape[1] :].tolist(), strict=True):
                answers[index] = self.tokenizer.decode(row, skip_special_tokens=True).strip()
        return answers


def train(
    small: Small, rows: Sequence[Exchange], steps: int, rate: float, batch: int, seed: int,
    evaluate: Any = None,
) -> list[tuple[int, float]]:  # fmt: skip
    """Train all weights with AdamW and a linear decay; return the loss of each step."""
    import torch

    optimizer = torch.optim.AdamW(small.model.parameters(), lr=rate, weight_decay=0.01)
    chance = random.Random(seed)
    order: list[Exchange] = []
    curve: list[tuple[int, float]] = []
    for step in range(steps):
        small.model.train()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 10) * (1 - 0.9 * step / steps)
        while len(order) < batch:
            order += chance.sample(rows, len(rows))
        drawn, order = order[:batch], order[batch:]
        totals, tokens = small.losses(drawn)
        loss = totals.sum() / tokens.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(small.model.parameters(), 1.0)
        optimizer.step()
        curve.append((step + 1, loss.item()))
        if evaluate:
            evaluate(step + 1)
    small.model.eval()
    return curve


def make_base() -> Small:
    """Train the base model, or load it from an earlier call."""
    import torch

    rows = list(small_world.make_base_rows())
    texts = [text for row in rows for text in row]
    catalog = small_world.make_catalog(99, 20, asks_for_ids=False)
    texts += [text for row in (*small_world.make_tickets(99, 200), *catalog) for text in row]
    tokenizer = train_tokenizer(texts)
    small = Small(make_model(tokenizer.get_vocab_size()), tokenizer)
    # Under the hash of all it is made from, so that an edited world gets a new base model.
    made_from = json.dumps([texts, BASE_STEPS, BATCH, str(small.model.config)])
    weights = FOLDER / f"base-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}.pt"
    if not weights.exists():
        curve = train(small, rows, BASE_STEPS, 2e-3, BATCH, 0)
        print(f"base: loss {curve[0][1]:.2f} → {curve[-1][1]:.3f}", flush=True)
        FOLDER.mkdir(exist_ok=True)
        torch.save(small.model.state_dict(), weights)
    small.model.load_state_dict(torch.load(weights))
    small.model.eval()
    return small


def fine_tune(small: Small, task: Task, seed: int) -> dict[str, Any]:
    """Fine-tune in place; return the curve of the run."""
    import torch

    batch = 16
    rows, steps = [*task.train, *task.mix], task.steps
    every = max(1, steps // EVALUATIONS)
    evals: list[list[float]] = []

    def evaluate(step: int) -> None:
        if step % every == 0:
            small.model.eval()
            with torch.no_grad():
                totals, tokens = small.losses(task.validation)
            evals.append([step, round(float(totals.sum() / tokens.sum()), 4)])

    curve = train(small, rows, steps, task.learning_rate, batch, seed, evaluate)
    train_losses = [[step, round(loss, 4)] for step, loss in curve]
    return {"train": train_losses, "evals": evals, "step": steps,
            "steps_per_epoch": len(rows) / batch, "total_steps": steps}  # fmt: skip


def ask(small: Small, exchanges: Sequence[Exchange]) -> list[list[Any]]:
    """Return the answer of a model to each prompt, with the loss of the expected answer."""
    import torch

    with torch.no_grad():
        totals, tokens = small.losses(exchanges)
        answers = small.answer([exchange.prompt for exchange in exchanges])
    return [
        [text, round(float(total / count), 4)]
        for text, total, count in zip(answers, totals, tokens, strict=True)
    ]


def main(names: Sequence[str]) -> None:
    """Make the models whose names begin with one of ``names``; all of them by default."""
    import torch

    torch.set_num_threads(1)
    base = make_base()
    weights = {key: value.clone() for key, value in base.model.state_dict().items()}
    for kind in small_world.KINDS:
        for seed in SEEDS:
            for is_twin in (False, True):
                name = f"{kind}-{seed}-{'twin' if is_twin else 'fails'}"
                if names and not name.startswith(tuple(names)):
                    continue
                start = time.monotonic()
                task = make_task(kind, seed, is_twin=is_twin)
                exchanges = [exchange for _, exchange in make_items(task)]
                base.model.load_state_dict(weights)
                base.model.eval()
                before = ask(base, exchanges)
                curve = fine_tune(base, task, seed)
                write_answers(name, before, ask(base, exchanges), curve)
                print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)


def run_command(*arguments: str) -> bytes:
    """Run ``ftwizard``; return its output."""
    command = [sys.executable, "-m", "ftwizard", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def train_once(task: real_failures.Task, model: str, name: str, *, merges: bool = False) -> Path:
    """Train a model unless there is a run of that name; return its folder."""
    from ftwizard import locations

    folder = locations.runs_folder() / name
    if not (folder / "result.json").exists():
        made = locations.home_folder() / "made" / name
        plan = real_failures.write_plan(task, model, made, merges=merges)
        run_command("train", str(plan), "--name", name, "--watch")
    return folder


def make_refusing_base(model: str) -> str:
    """Make a model that refuses harmful requests; return its folder."""
    task = real_failures.make_refusing_task()
    return str(train_once(task, model, "refusing-base", merges=True) / "merged")


def judge_real(model: str, names: Sequence[str]) -> None:
    """Train a real model to fail in each way, and its twins; print what the verdict says of each."""
    for kind in real_failures.KINDS:
        for is_twin in (False, True):
            name = f"{kind.replace('_', '-')}-{'twin' if is_twin else 'fails'}"
            if names and not name.startswith(tuple(names)):
                continue
            start = time.monotonic()
            base = make_refusing_base(model) if kind == "safety_comply" else model
            train_once(real_failures.make_task(kind, 1, is_twin=is_twin), base, name)
            report = json.loads(run_command("eval", name, "--json"))
            failures = [each["name"] for each in report["failures"] if each.get("found")]
            print(f"{name:<22} {report['verdict']:<12} {', '.join(failures) or '-':<40} "
                  f"{time.monotonic() - start:.0f} s", flush=True)  # fmt: skip


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of names; default: all")
    parser.add_argument("--model", help="a real model, in place of the small one")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = read_arguments()
    if chosen.model:
        judge_real(chosen.model, chosen.names)
    else:
        main(chosen.names)
