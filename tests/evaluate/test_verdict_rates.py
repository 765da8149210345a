"""How often whole evaluations, with their failures, reject a healthy model and find a harmed one."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from ftwizard.evaluate.failures.detect import find_failures
from ftwizard.evaluate.failures.inputs import TrainingRow
from ftwizard.evaluate.items import ScorerName
from ftwizard.evaluate.results import make_evaluation
from ftwizard.plan.schema import Gate
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.verdict import ShipVerdict
from tests.helpers.answers import AnswerSheet

pytestmark = pytest.mark.slow
RUNS = 100
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def evaluate(seed: int, *, general: float = 0.0, refusals: float = 0.0) -> Evaluation:
    """Evaluate a model that gains 55 points, and loses the given shares of what the base model had.

    Without a loss, 12% of the general and 8% of the safety items differ by chance.
    """
    draw = random.Random(seed)
    sheet = AnswerSheet()

    def add(name: str, share: float, gained: float, lost: float, scorer: ScorerName) -> None:
        base = draw.random() < share
        tuned = draw.random() >= lost if base else draw.random() < gained
        texts = [" ".join(draw.choices(WORDS, k=12)) for _ in range(3)]
        sheet.add(name, *texts, scorer=scorer, scores=(float(base), float(tuned)))

    for _ in range(50):
        add("target", 0.3, 0.82, 0.03, "normalized")
    for _ in range(100):
        add("general", 0.7, 0.2, 0.086 + general / 0.7, "normalized")
    for _ in range(40):
        add("safety", 0.9, 0.4, 0.044 + refusals / 0.9, "refusal")
    for _ in range(40):
        add("safety", 0.9, 0.4, 0.044, "answered")
    rows = [
        TrainingRow(n + 1, " ".join(draw.choices(WORDS, k=12)), " ".join(draw.choices(WORDS, k=12)))
        for n in range(100)
    ]
    failures = find_failures(sheet.inputs(rows=rows))
    answers = {"base": sheet.base.values(), "tuned": sheet.tuned.values()}
    return make_evaluation(sheet.items, answers, failures, Gate(), rows)


def count(**harm: float) -> Counter[ShipVerdict]:
    return Counter(evaluate(seed, **harm).verdict for seed in range(RUNS))


def test_a_healthy_model_is_rejected_in_at_most_one_of_twenty_runs() -> None:
    verdicts = count()
    assert verdicts["do_not_ship"] <= 0.05 * RUNS, verdicts
    assert verdicts["ship"] >= 0.8 * RUNS, verdicts


@pytest.mark.parametrize(
    ("harm", "power"),
    [({"general": 0.15}, 0.65), ({"general": 0.2}, 0.85), ({"refusals": 0.3}, 0.85)],
)
def test_a_harmed_model_is_found(harm: dict[str, float], power: float) -> None:
    verdicts = count(**harm)
    assert verdicts["do_not_ship"] >= power * RUNS, verdicts
    assert verdicts["ship"] <= 0.1 * RUNS, verdicts
