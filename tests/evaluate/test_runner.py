"""Runner of evaluations: progress, stops, kills, limited time, and the estimate of the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.evaluate import local_model, prompts, runner
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.local_model import LocalAnswerer, SlowItem
from ftwizard.evaluate.runner import EvaluationProgress, RemainingTime, answer_all
from ftwizard.jobs.worker import Stopped
from ftwizard.runs.evaluation import ItemAnswer
from ftwizard.runs.progress import MIN_STILL_S
from tests.helpers import training


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(training.tiny_model(tmp_path_factory.mktemp("runner")))


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))


def make_items(count: int, limit: int | None = 8) -> list[Item]:
    return [
        Item(
            id=f"i{n}",
            set="target" if n % 2 else "general",
            messages=[{"role": "user", "content": f"question {n}"}],
            scorer="exact",
            expected=["x" * 10],
            max_tokens=limit,
        )
        for n in range(count)
    ]


def make_arms(base: str) -> list[Arm]:
    return [Arm(name="base", model=base), Arm(name="prompted", model=base, system="Be brief.")]


def read_lines(folder: Path, arm: str) -> list[ItemAnswer]:
    lines = (folder / "eval" / f"{arm}.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=ItemAnswer) for line in lines]


def test_every_arm_answers_every_item_in_order(base: str, tmp_path: Path) -> None:
    items, reports = make_items(9), list[EvaluationProgress]()
    answers = answer_all(make_arms(base), items, tmp_path, on_progress=reports.append)
    for arm in ("base", "prompted"):
        assert [answer.item for answer in answers[arm]] == [item.id for item in items]
        assert read_lines(tmp_path, arm) == answers[arm]
        assert all(answer.tokens == 8 and not answer.ended for answer in answers[arm])
    done = [report.done for report in reports]
    assert done == sorted(done) and done[-1] == 18 == reports[-1].total
    assert reports[-1].arm == "prompted" and reports[-1].arm_done == 9
    assert reports[-1].eta_s == 0.0


def test_what_was_answered_is_not_asked_again(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run on the same base and set has its base arms at once."""
    first = answer_all(make_arms(base), make_items(9), tmp_path)
    monkeypatch.setattr(local_model.LocalModels, "select", None)
    (tmp_path / "next").mkdir()
    reports = list[EvaluationProgress]()
    renamed = [msgspec.structs.replace(item, id=f"next {item.id}") for item in make_items(9)]
    again = answer_all(make_arms(base), renamed, tmp_path / "next", on_progress=reports.append)
    assert [a.text for a in again["base"]] == [a.text for a in first["base"]]
    assert [a.item for a in again["base"]] == [item.id for item in renamed]
    assert reports[0].done == 18


def test_a_stop_loses_nothing(base: str, tmp_path: Path) -> None:
    def stop(progress: EvaluationProgress) -> None:
        if progress.arm_done >= 3:
            raise Stopped

    with pytest.raises(Stopped):
        answer_all(make_arms(base), make_items(9, None), tmp_path, on_progress=stop)
    reports = list[EvaluationProgress]()
    answer_all(make_arms(base), make_items(9, None), tmp_path, on_progress=reports.append)
    assert reports[0].done == 3 and reports[-1].done == 18


