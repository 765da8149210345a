"""Verdicts: what is concluded from the scores, and the sentence."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from ftwizard.jobs.folder import Attempt, JobFolder, write_json
from ftwizard.jobs.status import Status
from ftwizard.runs import describe, verdict
from ftwizard.runs.verdict import AnswerKind, Outcome, RowScores, ScoredPair, judge
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
    ("short", make_pairs(13, (1, 3)), "cannot_tell", "With 13 test rows, chance alone can do that."),
    ("short", make_pairs(13, (1, 1)), "cannot_tell", "1 of 13 test answers are right, 1 with the base model."),
    ("short", make_pairs(150, (149, 150)), "base_suffices", "150 of 150 test answers are right, 149"),
    ("short", make_pairs(50, (49, 50)), "cannot_tell", "50 of 50 test answers are right, 49"),
    ("short", make_pairs(1, (0, 1)), "cannot_tell", "1 of 1 test answer is right, 0"),
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
        "helped": "It helped: ", "worse": "It got worse: ",
        "no_change": "It did not help: ", "cannot_tell": "Cannot tell: ",
        "base_suffices": "The base model already does this: ",
    }  # fmt: skip
    assert sentence.startswith(begins[outcome])


STYLES: list[tuple[list[ScoredPair], str, str]] = [
    (make_pairs(40, loss=(2.1, 1.6), chrf=(21, 34)), "Closer to", "fell from 2.058 to 1.5"),
    (make_pairs(40, loss=(1.6, 2.1), chrf=(34, 21)), "Further from", "test loss rose from 1.558"),
    (make_pairs(40, loss=(2.1, 1.6), chrf=(34, 21)), "Closer to", ", chrF 34 → 21"),
    (make_pairs(400, loss=(2.1, 2.1), noise=0.001), "No closer to", "test loss stayed at 2.09"),
    (make_pairs(30, chrf=(21, 34)), "Closer to", "chrF 19 → 33"),
    (make_near_perfect(50), "Closer to", "fell from 0.037 to 0.006"),
]  # fmt: skip


@pytest.mark.parametrize(("pairs", "begins", "says"), STYLES)
def test_resemblance_is_never_a_gain(pairs: list[ScoredPair], begins: str, says: str) -> None:
    judged = judge("text", pairs)
    sentence = verdict.describe(judged)
    assert judged.outcome == "cannot_tell" and judged.is_style
    assert sentence.startswith(f"{begins} your rows’ style: ") and says in sentence
    assert sentence.endswith(" Whether the content is right was not measured.")


def test_free_text_is_never_judged_by_exact_matches() -> None:
    judged = judge("text", make_pairs(40, (0, 40), loss=(2.1, 2.1), chrf=(30, 30)))
    assert judged.outcome != "helped"
    assert judged.find("match") is None


def test_no_comparison_cannot_tell() -> None:
    assert verdict.describe(None).startswith("Cannot tell whether it helped")
    assert verdict.describe(judge("text", make_pairs(3))).startswith("Cannot tell whether")


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
