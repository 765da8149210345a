"""The chat page: prompts, answers side by side, test rows, and the child process behind it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.jobs import launch
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.chat.dialogs import PromptArea
from ftwizard.screens.chat.page import ChatPage
from ftwizard.screens.chat.turn_view import TurnView
from ftwizard.screens.home.page import HomePage
from ftwizard.screens.monitor.results import ResultsPage
from tests.paths import DOUBLES
from tests.screens.frames import assert_frame, drive, frame, until, wait_for_text
from tests.screens.runs_helpers import make_result, make_run

ROW = {
    "line": 3,
    "prompt": [
        {"role": "system", "content": "Sort it."},
        {"role": "user", "content": "I was charged twice \x1b]52;c;QQ==\x07 [b]now[/b]"},
    ],
    "expected": '{"team": "billing"}',
    "base": "no idea",
    "tuned": '{"team": "billing"}',
}
Behave = Callable[[str], None]


@pytest.fixture
def behave(home: Path, monkeypatch: pytest.MonkeyPatch) -> Behave:
    """Return a function that replaces the models: ``well``, ``slow`` or ``fails``."""
    make_result(make_run(home, "one"), [ROW, {**ROW, "line": 9}])

    def use(how: str) -> None:
        command = [sys.executable, str(DOUBLES / "chat_child.py"), how]
        monkeypatch.setattr(launch, "get_python_command", lambda: command)

    use("well")
    return use


def read_requests(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "requests.jsonl").read_text().splitlines()]


async def say(pilot: Pilot[Any], text: str) -> None:
    pilot.app.screen.query_one(PromptArea).insert(text)
    await pilot.press("enter")


async def wait_for_answers(pilot: Pilot[Any], turns: int) -> None:
    def is_done() -> bool:
        views = list(pilot.app.screen.query(TurnView))
        return len(views) == turns and not any(view.turn.is_open for view in views)

    await until(pilot, is_done)


@pytest.mark.parametrize("size", [(80, 24), (120, 30)])
def test_both_models_answer(home: Path, behave: Behave, size: tuple[int, int]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        await say(pilot, "My parcel is broken\nand late")
        await wait_for_answers(pilot, 1)

    shown = drive(FtwizardApp(("chat", "one")), size, play)
    assert_frame(f"chat-{size[0]}x{size[1]}", shown)
    assert [request["side"] for request in read_requests(home)] == ["tuned", "base"]
    assert read_requests(home)[0]["messages"] == [
        {"role": "system", "content": "Route this ticket."},
        {"role": "user", "content": "My parcel is broken\nand late"},
    ]


def test_each_model_keeps_its_own_conversation(home: Path, behave: Behave) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        await pilot.press("ctrl+o")
        await wait_for_text(pilot, "Temperature 0 is greedy")
        pilot.app.screen.query_one(PromptArea).text = ""
        await pilot.press("enter")
        await wait_for_text(pilot, "System prompt: off")
        await say(pilot, "one")
        await wait_for_answers(pilot, 1)
        await say(pilot, "two")
        await wait_for_answers(pilot, 2)
        await pilot.press("ctrl+n")
        await say(pilot, "three")
        await wait_for_answers(pilot, 1)

    shown = drive(FtwizardApp(("chat", "one")), (80, 24), play)
    assert "System prompt: off (^o edits it)" in shown
    *_, tuned, base, third, _ = read_requests(home)
    for request, answer in ((tuned, '{"team": "billing"}'), (base, "Dear customer")):
        roles = [message["role"] for message in request["messages"]]
        assert roles == ["user", "assistant", "user"], "without the system prompt"
        assert request["messages"][1]["content"].startswith(answer)
    assert third["messages"] == [{"role": "user", "content": "three"}], "a new conversation"


def test_test_row_is_taken_with_its_expected_answer(home: Path, behave: Behave) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        await pilot.press("ctrl+t")
        await wait_for_text(pilot, "Test row 3 is in the input")
        await pilot.press("enter")
        await wait_for_answers(pilot, 1)

    shown = drive(FtwizardApp(("chat", "one")), (100, 30), play)
    assert "✓ as expected" in shown
    assert "expected:" in shown
    assert "␛]52;c;QQ==" in "".join(shown.split()), "escaped, not obeyed"
    assert read_requests(home)[0]["messages"] == ROW["prompt"], "as in the row, to the letter"


def test_base_model_can_be_turned_off(home: Path, behave: Behave) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        await pilot.press("ctrl+g")
        await wait_for_text(pilot, "Base model: off")
        await say(pilot, "one")
        await wait_for_answers(pilot, 1)

    drive(FtwizardApp(("chat", "one")), (80, 24), play)
    assert [request["side"] for request in read_requests(home)] == ["tuned"]


def test_prompt_typed_while_loading_is_answered_later(home: Path, behave: Behave) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatPage))
        await say(pilot, "early")
        await wait_for_answers(pilot, 1)

    drive(FtwizardApp(("chat", "one")), (80, 24), play)
    assert read_requests(home)[0]["messages"][0]["role"] == "system", "known only once loaded"


def test_prompt_is_shown_while_the_models_load(home: Path, behave: Behave) -> None:
    behave("loads")

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "Loading: tuned model…")
        await say(pilot, "early")

    shown = drive(FtwizardApp(("chat", "one")), (60, 16), play)
    assert "you        early" in shown
    assert shown.count("…") >= 3, "both answers are awaited"


def test_waits_say_how_long(home: Path, behave: Behave) -> None:
    behave("loads")

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "Loading: tuned model…")
        await say(pilot, "early")
        await until(pilot, lambda: bool(re.search(r"tuned model…  [1-9]", frame(pilot.app))))
        await until(pilot, lambda: bool(re.search(r"tuned +… \d s", frame(pilot.app))))

    drive(FtwizardApp(("chat", "one")), (60, 16), play)


def test_esc_stops_the_answer_then_leaves(home: Path, behave: Behave) -> None:
    behave("slow")
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        await say(pilot, "one")
        await wait_for_text(pilot, '{"team":')
        await say(pilot, "two")
        recorded.append(pilot.app.screen.query_one(PromptArea).text)
        await pilot.press("escape")
        await wait_for_answers(pilot, 1)
        recorded.append(frame(pilot.app))
        assert isinstance(pilot.app.screen, ChatPage)
        pilot.app.screen.query_one(PromptArea).text = ""
        await say(pilot, "three")
        await wait_for_answers(pilot, 2)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ChatPage))

    drive(FtwizardApp(("chat", "one")), (80, 24), play)
    assert recorded[0] == "two", "kept until the answer has ended"
    assert recorded[1].count("(stopped)") == 2


def test_ctrl_c_stops_both_answers_at_once(home: Path, behave: Behave) -> None:
    behave("slow")

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        await say(pilot, "one")
        await wait_for_text(pilot, '{"team":')
        await wait_for_text(pilot, "… after tuned")
        await pilot.press("ctrl+c")
        await wait_for_answers(pilot, 1)
        assert isinstance(pilot.app.screen, ChatPage)

    shown = drive(FtwizardApp(("chat", "one")), (80, 24), play)
    assert re.search(r'tuned +\{"team":  \(stopped\)', shown), "what stands is kept"


def test_regenerated_answer_is_another_sample_and_the_first_is_kept(
    home: Path, behave: Behave
) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        await say(pilot, "one")
        await wait_for_answers(pilot, 1)
        await pilot.press("ctrl+r")
        await wait_for_text(pilot, "answer 2 of 2")
        await wait_for_answers(pilot, 1)
        recorded.append(frame(pilot.app))
        await pilot.press("ctrl+l")
        await wait_for_text(pilot, "answer 1 of 2")
        recorded.append(frame(pilot.app))
        await say(pilot, "two")
        await wait_for_answers(pilot, 2)

    drive(FtwizardApp(("chat", "one")), (80, 24), play)
    second, first = recorded
    assert 'another {"team": "billing"}' in second and "temperature 0.7)" in second
    assert "another" not in first and "temperature" not in first
    requests = read_requests(home)
    assert [request["temperature"] for request in requests] == [0, 0, 0.7, 0.7, 0, 0]
    assert requests[0]["messages"] == requests[2]["messages"]
    answers = [m["content"] for m in requests[4]["messages"] if m["role"] == "assistant"]
    assert answers == ['{"team": "billing"}'], "it continues from the answer that is shown"


def test_edited_system_prompt_and_temperature_count_from_the_next_answer(
    home: Path, behave: Behave
) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        await say(pilot, "one")
        await wait_for_answers(pilot, 1)
        await pilot.press("ctrl+o")
        await wait_for_text(pilot, "Temperature 0 is greedy")
        await pilot.press(*" Twice?", "ctrl+j", *"Yes.", "tab", "backspace", "9", "enter")
        await wait_for_text(pilot, "from 0 (greedy) to 2")
        await pilot.press("backspace", *"0", "enter")
        await wait_for_text(pilot, "edited: “Route this ticket. Twice?")
        await pilot.press("ctrl+r")
        await wait_for_text(pilot, "answer 2 of 2")
        await wait_for_answers(pilot, 1)
        await pilot.press("ctrl+o")
        await wait_for_text(pilot, "Temperature 0 is greedy")
        await pilot.press("tab", *".3", "enter")
        await wait_for_text(pilot, "temperature 0.3")
        await say(pilot, "two")
        await wait_for_answers(pilot, 2)

    drive(FtwizardApp(("chat", "one")), (80, 24), play)
    first, _, again, _, second, _ = read_requests(home)
    assert first["messages"][0]["content"] == "Route this ticket."
    assert again["messages"][0]["content"] == "Route this ticket. Twice?\nYes."
    assert again["temperature"] == 0, "another system prompt is already another question"
    assert second["temperature"] == 0.3
    assert [m["role"] for m in second["messages"]] == ["system", "user", "assistant", "user"]


def test_turn_is_added_to_a_data_file_with_its_edited_answer(
    home: Path, behave: Behave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        await say(pilot, "My parcel is late")
        await wait_for_answers(pilot, 1)
        await pilot.press("ctrl+s")
        await wait_for_text(pilot, "as a row to train on")
        await pilot.press("ctrl+g")
        await wait_for_text(pilot, "Dear customer, thank you for your message. Dear")
        await pilot.press("ctrl+g", *"!", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatPage))
        await pilot.press("ctrl+s")
        await wait_for_text(pilot, '{"team": "billing"}!')
        await pilot.press("tab", "end", *"/no", "enter")
        await wait_for_text(pilot, "does not exist")
        recorded.append(frame(pilot.app))
        await pilot.press("backspace", "backspace", "backspace", "enter")
        await wait_for_text(pilot, "Created ")
        await pilot.press("enter")
        await wait_for_text(pilot, "added to one-additions.jsonl")

    drive(FtwizardApp(("chat", "one")), (80, 24), play)
    assert '{"team": "billing"}!' in recorded[0], "kept after the error"
    (file,) = tmp_path.rglob("one-additions.jsonl")
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {
            "messages": [
                {"role": "system", "content": "Route this ticket."},
                {"role": "user", "content": "My parcel is late"},
                {"role": "assistant", "content": '{"team": "billing"}!'},
            ]
        }
    ]


def test_training_file_is_changed_only_after_a_question(
    home: Path, behave: Behave, tmp_path: Path
) -> None:
    training = tmp_path / "rows.jsonl"
    training.write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    before = training.read_bytes()

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        page = pilot.app.screen
        assert isinstance(page, ChatPage)
        page._files = page._files._replace(training=training)
        page._file = str(training)
        await say(pilot, "one")
        await wait_for_answers(pilot, 1)
        await pilot.press("ctrl+s")
        await wait_for_text(pilot, "as a row to train on")
        await pilot.press("enter")
        await wait_for_text(pilot, "This is the training file of the run.")
        await pilot.press("n")
        await wait_for_text(pilot, "as a row to train on")
        assert training.read_bytes() == before

    drive(FtwizardApp(("chat", "one")), (80, 24), play)
    assert training.read_bytes() == before


def test_conversation_outlives_the_models(home: Path, behave: Behave) -> None:
    behave("dies")
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        await say(pilot, "one")
        await wait_for_text(pilot, "The conversation is kept")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatPage))
        await wait_for_answers(pilot, 1)
        recorded.append(frame(pilot.app))
        pilot.app.screen.query_one(PromptArea).insert("typed")
        behave("well")
        await pilot.press("ctrl+r")
        await wait_for_answers(pilot, 1)
        assert pilot.app.screen.query_one(PromptArea).text == "typed"

    shown = drive(FtwizardApp(("chat", "one")), (80, 24), play)
    assert '{"team":' in recorded[0] and "memory runs out" in recorded[0]
    assert "answer 2 of 2" in shown and '{"team": "billing"}' in shown


def test_refused_conversation_says_why(home: Path, behave: Behave) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await say(pilot, "too long")
        await wait_for_answers(pilot, 1)

    shown = drive(FtwizardApp(("chat", "one")), (80, 24), play)
    assert "✗ It has 9,000 tokens. Start anew." in shown


def test_failed_start_shows_the_error_of_the_command(home: Path, behave: Behave) -> None:
    behave("fails")

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "needs about 9.0 GB")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, HomePage))

    app = FtwizardApp()

    async def begin(pilot: Pilot[Any]) -> None:
        app.start_route("chat", "one")
        await play(pilot)

    drive(app, (80, 24), begin)


def test_leaving_ends_the_child(home: Path, behave: Behave) -> None:
    pids: list[int] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "System prompt of the training data")
        page = pilot.app.screen
        assert isinstance(page, ChatPage) and page._process._child
        pids.append(page._process._child.pid)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ChatPage))
        await until(pilot, lambda: not Path(f"/proc/{pids[0]}").exists())

    app = FtwizardApp()

    async def begin(pilot: Pilot[Any]) -> None:
        app.start_route("chat", "one")
        await play(pilot)

    drive(app, (80, 24), begin)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_c_opens_the_chat_from_home_and_from_the_results(home: Path, behave: Behave) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "one")
        await pilot.press("end")
        recorded.append(frame(pilot.app))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatPage))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, HomePage))
        await pilot.press("enter")
        await wait_for_text(pilot, "enter shows the results")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsPage))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChatPage))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsPage))

    drive(FtwizardApp(), (80, 24), play)
    assert "c chat" in recorded[0]
