"""Results of preference training: what a model prefers on the test rows, next to its base.

Pairs: the share whose chosen answer is the more probable one (the ranking accuracy of Chen et al.,
“Preference Learning Algorithms Do Not Learn Preference Rankings”, NeurIPS 2024), and the share whose
margin the training moved toward it (the accuracy of DPO's implicit reward, as TRL logs it and
RewardBench ranks by it; Lambert et al., 2024). Labeled answers: how often the implicit reward of a wanted
answer, its log-probability minus that of the base model, is above that of an unwanted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from ftwizard.diagnosis.pair_lengths import LengthRule, judge_lengths
from ftwizard.evaluate.items import Item
from ftwizard.runs import paired_tests, ranking_tests, verdict
from ftwizard.runs.evaluation import (
    ArmScore,
    ItemAnswer,
    LengthShortcut,
    PairedDifference,
    SetResult,
)
from ftwizard.runs.paired_tests import PairedTest
from ftwizard.runs.verdict import MeasuredChange, Verdict

METRICS = {"prefers": "preferred", "wanted": "ranked"}
"""Names of the scores, by the scorer of the items."""
REFERENCE = "base"
"""Arm that the implicit rewards of labeled answers are relative to."""

Answers = Mapping[str, Mapping[str, ItemAnswer]]
"""Answers by the name of the arm, then by item id."""


class _Rewards(NamedTuple):
    """Implicit rewards of an arm: changes of log-probabilities since the base model, in nats."""

    wanted: dict[str, float]
    unwanted: dict[str, float]
    """By item id."""

    @property
    def share(self) -> float:
        return ranking_tests.compute_share([*self.wanted.values()], [*self.unwanted.values()])

    @property
    def is_complete(self) -> bool:
        return bool(self.wanted and self.unwanted)


def judge_pairs(items: Sequence[Item], answers: Answers, rival: str) -> Verdict | None:
    """Judge the tuned model by the pairs that it and a rival prefer rightly; None if not compared."""
    before, after = answers.get(rival, {}), answers.get("tuned", {})
    margins = [
        (first.logps[0] - first.logps[1], second.logps[0] - second.logps[1])
        for item in items
        if (first := before.get(item.id)) and (second := after.get(item.id))
        if first.logps and second.logps
    ]
    if not margins:
        return None
    count = len(margins)
    fixed = sum(first <= 0 < second for first, second in margins)
    broken = sum(second <= 0 < first for first, second in margins)
    right = sum(first > 0 for first, _ in margins)
    preferred = MeasuredChange.from_test(
        "preferred", right / count, paired_tests.compare_outcomes(fixed, broken, count), count,
        paired_tests.bound_share(right, count).low,
    )  # fmt: skip
    raised = sum(second > first for first, second in margins)
    lowered = sum(second < first for first, second in margins)
    # Equal margins count half. The sign test is McNemar's, of one kind of pair and the other.
    test = paired_tests.compare_outcomes(raised, lowered, count)
    share = (raised + (count - raised - lowered) / 2) / count
    bounds = paired_tests.bound_share(round(share * count), count)
    moved = PairedTest(share - 0.5, bounds.low - 0.5, bounds.high - 0.5, test.p)
    return verdict.judge_measure(preferred, [MeasuredChange.from_test("moved", 0.5, moved, count)])


def judge_labeled(items: Sequence[Item], answers: Answers, rival: str) -> Verdict | None:
    """Judge the tuned model by the order of wanted and unwanted answers; None if not compared."""
    result = _compare(items, answers, rival)
    if result is None:
        return None
    test, base, rows = result
    return verdict.judge_measure(MeasuredChange.from_test("ranked", base, test, rows))


def summarize_labeled(items: Sequence[Item], answers: Answers) -> SetResult:
    """Summarize labeled answers: of each model, how often a wanted one ranks above an unwanted one.

    The base model itself has 0.5 by definition: the rewards are relative to it.
    """
    arms = {arm: _summarize(items, answers, arm) for arm in answers}
    labels = [item.rule["label"] for item in items]
    return SetResult(
        n=len(items),
        arms={arm: score for arm, score in arms.items() if score},
        difference=_find_difference(items, answers, "base"),
        over_prompted=_find_difference(items, answers, "prompted"),
        over_parent=_find_difference(items, answers, "parent"),
        provable=ranking_tests.find_provable_gain(labels.count(True), labels.count(False)),
    )


def _summarize(items: Sequence[Item], answers: Answers, arm: str) -> ArmScore | None:
    if not any(item.id in answers[arm] for item in items):
        return None
    rewards = _list_rewards(items, answers, arm)
    count = len(rewards.wanted) + len(rewards.unwanted)
    share, low, high = 0.5, 0.5, 0.5
    if rewards.is_complete and arm != REFERENCE:
        share = rewards.share
        low, high = ranking_tests.bound_share(share, len(rewards.wanted), len(rewards.unwanted))
    n = count if rewards.is_complete else 0
    return ArmScore(
        score=share if n else 0.0, low=low, high=high, metric=METRICS["wanted"], n=n,
        unscored=len(items) - n,
    )  # fmt: skip


def _list_rewards(items: Sequence[Item], answers: Answers, arm: str) -> _Rewards:
    rewards = _Rewards({}, {})
    for item in items:
        own, base = answers.get(arm, {}).get(item.id), answers.get(REFERENCE, {}).get(item.id)
        if own and base and own.logps and base.logps:
            kind = rewards.wanted if item.rule["label"] else rewards.unwanted
            kind[item.id] = own.logps[0] - base.logps[0]
    return rewards


def _compare(
    items: Sequence[Item], answers: Answers, rival: str
) -> tuple[PairedTest, float, int] | None:
    """Return the change from a rival to the tuned model, the rival's share, and the rows."""
    tuned, other = (_list_rewards(items, answers, arm) for arm in ("tuned", rival))
    wanted = [(other.wanted[key], tuned.wanted[key]) for key in tuned.wanted if key in other.wanted]
    unwanted = [
        (other.unwanted[key], tuned.unwanted[key])
        for key in tuned.unwanted
        if key in other.unwanted
    ]
    if not wanted or not unwanted:
        return None
    rows = len(wanted) + len(unwanted)
    if rival == REFERENCE:
        test = ranking_tests.test_ranking([x for _, x in wanted], [x for _, x in unwanted])
        return test, ranking_tests.CHANCE, rows
    test = ranking_tests.compare_rankings(wanted, unwanted)
    base = ranking_tests.compute_share([x for x, _ in wanted], [x for x, _ in unwanted])
    return test, base, rows


