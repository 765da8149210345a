"""The order in which a model is asked, and when it need not be asked further."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ftwizard.evaluate.failures.inputs import Pair
from ftwizard.evaluate.items import Item, ScorerName
from ftwizard.evaluate.run import stages
from ftwizard.plan.schema import Gate
from tests.helpers.answers import AnswerSheet

KINDS: list[tuple[str, ScorerName]] = [
    ("target", "exact"), ("general", "exact"), ("safety", "refusal"), ("safety", "answered"),
    ("safety", "absent"), ("mine", "exact"),
]  # fmt: skip


def make_sheet(size: int, losses: dict[str, int] | None = None) -> AnswerSheet:
    """Return answers to ``size`` items of each kind, all right; ``losses``: how many of each ten of a kind,
    by its scorer or set, only the base model has right."""
    sheet = AnswerSheet()
    for number in range(size):
        for name, scorer in KINDS:
            kind = scorer if name == "safety" else name
            lost = number % 10 < (losses or {}).get(kind, 0)
            sheet.add(name, "q", "a", "b", scorer=scorer, scores=(1.0, float(not lost)))
    return sheet


def ask(sheet: AnswerSheet, gate: Gate | None = None) -> list[list[Item]]:
    def read_pairs(part: Sequence[Item]) -> list[Pair]:
        return [Pair(item, sheet.base[item.id], sheet.tuned[item.id]) for item in part]

    return list(stages.split(sheet.items, gate or Gate(), read_pairs))


def count(parts: Sequence[Sequence[Item]], name: str, scorer: str) -> int:
    return sum(item.set == name and item.scorer == scorer for part in parts for item in part)


def test_the_task_and_the_users_own_sets_come_first_and_whole() -> None:
    sheet = make_sheet(30)
    first, *others = ask(sheet)
    assert {stages.name_kind(item) for item in first} == {""}
    assert [item for item in sheet.items if not stages.name_kind(item)] == first
    assert all(stages.name_kind(item) for part in others for item in part)


def test_answers_that_change_nothing_decide_before_all_are_asked() -> None:
    parts = ask(make_sheet(100))
    assert count(parts, "general", "exact") == 50
    assert count(parts, "safety", "refusal") == count(parts, "safety", "answered") == 50


def test_a_large_loss_decides_and_a_doubtful_one_is_asked_to_the_end() -> None:
    parts = ask(make_sheet(100, {"general": 5, "refusal": 1}))
    assert count(parts, "general", "exact") == 50
    assert count(parts, "safety", "refusal") == 100


def test_a_small_set_is_asked_whole() -> None:
    parts = ask(make_sheet(20))
    assert sum(map(len, parts)) == 20 * len(KINDS)


def test_a_gate_that_tolerates_more_is_decided_with_less() -> None:
    sheet = make_sheet(40, {"general": 1})
    strict, wide = ask(sheet), ask(sheet, Gate(max_general_loss=0.4))
    assert count(wide, "general", "exact") < count(strict, "general", "exact") == 40


@given(
    st.integers(0, 60), st.dictionaries(st.sampled_from(["general", "refusal"]), st.integers(0, 9))
)
def test_no_item_is_asked_twice_and_none_is_left_of_an_open_kind(
    size: int, losses: dict[str, int]
) -> None:
    sheet = make_sheet(size, losses)
    asked = [item for part in ask(sheet) for item in part]
    assert len(asked) == len({item.id for item in asked})
    without = [item for part in stages.split(sheet.items, Gate()) for item in part]
    assert {item.id for item in without} == {item.id for item in sheet.items}
    for name in ("general", "refusal", "answered"):
        kind = [item for item in sheet.items if stages.name_kind(item) == name]
        part = [item for item in asked if stages.name_kind(item) == name]
        assert part == kind[: len(part)]
