"""The results page: scores, answers, files and next commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.jobs.folder import write_json
from ftwizard.runs.merge_proof import MergeProof
from ftwizard.runs.serving import find_serve_command
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.monitor.results import ResultsPage
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.runs_helpers import make_result, make_run

ANSWERS = [
    {
        "line": number,
        "prompt": [{"role": "user", "content": f"question {number} [bold]x[/] \x1b]52;c;QQ==\x07"}],
        "expected": "yes",
        "base": "no idea",
        "tuned": "yes",
    }
    for number in (1, 2)
]


async def open_results(pilot: Pilot[Any]) -> None:
    await wait_for_text(pilot, "enter shows the results")
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, ResultsPage))


def test_results_page_opens_from_the_monitor(home: Path) -> None:
    folder = make_run(home, "one")
    make_result(folder, ANSWERS)
    folder.merged.mkdir()
    proof = MergeProof(
        verdict="differs", base="/base", adapter="/a", tensors=272, difference_count=2
    )
    write_json(folder.merged / "proof.json", proof)
    shown = drive(FtwizardApp(("run", "one")), (80, 50), open_results)
    assert "✗ Wrong: 2 of 272 tensors are not what base and adapter give." in " ".join(
        shown.split()
    )
    assert re.search(r"target +0% .*100%", shown)
    assert "answer 1 of 2" in shown
    assert "question 1 [bold]x[/] ␛]52;c;QQ==" in shown, "escaped, not obeyed"
    assert "✓ fixed: wrong before, right now  target, row 1" in shown
    assert "2 of 2 test answers are right, 0 with the base model" in " ".join(shown.split())
    assert "Enter     Chat: compare the answers of both models yourself" in shown
    assert re.search(r"serve +ftwizard serve one --port 8000", shown)
    assert "19 of 20 rows trained on; 1 row left out" in " ".join(shown.split())


def test_arrow_keys_page_through_the_answers(home: Path) -> None:
    make_result(make_run(home, "one"), ANSWERS)
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        for key in ("right", "right", "left"):
            await pilot.press(key)
            recorded.append(frame(pilot.app))

    drive(FtwizardApp(("run", "one")), (80, 24), play)
    assert "answer 2 of 2" in recorded[0]
    assert "answer 1 of 2" in recorded[1]
    assert "answer 2 of 2" in recorded[2]


def test_results_without_a_comparison_say_why(home: Path) -> None:
    make_run(home, "one")
    shown = drive(FtwizardApp(("run", "one")), (80, 24), open_results)
    assert "it was not compared with its base on test rows" in " ".join(shown.split())
    assert "ftwizard train" in shown


def test_large_window_shows_several_answers_at_once(home: Path) -> None:
    make_result(make_run(home, "one"), ANSWERS * 2)
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        for _ in range(3):
            recorded.append(frame(pilot.app))
            await pilot.press("right")

    drive(FtwizardApp(("run", "one")), (160, 50), play)
    for shown, numbers in zip(recorded, ((1, 2, 3), (4,), (1, 2, 3)), strict=True):
        assert re.findall(r"answer (\d) of 4", shown) == [str(n) for n in numbers]


def test_a_toggles_the_full_text_of_long_answers(home: Path) -> None:
    long = {**ANSWERS[0], "base": "x" * 600 + "end"}
    make_result(make_run(home, "one"), [long])
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        for _ in range(3):
            recorded.append(frame(pilot.app))
            await pilot.press("a")

    drive(FtwizardApp(("run", "one")), (80, 40), play)
    assert ["xend" in item for item in recorded] == [False, True, False]
    assert "x…" in recorded[0]


def test_an_answer_without_text_is_called_empty(home: Path) -> None:
    make_result(make_run(home, "one"), [{**ANSWERS[0], "base": " \n"}])
    shown = drive(FtwizardApp(("run", "one")), (80, 40), open_results)
    assert re.search(r"base +\(empty\)", shown)


def test_test_rows_are_shown_where_no_answer_changed(home: Path) -> None:
    answers = [{**answer, "base": answer["tuned"]} for answer in ANSWERS * 4]
    make_result(make_run(home, "one"), answers)
    shown = drive(FtwizardApp(("run", "one")), (80, 40), open_results)
    assert "answer 1 of 5  · test row: as expected  target, row 1" in shown


def test_y_copies_the_serve_command_and_shows_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(home, "one")
    make_result(folder, ANSWERS)
    folder.merged.mkdir()
    monkeypatch.delenv("TMUX", raising=False)
    app = FtwizardApp(("run", "one"))
    copied: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("y")
        await wait_for_text(pilot, "Copied.")
        copied.append(app.clipboard)

    shown = drive(app, (80, 24), play)
    serve = find_serve_command(folder)
    assert serve and copied == [serve.line]
    assert serve.fold(60).splitlines()[0] in shown
    assert "It then answers at http://localhost:8000/v1" in shown
