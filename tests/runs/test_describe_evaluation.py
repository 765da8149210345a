"""Tests of runs/describe_evaluation.py: each reason, action and failure in words."""

from __future__ import annotations

import json

import msgspec
import pytest

from ftwizard.evaluate.failures.forgetting import find_forgetting
from ftwizard.plan.schema import Gate
from ftwizard.runs import describe_evaluation as words
from ftwizard.runs.evaluation import (
    Action,
    ArmScore,
    Evaluation,
    Failure,
    PairedDifference,
    SetResult,
)
from ftwizard.runs.ship_verdict import judge_headroom
from tests.evaluate.test_failures import general_sheet
from tests.runs.test_ship_verdict import (
    GATE,
    STEADY,
    change,
    compare,
    head,
    judge,
    measure_losses,
)


def read(evaluation: Evaluation) -> list[str]:
    return [words.describe_verdict(evaluation), *words.describe_reasons(evaluation)]


def test_ship() -> None:
    verdict, target, loss = read(judge())
    assert verdict == "✓ Ship"
    assert target == "It helped: 35 of 50 test answers are right, 11 with the base model."
    assert loss == "No loss beyond the gate: general (100 items) and safety (80 items)."


def test_a_failure_comes_before_the_gain() -> None:
    lost = find_forgetting(general_sheet(50, 3, 20, 27).inputs())
    lines = read(judge(failures=[lost]))
    assert lines[0] == "✗ Do not ship: forgetting"
    assert lines[1].startswith("Forgetting. General questions: 70% → 53% right (100 items).")
    assert lines[2].startswith("It helped: 35 of 50")
    assert all(line.endswith(".") for line in lines[1:])


def test_test_items_in_the_training_set_void_the_gain() -> None:
    leaked = Failure(
        name="memorization",
        found=None,
        needs="items",
        evidence={"contaminated": 6, "contaminated_of": 50},
    )
    lines = read(judge(failures=[leaked]))
    assert lines[0] == "? Cannot tell: test items are in the training set"
    assert lines[1].startswith("6 of 50 test items are also in the training set")


def test_a_loss_says_how_much_and_what_was_tolerated() -> None:
    assert read(judge(mine=change(2, 16, 100)))[:2] == [
        "✗ Do not ship: mine got worse",
        "Mine got worse by 14 points; 5 points are tolerated.",
    ]
    verdict, reason = read(judge(mine=change(1, 7, 80)))[:2]
    assert verdict == "? Cannot tell: mine may have got worse"
    assert reason == (
        "Mine got worse by 8 points (5 points are tolerated), which can be chance with 80 items."
    )


def test_a_prompt_that_suffices() -> None:
    judged = judge(target=compare(20, 72, 2, 100), over_prompted=compare(90, 2, 6, 100))
    verdict, reason = read(judged)[:2]
    assert verdict == "✗ Do not ship: a prompt does as well"
    assert reason == (
        "A prompt does as well: 92 of 100 test answers are right, 96 with the base model and your prompt."
    )
    better = judge(target=compare(10, 36, 1, 50), over_prompted=compare(40, 0, 8, 50))
    assert read(better)[1].startswith("A prompt does better: 40 of 50 test answers are right, 48")


def test_a_gain_below_the_gate() -> None:
    small = compare(50, 8, 0, 200)
    assert read(judge(target=small))[:2] == [
        "? Cannot tell: the gain may be too small",
        "The gain is 4 points; the gate asks for 5 points. With 200 test rows, that is too close to tell.",
    ]
    assert read(judge(target=compare(147, 1, 1, 150)))[:2] == [
        "✗ Do not ship: the gain is too small",
        "The gain is below the 5 points that the gate asks for: 148 of 150 test answers are right, 148 with the base model.",
    ]


def test_a_gain_over_the_base_alone_is_not_denied() -> None:
    over = change(6, 3, 50).difference
    sets = STEADY | {"target": msgspec.structs.replace(STEADY["target"], over_prompted=over)}
    judged = judge(sets, target=compare(10, 30, 1, 50), over_prompted=compare(34, 6, 3, 50))
    assert [(action.set, action.value) for action in judged.actions] == [("target", 270)]
    verdict, *reasons = read(judged)
    assert verdict == "? Cannot tell: no gain over a prompt is shown"
    assert reasons == [
        "No gain over a prompt is shown: 6 points can be chance with 50 test rows; about 270 are needed to see 6 points.",
        "Not shown to be better than a prompt: 40 of 50 test answers are right, 37 with the base model and your prompt.",
        "It helped: 40 of 50 test answers are right, 11 with the base model.",
    ]  # fmt: skip


