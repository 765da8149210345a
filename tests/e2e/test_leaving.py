"""Exits from the screens: keys, signals, stalled and closed terminals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftwizard.errors import DECLINED
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from tests.e2e.routes import (
    DIALOGS,
    ROUTES,
    RUN,
    make_home,
    open_at,
)
from tests.e2e.screen import AT_REST
from tests.e2e.terminal import Terminal
from tests.helpers.jobs import events, until_step

PAGES = tuple(screen_name for screen_name in ROUTES if screen_name not in DIALOGS)
SOON_S = 3.0
"""Exit timeout: the view needs about a second, more on a busy machine."""
HANG_UP, TERM = signal.SIGHUP, signal.SIGTERM


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with make_home(tmp_path_factory.mktemp("home")) as folder:
        yield folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the live run that all tests here share; no test may end it."""
    monkeypatch.setenv("FTWIZARD_HOME", str(folder))


def assert_run_continues(folder: Path) -> None:
    """Assert that the run still makes progress."""
    run = JobFolder(folder / "runs" / RUN)
    assert observe(run).state == "running"
    until_step(run, max(e["step"] for e in events(run, "log")) + 2)


def assert_exited_cleanly(terminal: Terminal, code: int = 0) -> None:
    """Assert that the program exited in time and restored the terminal."""
    assert terminal.exit_code(SOON_S) == code
    assert terminal.screen.modes == AT_REST
    assert terminal.is_restored()
    assert not terminal.screen.foreign
    assert b"Traceback" not in terminal.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("screen_name", "number"),
    [
        *((screen_name, HANG_UP) for screen_name in PAGES),
        *((item, TERM) for item in ("home", "working", "monitor")),
    ],
)
def test_signals_end_the_view_and_restore_the_terminal(
    folder: Path, screen_name: str, number: signal.Signals
) -> None:
    with open_at(screen_name, folder) as terminal:
        os.kill(terminal.child.pid, number)
        assert_exited_cleanly(terminal)
    assert_run_continues(folder)


@pytest.mark.parametrize("number", [HANG_UP, TERM], ids=["HUP", "TERM"])
def test_signal_during_startup_restores_the_terminal(number: signal.Signals) -> None:
    with Terminal() as terminal:
        terminal.until(lambda: "1049" in terminal.screen.modes, "the alternate screen")
        os.kill(terminal.child.pid, number)
        assert_exited_cleanly(terminal)


@pytest.mark.parametrize("screen_name", PAGES)
def test_ctrl_q_quits_from_every_page(folder: Path, screen_name: str) -> None:
    with open_at(screen_name, folder) as terminal:
        terminal.send(b"\x11")
        assert_exited_cleanly(terminal, DECLINED if screen_name == "demo" else 0)
    assert_run_continues(folder)


@pytest.mark.parametrize("screen_name", ["home", "provider", "data", "working", "monitor", "stop?"])
def test_terminal_closed_without_sighup_ends_the_view(folder: Path, screen_name: str) -> None:
    with open_at(screen_name, folder, controlling=False) as terminal:
        terminal.close()
        assert terminal.exit_code(SOON_S) == 0
    assert_run_continues(folder)


@pytest.mark.parametrize("screen_name", ["home", "data", "working", "monitor", "stop?"])
def test_terminal_hangup_ends_the_view(folder: Path, screen_name: str) -> None:
    with open_at(screen_name, folder) as terminal:
        terminal.close()
        assert terminal.exit_code(SOON_S) == 0
    assert_run_continues(folder)


@pytest.mark.parametrize("screen_name", ["home", "monitor", "stop?"])
@pytest.mark.parametrize("number", [HANG_UP, TERM], ids=["HUP", "TERM"])
def test_signals_end_the_view_on_a_stalled_terminal(
    folder: Path, screen_name: str, number: signal.Signals
) -> None:
    with open_at(screen_name, folder) as terminal:
        fill(terminal)
        os.kill(terminal.child.pid, number)
        assert terminal.exit_code(SOON_S, reads=False) == 0
        assert terminal.is_restored()
        terminal.settle()
        assert terminal.screen.modes == AT_REST, "the terminal is restored once it is read again"
    assert_run_continues(folder)


