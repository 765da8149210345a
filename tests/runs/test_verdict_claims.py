"""Properties of verdict and headroom: nothing is claimed that its 95% interval does not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftwizard.evaluate.failures.forgetting import find_forgetting
from ftwizard.evaluate.failures.safety import find_safety_loss
from ftwizard.plan.schema import Gate
from ftwizard.runs import describe_evaluation as words
from ftwizard.runs import paired_tests, verdict
from ftwizard.runs.evaluation import Evaluation, SetResult
from ftwizard.runs.ship_verdict import (
    MARGIN,
    MIN_ROWS,
    judge_evaluation,
    judge_headroom,
    judge_loss,
    measure_gain,
)
from ftwizard.runs.verdict import RowScores, ScoredPair, Verdict
from tests.helpers.answers import AnswerSheet, make_outcomes
from tests.runs.test_ship_verdict import change, head, measure_losses

MAX_ITEMS = 300
RANKS = {"do_not_ship": 0, "cannot_tell": 1, "ship": 2}
GAINS = st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.25])
Outcomes = Sequence[tuple[bool, bool, bool]]
"""Whether base, prompted and tuned model are right, for each item of the target set."""


@st.composite
def list_outcomes(draw: st.DrawFn) -> Outcomes:
    """Draw the outcomes of 1 to 300 items: many alike, so that every verdict occurs."""
    kinds = draw(st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=4, unique=True))
    counts = [draw(st.integers(1, MAX_ITEMS // len(kinds))) for _ in kinds]
    return [kind for kind, count in zip(kinds, counts, strict=True) for _ in range(count)]


@st.composite
def draw_change(draw: st.DrawFn) -> tuple[int, int, int]:
    """Draw how many of 1 to 300 items are fixed and broken, and their number."""
    n = draw(st.integers(1, MAX_ITEMS))
    fixed = draw(st.integers(0, n))
    return fixed, draw(st.integers(0, n - fixed)), n


def compare(outcomes: Outcomes, rival: int) -> Verdict:
    pairs = [
        ScoredPair(RowScores(match=row[rival]), RowScores(match=row[2]), 1) for row in outcomes
    ]
    return verdict.judge("short", pairs)


def judge(
    outcomes: Outcomes, sets: Mapping[str, tuple[int, int, int]], gain: float, *, is_prompted: bool
) -> Evaluation:
    fixed = sum(row[2] and not row[0] for row in outcomes)
    broken = sum(row[0] and not row[2] for row in outcomes)
    results: dict[str, SetResult] = {"target": change(fixed, broken, len(outcomes), broken)}
    results |= {name: change(*counts, counts[1]) for name, counts in sets.items()}
    over_prompted = compare(outcomes, 1) if is_prompted else None
    return judge_evaluation(
        results, measure_losses(results), Gate(gain=gain), target=compare(outcomes, 0),
        over_prompted=over_prompted,
    )  # fmt: skip


def find_rival(evaluation: Evaluation) -> verdict.MeasuredChange:
    """Return the comparison with the better of base and prompted model."""
    assert evaluation.target
    base = evaluation.target.evidence[0]
    prompted = evaluation.over_prompted and evaluation.over_prompted.evidence[0]
    return prompted if prompted and prompted.base > base.base else base


SETS = st.fixed_dictionaries({"general": draw_change(), "safety": draw_change()})
CALM = {"general": (4, 4, 100), "safety": (3, 3, 80)}


@settings(max_examples=300, deadline=None)
@given(list_outcomes(), SETS | st.just(CALM), GAINS, st.booleans())
@example([(False, True, True)] * 2, CALM, 0.05, True)
@example([(False, True, True), (True, False, False)] + [(True, True, False)] * 6, CALM, 0.0, True)
@example([(False, True, False), (True, False, False)] + [(True, True, False)] * 6, CALM, 0.0, True)
@example([(True, True, True)] * 2, CALM, 0.05, False)
@example([(True, True, True)] * 80, CALM, 0.05, False)
@example([(False, False, True)] * 5, CALM, 0.05, False)
@example([(False, False, True)] * 50, CALM, 0.05, False)
def test_a_verdict_has_the_interval_that_supports_it(
    outcomes: Outcomes, sets: dict[str, tuple[int, int, int]], gain: float, is_prompted: bool
) -> None:
    evaluation = judge(outcomes, sets, gain, is_prompted=is_prompted)
    rival, results = find_rival(evaluation), evaluation.sets
    measured = measure_gain(rival)
    assert evaluation.gate
    changes = [difference for name in sets if (difference := results[name].difference)]
    lost = [change for change in changes if judge_loss(change, 0.05)]
    assert all(change.high < 0 and -change.value > 0.05 for change in lost)
    judged = [evaluation.target, evaluation.over_prompted]
    gains = [measure_gain(item.evidence[0]) for item in judged if item]
    is_too_small = len(outcomes) >= MIN_ROWS and any(
        over.high < gain or over.high < 0 for over in gains
    )
    assert (evaluation.verdict == "do_not_ship") == (bool(lost) or is_too_small)
    if evaluation.verdict == "ship":
        assert rival.p < 0.05 and measured.low > 0
        assert measured.value >= gain - 1e-9
        assert len(outcomes) >= MIN_ROWS
        assert all(-change.low <= 0.05 + MARGIN for change in changes)
    sentences = " ".join(
        [words.describe_verdict(evaluation), *words.describe_reasons(evaluation, 9)]
    )
    names = {reason.name for reason in evaluation.reasons}
    if "a prompt does as well" in sentences or "A prompt does" in sentences:
        assert evaluation.over_prompted and is_prompted
        over = measure_gain(evaluation.over_prompted.evidence[0])  # equal to the base, or better
        assert over.high < gain or over.high < 0
    if "The base model already does this" in sentences:
        right = sum(row[0] for row in outcomes)
        assert paired_tests.bound_share(right, len(outcomes)).low >= 0.95
    if "It helped" in sentences:
        assert evaluation.target and evaluation.target.evidence[0].low > 0
    if "is below the" in sentences:
        assert min(over.high for over in gains) < gain
    if names & {"gain_unproven", "small_gain_unproven", "failure_open", "few_rows"}:
        assert evaluation.verdict != "ship"
    assert sentences.startswith(f"{words.MARKS[evaluation.verdict]} ")


@settings(max_examples=200, deadline=None)
@given(list_outcomes(), GAINS, st.booleans(), st.data())
def test_wrong_answers_on_the_target_never_improve_a_verdict(
    outcomes: Outcomes, gain: float, is_prompted: bool, data: st.DataObject
) -> None:
    right = [index for index, row in enumerate(outcomes) if row[2]]
    spoiled = set(data.draw(st.lists(st.sampled_from(right), max_size=20)) if right else [])
    worse = [
        (base, prompted, tuned and index not in spoiled)
        for index, (base, prompted, tuned) in enumerate(outcomes)
    ]
    before = judge(outcomes, CALM, gain, is_prompted=is_prompted)
    after = judge(worse, CALM, gain, is_prompted=is_prompted)
    assert RANKS[after.verdict] <= RANKS[before.verdict]


@settings(max_examples=200, deadline=None)
@given(draw_change(), st.integers(1, 30), st.sampled_from(["general", "safety", "my-prompts"]))
def test_more_losses_never_improve_a_verdict(
    counts: tuple[int, int, int], more: int, name: str
) -> None:
    fixed, broken, n = counts
    more = min(more, n - fixed - broken)
    outcomes = [(False, False, True)] * 50
    before = judge(outcomes, CALM | {name: counts}, 0.05, is_prompted=False)
    after = judge(outcomes, CALM | {name: (fixed, broken + more, n)}, 0.05, is_prompted=False)
    assert RANKS[after.verdict] <= RANKS[before.verdict]


@settings(max_examples=300, deadline=None)
@given(st.integers(1, MAX_ITEMS), st.data(), GAINS)
def test_training_is_advised_against_only_if_the_interval_leaves_no_room(
    n: int, data: st.DataObject, gain: float
) -> None:
    counts = st.integers(0, n) | st.integers(max(0, n - 3), n)
    base, prompted = data.draw(counts), data.draw(counts | st.none())
    headroom = judge_headroom(head(base, prompted, n), Gate(gain=gain))
    best = max(base, prompted or 0)
    is_enough = paired_tests.bound_share(best, n).low > 1 - gain
    assert (headroom.outcome in ("prompt_suffices", "base_suffices")) is is_enough
    text = " ".join(words.describe_headroom(headroom))
    assert ("Do not fine-tune" in text) is is_enough
    assert not is_enough or ("a prompt" in text) is (best > base)
    assert n >= 10 or not is_enough


@settings(max_examples=100, deadline=None)
@given(
    draw_change(), st.integers(0, MAX_ITEMS), st.sampled_from(["general", "refusal", "answered"])
)
def test_a_failure_is_found_or_excluded_only_by_its_interval(
    counts: tuple[int, int, int], both: int, kind: str
) -> None:
    fixed, broken, n = counts
    both = min(both, n - fixed - broken)
    sheet = AnswerSheet()
    for number, scores in enumerate(make_outcomes(both, fixed, broken, n - both - fixed - broken)):
        if kind == "general":
            sheet.add("general", f"question {number}", "a", "b", scores=scores)
            continue
        for scorer in ("refusal", "answered"):
            own = scores if scorer == kind else (1.0, 1.0)
            sheet.add("safety", f"{scorer} {number}", "a", "b", scorer=scorer, scores=own)
    detect = find_forgetting if kind == "general" else find_safety_loss
    failure = detect(sheet.inputs())
    test = paired_tests.compare_outcomes(fixed, broken, n)
    if failure.found:
        assert test.p < 0.05 and test.high < 0 and broken - fixed > 0.05 * n
    if failure.found is False:
        assert -test.low <= 0.15 or paired_tests.bound_share(both + broken, n).high <= 0.15
        assert n >= MIN_ROWS
