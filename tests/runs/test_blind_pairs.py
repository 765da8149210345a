"""Tests of runs/blind_pairs.py: order, resumption, the test that decides, and preference rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import blind_pairs
from ftwizard.runs.blind_pairs import (
    MAX_PAIRS,
    BlindPairs,
    Choice,
    find_boundary,
    measure_decided,
)
from ftwizard.runs.conversation import ChatRow
from ftwizard.runs.evaluation import Evaluation, HandComparison, ItemAnswer
from ftwizard.runs.evaluation_files import NewestEvaluation, find_newest, read_evaluation
from ftwizard.runs.evaluation_job import Candidate
from ftwizard.runs.paired_tests import ALPHA
from tests.helpers.blind_answers import write_answers, write_lines
from tests.helpers.results import write_judgment
from tests.screens.monitor.evaluated_runs import evaluate, write_evaluation

choices = st.sampled_from(["a", "b", "equal", "both_wrong", "skip"])


def make_pairs(folder: JobFolder, count: int) -> BlindPairs:
    write_answers(folder, [f"tuned {n}" for n in range(count)])
    return blind_pairs.read(folder)


def prefer(pairs: BlindPairs, side: str) -> None:
    """Judge the next pair in favor of a model."""
    pair = pairs.next
    assert pair
    pairs.judge(pair.item.id, "a" if pair.side_of_a == side else "b")


@pytest.mark.parametrize("most", range(1, MAX_PAIRS + 1))
def test_equal_models_are_called_decided_in_five_percent_at_most(most: int) -> None:
    boundary = find_boundary(most)
    assert measure_decided(boundary) <= ALPHA
    assert (measure_decided(boundary, 0.95) > 0) is (most >= 6)
    if most >= 6:
        tighter = [limit - 1 for limit in boundary]
        assert measure_decided(tighter) > ALPHA


def test_the_exact_share_is_that_of_all_paths() -> None:
    boundary = find_boundary(10)
    decided = 0
    for path in range(2**10):
        lead, leads = 0, []
        for step in range(10):
            lead += 1 if path >> step & 1 else -1
            leads.append(abs(lead))
        decided += any(lead >= limit for lead, limit in zip(leads, boundary, strict=True))
    assert measure_decided(boundary) == pytest.approx(decided / 2**10)


def test_a_clear_preference_is_found_and_needs_few_pairs() -> None:
    shares = {
        most: [round(measure_decided(find_boundary(most), share), 2) for share in (0.7, 0.8, 0.9)]
        for most in (10, 15, 20, 30)
    }
    assert shares == {  # as in the docstring
        10: [0.2, 0.44, 0.78],
        15: [0.33, 0.67, 0.95],
        20: [0.37, 0.74, 0.98],
        30: [0.54, 0.91, 1.0],
    }
    of_thirty, of_fifteen = find_boundary(30), find_boundary(15)
    decided = {(9, 9), (13, 15), (16, 20), (22, 30)}
    assert all(2 * better - count >= of_thirty[count - 1] for better, count in decided)
    assert all(2 * better - count - 2 < of_thirty[count - 1] for better, count in decided)
    assert of_fifteen[14] == 2 * 12 - 15


@given(st.lists(choices, max_size=MAX_PAIRS))
def test_resuming_shows_the_same_and_ends_the_same(judged: list[Choice]) -> None:
    first = make_fixed_pairs(MAX_PAIRS)
    lines = []
    for choice in judged:
        if pair := first.next:
            lines.append(first.judge(pair.item.id, choice))
    again = BlindPairs(list(first.pairs.values()), judged=lines)
    assert again.compare() == first.compare()
    assert (again.next is None) is (first.next is None)
    if again.next and first.next:
        assert again.next.texts == first.next.texts
    counted = first.compare()
    assert (counted is None) is (first.next is not None or not lines)
    if counted:
        parts = (counted.better, counted.worse, counted.equal, counted.both_wrong, counted.skipped)
        assert sum(parts) == len(lines)


@given(st.lists(choices, min_size=1, max_size=MAX_PAIRS))
def test_undo_takes_the_last_judgment_back(judged: list[Choice]) -> None:
    pairs = make_fixed_pairs(MAX_PAIRS)
    states = []
    for choice in judged:
        if pair := pairs.next:
            states.append((pair.item.id, dict(pairs.judged)))
            pairs.judge(pair.item.id, choice)
    for item, before in reversed(states):
        assert pairs.last == item
        pairs.judge(item, "undo")
        assert pairs.judged == before and pairs.next and pairs.next.item.id == item
    assert pairs.last is None and pairs.compare() is None


def make_fixed_pairs(count: int) -> BlindPairs:
    items = [ChatRow(id=str(n), set="target", messages=[]) for n in range(count)]
    answers = {
        side: [ItemAnswer(item=item.id, text=f"{side} {item.id}") for item in items]
        for side in ("base", "tuned")
    }
    return BlindPairs(
        [
            blind_pairs.BlindPair(
                item, {"base": answers["base"][n], "tuned": answers["tuned"][n]}, f"{n * 7919:x}"
            )
            for n, item in enumerate(items)
        ]
    )


def test_answers_that_are_the_same_are_counted_and_not_asked(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    write_answers(folder, [f"base {n}" if n % 2 else f"tuned {n}" for n in range(20)])
    pairs = blind_pairs.read(folder)
    assert len(pairs.pairs) == 10 and pairs.identical == 10
    while pairs.next:
        prefer(pairs, "tuned")
    counted = pairs.compare()
    assert counted and counted.identical == 10 and counted.outcome == "better"
    assert "the same answer to 10 test items" in blind_pairs.describe(counted)


def test_only_target_items_are_asked_thirty_at_most_in_mixed_order(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    pairs = make_pairs(folder, 90)
    asked = list(pairs.pairs)
    assert len(asked) == MAX_PAIRS and asked != sorted(asked)
    sides = [pair.side_of_a for pair in pairs.pairs.values()]
    assert 5 < sides.count("base") < 25
    for pair in pairs.pairs.values():
        number = pair.item.id.partition("-")[2]
        assert set(pair.texts) == {f"base {number}", f"tuned {number}"}
    write_answers(folder, ["x", "y"], set_name="general")
    assert not blind_pairs.read(folder).pairs


def test_judgments_are_kept_and_those_of_other_answers_are_void(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    pairs = make_pairs(folder, 8)
    for _ in range(3):
        pair = pairs.next
        assert pair
        blind_pairs.record(folder, pairs.judge(pair.item.id, "a"))
    path = folder.evaluations / blind_pairs.FILE
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(path.read_bytes()[:-20])  # a torn line
    again = blind_pairs.read(folder)
    assert list(again.judged) == list(pairs.judged)[:2]
    pair = again.next
    assert pair
    blind_pairs.record(folder, again.judge(pair.item.id, "b"))
    assert blind_pairs.read(folder).judged == again.judged
    write_answers(folder, [f"other {n}" for n in range(8)])
    assert not blind_pairs.read(folder).judged


def test_it_ends_once_the_rest_cannot_decide(tmp_path: Path) -> None:
    pairs = make_pairs(JobFolder(tmp_path), 12)
    for side in ("tuned", "base") * 3:
        prefer(pairs, side)
    counted = pairs.compare()
    assert counted == HandComparison(better=3, worse=3, outcome="open")
    assert blind_pairs.describe(counted) == "3 of 6 better, 3 worse: not decided."


def test_ties_do_not_move_the_test(tmp_path: Path) -> None:
    plain, tied = make_pairs(JobFolder(tmp_path), 30), make_pairs(JobFolder(tmp_path), 30)
    while plain.next:
        prefer(plain, "base")
    for choice in ("equal", "both_wrong", "skip"):
        pair = tied.next
        assert pair
        tied.judge(pair.item.id, choice)
    while tied.next:
        prefer(tied, "base")
    first, second = plain.compare(), tied.compare()
    assert first and second and first.outcome == second.outcome == "worse"
    assert first.worse == second.worse and second.skipped == second.equal == 1


def test_an_unknown_item_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FtwizardError, match="no pair of item"):
        make_pairs(JobFolder(tmp_path), 3).judge("none", "a")


def test_preference_rows_have_the_better_answer_first(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    pairs = make_pairs(folder, 12)
    prefer(pairs, "tuned")
    prefer(pairs, "base")
    pair = pairs.next
    assert pair
    pairs.judge(pair.item.id, "equal")
    first, second = blind_pairs.list_preferences(pairs)
    for row, chosen in ((first, "tuned"), (second, "base")):
        assert row["prompt"][0]["role"] == "user"
        assert row["chosen"][0]["role"] == row["rejected"][0]["role"] == "assistant"
        assert row["chosen"][0]["content"].startswith(chosen)
        assert not row["rejected"][0]["content"].startswith(chosen)


def test_an_answer_that_was_cut_off_is_shown_so_and_never_chosen_for_training(
    tmp_path: Path,
) -> None:
    folder = JobFolder(tmp_path)
    make_pairs(folder, 6)
    cut = [ItemAnswer(item=f"target-{n}", text="never ends", ended=False) for n in range(6)]
    write_lines(folder, "tuned", cut)
    pairs = blind_pairs.read(folder)
    pair = pairs.next
    assert pair and "never ends …" in pair.texts
    prefer(pairs, "tuned")
    assert not list(blind_pairs.list_preferences(pairs))
    pairs.judge(pair.item.id, "undo")
    prefer(pairs, "base")
    (row,) = blind_pairs.list_preferences(pairs)
    assert row["rejected"][0]["content"] == "never ends"


def judge_all(folder: JobFolder, evaluation: Evaluation, side: str) -> Evaluation:
    pairs = make_pairs(folder, 30)
    while pairs.next:
        prefer(pairs, side)
    return blind_pairs.apply(NewestEvaluation(folder, evaluation), pairs)


def test_what_pairs_say_is_kept_with_the_evaluation_until_it_is_undone(home: Path) -> None:
    evaluation = evaluate([])
    folder = write_evaluation(home, evaluation)
    judged = judge_all(folder, evaluation, "tuned")
    assert judged.by_hand == HandComparison(better=9, worse=0, outcome="better")
    assert read_evaluation(folder) == judged
    assert (
        blind_pairs.apply(NewestEvaluation(folder, judged), make_pairs(folder, 30)).by_hand is None
    )
    stored = read_evaluation(folder)
    assert stored and stored.by_hand is None


def test_the_job_that_is_the_newest_evaluation_has_it_too(home: Path) -> None:
    evaluation = evaluate([])
    folder = write_evaluation(home, evaluation)
    candidates = [Candidate(name="tuned", verdict=evaluation.verdict, scores={}, step=None)]
    job = write_judgment(folder, 1, evaluation, candidates)
    judged = judge_all(job, evaluation, "base")
    newest = find_newest(folder)
    assert newest and newest.folder.path == job.path and newest.evaluation == judged
    assert judged.by_hand and judged.by_hand.outcome == "worse"
