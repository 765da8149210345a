"""The page of blind pairs: keys, what it shows, and what is kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import blind_pairs
from ftwizard.runs.evaluation_files import read_evaluation
from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.monitor.blind_pairs import BlindPairsPage
from ftwizard.screens.monitor.results import ResultsPage
from tests.helpers.blind_answers import write_answers
from tests.screens.frames import (
    Scenario,
    assert_frame,
    drive,
    until,
    wait_for_stable_frame,
    wait_for_text,
)
from tests.screens.hostile import TEXTS, obeyed, too_wide
from tests.screens.monitor.evaluated_runs import evaluate, open_results, write_evaluation

SIZES = [(80, 24), (120, 40)]
SHORT = "Your parcel {n} is on its way and arrives within two days."
LONG = "We are sorry that your parcel is late. " * 60


def write_run(home: Path, *texts: str) -> JobFolder:
    """Write a run whose tuned model answers with these texts, in turn."""
    folder = write_evaluation(home, evaluate([]))
    answers = [texts[n % len(texts)].format(n=n) for n in range(16)]
    write_answers(folder, [*answers, "base 16"], base="base {n}")
    return folder


async def open_pairs(pilot: Pilot[Any]) -> None:
    await open_results(pilot)
    await pilot.press("h")
    await until(pilot, lambda: isinstance(pilot.app.screen, BlindPairsPage))
    await until(pilot, lambda: pilot.app.screen.query_one("#finish").has_focus)


def show(size: tuple[int, int], scenario: Scenario) -> str:
    return drive(FtwizardApp(("run", "one")), size, scenario)


async def prefer(pilot: Pilot[Any], folder: JobFolder, side: str, count: int) -> None:
    """Prefer a model in the next pairs, which the test knows from the files."""
    pairs = blind_pairs.read(folder)
    for _ in range(count):
        pair = pairs.next
        assert pair
        key = "a" if pair.side_of_a == side else "b"
        pairs.judge(pair.item.id, "a" if key == "a" else "b")
        await pilot.press(key)


def wait_for_lines(folder: JobFolder, count: int) -> bool:
    path = folder.evaluations / blind_pairs.FILE
    return path.exists() and len(path.read_bytes().splitlines()) == count


@pytest.mark.parametrize("color", ["", "1"], ids=["color", "no-color"])
@pytest.mark.parametrize("size", SIZES)
def test_two_answers_are_shown_without_their_models(
    home: Path, size: tuple[int, int], color: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if color:
        monkeypatch.setenv("NO_COLOR", color)
    write_run(home, SHORT, LONG)
    shown = show(size, open_pairs)
    assert_frame("blind-pairs-{}x{}".format(*size), shown)


@pytest.mark.parametrize("size", SIZES)
def test_long_answers_fit_and_a_key_shows_them_in_full(home: Path, size: tuple[int, int]) -> None:
    write_run(home, LONG)
    frames: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await open_pairs(pilot)
        frames.append(await wait_for_stable_frame(pilot))
        await pilot.press("m")
        frames.append(await wait_for_stable_frame(pilot))
        await pilot.press("end")
        frames.append(await wait_for_stable_frame(pilot))

    show(size, play)
    assert_frame("blind-pairs-long-{}x{}".format(*size), frames[0])
    assert "(m: in full)" in frames[0] and "(m: in full)" not in frames[1] + frames[2]
    assert frames[0] != frames[1]


@pytest.mark.parametrize("size", SIZES)
def test_it_ends_once_decided_and_the_verdict_is_judged_again(
    home: Path, size: tuple[int, int]
) -> None:
    folder = write_run(home, SHORT)
    judging: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await open_pairs(pilot)
        await prefer(pilot, folder, "tuned", 1)
        judging.append(await wait_for_stable_frame(pilot))
        await until(pilot, lambda: wait_for_lines(folder, 1))
        await prefer(pilot, folder, "tuned", 7)
        await wait_for_text(pilot, "decided")

    shown = show(size, play)
    assert "better" not in judging[0].replace("Which answer is better?", "")
    assert_frame("blind-pairs-decided-{}x{}".format(*size), shown)
    evaluation = read_evaluation(folder)
    assert evaluation and evaluation.by_hand and evaluation.by_hand.better == 8


def test_keys_typed_at_once_are_all_kept_when_the_page_is_left(home: Path) -> None:
    folder = write_run(home, SHORT)

    async def play(pilot: Pilot[Any]) -> None:
        await open_pairs(pilot)
        await pilot.press("s", "e", "n", "u", "equals_sign", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsPage))

    show((80, 24), play)
    judged = blind_pairs.read(folder).judged.values()
    assert [judgment.choice for judgment in judged] == ["skip", "equal", "equal"]


def test_what_was_typed_is_kept_when_the_app_ends(home: Path) -> None:
    folder = write_run(home, SHORT)

    async def play(pilot: Pilot[Any]) -> None:
        await open_pairs(pilot)
        await pilot.press("s", "e", "n")

    async def look(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: wait_for_lines(folder, 3))
        await open_pairs(pilot)
        assert "4 of 16" in await wait_for_stable_frame(pilot)

    show((80, 24), play)
    show((80, 24), look)


def test_the_last_judgment_can_be_undone_after_the_end(home: Path) -> None:
    folder = write_run(home, SHORT)

    async def play(pilot: Pilot[Any]) -> None:
        await open_pairs(pilot)
        await prefer(pilot, folder, "base", 8)
        await wait_for_text(pilot, "8 of 8 worse: decided")
        await pilot.press("u")
        await wait_for_text(pilot, "Which answer is better?")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsPage))

    show((80, 24), play)
    evaluation = read_evaluation(folder)
    assert evaluation and evaluation.by_hand is None
    assert len(blind_pairs.read(folder).judged) == 7


def test_a_judgment_that_cannot_be_kept_is_said_and_not_counted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(home, SHORT)
    monkeypatch.setattr(
        subprocesses, "start_with_input", lambda *argv: start("eval", "none", *argv[2:])
    )

    async def play(pilot: Pilot[Any]) -> None:
        await open_pairs(pilot)
        await pilot.press("s", "escape")
        await wait_for_text(pilot, "none")
        await pilot.press("enter")
        await wait_for_text(pilot, "1 of 16")

    show((80, 24), play)


start = subprocesses.start_with_input


def test_the_key_is_there_only_where_answers_are(home: Path) -> None:
    folder = write_evaluation(home, evaluate([]))

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("h")

    assert "h by hand" not in show((160, 50), play)
    write_answers(folder, [f"tuned {n}" for n in range(6)])
    assert "h by hand" in show((160, 50), open_results)


def test_answers_are_shown_safely(home: Path) -> None:
    texts = [
        text.encode(errors="replace").decode().replace("{", "{{").replace("}", "}}")
        for text in TEXTS.values()
    ]
    write_run(home, *texts)

    async def play(pilot: Pilot[Any]) -> None:
        await open_pairs(pilot)
        for key in ("m", *"sssssssssssssss"):
            shown = await wait_for_stable_frame(pilot)
            assert not obeyed(shown) and not too_wide(shown, 120)
            await pilot.press(key)

    show((120, 40), play)
