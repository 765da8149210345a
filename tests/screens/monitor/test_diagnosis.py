"""The diagnosis page: the actions that it offers, and what they do."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from ftwizard.cli import parser
from ftwizard.diagnosis import Pattern, advice
from ftwizard.jobs import requests
from ftwizard.jobs.events import Event
from ftwizard.jobs.folder import JobFolder, Parent, write_json
from ftwizard.jobs.status import observe
from ftwizard.models.hub import ModelSource
from ftwizard.plan import plan_file
from ftwizard.runs import store
from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.monitor import diagnosis, readings
from ftwizard.screens.monitor.diagnosis import build_lines
from ftwizard.screens.monitor.page import MonitorPage
from ftwizard.train import child_plan, launcher
from tests.helpers.checkpoints import save
from tests.helpers.jobs import keeper_pid, make, start, until_step
from tests.helpers.results import make_trained
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.runs_helpers import make_run

SPIKY: dict[str, Any] = {
    "code": "spiky", "severity": "warning", "since": 2, "message": "It jumps.", "verdict": True,
    "action": "Halve the learning rate and double the gradient accumulation.", "confidence": 0.9,
    "actions": ["again_half_rate_more_accumulation", "again_half_rate", "again_more_accumulation"],
}  # fmt: skip
OVERFIT: dict[str, Any] = {
    "code": "overfit", "severity": "warning", "since": 20, "message": "It rises.", "verdict": True,
    "action": "Stop now and keep the best. Then use fewer epochs, or more diverse rows.",
    "actions": ["stop_keep_best", "again_half_rate"], "confidence": 0.9,
}  # fmt: skip


@pytest.fixture
def parent(home: Path) -> JobFolder:
    """Return an ended run that can be branched: its plan and rows exist."""
    run = make_run(home, "jumpy", end_reason="stopped", findings=[SPIKY])
    rows = [{"prompt": f"{n}: ", "completion": "yes"} for n in range(20)]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.plan.write_text(
        f"data: {{files: {{train: {home / 'rows.jsonl'}}}, split: {{validation: 0.2}}}}\n"
        "model: {name: owner/model}\nrecipe: {method: lora, learning_rate: 0.0002, gradient_accumulation: 4}\n"
    )
    source = ModelSource(
        kind="hub", name="owner/model", fingerprint="0", description="owner/model", commit="0"
    )
    inputs = {"model": msgspec.to_builtins(source)}
    hashes = launcher.hash_data(plan_file.load(run.plan, begun=True))
    write_json(run.job, msgspec.structs.replace(run.read_job(), inputs=inputs, hashes=hashes))
    return run


def test_confirmed_action_starts_and_shows_a_child_run(parent: JobFolder) -> None:
    adapter = save(parent.checkpoints, 40) / "adapter_model.safetensors"
    shown: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "! spiky")
        await pilot.press("d")
        await wait_for_text(
            pilot, "▸ new run from the newest checkpoint (step 40): half the learning rate,"
        )
        await pilot.press("enter")
        await wait_for_text(pilot, "Start a new run?")
        assert "starts from the newest checkpoint (step 40)" in frame(pilot.app)
        await pilot.press("escape")
        await pilot.pause(0.2)
        assert len(store.list_runs()) == 1, "Esc starts nothing"
        await pilot.press("enter")
        await wait_for_text(pilot, "Start a new run?")
        await pilot.press("enter")
        await until(pilot, lambda: shows_child_run(pilot, shown))

    drive(FtwizardApp(("run", "jumpy")), (80, 24), play)
    child = store.find(shown[0])
    changes = {"recipe.learning_rate": (0.0002, 0.0001), "recipe.gradient_accumulation": (4, 8)}
    assert child.read_job().parent == Parent(id="jumpy", step=40, changes=changes)
    assert (child.origin / adapter.name).read_bytes() == adapter.read_bytes()
    assert child.newest_attempt() == 1, "the child run was started"


def shows_child_run(pilot: Pilot[Any], shown: list[str]) -> bool:
    """Return whether the monitor shows a run other than the first, and record its id."""
    screen = pilot.app.screen
    if not isinstance(screen, MonitorPage) or screen.follower.folder.id == "jumpy":
        return False
    shown.append(screen.follower.folder.id)
    return shown[-1] in frame(pilot.app)


CHECKPOINTS: dict[str, list[tuple[int, float | None]]] = {
    "none": [],
    "no best": [(10, None), (40, None)],
    "a best": [(10, 1.5), (20, 0.8), (40, 1.2)],
}


@pytest.mark.parametrize(
    ("finding", "kept", "start_text", "start_option"),
    [
        (SPIKY, "none", "the start", "start"),
        (SPIKY, "no best", "the newest checkpoint (step 40)", "40"),
        (SPIKY, "a best", "the best checkpoint (step 20)", "20"),
        (OVERFIT, "none", "the start", "start"),
        (OVERFIT, "no best", "step 10, before it began", "10"),
        ({**OVERFIT, "since": 5}, "no best", "the start", "start"),
        ({**OVERFIT, "since": None}, "no best", "the start", "start"),
        (OVERFIT, "a best", "the best checkpoint (step 20)", "20"),
    ],
)
def test_action_names_a_saved_start_that_the_command_accepts(
    parent: JobFolder, finding: Event, kept: str, start_text: str, start_option: str
) -> None:
    for step, eval_loss in CHECKPOINTS[kept]:
        save(parent.checkpoints, step, eval_loss)
    on_disk = diagnosis.list_checkpoints(parent)
    for action, change in diagnosis.CHANGES.items():
        child = diagnosis.plan_child(action, finding, on_disk, is_alive=False)
        args = parser.parser().parse_args(["branch", "jumpy", *child.options])
        launcher.find_beginning(parent, args.begin)
        request = child_plan.Request(
            rate_times=args.rate_times, accumulation_times=args.accumulation_times
        )
        _, changes = child_plan.build(parent, request)
        assert len(changes) == len(change.options) / 2
        expected = ("the start", "start") if change.from_scratch else (start_text, start_option)
        assert (child.start, args.begin) == expected, action


def test_child_of_a_live_run_starts_from_the_newest_checkpoint() -> None:
    assert (
        diagnosis.plan_child("again_half_rate", SPIKY, [], is_alive=True).start
        == "the newest checkpoint"
    )


def test_no_learning_offers_5x_and_10x_learning_rate() -> None:
    actions = advice._MEANINGS["no_learning"].actions
    assert callable(actions)
    actions = actions({})
    shown = build_lines([{"code": "no_learning", "actions": list(actions)}], 74, [], is_alive=False)
    assert [line.text.plain for line in shown if line.id] == [
        "new run from the start: 5× the learning rate", "new run from the start: 10× the learning rate",
    ]  # fmt: skip


@pytest.mark.parametrize("code", advice._MEANINGS)
def test_advice_for_an_ended_run_omits_stop_and_continue(code: Pattern) -> None:
    action = advice._MEANINGS[code].action
    for recorded in {"rate_share": 0.01}, {"rate_share": 1.0}:
        text = action if isinstance(action, str) else action({**recorded, "learning_rate": 1.0})
        event = {"code": code, "action": text}
        assert readings.get_advice(event, is_alive=True) == text
        ended = readings.get_advice(event, is_alive=False)
        assert not ended.startswith(("Stop", "Let it finish", "Keep", "Continue")), ended


def test_diagnosis_of_an_ended_run_locates_the_best_weights(home: Path) -> None:
    run = make_run(home, "heart", end_reason="stopped", findings=[OVERFIT])
    save(run.checkpoints, 20, 0.21)
    run.adapter.mkdir()
    write_json(run.trained, make_trained(step=20, eval_loss=0.21))
    shown: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "→ Next time, train for fewer epochs")
        shown.append(frame(pilot.app))
        await pilot.press("d")
        await wait_for_text(pilot, "The best weights (step 20) are in")

    shown.append(drive(FtwizardApp(("run", "heart")), (100, 30), play))
    assert "→ Next time, train for fewer epochs or on more diverse data." in shown[1]
    assert "▸ new run from the best checkpoint (step 20): half the learning" in shown[1]
    assert not any("top now" in item or "stop now" in item for item in shown)


@pytest.mark.parametrize("key", ["s", "d"])
def test_stop_without_a_keeper_runs_the_stop_command(
    home: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = start(make(home / "runs" / "alive", steps=5000, mode="hang"))
    until_step(folder, 5)
    os.kill(keeper_pid(folder), signal.SIGKILL)
    with folder.events.open("ab") as file:
        event = {"v": 1, "t": time.time(), "kind": "finding", "attempt": 1, "step": 5, **OVERFIT}
        file.write(msgspec.json.encode(event) + b"\n")
    ran: list[tuple[str, ...]] = []

    def run(*argv: str, **_: Any) -> None:
        """Write the request as the command does; its other steps are tested elsewhere."""
        requests.request_stop(folder, 1)
        ran.append(argv)

    monkeypatch.setattr(subprocesses, "run_blocking", run)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "! Its keeper has died.")
        for question, calls in (("Stop this run?", 1), ("Kill it now?", 2)):
            await until(pilot, lambda: isinstance(pilot.app.screen, MonitorPage))
            await pilot.press(key)
            if key == "d":
                await wait_for_text(pilot, "▸ stop now and keep the best weights")
                await pilot.press("enter")
            await wait_for_text(pilot, question)
            await pilot.press("enter" if calls == 1 else "y")
            await until(pilot, lambda calls=calls: len(ran) == calls)  # type: ignore[misc]

    drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert ran == [("stop", str(folder.path)), ("stop", str(folder.path), "--kill")]
    assert observe(folder).state == "stopping", "both stops were only requested"
