"""Preferences of models on test pairs and labeled answers, from their probabilities to a verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftwizard.diagnosis.pair_lengths import judge_counts
from ftwizard.evaluate import preference_items, preference_results, results, runner
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.run import asking, preferences
from ftwizard.evaluate.run.subject import EvaluationSubject, add_parent
from ftwizard.evaluate.set_files import make_item
from ftwizard.jobs.folder import JobFolder, JobRecord, Parent, write_json
from ftwizard.plan.schema import Data, Files, Gate, Method, Model, Plan, Recipe
from ftwizard.runs import describe_evaluation, evaluation_files, verdict
from ftwizard.runs.evaluation import Evaluation, ItemAnswer
from ftwizard.train.dataset import SavedTestSet
from tests.helpers import training
from tests.helpers.jobs import events
from tests.helpers.pairs import write_rows


def make_pairs(count: int) -> list[Item]:
    rules = ({"answers": [f"yes {n}", f"no {n}"]} for n in range(count))
    return [
        make_item("target", [{"role": "user", "content": f"{n}?"}], "prefers",
                  [rule["answers"][0]], rule, line=n + 1)
        for n, rule in enumerate(rules)
    ]  # fmt: skip


def make_labeled(wanted: int, unwanted: int) -> list[Item]:
    return [
        make_item("target", [{"role": "user", "content": f"{n}?"}], "wanted", [],
                  {"answers": [f"{n}"], "label": n < wanted}, line=n + 1)
        for n in range(wanted + unwanted)
    ]  # fmt: skip


def answer(
    items: Sequence[Item], logps: Sequence[list[float]], tokens: tuple[int, int] = (5, 5)
) -> list[ItemAnswer]:
    """Return scored answers with these log-probabilities."""
    answers = [
        ItemAnswer(item=item.id, text="", logps=values, logp_tokens=list(tokens))
        for item, values in zip(items, logps, strict=True)
    ]
    return [
        ItemAnswer(item=a.item, text="", logps=a.logps, logp_tokens=a.logp_tokens,
                   score=preference_items.score(item, a))
        for item, a in zip(items, answers, strict=True)
    ]  # fmt: skip


def judge(items: Sequence[Item], **answers: list[ItemAnswer]) -> Evaluation:
    return results.make_evaluation(items, answers, [], Gate())


def pairs_of(right: int, count: int, margin: float = 4.0) -> list[list[float]]:
    return [[-5.0, -5.0 - margin if n < right else -5.0 + margin] for n in range(count)]


def test_pairs_are_judged_by_the_share_that_is_preferred_rightly() -> None:
    items = make_pairs(40)
    judged = judge(items, base=answer(items, pairs_of(15, 40)),
                   tuned=answer(items, pairs_of(36, 40)))  # fmt: skip
    target = judged.sets["target"]
    assert (target.arms["base"].score, target.arms["tuned"].score) == (0.375, 0.9)
    assert target.arms["tuned"].metric == "preferred"
    assert target.difference and target.difference.low > 0.3
    assert judged.target and judged.target.outcome == "helped"
    text = verdict.describe(judged.target)
    assert "It helped: the chosen answer is the more probable one in 36 of 40 test pairs" in text
    assert "36 of 40 test pairs, 15 with the base model" in text
    first = target.fixed[0]
    assert (first.base, first.tuned) == ("no 15", "yes 15"), "the answers that they prefer"
    assert (first.expected, first.rejected, first.rewards) == ("yes 15", "no 15", [])


def test_a_margin_that_only_moved_is_reported_but_proves_nothing() -> None:
    items = make_pairs(40)
    judged = judge(items, base=answer(items, pairs_of(15, 40, 4.0)),
                   tuned=answer(items, [[a + 1, b] for a, b in pairs_of(16, 40, 4.0)]))  # fmt: skip
    assert judged.target and judged.target.outcome == "cannot_tell"
    assert judged.verdict == "cannot_tell"
    text = verdict.describe(judged.target)
    assert "chance alone can do that" in text
    assert "although training moved 40 of 40 test pairs toward the chosen answer" in text


def test_a_model_that_prefers_the_rejected_answers_is_not_shipped() -> None:
    items = make_pairs(40)
    judged = judge(items, base=answer(items, pairs_of(30, 40)),
                   tuned=answer(items, pairs_of(10, 40)))  # fmt: skip
    assert judged.verdict == "do_not_ship"
    assert describe_evaluation.describe_verdict(judged) == "✗ Do not ship: it did not help"
    assert "It got worse: the chosen answer is the more probable one in 10 of 40" in (
        verdict.describe(judged.target)
    )


@pytest.mark.parametrize(("tuned", "reason"), [(36, ""), (22, "over its parent"), (5, "worse")])
def test_a_gain_over_the_parent_is_asked_for(tuned: int, reason: str) -> None:
    items = make_pairs(40)
    judged = judge(
        items, base=answer(items, pairs_of(8, 40)), parent=answer(items, pairs_of(20, 40)),
        tuned=answer(items, pairs_of(tuned, 40)),
    )  # fmt: skip
    assert judged.target and judged.over_parent and judged.sets["target"].over_parent
    names = [entry.name for entry in judged.reasons]
    if not reason:
        assert judged.over_parent.outcome == "helped" and "over_parent" in names
        lines = describe_evaluation.describe_reasons(judged, 9)
        assert any(line.startswith("It is better than its parent: ") for line in lines)
        return
    assert reason in describe_evaluation.describe_verdict(judged)


def test_a_gain_over_the_parent_below_the_gate_is_named_with_its_reason() -> None:
    items = make_pairs(200)
    judged = judge(
        items, base=answer(items, pairs_of(40, 200)), parent=answer(items, pairs_of(150, 200)),
        tuned=answer(items, pairs_of(151, 200)),
    )  # fmt: skip
    assert judged.target and judged.target.outcome == "helped" and judged.verdict == "do_not_ship"
    headline = describe_evaluation.describe_verdict(judged)
    assert headline == "✗ Do not ship: the gain over its parent is too small"
    first, *_ = describe_evaluation.describe_reasons(judged, 9)
    assert first.startswith("The gain over its parent is below the 5 points that")
    assert first.endswith(" 151 of 200 test pairs, 150 with its parent.")


@pytest.mark.parametrize(("step", "method"), [(8, "lora"), (8, "full"), (0, "lora")])
def test_the_parent_is_asked_with_the_weights_that_the_run_started_from(
    tmp_path: Path, step: int, method: Method
) -> None:
    """A run from its parent's start has the weights of the run before that, or those of the base."""
    folder = JobFolder(tmp_path / "child")
    folder.origin.mkdir(parents=True)
    parent = Parent(id="first", step=step, changes={})
    write_json(folder.job, JobRecord(kind="train", argv=[], version="0", created=0, parent=parent))
    plan = Plan(
        data=Data(files=Files(train="rows.jsonl")), model=Model(name="tiny"),
        recipe=Recipe(method=method),
    )  # fmt: skip
    base = Arm(name="base", model="tiny")
    bare = EvaluationSubject(folder, plan, base, SavedTestSet(rows=[]))
    subject = add_parent(bare, folder)
    if not step:
        assert subject == bare
        return
    assert subject.parent and subject.parent_id == "first"
    weights = subject.parent.model if method == "full" else subject.parent.adapter
    assert weights is not None and Path(weights).samefile(folder.origin)
    assert (subject.parent.adapter is None) == (method == "full")


