"""The notify command: the events that run it, its environment and its failures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ftwizard import locations
from ftwizard.jobs import lock, requests
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.hook import Hook
from tests.helpers.jobs import make, start, until, until_ended, until_step
from tests.screens.runs_helpers import make_run

RECORD_MESSAGE = """\
import json, os, sys
names = ("FTWIZARD_RUN", "FTWIZARD_EVENT", "FTWIZARD_MESSAGE")
with open(sys.argv[1], "a") as file:
    file.write(json.dumps([os.environ[name] for name in names]) + "\\n")
"""


def configure(command: list[str], more: str = "") -> None:
    path = locations.config_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[notify]\ncommand = {json.dumps(command)}\n{more}\n")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Configure a command that appends its messages to a file; return the file."""
    path = tmp_path / "told.jsonl"
    configure([sys.executable, "-c", RECORD_MESSAGE, str(path)])
    return path


def lines(path: Path) -> list[list[str]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_keeper_notifies_when_a_run_ends(home: Path, output: Path) -> None:
    folder = start(make(home / "runs" / "one", steps=3))
    until_ended(folder)
    until(folder, lambda _: bool(lines(output)))
    assert lines(output) == [["one", "end", "Run one finished."]]


def test_failure_is_notified_once_with_its_reason(home: Path, output: Path) -> None:
    folder = start(make(home / "runs" / "one", mode="crash"))
    until_ended(folder)
    until(folder, lambda _: bool(lines(output)))
    (message,) = lines(output)
    assert message[1] == "failure"
    assert "made up" in message[2]


def test_requested_stop_is_notified_as_an_end(home: Path, output: Path) -> None:
    folder = start(make(home / "runs" / "one", steps=10_000))
    until_step(folder, 2)
    requests.request_stop(folder, 1)
    until_ended(folder)
    until(folder, lambda _: bool(lines(output)))
    assert [line[1] for line in lines(output)] == ["end"]


def test_hook_skips_events_not_listed_in_the_config(home: Path, output: Path) -> None:
    configure([sys.executable, "-c", RECORD_MESSAGE, str(output)], 'on = ["failure"]')
    Hook(make_run(home, "one")).end("finished")
    assert not lines(output)


def test_new_findings_are_notified_once_and_old_never(home: Path, output: Path) -> None:
    folder = make_run(home, "one", findings=[{"severity": "error", "message": "old"}])
    hook = Hook(folder)
    events = EventWriter(folder.events, 2)
    events.write("finding", step=3, severity="info", message="of no weight")
    events.write("finding", step=3, severity="warning", message="overfitting\x1b]0;x\x07")
    hook.look()
    hook.look()
    events.close()
    hook.end("finished")
    assert [line[1] for line in lines(output)] == ["finding", "end"]
    assert lines(output)[0][2].startswith("overfitting")
    assert "\x1b" not in lines(output)[0][2]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('cannot reach it')", "exit status 1: cannot reach it"),
        ("import time; time.sleep(60)", "longer than 0.5 s"),
        ("import sys; sys.stderr.write('x' * 1_000_000); sys.exit(3)", "exit status 3"),
    ],
)
def test_failing_command_is_logged_and_the_run_finishes(home: Path, code: str, says: str) -> None:
    timeout = "timeout_s = 0.5" if "sleep" in code else ""
    configure([sys.executable, "-c", code], timeout)
    folder = start(make(home / "runs" / "one", steps=3))
    assert until_ended(folder).end_reason == "finished"
    until(folder, lambda _: "notify.command" in folder.log.read_text())
    assert says in folder.log.read_text()


def test_command_environment_has_no_secrets(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    path = tmp_path / "seen"
    configure([sys.executable, "-c", f"import os; open({str(path)!r}, 'w').write(str(os.environ))"])
    Hook(make_run(home, "one")).end("finished")
    assert "FTWIZARD_RUN" in path.read_text()
    assert "hf_secret" not in path.read_text()


def test_slow_command_does_not_delay_the_end(home: Path) -> None:
    configure([sys.executable, "-c", "import time; time.sleep(20)"])
    folder: JobFolder = start(make(home / "runs" / "one", steps=3))
    until_ended(folder, timeout=45)
    assert not lock.is_held(folder.lock)


def test_missing_notify_program_is_logged(home: Path) -> None:
    configure(["no-such-program-here"])
    folder = start(make(home / "runs" / "one", steps=3))
    until_ended(folder)
    assert "not found" in folder.log.read_text()
