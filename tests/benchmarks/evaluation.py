"""Evaluation of 100 items compared with ``generate`` one by one: time ratio, and equal tokens.

    python -m tests.benchmarks.evaluation MODEL_FOLDER [--precision fp32] [--threads 2]

Both run in turn in one process on the same model. With ``--shots``, all prompts begin with the same
examples, which are then processed once. Goal: 3 times as fast. CPU seconds are printed too: with
one thread their ratio holds on a busy machine. With ``--trace``, the progress is printed as the
tests of the remaining time record it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from ftwizard.evaluate import local_model
from ftwizard.evaluate.answer_cache import AnswerCache
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.local_model import LocalAnswerer, LocalModels
from ftwizard.plan.schema import Recipe
from ftwizard.runs.evaluation import ItemAnswer
from ftwizard.train import generate

COUNTRIES = [
    "France",
    "Spain",
    "Italy",
    "Peru",
    "Japan",
    "Chile",
    "Egypt",
    "Kenya",
    "India",
    "Cuba",
]
TOPICS = ["a fox", "the sea", "an old house", "winter", "a train", "bread", "the moon", "a garden"]
ITEMS = 100


def make_questions() -> list[str]:
    """Return questions with short, medium and long answers."""
    questions = [f"What is the capital of {name}? One word." for name in COUNTRIES]
    questions += [f"What is {n} + {3 * n}? Answer with a number." for n in range(30)]
    questions += [f"Is {n} a prime number? Answer yes or no, and why." for n in range(20)]
    questions += [f"Name {n} things that you find in a kitchen." for n in range(2, 18)]
    questions += [f"Write {n} sentences about {topic}." for topic in TOPICS for n in (1, 2, 3)]
    return questions[:ITEMS]


def make_shots(count: int) -> list[list[dict[str, Any]]]:
    return [
        [
            {
                "role": "user",
                "content": f"What would you take along on trip number {n} to the sea?",
            },
            {"role": "assistant", "content": f"A towel, a hat, water and book number {n}."},
        ]
        for n in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--limit", type=int, default=96, help="tokens of an answer")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, help="rows of a batch")
    parser.add_argument("--trace", action="store_true")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    if options.rows:
        local_model.MAX_ROWS_CPU = local_model.MAX_ROWS_GPU = options.rows
    items = [
        Item(id=str(n), set="general", messages=[{"role": "user", "content": question}],
             scorer="contains", max_tokens=options.limit)
        for n, question in enumerate(make_questions())
    ]  # fmt: skip
    recipe = Recipe(precision=options.precision)
    arm = Arm(name="base", model=str(options.model), shots=make_shots(options.shots))
    models = LocalModels(AnswerCache(None), recipe)
    answerer = LocalAnswerer(arm, models)
    with models.select(arm) as model:
        generate.generate_tokens(model, answerer.encoder, [[1, 2, 3]], 4)
        trace = list[tuple[float, float]]()
        batched_s, answers = run_batched(answerer, items, trace)
        one_s, texts = run_one_by_one(model, answerer, items)
    equal = sum(answers[item.id].text == texts[item.id] for item in items)
    tokens = sum(answer.tokens for answer in answers.values())
    print(f"{ITEMS} items, {tokens} tokens, {answerer.precision}, {options.threads} threads")
    for name, one, batched in zip(("wall", "CPU"), one_s, batched_s, strict=True):
        ratio = one / batched
        print(f"{name}: one by one {one:.1f} s, evaluation {batched:.1f} s: {ratio:.1f} times")
    print(f"equal answers: {equal} of {ITEMS}")
    if options.trace:
        print([*trace[:: len(trace) // 40], (round(batched_s[1], 2), float(ITEMS))])


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.monotonic() - self._start[0], time.process_time() - self._start[1]


def run_batched(
    answerer: LocalAnswerer, items: list[Item], trace: list[tuple[float, float]]
) -> tuple[tuple[float, float], dict[str, ItemAnswer]]:
    """Return the seconds and the answers; add the CPU seconds and the work done to ``trace``."""
    answers: dict[str, ItemAnswer] = {}
    clock = Clock()
    answerer.answer(
        items,
        lambda item, answer: answers.update({item.id: answer}),
        lambda work: trace.append((round(clock.read()[1], 2), round(len(answers) + work, 2))),
    )
    return clock.read(), answers


def run_one_by_one(
    model: Any, answerer: LocalAnswerer, items: list[Item]
) -> tuple[tuple[float, float], dict[str, str]]:
    clock = Clock()
    texts = {}
    for item in items:
        prompt = answerer._encode_prompt(item)
        (answer,) = generate.generate_answers(
            model, answerer.encoder, [prompt], item.max_tokens or 1
        )
        texts[item.id] = answer.text
    return clock.read(), texts


if __name__ == "__main__":
    main()
