"""From the plan to the verdict: kills lose no answer, and ``ftwizard eval`` judges again."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ftwizard import locations
from ftwizard.evaluate.answer_cache import FILE
from ftwizard.jobs.folder import JobFolder
from tests.e2e.cli import FTWIZARD, as_json, ok, run
from tests.e2e.workspace import Workspace
from tests.helpers.jobs import command_pid, events, until, until_ended

pytestmark = pytest.mark.slow


def write_plan(workspace: Workspace, **evaluate: object) -> Path:
    """Write a plan that evaluates ten items of each packaged set."""
    path = workspace.plan(finish=True)
    body = json.loads(path.read_text())
    body["evaluate"] = {"max_items": 10, "shots": 2, **evaluate}
    path.write_text(json.dumps(body))
    return path


def read_done(folder: JobFolder, arm: str) -> list[float]:
    """Return how many answers of an arm were reported, in the newest attempt."""
    phases = [event for event in events(folder, "phase") if event.get("what") == f"{arm} model"]
    newest = folder.newest_attempt()
    return [event["done"] for event in phases if "done" in event and event["attempt"] == newest]


def count_kept() -> int:
    path = locations.cache_folder() / "evaluation" / FILE
    if not path.exists():
        return 0
    with suppress(sqlite3.OperationalError), sqlite3.connect(path) as database:
        (count,) = database.execute("SELECT count(*) FROM answers").fetchone()
        return int(count)
    return 0  # its table is not made yet


def has_answered(folder: JobFolder, arm: str, count: int) -> bool:
    """Return whether an arm has begun and ``count`` answers are kept.

    Its progress is reported once a second, in which a tiny model may answer everything.
    """
    return bool(read_done(folder, arm)) and count_kept() >= count


def test_kills_lose_no_answer_on_the_way_to_the_verdict(
    small_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(small_workspace.root / "own-cache"))
    folder = small_workspace.train(write_plan(small_workspace), "judged")
    kept = 0
    for arm in ("base", "tuned"):
        until(folder, lambda _, arm=arm, kept=kept: has_answered(folder, arm, kept + 3), 180)  # type: ignore[misc]
        os.kill(command_pid(folder), signal.SIGKILL)
        assert until_ended(folder).end_reason == "killed"
        done, before, kept = max(read_done(folder, arm)), kept, count_kept()
        assert kept - before >= max(3, done)
        assert not folder.evaluation.exists()
        ok("resume", "judged")
        until(folder, lambda _, arm=arm: read_done(folder, arm), 180)  # type: ignore[arg-type, misc]
        assert read_done(folder, arm)[0] >= done, "what was answered is not asked again"
    assert until_ended(folder, 240).end_reason == "finished"
    assert {event["attempt"] for event in events(folder, "log")} == {2}, "no step is repeated"
    codes = [event["code"] for event in events(folder, "finding")]
    assert codes.count("headroom") == 1

    status = as_json("status", "judged")
    assert status["ship"] == json.loads(folder.evaluation.read_text())["verdict"]
    assert status["ship"] in ("do_not_ship", "cannot_tell"), "it learned next to nothing"
    assert "general" in ok("watch", "judged")
    assert list((folder.evaluations / "inspect").glob("*.json"))

    kept = count_kept()
    gated = run("eval", "judged", "--gate", "--json")
    assert gated.returncode == {"do_not_ship": 1, "cannot_tell": 4}[status["ship"]]
    document = json.loads(gated.stdout)
    assert document["verdict"] == status["ship"] and len(document["failures"]) == 5
    assert set(document["sets"]) == {"target", "general", "safety"}
    assert count_kept() == kept
    _interrupt(folder.path / "jobs" / "2-eval" / "events.jsonl", "judged", "--scale", "0.5")
    weaker = as_json("eval", "judged", "--scale", "0.5")
    assert len(list((folder.path / "jobs").iterdir())) == 2, "the stopped job was continued"
    assert weaker["candidates"][0]["scale"] == 0.5
    assert status["ship"] == as_json("status", "judged")["ship"]
    card = folder.card.read_text()
    assert {"do_not_ship": "**✗ Do not ship", "cannot_tell": "**? Cannot tell"}[
        status["ship"]
    ] in card
    as_json("card", "judged")
    assert folder.card.read_text().splitlines()[:12] == card.splitlines()[:12]


def _interrupt(job_events: Path, *words: str) -> None:
    """Interrupt ``eval`` as Ctrl-C does, once its job runs."""
    argv = ["env", "--default-signal=INT", str(FTWIZARD), "eval", *words]
    command = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    while not job_events.exists():
        assert command.poll() is None
        time.sleep(0.02)
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=120)
    assert command.returncode == 1
    assert "It was stopped." in errors and "To continue: ftwizard eval judged" in errors


def test_bad_file_of_items_is_refused_before_the_run(small_workspace: Workspace) -> None:
    file = small_workspace.root / "mine.jsonl"
    file.write_text('{"prompt": "one"}\n{"prompt": "two", "expected": "2"}\n')
    plan = write_plan(small_workspace, sets=["mine.jsonl"])
    refused = run("train", plan, "--name", "none")
    assert refused.returncode == 1
    assert "mine.jsonl" in refused.stderr and "line 1" in refused.stderr
    assert not small_workspace.folder("none").path.exists()