def test_run_survives_a_killed_view(folder: Path) -> None:
    with open_at("monitor", folder) as terminal:
        os.kill(terminal.child.pid, signal.SIGKILL)
        assert terminal.exit_code(SOON_S) == -signal.SIGKILL
    assert_run_continues(folder)
    with open_at("monitor", folder) as terminal:
        terminal.wait("● training")


def test_suspended_view_catches_up_when_continued(folder: Path) -> None:
    """The run does not wait for the view, which then reads and draws as before."""
    run = JobFolder(folder / "runs" / RUN)
    with open_at("monitor", folder) as terminal:
        os.kill(terminal.child.pid, signal.SIGSTOP)
        terminal.settle()
        before = terminal.screen.text()
        until_step(run, max(e["step"] for e in events(run, "log")) + 5)
        assert not terminal.pump(0.1) and terminal.screen.text() == before
        newest = events(run, "log")[-1]["loss"]
        os.kill(terminal.child.pid, signal.SIGCONT)
        again = b"\x1b[?1049h"  # a shell may have had the terminal meanwhile
        terminal.until(
            lambda: terminal.output.count(again) == 2, "the alternate screen, entered again"
        )
        terminal.until(lambda: _loss(terminal) <= newest + 0.00005, "the newest loss")
        terminal.until(lambda: not terminal.screen.holes(), "a complete screen")
        for key, shows in (("o", "Output|no more to say"), ("\x1b", "train .*loss|loss 0")):
            terminal.send(key)
            terminal.wait(shows)
        terminal.send("q")
        assert_exited_cleanly(terminal)
    assert_run_continues(folder)


def test_suspended_view_exits_with_its_terminal(folder: Path) -> None:
    with open_at("monitor", folder) as terminal:
        os.kill(terminal.child.pid, signal.SIGSTOP)
        terminal.settle()
        terminal.close()  # the kernel sends SIGHUP, then SIGCONT so that it arrives
        assert terminal.exit_code(SOON_S) == 0
    assert_run_continues(folder)


def _loss(terminal: Terminal) -> float:
    """Return the loss on the screen; the dummy's loss falls at each step."""
    result = re.search(r"\bloss +(\d\.\d+)", terminal.screen.text())
    return float(result[1]) if result else 1.0


def test_closing_a_stalled_terminal_ends_the_view(folder: Path) -> None:
    with open_at("monitor", folder) as terminal:
        fill(terminal)
        terminal.close()
        assert terminal.exit_code(SOON_S) == 0
    assert_run_continues(folder)


def fill(terminal: Terminal) -> None:
    """Make the view draw until the terminal's buffer and the view's own queue are full."""
    wide, before, same = False, -1, 0
    end = time.monotonic() + 60
    while same < 60:
        assert time.monotonic() < end, "the buffer never fills"
        wide = not wide
        terminal.resize_unread(200 if wide else 190, 60)
        time.sleep(0.03)  # a resize that comes too soon after another is merged with it
        same = same + 1 if terminal.waiting() == before else 0
        before = terminal.waiting()
    assert before > 0


def test_view_ends_its_pending_command_on_exit(folder: Path) -> None:
    with open_at("working", folder) as terminal:
        (child,) = children(terminal.child.pid)
        os.kill(terminal.child.pid, TERM)
        terminal.exit_code(SOON_S)
        end = time.monotonic() + 10
        while Path(f"/proc/{child}").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not Path(f"/proc/{child}").exists(), "the command is still running"


def children(pid: int) -> list[int]:
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize("key", [b"\x1b", b"q", b"\x11"], ids=["esc", "q", "ctrl+q"])
def test_monitor_prints_the_command_to_return(folder: Path, key: bytes) -> None:
    with open_at("monitor", folder) as terminal:
        terminal.send(key)
        assert terminal.exit_code() == 0
        document = terminal.output.rpartition(b"\x1b[?1004l")[2].decode()
        assert document.strip() == f"Run {RUN} keeps running. Come back with: ftwizard watch {RUN}"
    assert_run_continues(folder)
