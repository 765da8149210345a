"""Search for runs by words and conditions, and explanations of empty results."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.errors import FtwizardError
from ftwizard.runs import search, store
from ftwizard.runs.search import RunFields, from_status, matches_all, parse, read_settings
from ftwizard.runs.store import RunStatus
from tests.screens.runs_helpers import living, make_run

PLAN = """\
data: {files: {train: /data/Tickets.jsonl, validation: /data/held.jsonl}}
model: {name: Qwen/Qwen2.5-0.5B}
recipe: {method: qlora, learning_rate: 2e-4, rank: 8, packing: true}
"""


@pytest.fixture
def fields(home: Path) -> RunFields:
    folder = make_run(home, "tickets-1124", end_reason="early_stopped")
    folder.plan.write_text(PLAN)
    return from_status(store.read_status(folder), read_settings(folder))


@pytest.mark.parametrize(
    "words",
    [
        "", "TICKETS", "1124", "id:tickets", "run:1124", "qwen", "model:qwen", "data:held",
        "data:tickets.jsonl", "state:ended", "state:early_stopped", "state:finished", "qlora",
        "method:qlora", "recipe.method=qlora", "rate>1e-4", "rate>=2e-4", "learning-rate:0.0002",
        "lr<1", "rank:8", "packing:true", "best<0.2", "loss<=0.1", "steps=40", "model:", "rate>",
        "tickets state:finished rate>1e-4",
    ],
)  # fmt: skip
def test_search_matches_the_run(fields: RunFields, words: str) -> None:
    assert matches_all(parse(words.split()), fields)


@pytest.mark.parametrize(
    "words",
    [
        "llama", "model:tickets", "data:general", "state:running", "failed", "method=lora",
        "rate>2e-4", "rank:80", "packing:false", "best>1", "id=tickets", "tickets failed",
        "/data/other.jsonl",
    ],
)  # fmt: skip
def test_search_does_not_match_the_run(fields: RunFields, words: str) -> None:
    assert not matches_all(parse(words.split()), fields)


def test_failed_matches_only_ends_that_were_not_requested(home: Path) -> None:
    result = {}
    for reason in ("crashed", "stopped", "out_of_memory", "killed", "finished"):
        status = store.read_status(make_run(home, reason, end_reason=reason))
        result[reason] = matches_all(parse(["failed"]), from_status(status, {}))
    assert [name for name, failed in result.items() if failed] == ["crashed", "out_of_memory"]


def test_active_run_matches_running_and_living(home: Path) -> None:
    folder = make_run(home, "one")
    folder.events.unlink()
    with living(folder):
        status = store.read_status(folder)
    assert matches_all(parse(["state:running", "living"]), from_status(status, {}))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("sate:finished", "Did you mean state:finished?"),
        ("learning_rat>1", "Did you mean learning_rate>1?"),
        ("rate>fast", "is not a number"),
        ("zzzz:1", "Examples:"),
    ],
)
def test_invalid_search_term_error_suggests_a_fix(words: str, says: str) -> None:
    with pytest.raises(FtwizardError) as caught:
        parse([words])
    assert says in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.exit_code == 2


def test_empty_result_names_the_term_to_drop(fields: RunFields) -> None:
    other = {"id": "other", "state": ["ended", "finished"], "model": "llama"}
    terms = parse(["qwen", "rate>1"])
    message, hint = search.explain_no_match(terms, [fields, other])
    assert message == "None of the 2 runs matches “qwen rate>1”."
    assert hint == "Without “rate>1”, 1 run matches."


def test_misspelled_id_is_corrected_in_the_hint(fields: RunFields) -> None:
    assert "tickets-1124" in search.explain_no_match(parse(["tickest-1124"]), [fields])[1]


def test_misspelled_state_is_corrected_in_the_hint(fields: RunFields) -> None:
    for typed, state in (("finishd", "finished"), ("crashd", "crashed"), ("runing", "running")):
        facts = {"id": "other", "state": ["running", "", "tokenizing rows"]}
        hint = search.explain_no_match(parse([f"state:{typed}"]), [fields, facts])[1]
        assert hint == f"Did you mean state:{state}?"


def test_run_with_an_unreadable_plan_still_matches(home: Path) -> None:
    folder = make_run(home, "one")
    folder.plan.write_bytes(b"\xff: [")
    assert read_settings(folder) == {}
    assert matches_all(parse(["one"]), from_status(store.read_status(folder), {}))


STATUS = RunStatus(
    id="x", state="ended", end_reason=None, attempt=1, phase=None, step=None, total_steps=None,
    epoch=None, loss=None, eval_loss=None, best_step=None, best_eval_loss=None, tokens_per_s=None,
    eta_s=None, started=None, updated=None, age_s=None, silent_s=None, heartbeat_age_s=None,
    troubles=(), folder="/x",
)  # fmt: skip


@given(st.lists(st.text(max_size=20), max_size=4))
def test_any_search_text_matches_or_is_explained(texts: list[str]) -> None:
    try:
        terms = parse(texts)
    except FtwizardError:
        return
    status = from_status(STATUS, {"recipe.learning_rate": 1e-4, "data.files.train": "\x1b"})
    if not matches_all(terms, status):
        assert all(search.explain_no_match(terms, [status]))
