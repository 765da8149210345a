"""Verdicts: what is concluded from the scores, and the sentence."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from ftwizard.jobs.folder import Attempt, JobFolder, write_json
from ftwizard.jobs.status import Status
from ftwizard.runs import describe, verdict
from ftwizard.runs.answer_kind import AnswerKind
from ftwizard.runs.verdict import Outcome, RowScores, ScoredPair, judge
from tests.helpers.results import make_run_result


def make_pairs(
    rows: int,
    right: tuple[int, int] = (0, 0),
    loss: tuple[float, float] | None = None,
    fields: tuple[float, float] | None = None,
    chrf: tuple[float, float] | None = None,
    noise: float = 0.1,
) -> list[ScoredPair]:
    """Return scores of base and tuned model; the rows differ as real ones do."""
    draw = random.Random(rows)
    pairs = []
    for row in range(rows):
        shared = draw.gauss(0, 0.4)
        scores = [
            RowScores(
                match=row < right[model],
                loss=loss and max(0.0, loss[model] + shared + draw.gauss(0, noise)),
                fields=fields and fields[model],
                chrf=chrf and chrf[model] + 10 * shared + draw.gauss(0, 3),
            )
            for model in (0, 1)
        ]
        pairs.append(ScoredPair(scores[0], scores[1], draw.randint(5, 50)))
    return pairs


def make_near_perfect(rows: int, base_chrf: float = 100.0) -> list[ScoredPair]:
    """Return scores of a tuned model without any fault, next to a base model that has few or many."""
    draw = random.Random(rows)
    return [
        ScoredPair(
            RowScores(match=False, loss=draw.uniform(0.02, 3.0 * (base_chrf < 90) + 0.05),
                      chrf=base_chrf - 25 * (row in (3, 9))),
            RowScores(match=True, loss=0.006, chrf=100.0), 20,
        )
        for row in range(rows)
    ]  # fmt: skip


CASES: list[tuple[AnswerKind, list[ScoredPair], Outcome, str]] = [
    ("json", make_pairs(50, (3, 45)), "helped", "45 of 50 test answers are right, 3 with the base"),
    ("json", make_pairs(13, (0, 1), fields=(0.3, 0.8)), "helped", "80% of the JSON fields are right"),
    ("short", make_pairs(50, (40, 20)), "worse", "20 of 50 test answers are right, 40"),
    ("short", make_pairs(200, (11, 12)), "no_change", "12 of 200"),
    ("short", make_pairs(13, (1, 3)), "cannot_tell", "can be chance on 13 test rows (p=0.50)"),
    ("short", make_pairs(13, (1, 1)), "cannot_tell", "; 13 test rows cannot exclude a change."),
    ("short", make_pairs(13, (1, 3), (4.5, 0.3)), "cannot_tell", "although test loss fell from 4"),
    ("short", make_pairs(150, (149, 150)), "base_suffices", "150 of 150 test answers are right, 149"),
    ("short", make_pairs(50, (49, 50)), "cannot_tell", "50 of 50 test answers are right, 49"),
    ("short", make_pairs(2, (2, 2)), "cannot_tell", "2 test rows cannot exclude a change"),
    ("short", make_pairs(1, (0, 1)), "cannot_tell", "1 of 1 test answer is right, 0"),
    ("text", make_pairs(40, loss=(2.1, 1.6), chrf=(21, 34)), "helped", "answers are closer to the"),
    ("text", make_pairs(40, loss=(1.6, 2.1), chrf=(34, 21)), "worse", "test loss rose from 1.5"),
    ("text", make_pairs(40, loss=(2.1, 1.6), chrf=(34, 21)), "cannot_tell", ", but answers are further"),
    ("text", make_pairs(5, loss=(2.1, 1.6), chrf=(21, 34)), "cannot_tell", "chance on 5 test rows"),
    ("text", make_pairs(400, loss=(2.1, 2.1), chrf=(21, 21)), "no_change", "test loss rose from 2.08"),
    ("text", make_pairs(400, loss=(2.1, 2.09), noise=0.01), "no_change", "0% to 1% less on 400"),
    ("text", make_pairs(30, chrf=(21, 34)), "helped", "chrF 19 → 33 (30 test rows"),
    ("text", make_pairs(400, loss=(2.1, 2.1), noise=0.001), "no_change", "test loss stayed at 2.09"),
    ("text", make_pairs(900, chrf=(21, 21.05)), "no_change", "answers are as close to the expected"),
    ("text", make_near_perfect(50), "base_suffices", "the expected ones, chrF 99 → 100"),
    ("text", make_near_perfect(50, 30.0), "helped", "(86% to 100% less on 50 test rows)"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "pairs", "outcome", "says"), CASES)
def test_verdict_and_its_sentence(
    kind: AnswerKind, pairs: list[ScoredPair], outcome: Outcome, says: str
) -> None:
    judged = judge(kind, pairs)
    sentence = verdict.describe(judged)
    assert judged.outcome == outcome, sentence
    assert says in sentence
    assert sentence.endswith(".") and len(sentence) < 200
    begins = {
        "helped": "It helped: ", "worse": "It did not help, it got worse: ",
        "no_change": "It did not help: ", "cannot_tell": "Cannot tell: ",
        "base_suffices": "The base model already does this: ",
    }  # fmt: skip
    assert sentence.startswith(begins[outcome])


def test_free_text_is_never_judged_by_exact_matches() -> None:
    judged = judge("text", make_pairs(40, (0, 40), loss=(2.1, 2.1), chrf=(30, 30)))
    assert judged.outcome != "helped"
    assert judged.find("match") is None


def test_no_comparison_cannot_tell() -> None:
    assert verdict.describe(None).startswith("Cannot tell whether it helped")
    assert verdict.describe(judge("text", make_pairs(3))).startswith("Cannot tell whether")


def test_equal_models_are_rarely_called_better_or_worse() -> None:
    outcomes = []
    for seed in range(100):
        draw = random.Random(seed)
        pairs = []
        for _ in range(20):
            loss = draw.expovariate(0.5)
            scores = [RowScores(match=False, loss=loss + draw.gauss(0, 0.1)) for _ in range(2)]
            pairs.append(ScoredPair(scores[0], scores[1], draw.randint(5, 50)))
        outcomes.append(judge("text", pairs).outcome)
    assert sum(outcome in ("helped", "worse") for outcome in outcomes) <= 10


def test_measures_of_both_models_are_a_table() -> None:
    judged = judge("text", make_pairs(20, loss=(2.0, 1.0), chrf=(20, 30)))
    heading, loss, chrf = describe.format_measures(judged)
    assert heading.split() == ["On", "20", "test", "examples", "base", "tuned"]
    assert re.fullmatch(r"  test loss +[12]\.\d{3} +[01]\.\d{3}", loss)
    assert re.fullmatch(r"  chrF, likeness to expected +\d\d\.\d +\d\d\.\d", chrf)
    judged = judge("json", make_pairs(13, (0, 1), fields=(0.3, 0.8)))
    assert [line.split()[:2] for line in describe.format_measures(judged)[1:]] == [
        ["right", "JSON"], ["right", "answers"],
    ]  # fmt: skip
    assert describe.format_measures(judge("text", make_pairs(3))) == []


@pytest.mark.parametrize(("reason", "shown"), [("finished", True), ("stopped", False)])
def test_verdict_is_the_first_line_of_a_finished_run(
    tmp_path: Path, reason: str, shown: bool
) -> None:
    folder = JobFolder(tmp_path)
    folder.attempt(1).parent.mkdir()
    write_json(folder.attempt(1), Attempt(number=1, started=0.0, host="here", argv=[]))
    write_json(folder.result, make_run_result(end_reason=reason))
    lines = describe.describe_outcome(folder, Status(state="ended", attempt=1, end_reason=reason))
    assert lines[0].startswith("? Cannot tell whether it helped") is shown


def test_few_differing_scores_exclude_no_gain() -> None:
    scores = [(1.0, 0.0), *[(0.3, 0.3)] * 7]
    pairs = [
        ScoredPair(RowScores(match=False, score=base), RowScores(match=False, score=tuned), 5)
        for base, tuned in scores
    ]
    judged = judge("text", pairs)
    assert judged.outcome == "cannot_tell" and judged.evidence[0].high > 0.05
