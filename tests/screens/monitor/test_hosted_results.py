"""The results page of a hosted run: its job, and only the keys that work without weights here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.plan.schema import Model
from ftwizard.providers.base import Endpoint
from ftwizard.runs import remote
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.monitor.results import ResultsPage
from tests.helpers.hosted import TUNED, make_ended, make_plan, make_remote
from tests.screens.frames import drive, until, wait_for_text
from tests.screens.monitor.evaluated_runs import Calls, evaluate, open_results

SIZE = (100, 60)


@pytest.fixture
def run(home: Path) -> JobFolder:
    folder = make_ended(home / "runs" / "one")
    folder.events.touch()
    return folder


def test_page_shows_model_tokens_and_cost(run: JobFolder) -> None:
    shown = drive(FtwizardApp(("run", "one")), SIZE, open_results)
    for part in (
        TUNED,
        "OpenAI: succeeded, job ftjob-1",
        "4,500 tokens",
        "$0.13 (predicted",
        "10 min",
    ):
        assert part in shown, part
    assert "✓ model at OpenAI" in shown
    assert "Evaluate it: compare it with its base on three sets: ftwizard eval one" in shown


def test_only_keys_that_make_sense_work(run: JobFolder) -> None:
    allowed: dict[str, bool | None] = {}

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        page = pilot.app.screen
        assert isinstance(page, ResultsPage)
        for action in ("chat", "export", "push", "serve", "script", "copy_command", "next"):
            allowed[action] = page.check_action(action, ())
        for command in ("eval", "card", "merge", "verify"):
            allowed[command] = page.check_action("run", (command,))

    drive(FtwizardApp(("run", "one")), SIZE, play)
    works = {name for name, value in allowed.items() if value}
    assert works == {"chat", "next", "eval", "card"}


def test_enter_evaluates_and_then_judges_the_better_checkpoint(
    run: JobFolder, calls: Calls
) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: bool(calls))

    drive(FtwizardApp(("run", "one")), SIZE, play)
    assert calls == [("eval", str(run.path))]
    calls.clear()
    run.evaluations.mkdir()
    write_json(run.evaluation, evaluate([], general=48))
    drive(FtwizardApp(("run", "one")), SIZE, play)
    assert calls == [("eval", str(run.path), "--checkpoint", "10")]


@pytest.mark.parametrize(
    ("provider", "model", "is_free"),
    [("bedrock", "amazon.nova-lite-v1:0:300k", True),
     ("together", "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", False)],
)  # fmt: skip
def test_enter_deploys_only_what_costs_nothing(
    home: Path, calls: Calls, provider: Any, model: str, is_free: bool
) -> None:
    record = make_remote(provider=provider, model=model, checkpoints=())
    plan = make_plan(provider=provider, model=Model(name=model))
    folder = make_ended(home / "runs" / "one", record, plan=plan)
    folder.events.touch()

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await wait_for_text(pilot, "Deploy it")
        await pilot.press("enter")
        if is_free:
            await until(pilot, lambda: bool(calls))
        else:
            await wait_for_text(pilot, "In a terminal: ftwizard deploy one.")

    drive(FtwizardApp(("run", "one")), SIZE, play)
    assert calls == ([("deploy", str(folder.path))] if is_free else [])


def test_model_that_may_be_shipped_needs_only_its_card(run: JobFolder) -> None:
    run.evaluations.mkdir()
    write_json(run.evaluation, evaluate([]))
    run.card.write_text("a card")
    shown = drive(FtwizardApp(("run", "one")), SIZE, open_results)
    assert "Everything is there" in shown and f"{TUNED}, at OpenAI" in shown
    assert "merged" not in shown and "serve" not in shown


def test_enter_names_the_command_that_deploys(run: JobFolder, calls: Calls) -> None:
    remote.write(run, make_remote(provider="together"))

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert any("ftwizard deploy one" in note.message for note in pilot.app._notifications)

    drive(FtwizardApp(("run", "one")), SIZE, play)
    assert not calls, "a price is confirmed in a terminal"


def test_a_deployment_made_in_a_terminal_changes_the_next_step(run: JobFolder) -> None:
    remote.write(run, make_remote(provider="bedrock"))

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await wait_for_text(pilot, "ftwizard deploy one")
        endpoint = Endpoint(address="bedrock://us-east-1", served_name="deployed", key_variable="")
        remote.write(run, make_remote(provider="bedrock", tuned_endpoint=endpoint))
        await wait_for_text(pilot, "ftwizard eval one")

    drive(FtwizardApp(("run", "one")), SIZE, play)
