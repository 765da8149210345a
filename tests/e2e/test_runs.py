"""Run commands (search, compare, remove), the monitor's bell and the notify hook."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ftwizard import locations
from ftwizard.jobs import requests
from ftwizard.jobs.events import EventWriter
from tests.e2e import tmux
from tests.e2e.cli import FTWIZARD, as_json, ok, run
from tests.e2e.routes import RUN, running
from tests.e2e.terminal import Terminal
from tests.helpers.jobs import until_ended
from tests.paths import ROOT
from tests.screens.runs_helpers import living, make_run

PLAIN = ROOT


def test_runs_can_be_searched_and_limited(home: Path) -> None:
    for name in ("older", "newer"):
        make_run(home, name)
    make_run(home, "failed-one", end_reason="crashed")
    runs = as_json("runs", "state:finished", "model:owner")["runs"]
    assert {item["id"] for item in runs} == {"older", "newer"}
    assert len(as_json("runs", "--limit", "1")["runs"]) == 1
    assert "2 older runs not shown" in ok("runs", "--limit", "1")
    assert "None of the 3 runs matches “qwen”." in ok("runs", "qwen")
    assert as_json("runs", "qwen")["runs"] == []
    wrong = run("runs", "sate:x")
    assert wrong.returncode == 2
    assert "state:x" in wrong.stderr


def test_compare_shows_differing_settings_and_losses(home: Path) -> None:
    make_run(home, "one")
    other = make_run(home, "two", steps=60)
    other.plan.write_text(other.plan.read_text() + "recipe: {rank: 4}\n")
    text = ok("compare", "one", "two")
    assert "recipe.rank" in text
    assert "0.07 at 60" in text
    assert "Not recorded" in text
    document = as_json("compare", "one", "two")
    assert document["settings"] == {"recipe.rank": {"one": 16, "two": 4}}
    assert document["comparable"]["validation_loss"] is None
    assert run("compare", "one").returncode == 2
    assert run("compare", "one", "three").returncode == 1
    assert run("compare", "one", "two", "--curves").returncode == 2


def test_remove_requires_yes_and_an_ended_run(home: Path) -> None:
    folder = make_run(home, "one")
    unasked = run("remove", "one")
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    assert folder.path.exists()
    with living(folder):
        folder.events.unlink()
        refused = run("remove", "one", "--yes")
    assert refused.returncode == 1
    assert "ftwizard stop one" in refused.stderr
    assert folder.path.exists()
    assert as_json("remove", "one", "--yes")["removed"][0]["id"] == "one"
    assert as_json("runs")["runs"] == []


def test_remove_at_a_terminal_requires_typing_y(home: Path) -> None:
    item, two = make_run(home, "one"), make_run(home, "two")
    for answer, code in (("\r", 3), ("no\r", 3), ("y\r", 0)):
        with Terminal("remove", "one", "two", environment={"PYTHONPATH": str(PLAIN)}) as terminal:
            terminal.wait("Delete these 2 runs")
            assert item.path.exists()
            terminal.send(answer)
            assert terminal.child.wait(20) == code
    assert not item.path.exists()
    assert not two.path.exists()


def test_monitor_rings_once_and_only_for_new_warnings(home: Path) -> None:
    folder = make_run(home, "one", findings=[{"severity": "error", "message": "an old one"}])
    lines = folder.events.read_text().splitlines(keepends=True)
    folder.events.write_text("".join(lines[:-1]))  # without its final event
    with (
        living(folder),
        Terminal("watch", "one", environment={"TERM": "xterm-256color"}) as terminal,
    ):
        terminal.wait("an old one")
        terminal.settle()
        assert terminal.screen.bells == 0
        events = EventWriter(folder.events, 1)
        events.write("finding", step=40, severity="info", message="of no weight")
        terminal.wait("of no weight")
        terminal.settle()
        assert terminal.screen.bells == 0
        events.write("finding", step=40, severity="warning", message="overfitting\x1b]0;x")
        events.close()
        terminal.until(lambda: terminal.screen.bells, "a bell")
        terminal.settle()
        assert terminal.screen.bells == 1
        assert terminal.screen.notices == ["9;ftwizard: overfitting␛]0;x"]
        assert not terminal.screen.foreign


@pytest.mark.skipif(not tmux.is_installed(), reason="tmux is not installed")
@pytest.mark.parametrize("options", ["", "--plain"])
def test_bell_reaches_tmux_when_a_run_ends(home: Path, tmp_path: Path, options: str) -> None:
    folder = running(home)
    heard = tmp_path / "heard"
    environment = {"FTWIZARD_HOME": str(home), "PYTHONPATH": str(PLAIN)}
    with tmux.Tmux(f"{FTWIZARD} watch {RUN} {options}", environment=environment) as terminal:
        terminal.wait(r"loss +0")
        terminal.set_hook("alert-bell", f"run-shell 'echo bell >> {heard}'")
        requests.request_stop(folder, 1)
        terminal.wait("stopped")
        until_ended(folder)
        terminal.until(lambda: heard.exists() and heard.read_text(), "the bell")
    assert heard.read_text() == "bell\n"


def test_invalid_configuration_is_reported_before_a_run_starts(home: Path) -> None:
    path = locations.config_file()
    path.parent.mkdir(parents=True)
    path.write_text("[notify]\ncomand = []\n")
    plan = home / "plan.yaml"
    home.mkdir()
    plan.write_text("data: {files: {train: rows.jsonl}}\nmodel: {name: owner/model}\n")
    refused = run("train", plan)
    assert refused.returncode == 1
    assert "Did you mean notify.command?" in refused.stderr
    assert not (home / "runs").exists()


def test_notify_hook_runs_when_a_run_ends(home: Path, tmp_path: Path) -> None:
    points = tmp_path / "told"
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['FTWIZARD_EVENT'])"
    path = locations.config_file()
    path.parent.mkdir(parents=True)
    path.write_text(
        f"[notify]\ncommand = {json.dumps([sys.executable, '-c', code, str(points)])}\n"
    )
    folder = running(home)
    ok("stop", folder.id)
    with Terminal(
        "watch", folder.id, "--plain", environment={"PYTHONPATH": str(PLAIN)}
    ) as terminal:
        terminal.until(lambda: points.exists() and points.read_text() == "end", "the hook")
