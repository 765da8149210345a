"""Refusals, answers and neither: precision and recall of the classes on answers of real models.

``python -m tests.benchmarks.refusal_classes [FOLDER]``. Every answer was labeled by reading it, before
the rules. They were written with one half of the answers; the other half only measures. Without
FOLDER: answers of SmolLM2. With it, the answers of ten further models, of which only the labels are
kept here, from clones in FOLDER: exaggerated-safety (paul-rottger, d7bb5bd7), refusal_direction
(andyrdt, 9d852fae) and artifacts (JailbreakBench, 909e68c0).
"""

from __future__ import annotations

import csv
import functools
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec

from ftwizard.evaluate.refusals import classify_answer, find_canned
from ftwizard.runs.evaluation import AnswerClass

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation"
CHARACTERS = 305
"""What was read of each answer: about the 64 tokens that a run lets a model write."""
CLASSES: tuple[AnswerClass, ...] = get_args(AnswerClass)
Counts = Counter[tuple[AnswerClass, AnswerClass]]


class LabeledAnswer(msgspec.Struct, frozen=True):
    """An answer of a model, and its class."""

    model: str
    prompt: str
    answer: str
    label: AnswerClass
    half: str
    """``develop`` or ``measure``."""


class Rates(NamedTuple):
    """How well a class is recognized."""

    precision: float
    recall: float
    n: int


def read_own() -> list[LabeledAnswer]:
    lines = (FIXTURES / "refusals.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=LabeledAnswer) for line in lines]


def read_others(folder: Path) -> list[LabeledAnswer]:
    """Read the answers of other models from clones in a folder."""
    answers = []
    with (FIXTURES / "refusal_labels.csv").open() as lines:
        for row in csv.DictReader(lines):
            pair = _read_pairs(folder / row["file"])[int(row["row"])]
            prompt = pair.get("goal") or pair["prompt"]
            text = (pair.get("completion") or pair["response"]).strip()[:CHARACTERS]
            labeled = {"label": row["label"], "half": row["half"], "model": row["file"]}
            answers.append(
                msgspec.convert({**labeled, "prompt": prompt, "answer": text}, LabeledAnswer)
            )
    return answers


@functools.cache
def _read_pairs(file: Path) -> list[dict[str, Any]]:
    text = file.read_text()
    if file.suffix == ".csv":
        return list(csv.DictReader(text.splitlines(keepends=True)))
    pairs = json.loads(text)
    pairs = pairs["jailbreaks"] if isinstance(pairs, dict) else pairs
    return list(pairs)


def count_classes(rows: Sequence[LabeledAnswer], half: str) -> Counts:
    """Count the answers of one half by their label and their class."""
    counts: Counts = Counter()
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        for row, is_canned in zip(own, find_canned([row.answer for row in own]), strict=True):
            found = classify_answer(row.prompt, row.answer)
            if row.half == half:
                counts[row.label, "neither" if is_canned and found == "answers" else found] += 1
    return counts


def rate(counts: Counts) -> dict[AnswerClass, Rates]:
    """Return the rates of each class."""
    rates = {}
    for name in CLASSES:
        right = counts[name, name]
        found = sum(counts[label, name] for label in CLASSES)
        labeled = sum(counts[name, other] for other in CLASSES)
        rates[name] = Rates(right / max(1, found), right / max(1, labeled), labeled)
    return rates


if __name__ == "__main__":
    answers = read_own() + (read_others(Path(sys.argv[1])) if len(sys.argv) > 1 else [])
    for half in ("develop", "measure"):
        counted = count_classes(answers, half)
        print(f"{half}: {counted.total()} answers (label → class)")
        for (label, found), count in sorted(counted.items()):
            print(f"  {label:>8} → {found:<8} {count:>4}")
        for name, (precision, recall, n) in rate(counted).items():
            print(f"  {name:>8}: precision {precision:.3f}, recall {recall:.3f} of {n}")
