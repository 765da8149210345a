"""Tests of runs/ship_verdict.py: every combination that matters, near misses, and error rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from ftwizard.plan.schema import Gate
from ftwizard.runs import describe_evaluation as words
from ftwizard.runs import paired_tests, verdict
from ftwizard.runs.evaluation import (
    Action,
    ArmScore,
    Evaluation,
    Failure,
    FailureName,
    HandComparison,
    NearRow,
    PairedDifference,
    SetResult,
)
from ftwizard.runs.evaluation import Flip as FlippedItem
from ftwizard.runs.failure_text import FAILURE_TITLES
from ftwizard.runs.ship_verdict import judge_again, judge_evaluation, judge_headroom, judge_loss
from ftwizard.runs.verdict import RowScores, ScoredPair, ShipVerdict, Verdict

GATE = Gate(gain=0.05, max_general_loss=0.05, max_safety_loss=0.05)
FAILURES: Sequence[FailureName] = (
    "forgetting", "overfitting", "memorization", "mode_collapse", "safety",
)  # fmt: skip


def score(right: int, n: int, metric: str = "accuracy") -> ArmScore:
    low, high = paired_tests.bound_share(right, n)
    return ArmScore(score=right / n, low=low, high=high, metric=metric, n=n)


def change(
    fixed: int, broken: int, n: int, base: int | None = None, total: int | None = None
) -> SetResult:
    """Make a set of ``n`` scored items of ``total``, of which the base model has ``base`` right."""
    test = paired_tests.compare_outcomes(fixed, broken, n)
    base = n // 2 if base is None else base
    return SetResult(
        n=total or n,
        arms={"base": score(base, n), "tuned": score(base + fixed - broken, n)},
        difference=PairedDifference(value=test.change, low=test.low, high=test.high, p=test.p, n=n),
    )


def compare(both: int, fixed: int, broken: int, n: int) -> Verdict:
    """Compare two models of which ``both`` have that many items right."""
    outcomes = [(1, 1)] * both + [(0, 1)] * fixed + [(1, 0)] * broken
    outcomes += [(0, 0)] * (n - len(outcomes))
    pairs = [ScoredPair(RowScores(match=bool(a)), RowScores(match=bool(b)), 1) for a, b in outcomes]
    return verdict.judge("short", pairs)


HELPED = compare(10, 25, 1, 50)
STEADY = {"target": change(25, 1, 50, 11), "general": change(4, 3, 100), "safety": change(2, 1, 80)}
HEALTHY = [Failure(name=name, found=False) for name in FAILURES]


def measure_losses(sets: dict[str, SetResult], gate: Gate = GATE) -> list[Failure]:
    """Judge the failures of packaged sets by their results, and the others as not found."""
    failures: list[Failure] = []
    limits = {"general": gate.max_general_loss, "safety": gate.max_safety_loss}
    for name, shown_by in (("forgetting", "general"), ("safety", "safety")):
        change = sets[shown_by].difference
        assert change
        found = judge_loss(change, limits[shown_by])
        needs = "items" if found is None else ""
        failures.append(msgspec.convert({"name": name, "found": found, "needs": needs}, Failure))
    return failures + [f for f in HEALTHY if f.name not in ("forgetting", "safety")]


def judge(
    sets: dict[str, SetResult] | None = None,
    failures: Sequence[Failure] = HEALTHY,
    gate: Gate = GATE,
    target: Verdict | None = HELPED,
    over_prompted: Verdict | None = None,
    **changed: SetResult,
) -> Evaluation:
    sets = {**(STEADY if sets is None else sets), **changed}
    return judge_evaluation(sets, failures, gate, target=target, over_prompted=over_prompted)


def names(evaluation: Evaluation) -> list[str]:
    return [reason.failure or reason.name for reason in evaluation.reasons]


def test_a_gain_and_no_loss_ships() -> None:
    evaluation = judge()
    assert evaluation.verdict == "ship"
    assert names(evaluation) == ["target", "no_loss"]
    assert not evaluation.actions


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_forbids_to_ship_although_the_target_rose(name: FailureName) -> None:
    evaluation = judge(failures=[*HEALTHY, Failure(name=name, found=True)])
    assert evaluation.verdict == "do_not_ship"
    assert names(evaluation)[0] == name and "target" in names(evaluation)
    assert evaluation.actions


@pytest.mark.parametrize("kind", ["refusals", "look_alikes"])
def test_refusals_that_may_be_lost_leave_it_open(kind: str) -> None:
    counts = {"refusals": 26, "look_alikes": 14}
    lost = Failure(
        name="safety", found=None, needs="items", evidence={**counts, f"{kind}_change": -0.15}
    )
    evaluation = judge(failures=[*HEALTHY[:-1], lost], safety=change(2, 6, 40))
    assert evaluation.verdict == "cannot_tell"
    assert names(evaluation)[0] == "safety"
    (action,) = evaluation.actions
    assert (action.kind, action.set) == ("more_items", "safety") and action.value
    needed = paired_tests.count_needed_rows(0.15)
    assert action.value * counts[kind] / 40 == pytest.approx(needed, abs=1)


GAINS: dict[ShipVerdict, Verdict] = {
    "ship": HELPED, "cannot_tell": compare(10, 8, 3, 50), "do_not_ship": compare(10, 1, 25, 50),
}  # fmt: skip


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("state", ["found", "not found", "few items", "no data"])
def test_table_of_truth(gain: ShipVerdict, name: FailureName, state: str) -> None:
    found = {"found": True, "not found": False}.get(state)
    needs = {"few items": "items", "no data": "data"}.get(state, "")
    failure = msgspec.convert({"name": name, "found": found, "needs": needs}, Failure)
    others = [other for other in HEALTHY if other.name != name]
    evaluation = judge(failures=[*others, failure], target=GAINS[gain])
    expected: dict[str, ShipVerdict] = {"found": "do_not_ship", "few items": "cannot_tell"}
    if gain == "do_not_ship":
        assert evaluation.verdict == "do_not_ship"
    else:
        assert evaluation.verdict == expected.get(state, gain)
    headline, title = words.describe_verdict(evaluation), FAILURE_TITLES[name].lower()
    if state == "no data":
        assert f"not judged: {title}" in headline
    elif state == "found" or (state == "few items" and gain == "ship"):
        assert title in headline
    else:
        assert "not judged" not in headline


LOSSES: list[tuple[int, int, int, Gate, ShipVerdict, str]] = [
    # fixed, broken, items, gate, verdict, reason
    (2, 16, 100, GATE, "do_not_ship", "loss"),
    (4, 11, 100, GATE, "cannot_tell", "loss_unproven"),  # 17 points may be lost
    (8, 12, 100, GATE, "ship", "no_loss"),  # 5 points are tolerated
    (8, 13, 60, GATE, "cannot_tell", "loss_unproven"),
    (0, 6, 120, Gate(gain=0, max_general_loss=0.05), "ship", "no_loss"),
    (0, 6, 120, Gate(gain=0, max_general_loss=0.01), "do_not_ship", "loss"),
    (5, 20, 100, Gate(gain=0, max_general_loss=0.3), "ship", "no_loss"),
    (0, 0, 100, Gate(gain=0, max_general_loss=0), "ship", "no_loss"),
    (0, 0, 5, GATE, "cannot_tell", "few_items"),
    (16, 2, 100, GATE, "ship", "no_loss"),
]  # fmt: skip


@pytest.mark.parametrize(("fixed", "broken", "n", "gate", "expected", "reason"), LOSSES)
def test_a_loss_counts_if_it_is_shown_and_beyond_the_gate(
    fixed: int, broken: int, n: int, gate: Gate, expected: ShipVerdict, reason: str
) -> None:
    evaluation = judge({**STEADY, "my-prompts": change(fixed, broken, n)}, gate=gate)
    assert evaluation.verdict == expected
    assert reason in names(evaluation)


def test_a_loss_that_a_failure_names_is_not_named_twice() -> None:
    failures = [Failure(name="forgetting", found=True)]
    evaluation = judge(failures=failures, general=change(2, 16, 100))
    assert names(evaluation)[:1] == ["forgetting"] and "loss" not in names(evaluation)


@pytest.mark.parametrize("general", [change(2, 7, 40), change(9, 1, 40), change(0, 2, 12)])
def test_of_a_set_that_a_failure_names_nothing_else_is_told(general: SetResult) -> None:
    """Neither that its loss can be chance, nor that none was found: general text showed it."""
    forgetful = Failure(name="forgetting", found=True)
    evaluation = judge(failures=[forgetful, *HEALTHY[1:]], general=general)
    assert names(evaluation) == ["forgetting", "target", "no_loss"]
    assert evaluation.reasons[-1].sets == ["safety"]


def test_several_own_sets_are_corrected_for_being_several() -> None:
    random = np.random.default_rng(3)
    shares = {}
    for count in (1, 5):
        verdicts: Counter[ShipVerdict] = Counter()
        for _ in range(300):
            draws = random.multinomial(60, [0.06, 0.06, 0.88], size=count).tolist()
            own = {f"own-{n}": change(f, b, 60) for n, (f, b, _) in enumerate(draws)}
            verdicts[judge({**STEADY, **own}).verdict] += 1
        assert verdicts["do_not_ship"] <= 0.02 * verdicts.total()
        shares[count] = verdicts["ship"] / verdicts.total()
    assert shares[5] >= shares[1] - 0.05 and shares[5] >= 0.75, shares
    lost = {f"own-{n}": change(2, 4 if n else 20, 60) for n in range(5)}
    assert judge({**STEADY, **lost}).verdict == "do_not_ship"


TARGETS: list[tuple[Verdict | None, Verdict | None, ShipVerdict, str]] = [
    (compare(10, 25, 1, 50), None, "ship", "target"),
    (compare(10, 1, 25, 50), None, "do_not_ship", "target"),  # it got worse
    (compare(147, 1, 1, 150), None, "do_not_ship", "small_gain"),  # the base model does it already
    (compare(100, 1, 1, 200), None, "do_not_ship", "small_gain"),  # no change
    (compare(57, 1, 1, 60), None, "cannot_tell", "gain_unproven"),  # 8 points are possible
    (compare(2, 0, 0, 2), None, "cannot_tell", "few_rows"),
    (compare(0, 9, 0, 9), None, "cannot_tell", "few_rows"),
    (compare(10, 8, 3, 50), None, "cannot_tell", "gain_unproven"),
    (compare(10, 3, 1, 20), None, "cannot_tell", "gain_unproven"),
    (None, None, "cannot_tell", "not_compared"),
    # compared with a prompt as well
    (compare(10, 25, 1, 50), compare(12, 22, 2, 50), "ship", "over_prompted"),
    (compare(20, 72, 2, 100), compare(90, 2, 6, 100), "do_not_ship", "prompt_suffices"),
    (
        compare(10, 36, 1, 50),
        compare(40, 0, 8, 50),
        "do_not_ship",
        "prompt_suffices",
    ),  # it is better
    (compare(10, 36, 1, 50), compare(45, 1, 3, 50), "cannot_tell", "gain_unproven"),
    (compare(0, 2, 0, 2), compare(2, 0, 0, 2), "cannot_tell", "few_rows"),
    (compare(10, 30, 1, 50), compare(34, 6, 3, 50), "cannot_tell", "gain_unproven"),
    # as good as none by its score, but right where the tuned model is wrong
    (compare(1, 1, 7, 10), compare(2, 0, 6, 10), "do_not_ship", "prompt_suffices"),
    # a bit worse than none, by chance
    (compare(0, 2, 8, 10), compare(0, 0, 7, 10), "do_not_ship", "prompt_suffices"),
    # a prompt that is worse than none
    (compare(10, 25, 1, 50), compare(2, 33, 1, 50), "ship", "target"),
]


@pytest.mark.parametrize(("target", "over_prompted", "expected", "reason"), TARGETS)
def test_the_gain_is_judged_over_base_and_prompt(
    target: Verdict | None, over_prompted: Verdict | None, expected: ShipVerdict, reason: str
) -> None:
    evaluation = judge(target=target, over_prompted=over_prompted)
    assert evaluation.verdict == expected
    assert reason in names(evaluation)


def test_a_model_that_is_worse_than_its_parent_is_not_shipped() -> None:
    over_parent = compare(35, 0, 8, 50)
    assert over_parent.outcome == "worse"
    evaluation = judge_evaluation(
        STEADY, HEALTHY, GATE, target=HELPED, over_prompted=None, over_parent=over_parent
    )
    assert evaluation.verdict == "do_not_ship"
    assert words.describe_verdict(evaluation) == "✗ Do not ship: it is worse than its parent"
    assert words.mark_set(evaluation, "target") == "✗"


def test_a_gain_must_reach_the_gate() -> None:
    small = compare(50, 8, 0, 200)  # 4 points (1 to 8), p=0.008
    assert small.outcome == "helped"
    evaluation = judge(target=small)
    assert evaluation.verdict == "cannot_tell" and names(evaluation)[0] == "small_gain_unproven"
    assert judge(target=small, gate=Gate(gain=0.04)).verdict == "ship"
    evaluation = judge(target=small, gate=Gate(gain=0.08))
    assert evaluation.verdict == "do_not_ship" and names(evaluation)[0] == "small_gain"


def resemble(rows: int = 30) -> Verdict:
    """Compare answers of which only loss and chrF are known, both much better."""
    pairs = [
        ScoredPair(
            RowScores(match=False, loss=2.0 + 0.01 * n, chrf=10.0 + n % 3),
            RowScores(match=False, loss=0.5 + 0.01 * n, chrf=95.0 + n % 3),
            10,
        )
        for n in range(rows)
    ]
    return verdict.judge("text", pairs)


def test_resemblance_alone_never_decides() -> None:
    evaluation = judge(target=resemble())
    assert evaluation.verdict == "cannot_tell" and names(evaluation)[0] == "style_only"
    assert [action.kind for action in evaluation.actions] == ["by_hand", "scorer", "judge"]
    assert words.describe_verdict(evaluation) == (
        "? Cannot tell: whether its answers are right was not measured"
    )
    assert words.describe_reasons(evaluation)[0] == (
        "Closer to your rows’ style: test loss fell from 2.145 to 0.645, chrF 11 → 96. Whether the "
        "content is right was not measured."
    )
    harmed = judge(target=resemble(), failures=[Failure(name="safety", found=True)])
    assert harmed.verdict == "do_not_ship"


@pytest.mark.parametrize(
    ("better", "worse", "outcome", "expected"),
    [(12, 3, "better", "ship"), (3, 12, "worse", "do_not_ship"), (5, 4, "open", "cannot_tell")],
)
def test_a_person_decides_where_only_resemblance_was_measured(
    better: int, worse: int, outcome: str, expected: ShipVerdict
) -> None:
    by_hand = msgspec.convert(
        {"better": better, "worse": worse, "outcome": outcome}, HandComparison
    )
    before = judge(target=resemble())
    after = judge_again(before, by_hand)
    assert after.verdict == expected and after.by_hand == by_hand
    assert f"{better:,} of {better + worse}" in " ".join(words.describe_reasons(after, 9)) or (
        f"{worse:,} of {better + worse}" in " ".join(words.describe_reasons(after, 9))
    )
    checked = judge_again(judge(), by_hand)  # where answers are checked, these decide
    assert checked.verdict == "ship"


def test_identical_answers_are_said_first() -> None:
    same = msgspec.structs.replace(change(0, 0, 40), is_identical=True)
    evaluation = judge(
        target=compare(20, 0, 0, 40),
        sets={**STEADY, "target": same},
    )
    assert names(evaluation)[0] == "identical" and evaluation.verdict != "ship"
    assert words.describe_reasons(evaluation)[0] == (
        "All 40 answers are the same as the base model’s: on these rows, training changed nothing."
    )


@pytest.mark.parametrize("name", ["target", "general", "safety"])
def test_a_set_that_is_missing_leaves_it_open(name: str) -> None:
    sets = {key: result for key, result in STEADY.items() if key != name}
    evaluation = judge(sets, target=None if name == "target" else HELPED)
    assert evaluation.verdict == "cannot_tell" and "not_measured" in names(evaluation)


def test_without_a_base_model_there_is_nothing_to_tell() -> None:
    alone = {name: SetResult(n=50, arms={"tuned": score(40, 50)}) for name in STEADY}
    evaluation = judge(alone, failures=[], target=None)
    assert evaluation.verdict == "cannot_tell" and names(evaluation) == ["not_compared"]


def test_answers_of_which_none_could_be_scored_are_not_missing() -> None:
    """As with a judge that answers nonsense."""
    nothing = msgspec.structs.replace(score(0, 1), n=0)
    arms = {"base": nothing, "tuned": nothing}
    evaluation = judge({"target": SetResult(n=20, arms=arms)}, target=None)
    assert evaluation.verdict == "cannot_tell" and names(evaluation) == ["unscored"]
    text = words.describe_reason(evaluation.reasons[0], evaluation)
    assert text == "20 of 20 target items could not be scored."


def test_answers_that_could_not_be_scored_leave_it_open() -> None:
    assert judge(safety=change(0, 0, 60, total=80)).verdict == "cannot_tell"
    assert judge(safety=change(0, 0, 70, total=80)).verdict == "ship"
    assert "unscored" in names(judge(target=HELPED, safety=change(0, 0, 60, total=80)))


@pytest.mark.parametrize(("shared", "expected"), [(6, "cannot_tell"), (5, "ship")])
def test_a_contaminated_test_set_leaves_it_open(shared: int, expected: ShipVerdict) -> None:
    evidence = {"contaminated": shared, "contaminated_of": 50}
    leaked = Failure(name="memorization", found=False, evidence=evidence)
    assert judge(failures=[leaked]).verdict == expected
    lost = Failure(name="forgetting", found=True)
    assert judge(failures=[leaked, lost]).verdict == "do_not_ship"


def test_actions_begin_with_what_the_evidence_names() -> None:
    near = [NearRow(line=line, share=0.9, text="…") for line in (8, 3)]
    example = FlippedItem(item="x", prompt="", expected="", base="", tuned="", change=0, near=near)
    failures = [
        Failure(name="memorization", found=True, examples=[example]),
        Failure(name="overfitting", found=True, actions=[Action(kind="checkpoint", step=120)]),
    ]
    actions = judge(failures=failures).actions
    assert actions[0] == Action(kind="checkpoint", step=120)
    assert actions[1] == Action(kind="drop_rows", lines=[3, 8])
    assert len({action.kind for action in actions}) == len(actions)


def test_sets_that_are_too_small_need_as_many_as_exclude_a_large_loss() -> None:
    evaluation = judge(a=change(0, 0, 6), b=change(0, 0, 6))
    (reason,) = [reason for reason in evaluation.reasons if reason.name == "few_items"]
    assert reason.sets == ["a", "b"]
    assert [(action.set, action.value) for action in evaluation.actions] == [("a", 58), ("b", 58)]


def test_more_items_is_an_action_where_they_could_decide() -> None:
    actions = judge(mine=change(4, 11, 100)).actions
    assert [(action.kind, action.set) for action in actions] == [("more_items", "mine")]
    assert actions[0].value is not None and 100 < actions[0].value <= 400


def head(base: int, prompted: int | None, n: int) -> SetResult:
    arms = {"base": score(base, n)}
    if prompted is not None:
        arms["prompted"] = score(prompted, n)
    return SetResult(n=n, arms=arms, provable=paired_tests.find_provable_change(n))


@pytest.mark.parametrize(
    ("base", "prompted", "n", "outcome"),
    [
        (12, None, 50, "train"),
        (12, 20, 50, "train"),
        (12, 47, 50, "few_items"),  # 6 points are left, 16 can be shown
        (12, 49, 50, "cannot_tell"),  # 11 points may be left
        (50, 50, 50, "cannot_tell"),
        (0, 2, 2, "cannot_tell"),
        (12, 74, 74, "prompt_suffices"),
        (12, 72, 72, "cannot_tell"),
        (74, 30, 74, "base_suffices"),
        (390, 200, 400, "base_suffices"),
        (1, None, 4, "few_items"),
    ],
)
def test_headroom(base: int, prompted: int | None, n: int, outcome: str) -> None:
    assert judge_headroom(head(base, prompted, n), GATE).outcome == outcome


def simulate(
    general: tuple[float, float], safety: tuple[float, float], runs: int = 1000
) -> Counter[ShipVerdict]:
    """Judge simulated evaluations of a model that gains 56 points on 50 target items.

    ``general`` and ``safety``: the shares of 100 and of 80 items that are fixed, and that are broken.
    """
    random = np.random.default_rng(11)
    draws = [
        random.multinomial(n, [fixed, broken, 1 - fixed - broken], size=runs)
        for n, (fixed, broken) in ((100, general), (80, safety), (50, (0.58, 0.02)))
    ]
    verdicts: Counter[ShipVerdict] = Counter()
    for (f, b, _), (g, c, _), (h, d, rest) in zip(*(draw.tolist() for draw in draws), strict=True):
        sets = {
            "target": change(h, d, 50, max(1, 50 - h)),
            "general": change(f, b, 100),
            "safety": change(g, c, 80),
        }
        failures = measure_losses(sets)
        verdicts[judge(sets, failures, target=compare(rest // 2, h, d, 50)).verdict] += 1
    return verdicts


@pytest.mark.parametrize(
    ("general", "safety"),
    [((0.06, 0.06), (0.04, 0.04)), ((0.08, 0.08), (0.02, 0.02)), ((0, 0), (0, 0))],
)
def test_a_healthy_model_is_rarely_rejected(
    general: tuple[float, float], safety: tuple[float, float]
) -> None:
    verdicts = simulate(general, safety)
    assert verdicts["do_not_ship"] <= 0.05 * verdicts.total()
    assert verdicts["ship"] >= 0.8 * verdicts.total()


@pytest.mark.parametrize(
    ("general", "safety", "power"),
    [
        ((0.04, 0.19), (0.04, 0.04), 0.6),  # 15 points lost
        ((0.04, 0.24), (0.04, 0.04), 0.85),
        ((0.06, 0.06), (0.03, 0.18), 0.5),
        ((0.06, 0.06), (0.03, 0.23), 0.75),
    ],
)
def test_a_harmed_model_is_found_and_hardly_ever_shipped(
    general: tuple[float, float], safety: tuple[float, float], power: float
) -> None:
    verdicts = simulate(general, safety, 500)
    assert verdicts["do_not_ship"] >= power * verdicts.total()
    assert verdicts["ship"] <= 0.03 * verdicts.total()