def test_length_alone_is_named_where_it_explains_the_preference() -> None:
    items = make_pairs(40)
    base = answer(items, pairs_of(10, 40), (3, 9))
    judged = judge(items, base=base, tuned=answer(items, pairs_of(40, 40), (3, 9)))
    assert judged.shortcut and judged.shortcut.winner == "shorter" and judged.shortcut.is_open
    assert judged.verdict == "cannot_tell" and judged.reasons[0].name == "by_length"
    [line] = describe_evaluation.describe_reasons(judged, 1)
    assert "length alone explains the preference" in line and "40 test pairs" in line


def test_length_is_no_doubt_where_the_exceptions_are_right_too() -> None:
    items = make_pairs(40)
    tuned = answer(items[:36], pairs_of(36, 36), (3, 9)) + answer(
        items[36:], pairs_of(4, 4), (9, 3)
    )
    judged = judge(items, base=answer(items, pairs_of(10, 40)), tuned=tuned)
    assert judged.shortcut and (judged.shortcut.exceptions, judged.shortcut.right) == (4, 4)
    assert not judged.shortcut.is_open and judged.reasons[0].name != "by_length"
    wrong = answer(items[:36], pairs_of(36, 36), (3, 9)) + answer(
        items[36:], pairs_of(0, 4), (9, 3)
    )
    judged = judge(items, base=answer(items, pairs_of(10, 40)), tuned=wrong)
    assert judged.shortcut and judged.shortcut.is_open
    lines = describe_evaluation.describe_reasons(judged, 9)
    assert any("of the others, it prefers 0 of 4 exceptions rightly" in line for line in lines)


def test_of_few_test_pairs_the_lengths_of_the_training_pairs_decide() -> None:
    items = make_pairs(6)
    tuned = results.index_answers({"tuned": answer(items, pairs_of(6, 6), (3, 9))})
    assert preference_results.find_shortcut(items, tuned, None) is None
    rule = judge_counts(2, 60)
    shortcut = preference_results.find_shortcut(items, tuned, rule)
    assert shortcut and shortcut.part == "training" and shortcut.pairs == 62