def test_what_nobody_can_tell_is_said_once() -> None:
    verdict, _, reason, _ = read(judge(target=compare(2, 2, 2, 12)))
    assert verdict == "? Cannot tell: no gain is shown"
    assert reason == "4 of 12 test answers are right, 4 with the base model."
    verdict, _, reason, _ = read(judge(target=compare(3, 1, 5, 20)))
    assert verdict.startswith("✗ Do not ship")
    assert reason.startswith("Cannot tell: 4 of 20 test answers are right")


def test_sets_that_are_too_small() -> None:
    verdict, reason = read(judge(a=change(0, 0, 6), b=change(0, 0, 5)))[:2]
    assert verdict == "? Cannot tell: too few items (a and b)"
    assert reason == "Too few items to judge a loss: a (6 items) and b (5 items)."
    verdict, reason = read(judge(target=compare(0, 6, 0, 6), mine=change(0, 0, 99)))[:2]
    assert verdict == "? Cannot tell: too few test rows"
    lost = find_forgetting(general_sheet(20, 3, 6, 11).inputs())
    verdict, reason = read(judge(failures=[lost]))[:2]
    assert verdict == "? Cannot tell: too few items to judge forgetting"
    assert reason == (
        "Forgetting cannot be judged with so few items. General questions: 65% → 57% right (40 items)."
    )


def test_headroom() -> None:
    assert words.describe_headroom(judge_headroom(head(12, 47, 50), GATE)) == [
        "The base model: 12 of 50 right, with your prompt 47 of 50 right. 6 points are left to gain.",
        "These are too few items for that: about 270 are needed to see 6 points.",
    ]
    assert words.describe_headroom(judge_headroom(head(12, 79, 80), GATE))[1:] == [
        "Cannot tell whether a prompt already does it: 80 items."
    ]
    assert words.describe_headroom(judge_headroom(head(0, 2, 2), GATE)) == [
        "The base model: 0 of 2 right, with your prompt 2 of 2 right. 0 points are left to gain.",
        "Cannot tell whether a prompt already does it: 2 items.",
    ]
    assert words.describe_headroom(judge_headroom(head(12, 80, 80), GATE))[1:] == [
        "Do not fine-tune: a prompt already does it."
    ]
    assert words.describe_headroom(judge_headroom(head(12, None, 50), GATE)) == [
        "The base model: 12 of 50 right. 76 points are left to gain."
    ]


def test_power() -> None:
    sets = {"target": head(60, None, 120), "safety": head(1, None, 5)}
    assert words.describe_powers(sets, GATE) == [
        "target: 120 test rows can show a gain of 10 points; for 5 points: about 390",
        "safety: too few items to tell: 5; about 58 are needed to see 15 points",
    ]
    assert words.describe_power(head(1, None, 4)) == (
        "too few items to tell: 4; about 58 are needed to see 15 points"
    )
    assert (
        words.describe_power(head(1, None, 400), 0.06) == "400 items can show a change of 5 points"
    )


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (Action(kind="checkpoint", step=120), "Use checkpoint 120 instead"),
        (Action(kind="scale"), "Weaken the adapter: judge it at 25%, 50% and 75% of its strength"),
        (Action(kind="drop_rows", lines=[3]), "Drop 1 row (line 3) and train again"),
        (Action(kind="drop_rows", lines=list(range(9))), "Drop 9 rows (lines 0, 1, 2, 3, 4, …) and train again"),
        (Action(kind="mix", value=0.1), "Mix 10% general rows into the training data"),
        (Action(kind="epochs", value=1), "Train for 1 epoch"),
        (Action(kind="more_items", value=400, set="safety"), "Evaluate again with 400 items of each set"),
        (Action(kind="more_items", value=1600, set="all"), "Put at least 1,600 items into “all”"),
        (Action(kind="more_items", value=80, set="target"), "Test on at least 80 rows"),
        (Action(kind="prompt"), "Use the base model with your prompt, without fine-tuning"),
    ],
)  # fmt: skip
def test_actions(action: Action, text: str) -> None:
    assert words.describe_action(action) == text


def test_names_from_files_are_made_visible() -> None:
    judged = judge({**STEADY, "evil\x1b[31m.jsonl": change(2, 16, 100)})
    text = "\n".join([*read(judged), *map(str, words.format_scores(judged.sets))])
    assert "\x1b" not in text and "evil␛[31m.jsonl" in text


