"""How often whole simulated evaluations ship a harmed or unchanged model, and reject a healthy one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest

from ftwizard.evaluate.failures.detect import find_failures
from ftwizard.evaluate.failures.inputs import Pair, TrainingRow
from ftwizard.evaluate.items import Item, ScorerName
from ftwizard.evaluate.results import make_evaluation
from ftwizard.evaluate.run import stages
from ftwizard.plan.schema import Gate
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.verdict import ShipVerdict
from tests.helpers.answers import AnswerSheet

RUNS = 100
GATE = Gate()
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]
CANNED = "I can only answer questions about the orders of our customers."
Harm = Literal["general", "refusals", "look_alikes", "memorization", "canned"]
HARMS: tuple[Harm, ...] = ("general", "refusals", "look_alikes", "memorization", "canned")
NOISE = {"target": 0.05, "general": 0.06, "refusals": 0.02, "look_alikes": 0.02}
"""Share of the items that change either way without any harm or gain."""
BASE = {"target": 0.4, "general": 0.7, "refusals": 0.9, "look_alikes": 0.95}
"""Share that the base model has right."""


def evaluate(
    seed: int,
    n: int,
    gain: float,
    harm: Harm | None = None,
    size: float = 0.15,
    gate: Gate = GATE,
) -> Evaluation:
    """Evaluate a model that gains ``gain`` on ``n`` target items, with ``n`` general and ``n`` safety
    items, half of them look-alikes.

    ``harm``: what it loses, as the share ``size`` of the items: right answers of a kind; answers that leak an
    id of a training row; or general answers replaced by a canned sentence.
    """
    draw = random.Random(seed)
    sheet = AnswerSheet()
    rows = [
        TrainingRow(k + 1, say(draw), f"{say(draw)} KT-{draw.randrange(10**6):06}")
        for k in range(100)
    ]

    def add(kind: str, name: str, change: float, scorer: ScorerName = "normalized") -> None:
        share, noise = BASE[kind], NOISE[kind]
        base = draw.random() < share
        rise, fall = noise + max(0.0, change), noise + max(0.0, -change)
        flips = draw.random() < (fall / share if base else rise / (1 - share))
        texts = [say(draw) for _ in range(3)]
        tuned = base != flips
        if harm == "memorization" and kind == "target" and draw.random() < size:
            texts[2] += f" {rows[draw.randrange(100)].answer[-9:]}"
        if harm == "canned" and kind == "general" and draw.random() < size:
            texts[2], tuned = CANNED, False
        sheet.add(name, *texts, scorer=scorer, scores=(float(base), float(tuned)))

    losses = {kind: -size if harm == kind else 0.0 for kind in BASE}
    for _ in range(n):
        add("target", "target", gain)
        add("general", "general", losses["general"])
    for _ in range(n // 2):
        add("refusals", "safety", losses["refusals"], "refusal")
        add("look_alikes", "safety", losses["look_alikes"], "answered")
    tuned = {item.id: sheet.tuned[item.id] for item in ask(sheet, gate)}
    failures = find_failures(replace(sheet.inputs(rows=rows, gate=gate), tuned=tuned))
    items = [item for item in sheet.items if item.id in tuned]
    answers = {"base": sheet.base.values(), "tuned": tuned.values()}
    return make_evaluation(items, answers, failures, gate, rows)


def ask(sheet: AnswerSheet, gate: Gate) -> list[Item]:
    """Return the items that are asked until they decide."""

    def read_pairs(part: Sequence[Item]) -> list[Pair]:
        return [Pair(item, sheet.base[item.id], sheet.tuned[item.id]) for item in part]

    return [item for part in stages.split(sheet.items, gate, read_pairs) for item in part]


def say(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=12))


def count(n: int, gain: float, harm: Harm | None = None, runs: int = RUNS) -> Counter[ShipVerdict]:
    return Counter(evaluate(seed, n, gain, harm).verdict for seed in range(runs))


@pytest.mark.slow
def test_a_healthy_model_ships() -> None:
    verdicts = count(100, 0.25)
    assert verdicts["do_not_ship"] <= 0.02 * RUNS, verdicts
    assert verdicts["ship"] >= 0.8 * RUNS, verdicts


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_model_is_not_shipped(harm: Harm) -> None:
    verdicts = count(100, 0.25, harm)
    assert verdicts["ship"] <= 0.03 * RUNS, verdicts


@pytest.mark.parametrize("gain", [0.0, -0.05])
def test_a_model_that_did_not_gain_is_not_shipped(gain: float) -> None:
    assert count(100, gain, runs=30)["ship"] <= 1


@pytest.mark.parametrize("harm", ["general", "refusals", "look_alikes"])
def test_a_loss_that_the_gate_tolerates_does_not_count(harm: Harm) -> None:
    gate = Gate(max_general_loss=0.3, max_safety_loss=0.3)
    verdicts = Counter(evaluate(seed, 100, 0.3, harm, gate=gate).verdict for seed in range(20))
    assert verdicts["do_not_ship"] == 0 and verdicts["ship"] >= 15, verdicts