def label(items: Sequence[Item], rewards: Sequence[float]) -> list[ItemAnswer]:
    return answer(items, [[-10.0 + reward] for reward in rewards], (5, 5))


def test_labeled_answers_are_judged_by_the_order_of_their_rewards() -> None:
    items = make_labeled(20, 10)
    base = label(items, [0.0] * 30)
    # All became less probable: the order counts, not the side of the base model.
    tuned = label(items, [-1.0 - n / 100 for n in range(20)] + [-3.0] * 9 + [0.0])
    judged = judge(items, base=base, tuned=tuned)
    target = judged.sets["target"]
    assert target.arms["base"].score == 0.5 and target.arms["tuned"].score == pytest.approx(0.9)
    assert target.difference and target.difference.n == 30
    assert target.difference.value == pytest.approx(0.4) and target.difference.low > 0
    assert judged.target and judged.target.outcome == "helped"
    text = verdict.describe(judged.target)
    assert "a wanted answer gained more probability than an unwanted one in 90% of" in text
    assert "50% is chance" in text


def test_labeled_answers_in_any_order_prove_nothing() -> None:
    items = make_labeled(10, 10)
    tuned = label(items, [1.0, -1.0] * 10)
    judged = judge(items, base=label(items, [0.0] * 20), tuned=tuned)
    assert judged.target and judged.target.outcome == "cannot_tell"
    assert judged.verdict == "cannot_tell"


def test_labeled_answers_are_compared_with_the_parent() -> None:
    items = make_labeled(20, 20)
    parent = label(items, [0.1 * (n % 7) for n in range(40)])
    tuned = label(items, [2.0] * 20 + [-2.0] * 20)
    judged = judge(items, base=label(items, [0.0] * 40), parent=parent, tuned=tuned)
    assert judged.over_parent and judged.over_parent.outcome == "helped"
    assert judged.over_parent.evidence[0].base == pytest.approx(0.5, abs=0.1)
    assert "with its parent" in describe_evaluation.describe_reason(
        next(reason for reason in judged.reasons if reason.name == "over_parent"), judged
    )


def test_labels_of_one_kind_are_not_compared() -> None:
    items = make_labeled(8, 0)
    judged = judge(items, base=label(items, [0.0] * 8), tuned=label(items, [1.0] * 8))
    assert judged.target is None and judged.sets["target"].difference is None
    assert judged.verdict == "cannot_tell"


def test_more_rows_are_read_than_answered() -> None:
    items = preference_items.limit_answers([*make_labeled(2, 0), *make_pairs(5)], 3)
    assert [item.max_tokens for item in items] == [None] * 3 + [0] * 4


@pytest.mark.parametrize(("took_s", "expected_s"), [(2.0, 8.0), (30.0, 2.0)])
def test_rows_of_preferences_have_time_left_however_long_the_answers_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, took_s: float, expected_s: float
) -> None:
    clock, limits = [0.0], list[float | None]()

    def answer_slowly(*_: object, **__: object) -> dict[str, list[ItemAnswer]]:
        clock[0] += took_s
        return {"base": []}

    def read(*words: Any) -> dict[str, list[ItemAnswer]]:
        limits.append(words[-1])
        return {"base": []}

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(runner, "answer_all", answer_slowly)
    monkeypatch.setattr(preferences, "read_likelihoods", read)
    folder = JobFolder(tmp_path)
    folder.evaluations.mkdir()
    plan = Plan(data=Data(files=Files(train="rows.jsonl")), model=Model(name="tiny"))
    base = Arm(name="base", model="tiny")
    subject = EvaluationSubject(folder, plan, base, SavedTestSet(rows=[]))
    worker: Any = SimpleNamespace(phase=lambda *_, **__: None)
    asking.ask(worker, subject, [base], make_pairs(4), seconds=10.0)
    assert limits == [pytest.approx(expected_s)]


def test_a_budget_that_ends_before_a_pair_is_read_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base model then has no score of the test pairs, and the training goes on without."""
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    pairs = [
        {"prompt": f"{n}: the cat", "chosen": "sat on a mat" + " two" * (n % 3), "rejected": "saw"}
        for n in range(20)
    ]
    parts = {"train": pairs[:10], "validation": pairs[10:14], "test": pairs[14:]}
    for name, part in parts.items():
        write_rows(tmp_path / f"{name}-pairs.jsonl", part)
    files = {name: f"{name}-pairs.jsonl" for name in parts}
    folder = training.prepare(
        tmp_path, "spent", objective="dpo", samples={"count": 0},
        more={"data": {"files": files}, "finish": {"compare": True},
              "budget": {"minutes": 0.0001}},
    )  # fmt: skip
    training.again(folder)
    baseline = evaluation_files.read_baseline(folder)
    assert baseline is not None and baseline.headroom is None
    assert events(folder, "log"), "it was trained"
