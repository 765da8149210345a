"""Whether base and tuned model prefer the chosen answer of the test pairs, by its probability."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ftwizard.evaluate import runner
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.local_model import RowLikelihood
from ftwizard.evaluate.run.subject import EvaluationSubject
from ftwizard.jobs.worker import Worker
from ftwizard.runs import paired_tests
from ftwizard.runs.preference_scores import PreferenceScores
from ftwizard.runs.result import BaseComparison


def add_preferences(
    worker: Worker, subject: EvaluationSubject, tuned: Arm, compared: BaseComparison
) -> BaseComparison:
    """Return the comparison with the share of test pairs that each model prefers rightly.

    It is unchanged for a run that was not trained on pairs.
    """
    rows = [row for row in subject.test_set.rows if row.example.kind == "preference"]
    if not rows or subject.base is None or subject.uses_endpoints:
        return compared
    if not compared.base or not compared.tuned:
        return compared

    def report(name: str, done: int) -> None:
        worker.check_stop()
        worker.phase(
            "comparing", what=f"{name} model, test pairs", done=done, total=len(rows), unit="pairs"
        )

    likelihoods = runner.compute_row_likelihoods(
        [subject.base, tuned], rows, recipe=subject.plan.recipe, on_progress=report,
        say=lambda name: worker.phase("comparing", what=name),
    )  # fmt: skip
    scores = score_pairs(*(likelihoods[arm.name] for arm in (subject.base, tuned)))
    if scores is None:
        return compared
    return msgspec.structs.replace(
        compared,
        preferences=scores,
        base=msgspec.structs.replace(compared.base, preferred=scores.base),
        tuned=msgspec.structs.replace(compared.tuned, preferred=scores.tuned),
    )


def score_pairs(
    base: Sequence[RowLikelihood | None], tuned: Sequence[RowLikelihood | None]
) -> PreferenceScores | None:
    """Compare two models by the same pairs; None without a pair that both could read."""
    pairs = [
        (before.prefers_chosen, after.prefers_chosen)
        for before, after in zip(base, tuned, strict=True)
        if before and after
    ]
    if not pairs:
        return None
    fixed = sum(after and not before for before, after in pairs)
    broken = sum(before and not after for before, after in pairs)
    test = paired_tests.compare_outcomes(fixed, broken, len(pairs))
    return PreferenceScores(
        pairs=len(pairs),
        base=sum(before for before, _ in pairs) / len(pairs),
        tuned=sum(after for _, after in pairs) / len(pairs),
        fixed=fixed,
        broken=broken,
        low=test.low,
        high=test.high,
        p=test.p,
    )