def test_scores_as_a_table() -> None:
    table = words.format_scores(STEADY)
    assert table.heading == ["", "base", "tuned", "change"]
    assert table.rows[0] == ["target", "22% (13–35)", "70% (56–81)", "+48 (+31 to +61)"]


def test_the_document_has_what_scripts_rely_on() -> None:
    failures = [Failure(name="safety", found=None)]
    document = json.loads(msgspec.json.encode(words.to_document(judge(failures=failures))))
    assert document["verdict"] == "ship" and len(document["why"]) == 2
    general = document["sets"]["general"]
    assert general["flips"] == {"fixed": [], "broken": []}
    assert {"score", "low", "high", "metric"} <= general["arms"]["tuned"].keys()
    assert {"value", "low", "high", "p"} <= general["difference"].keys()
    assert document["failures"] == [{"name": "safety", "found": None, "evidence": {}}]
    assert document["gate"] == msgspec.to_builtins(Gate())


def test_marks_of_sets() -> None:
    sets = {**STEADY, "a": change(2, 16, 100), "b": change(4, 11, 100), "c": change(0, 0, 6)}
    judged = judge(sets, measure_losses(sets))
    assert "".join(words.mark_set(judged, name) for name in sets) == "✓✓✓✗??"
    unproven = judge(target=compare(10, 8, 3, 50))
    assert words.mark_set(unproven, "target") == "?"
    prompted = judge(target=compare(20, 72, 2, 100), over_prompted=compare(90, 2, 6, 100))
    assert words.mark_set(prompted, "target") == "✗"


def test_the_best_of_several_is_no_fair_measure() -> None:
    assert words.describe_choice(4).startswith("The best of 4 on the same items")
    assert words.describe_choice(1) == ""


def test_a_table_of_three_models_fits_80_columns() -> None:
    arm = ArmScore(score=1.0, low=0.955, high=1.0, metric="accuracy", n=100)
    difference = PairedDifference(value=-1.0, low=-1.0, high=-0.957, p=0.0, n=100)
    arms = dict.fromkeys(("base", "prompted", "tuned"), arm)
    result = SetResult(n=100, arms=arms, difference=difference)
    evaluation = Evaluation(verdict="ship", sets={"a-long-name-of-a-file-of-items": result})
    assert max(map(len, words.list_details(evaluation))) <= 80


@pytest.mark.parametrize("with_loss", [True, False])
def test_a_table_of_four_models_fits_80_columns(with_loss: bool) -> None:
    arm = ArmScore(score=1.0, low=0.955, high=1.0, metric="accuracy", n=100)
    difference = PairedDifference(value=-1.0, low=-1.0, high=-0.957, p=0.0, n=100)
    arms = dict.fromkeys(("base", "prompted", "parent", "tuned"), arm)
    sets = {"my-prompts.jsonl": SetResult(n=100, arms=arms, difference=difference)}
    lines = words.fit_scores(sets, with_loss=with_loss).align()
    assert max(map(len, lines)) <= 80 < max(map(len, words.format_scores(sets).align()))
    assert "100%" in lines[1] and "−100 (−100 to −96)" in lines[1]  # the change keeps its interval
    assert words.fit_scores(sets, 120).align() == words.format_scores(sets).align()
    evaluation = Evaluation(verdict="ship", sets=sets)
    assert max(map(len, words.list_details(evaluation))) <= 80


def test_more_items_repeat_the_evaluation_of_the_same_weights() -> None:
    action = Action(kind="more_items", value=73, set="safety")
    evaluation = Evaluation(verdict="cannot_tell", actions=[action])
    again = ["ftwizard", "eval", "run-1", "--set", "my set.jsonl", "--scale", "0.5"]
    command = "ftwizard eval run-1 --set 'my set.jsonl' --scale 0.5 --max-items 73"
    assert words.list_details(evaluation, "run-1", again)[-1].endswith(f": {command}")
    assert words.list_details(evaluation, "", again)[-1].endswith(f": {command}")
    assert words.list_details(evaluation)[-1] == "→ Evaluate again with 73 items of each set"


def test_answers_that_could_not_be_scored_are_counted() -> None:
    arm = ArmScore(score=0.5, low=0.1, high=0.9, metric="accuracy", n=7, unscored=1)
    evaluation = Evaluation(verdict="ship", sets={"mine": SetResult(n=8, arms={"tuned": arm})})
    assert words.list_details(evaluation)[-1] == "! mine: 1 of 8 answers could not be scored"