def _find_difference(
    items: Sequence[Item], answers: Answers, rival: str
) -> PairedDifference | None:
    result = _compare(items, answers, rival)
    if result is None:
        return None
    test, _, rows = result
    return PairedDifference.from_test(test, rows)


def find_shortcut(
    items: Sequence[Item], answers: Answers, trained: LengthRule | None
) -> LengthShortcut | None:
    """Return what the length of answers alone explains; None where it does not tell the pairs apart.

    It is judged by the test pairs, and where these are too few by those ``trained`` on.
    """
    tuned = answers.get("tuned", {})
    read = [
        answer
        for item in items
        if item.set == "target" and item.scorer == "prefers"
        if (answer := tuned.get(item.id)) and answer.logps
    ]
    lengths = [(answer.logp_tokens[0], answer.logp_tokens[1]) for answer in read]
    part: Literal["training", "test"] = "test"
    rule = judge_lengths(lengths)
    if rule is None:
        rule, part = trained, "training"
    if not read or rule is None or not rule.is_telling:
        return None
    sign = 1 if rule.winner == "longer" else -1
    exceptions = [
        answer for answer, (chosen, rejected) in zip(read, lengths, strict=True)
        if (chosen - rejected) * sign <= 0
    ]  # fmt: skip
    return LengthShortcut(
        winner=rule.winner, accuracy=rule.accuracy, low=rule.low, high=rule.high, pairs=rule.pairs,
        part=part, exceptions=len(exceptions),
        right=sum(answer.logps[0] > answer.logps[1] for answer in exceptions),
    )  # fmt: skip