def test_the_item_that_stalled_an_attempt_is_not_tried_again(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt is stopped in the middle of it; the next one skips it, and says so."""
    items = make_items(5)
    stuck = SlowItem(items[3], 2 * runner.STALLED_S, None)
    monkeypatch.setattr(LocalAnswerer, "slow", stuck)

    def stop(progress: EvaluationProgress) -> None:
        assert progress.slow == stuck
        raise Stopped

    with pytest.raises(Stopped):
        answer_all(make_arms(base), items, tmp_path, on_progress=stop)
    monkeypatch.setattr(LocalAnswerer, "slow", None)
    for _ in range(2):  # the tuned model is asked later, and it does not try either
        answers = answer_all(make_arms(base), items, tmp_path)
        for arm in ("base", "prompted"):
            late = [answer.item for answer in answers[arm] if answer.is_late]
            assert late == [items[3].id]
            assert [answer.tokens for answer in answers[arm]] == [8, 8, 8, 0, 8]


def test_an_item_that_was_slow_and_answered_is_not_skipped(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = make_items(5)
    monkeypatch.setattr(LocalAnswerer, "slow", SlowItem(items[3], 2 * runner.STALLED_S, None))
    answer_all(make_arms(base)[:1], items, tmp_path)
    answers = answer_all(make_arms(base)[1:], items, tmp_path)
    assert not any(answer.is_late for answer in answers["prompted"])


def test_losses_of_texts_are_computed_once(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = Arm(name="base", model=base)
    texts = ["the cat sat on a mat", "two red roofs", "a" * 700]
    losses = runner.compute_text_losses([arm], texts)
    assert [loss.tokens for loss in losses["base"]] == [19, 12, 511], "cut at the context"
    assert all(loss.total > 0 for loss in losses["base"])
    reports = list[EvaluationProgress]()
    with_more = runner.compute_text_losses(
        [arm, Arm(name="served", model="http://127.0.0.1:9")], [*texts, "new"],
        on_progress=reports.append,
    )  # fmt: skip
    assert with_more["base"][:3] == losses["base"] and list(with_more) == ["base"]
    assert [report.arm_done for report in reports] == [3], "only the new one"


KILLED = """
import sys
from pathlib import Path
from ftwizard.evaluate import runner
from tests.evaluate.test_runner import make_arms, make_items
def report(progress):
    print(progress.arm_done, flush=True)
runner.answer_all(make_arms(sys.argv[1]), make_items(40, 30), Path(sys.argv[2]), on_progress=report)
"""


@pytest.mark.slow
def test_a_killed_evaluation_continues(base: str, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, base, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    done = next(int(line) for line in child.stdout if int(line) >= 5)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "eval" / "base.jsonl").exists(), "nothing that looks complete"
    reports = list[EvaluationProgress]()
    answers = answer_all(make_arms(base), make_items(40, 30), tmp_path, on_progress=reports.append)
    assert reports[0].done >= done
    assert [len(answers[arm]) for arm in ("base", "prompted")] == [40, 40]


def test_in_limited_time_all_arms_answer_the_same_items(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftwizard.evaluate.runner.time.monotonic", iter(range(10**6)).__next__)
    items = make_items(60)
    answers = answer_all(make_arms(base), items, tmp_path, seconds=100)
    ids = [answer.item for answer in answers["base"]]
    assert 1 <= len(ids) < 60
    assert ids == [answer.item for answer in answers["prompted"]]
    assert ids != [item.id for item in items[: len(ids)]], "drawn at random"
    assert ids == [item.id for item in items if item.id in ids], "in the order of the items"


def test_what_a_split_leaves_out_is_not_asked_and_the_progress_counts_all(
    base: str, tmp_path: Path
) -> None:
    seen, reports = list[int](), list[EvaluationProgress]()

    def split(items: Sequence[Item], answers: Mapping[str, ItemAnswer]) -> Iterator[Sequence[Item]]:
        for begin in (0, 4):
            yield items[begin : begin + 4]
            seen.append(len(answers))

    items = make_items(12)
    arms = make_arms(base)[:1]
    answers = answer_all(arms, items, tmp_path, split=split, on_progress=reports.append)
    assert [answer.item for answer in answers["base"]] == [item.id for item in items[:8]]
    assert read_lines(tmp_path, "base") == answers["base"]
    assert seen == [4, 8]
    assert {report.arm_total for report in reports} == {12}


def test_limits_follow_the_usual_expected_answer_of_the_set() -> None:
    items = make_items(4, None)
    items[1] = msgspec.structs.replace(items[1], expected=["x" * 40])
    items.append(msgspec.structs.replace(items[0], id="c", scorer="contains"))
    items.append(msgspec.structs.replace(items[0], id="m", max_tokens=5))
    limits = [item.max_tokens for item in prompts.set_limits(items, len)]
    assert limits == [36, 36, 36, 36, prompts.DEFAULT_LIMIT, 5]


@pytest.mark.parametrize("count", [2, 3, 15, 40, 200])
def test_one_row_of_any_length_changes_no_limit(count: int) -> None:
    """It got all items 22,519 tokens."""
    items = [msgspec.structs.replace(item, set="target") for item in make_items(count, None)]
    items[0] = msgspec.structs.replace(items[0], expected=["x" * 36_000])
    assert {item.max_tokens for item in prompts.set_limits(items, len)} == {36}
    endless = [msgspec.structs.replace(item, expected=["x" * 36_000]) for item in items]
    assert {item.max_tokens for item in prompts.set_limits(endless, len)} == {prompts.MAX_LIMIT}


def test_items_unlike_their_set_are_too_long() -> None:
    """Those of a set of long ones are asked, unless each takes minutes."""
    items = make_items(40, None)

    def find(size: int, *, every: bool = False, most: int | None = 9000) -> int:
        longer = [
            msgspec.structs.replace(item, expected=["x" * size]) if every or n == 7 else item
            for n, item in enumerate(items)
        ]
        return len(prompts.find_long(longer, len, 1024, most))

    assert (find(900), find(1200), find(36_000)) == (0, 1, 1)
    assert (find(1200, every=True), find(36_000, every=True)) == (0, 40)
    assert find(36_000, every=True, most=None) == 0


def test_the_remaining_time_is_estimated_from_work_after_the_loading() -> None:
    now = iter([90.0, 100.0, 110.0, 140.0]).__next__
    pace = RemainingTime(40, now)
    assert pace.record(0.0) == (0.0, None)
    assert pace.record(2.0) == (2.0, None), "the clock starts with the first work"
    assert pace.record(7.0) == (7.0, 10.0 / 5 * 33)
    assert pace.record(6.0) == (7.0, None), "what is shown never falls, and nothing was done"


@given(
    answers=st.lists(st.floats(0.5, 1.5), min_size=20, max_size=60),
    usual_s=st.floats(0.05, 60.0),
    slow=st.integers(2, 19),
)
def test_the_remaining_time_is_never_shown_longer_than_it_is_true(
    answers: list[float], usual_s: float, slow: int
) -> None:
    """One item takes 500 times as long as the others, and the time left is read all the while."""
    times = [usual_s * share * (500 if n == slow else 1) for n, share in enumerate(answers)]
    now = 0.0
    pace = RemainingTime(len(times), lambda: now)
    pace.record(0.0)
    for number, seconds in enumerate(times):
        begin, rest = now, sum(times[number + 1 :])
        parts = 400 if number == slow else 4
        for part in range(1, parts + 1):
            now = begin + seconds * part / parts
            _, left_s = pace.record(number + (part == parts))
            if part < parts and now - begin > max(MIN_STILL_S, 10 * usual_s):
                assert left_s is None, "what was true before no longer is"
        if number > slow:
            # Up to MIN_STILL_S, the slow one counts like any other.
            most = 3 * rest + 1.5 * MIN_STILL_S * (len(times) - number - 1) / number
            assert left_s is not None and rest / 3 <= left_s <= most


RECORDED = [
    (1.27, 0.48), (1.59, 0.94), (1.91, 1.51), (2.23, 2.04), (2.55, 3.37), (2.97, 4.61), (3.64, 6.8),
    (4.01, 8.17), (4.42, 8.29), (4.83, 8.63), (5.25, 9.68), (5.67, 9.99), (6.07, 10.28),
    (6.47, 10.55), (6.88, 10.81), (7.28, 11.06), (7.69, 11.29), (8.09, 11.51), (8.5, 12.38),
    (8.9, 12.56), (9.3, 12.74), (9.71, 12.9), (10.11, 13.06), (10.8, 13.8), (11.64, 18.91),
    (12.06, 19.41), (12.48, 19.83), (13.09, 22.13), (13.54, 23.44), (13.95, 23.76), (14.35, 25.7),
    (14.72, 25.98), (15.09, 26.22), (15.45, 26.43), (15.82, 26.63), (16.19, 26.81), (16.56, 26.97),
    (16.92, 27.12), (17.29, 27.25), (17.65, 27.38), (18.01, 27.5), (18.38, 27.6), (18.74, 28.38),
    (21.08, 34.0),
]  # fmt: skip
"""Seconds and work done, of 34 answers of SmolLM2-135M in batches of 16
(``tests.benchmarks.evaluation --trace``)."""


def test_the_estimate_holds_on_recorded_timings() -> None:
    total_s, total = RECORDED[-1]
    now = iter([seconds for seconds, _ in RECORDED]).__next__
    pace = RemainingTime(int(total), now)
    ratios = []
    for seconds, done in RECORDED[:-1]:
        _, eta_s = pace.record(done)
        if eta_s is not None and seconds > total_s * 0.2:
            ratios.append(eta_s / (total_s - seconds))
    assert len(ratios) > 25
    assert min(ratios) > 0.5 and max(ratios) < 2, "within a factor of two after a fifth"
    assert 0.75 < sorted(ratios)[len(ratios) // 2] < 1.3
