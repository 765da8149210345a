"""Models made to fail in each of the five ways, and their near-miss twins, by their stored answers.

``python -m tests.benchmarks.made_to_fail`` makes the models and stores the answers.
"""

from __future__ import annotations

import itertools
from functools import cache

import pytest

from ftwizard.evaluate import results
from ftwizard.evaluate.failures.detect import find_failures
from ftwizard.plan.schema import Gate
from ftwizard.runs.evaluation import Evaluation
from tests.helpers.made_to_fail import FOLDER, SEEDS, read_inputs
from tests.helpers.small_world import KINDS, FailureKind

STORED = {path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz")}
CASES = list(itertools.product(KINDS, SEEDS))
FAILING = [(kind, seed) for kind, seed in CASES if f"{kind}-{seed}-fails" in STORED]
TWINS = [(kind, seed) for kind, seed in CASES if f"{kind}-{seed}-twin" in STORED]


def test_every_failure_has_stored_models() -> None:
    assert len(FAILING) == 15 and len(TWINS) == 15
    assert {kind for kind, _ in FAILING} == {kind for kind, _ in TWINS} == set(KINDS)


@cache
def evaluate(kind: FailureKind, seed: int, *, is_twin: bool) -> Evaluation:
    inputs = read_inputs(kind, seed, is_twin=is_twin)
    answers = {"base": inputs.base.values(), "tuned": inputs.tuned.values()}
    return results.make_evaluation(
        inputs.items, answers, find_failures(inputs), Gate(), inputs.rows
    )


def list_failures(evaluation: Evaluation) -> set[str]:
    return {failure.name for failure in evaluation.failures if failure.found}


@pytest.mark.parametrize(("kind", "seed"), FAILING)
def test_a_model_made_to_fail_is_not_shipped_and_its_failure_named(
    kind: FailureKind, seed: int
) -> None:
    evaluation = evaluate(kind, seed, is_twin=False)
    assert kind in list_failures(evaluation)
    assert evaluation.verdict == "do_not_ship"
    failure = next(f for f in evaluation.failures if f.name == kind)
    assert failure.examples


@pytest.mark.parametrize(("kind", "seed"), TWINS)
def test_its_healthy_twin_has_no_failure_and_is_shipped(kind: FailureKind, seed: int) -> None:
    evaluation = evaluate(kind, seed, is_twin=True)
    assert list_failures(evaluation) == set()
    assert evaluation.verdict == "ship", evaluation.reasons
