"""Terminal conditions: small, resized, without colors, without UTF-8 or missing."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e import tmux
from tests.e2e.cli import FTWIZARD
from tests.e2e.routes import (
    DIALOGS,
    ROUTES,
    RUN,
    make_home,
    open_at,
)
from tests.e2e.terminal import Terminal

PAGES = tuple(screen_name for screen_name in ROUTES if screen_name not in DIALOGS)
SAMPLED_SCREENS = ("home", "provider", "data", "monitor")
SHOWS = {
    "home": "New fine-tune",
    "provider": "What should (it|the model) learn",
    "data": "Press enter to read",
    "monitor": "loss 0|loss .*0",
}
"""Text that each of them shows at any supported size."""
COLORS = re.compile(r"(?:^|;)(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;|$)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with make_home(tmp_path_factory.mktemp("home")) as folder:
        yield folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTWIZARD_HOME", str(folder))


def assert_drawn(terminal: Terminal) -> None:
    """Assert that every cell was drawn and nothing unexpected was sent."""
    terminal.until(lambda: not terminal.screen.holes(), "a complete screen")
    assert not terminal.screen.foreign


@pytest.mark.parametrize("screen_name", ROUTES)
@pytest.mark.parametrize("size", [(60, 16), (200, 60)], ids=str)  # stored frames cover 80 by 24
def test_every_screen_fills_the_window_exactly(
    folder: Path, screen_name: str, size: tuple[int, int]
) -> None:
    with open_at(screen_name, folder, size=size) as terminal:
        assert_drawn(terminal)
        assert not terminal.screen.beyond


@pytest.mark.parametrize("columns", [80, 120])
def test_home_uses_the_full_window_width(folder: Path, columns: int) -> None:
    with open_at("home", folder, size=(columns, 24)) as terminal:
        assert_drawn(terminal)
        (head,) = (line for line in terminal.screen.text().splitlines() if "best loss" in line)
        assert head.endswith("updated") and columns - 6 <= len(head) <= columns


@pytest.mark.parametrize("screen_name", SAMPLED_SCREENS)
def test_small_window_asks_for_enlarging_and_then_recovers(folder: Path, screen_name: str) -> None:
    with open_at(screen_name, folder) as terminal:
        terminal.resize(40, 10)
        terminal.wait("Window too small.\n *Enlarge it to 60×16")
        assert_drawn(terminal)
        terminal.until(
            lambda: not re.search(SHOWS[screen_name], terminal.screen.text()), "only the message"
        )
        terminal.resize(60, 16)
        terminal.wait(SHOWS[screen_name])
        assert_drawn(terminal)


@pytest.mark.parametrize("screen_name", SAMPLED_SCREENS)
def test_rapid_resizes_leave_the_screen_complete(folder: Path, screen_name: str) -> None:
    sizes = random.Random(screen_name)
    with open_at(screen_name, folder) as terminal:
        for _ in range(50):
            terminal.resize(sizes.randint(20, 200), sizes.randint(5, 60))
        terminal.resize(100, 50)
        terminal.wait(SHOWS[screen_name])
        assert_drawn(terminal)
        terminal.send("\x1bOP")  # F1
        terminal.wait("esc close")


def test_columns_variable_does_not_override_the_window_size(folder: Path) -> None:
    with open_at("home", folder, {"COLUMNS": "100", "LINES": "40"}) as terminal:
        assert_drawn(terminal)
        assert not terminal.screen.beyond
        terminal.resize(120, 30)
        assert_drawn(terminal)


def test_unknown_terminal_size_falls_back_to_the_default(folder: Path) -> None:
    with open_at("home", folder, size=(0, 0)) as terminal:
        assert_drawn(terminal)
        assert not terminal.screen.beyond


@pytest.mark.tmux
@pytest.mark.skipif(not tmux.is_installed(), reason="tmux is not installed")
def test_ctrl_z_suspends_and_fg_restores_the_screen(folder: Path) -> None:
    environment = {k: os.environ[k] for k in ("FTWIZARD_HOME", "PYTHONPATH") if k in os.environ}
    with tmux.Tmux("bash --norc -i", environment=environment) as terminal:
        terminal.keys(f"{FTWIZARD}", "Enter")
        before = terminal.wait(r"New fine-tune[\s\S]*\^q quit")  # the last row of the screen
        terminal.keys("C-z")
        terminal.wait(r"Stopped")
        terminal.keys("fg", "Enter")
        shown = terminal.wait(r"ftwizard   Home[\s\S]*New fine-tune[\s\S]*\^q quit")
        assert _without_ages(shown)[:7] == _without_ages(before)[:7]
        terminal.keys("C-q")
        terminal.wait(r"fg\n.*ftwizard\s")


@pytest.mark.tmux
@pytest.mark.skipif(not tmux.is_installed(), reason="tmux is not installed")
def test_fg_after_sigstop_restores_screen_and_shell_settings(
    folder: Path,
) -> None:
    environment = {k: os.environ[k] for k in ("FTWIZARD_HOME", "PYTHONPATH") if k in os.environ}
    with tmux.Tmux("bash --norc -i", environment=environment) as terminal:
        terminal.keys(f"stty -g; {FTWIZARD}", "Enter")
        before = terminal.wait(r"New fine-tune[\s\S]*\^q quit")  # the last row of the screen
        os.kill(_view(folder), signal.SIGSTOP)
        terminal.wait(r"Stopped[^\n]*\nbash[^\n]*[#$]")  # the prompt: the shell reads keys
        # The shell may have read the terminal's replies to the last frame: clear its input.
        terminal.keys("C-u", "fg", "Enter")
        terminal.until(
            lambda: _without_ages(terminal.screen()) == _without_ages(before), "the restored screen"
        )
        terminal.keys("?")  # each key is read once, by a single thread
        terminal.wait("esc close")
        terminal.keys("Escape")
        terminal.wait(r"New fine-tune")
        terminal.keys("C-q")
        terminal.wait(SETTINGS)
        terminal.keys("stty -g", "Enter")
        terminal.until(lambda: len(re.findall(SETTINGS, terminal.screen())) == 2, "settings again")
        assert len(set(re.findall(SETTINGS, terminal.screen()))) == 1


@pytest.mark.tmux
@pytest.mark.skipif(not tmux.is_installed(), reason="tmux is not installed")
def test_fg_restores_the_screen_where_the_shell_took_the_input(
    folder: Path, tmp_path: Path
) -> None:
    """The app is stopped between the report of a key and its read, and the shell reads the key."""
    script, reads = tmp_path / "slow_reads.py", tmp_path / "reads"
    script.write_text(SLOW_READS)
    environment = {"FTWIZARD_HOME": str(folder), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with tmux.Tmux("bash --norc -i", environment=environment) as terminal:
        terminal.keys(f"{sys.executable} {script} {reads}", "Enter")
        before = terminal.wait(r"New fine-tune[\s\S]*\^q quit")
        terminal.until(reads.is_file, "a first read")
        process = int(reads.read_text().split()[0])
        terminal.until(lambda: _is_idle(reads), "no read for two seconds")
        size = reads.stat().st_size
        terminal.keys("Down")
        terminal.until(lambda: reads.stat().st_size > size, "a read")
        os.kill(process, signal.SIGSTOP)
        terminal.wait(r"Stopped[^\n]*\nbash[^\n]*[#$]")
        terminal.keys("C-u", "fg", "Enter")
        terminal.until(
            lambda: _without_ages(terminal.screen()) == _without_ages(before), "the restored screen"
        )


SLOW_READS = """
import os, sys, time

reads, real_read = sys.argv.pop(), os.read

def read(file, size):
    if os.isatty(file):
        with open(reads, "a") as log:
            log.write(f"{os.getpid()}\\n")
        time.sleep(0.7)
    return real_read(file, size)

os.read = read
from ftwizard.__main__ import main
sys.exit(main([]))
"""
"""The app, with a delay before each read of the terminal; it notes them in a file."""


def _is_idle(log: Path) -> bool:
    """Return whether nothing was written to a file for two seconds."""
    return time.time() - log.stat().st_mtime > 2


def _without_ages(screen: str) -> list[str]:
    """Return the top of the home page, without how long ago each draft was left, and how slow it is."""
    shown = re.sub(r"\S+ \w+ ago|slow connection", "", screen)
    return [line.rstrip() for line in shown.splitlines()[:7]]


SETTINGS = r"\w+(?::\w+){9,}"
"""What ``stty -g`` prints."""


def _view(home: Path) -> int:
    """Return the process of the app with this home."""
    for item in psutil.process_iter(["cmdline", "environ"]):
        line, variables = item.info["cmdline"] or [], item.info["environ"] or {}
        if line[-1:] == [str(FTWIZARD)] and variables.get("FTWIZARD_HOME") == str(home):
            return int(item.pid)
    raise AssertionError("the app is not running")


@pytest.mark.tmux
@pytest.mark.skipif(not tmux.is_installed(), reason="tmux is not installed")
def test_ctrl_z_without_a_shell_does_not_suspend(folder: Path) -> None:
    environment = {k: os.environ[k] for k in ("FTWIZARD_HOME", "PYTHONPATH") if k in os.environ}
    with tmux.Tmux(str(FTWIZARD), environment=environment) as terminal:
        terminal.wait(r"New fine-tune")
        terminal.keys("C-z")
        terminal.wait("no shell to return to")
        terminal.keys("C-q")
        terminal.wait("exit=0")


@pytest.mark.tmux
@pytest.mark.skipif(not tmux.is_installed(), reason="tmux is not installed")
@pytest.mark.parametrize("name", ["tmux-256color", "screen"])
def test_monitor_fills_the_window_in_tmux(folder: Path, name: str) -> None:
    environment = {k: os.environ[k] for k in ("FTWIZARD_HOME", "PYTHONPATH") if k in os.environ}
    with tmux.Tmux(
        f"{FTWIZARD} watch {RUN}", environment={**environment, "TERM": name}
    ) as terminal:
        terminal.wait(r"loss \d.*")
        terminal.resize(40, 10)
        terminal.wait("Window too small")
        terminal.resize(200, 60)
        shown = terminal.wait(r"train, smoothed \d[^\n]*\n[\s\S]*loss  \d")
        assert len(shown.splitlines()) >= 59
        terminal.keys("Escape")
        terminal.wait(f"Come back with: ftwizard watch {RUN}")
        terminal.wait("exit=0")


@pytest.mark.parametrize("missing", ["stdin", "stdout", "stderr", "all"])
def test_missing_terminal_error_suggests_commands(missing: str) -> None:
    master, slave = os.openpty()

    def end(name: str) -> int:
        if missing not in (name, "all"):
            return slave
        return subprocess.DEVNULL if name == "stdin" else subprocess.PIPE

    try:
        done = subprocess.run(
            [str(FTWIZARD)], stdin=end("stdin"), stdout=end("stdout"), stderr=end("stderr"),
            timeout=90, check=False,
        )  # fmt: skip
        text = done.stderr if done.stderr is not None else os.read(master, 4096)
    finally:
        os.close(slave)
        os.close(master)
    assert done.returncode == 2
    assert not done.stdout
    lines = text.decode().strip().splitlines()
    assert len(lines) == 2
    assert "ftwizard train PLAN" in lines[1] and "ftwizard demo --yes" in lines[1]
    assert b"\x1b" not in text


def test_dumb_terminal_can_watch_a_run(folder: Path) -> None:
    with Terminal("watch", RUN, environment={"TERM": "dumb"}) as terminal:
        terminal.wait(rf"run {RUN} in ")
        terminal.wait("training")
        terminal.send("\x03")
        terminal.wait("The run continues")
        assert terminal.exit_code() == 0
        assert b"\x1b" not in terminal.output


@pytest.mark.slow
@pytest.mark.parametrize("screen_name", PAGES)
def test_no_color_disables_colors_but_keeps_bold(folder: Path, screen_name: str) -> None:
    with open_at(screen_name, folder, {"NO_COLOR": "1"}) as terminal:
        shown = terminal.screen.text()
        styles = terminal.screen.styles
    assert not [style for style in styles if COLORS.search(style)]
    assert "1" in styles, "bold stays"
    marks = {"home": "● (?:training|running)", "monitor": "● training", "problem": "✗"}
    assert re.search(marks.get(screen_name, ""), shown)


def test_input_cursor_is_visible_without_colors(folder: Path) -> None:
    with open_at("data", folder, {"NO_COLOR": "1"}) as terminal:
        assert any("7" in style.split(";") for style in terminal.screen.styles)
        at_start = terminal.output.decode().rpartition("Rows")[2]
        assert re.search(r"\x1b\[(?:\d;)*7m", at_start)


@pytest.mark.parametrize(
    "environment",
    [{"TEXTUAL_COLOR_SYSTEM": "standard"}, {"TERM": "screen"}],
    ids=["forced", "screen"],
)
def test_monitor_works_with_sixteen_colors(
    folder: Path, environment: dict[str, str | None]
) -> None:
    with open_at("monitor", folder, environment) as terminal:
        assert "● training" in terminal.screen.text()
        wide = [s for s in terminal.screen.styles if re.search(r"[34]8;[25]", s)]
    assert not wide
    assert any(COLORS.search(style) for style in terminal.screen.styles)


NO_UTF8: dict[str, dict[str, str | None]] = {
    "C": {"LC_ALL": "C"},
    "POSIX": {"LC_ALL": None, "LC_CTYPE": "POSIX", "LANG": "C.UTF-8"},
    "latin": {"LC_ALL": None, "LC_CTYPE": None, "LANG": "de_DE.ISO-8859-1"},
    "latin-all": {"LC_ALL": "de_DE@euro"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("screen_name", "locale"),
    [
        *((screen_name, "C") for screen_name in PAGES),
        *(("home", item) for item in [*NO_UTF8, "--ascii"]),
    ],
)
def test_output_is_ascii_without_utf8_support(folder: Path, screen_name: str, locale: str) -> None:
    environment = NO_UTF8.get(locale, {})
    more = ("--ascii",) if locale == "--ascii" else ()
    with open_at(screen_name, folder, environment, more=more) as terminal:
        assert_drawn(terminal)
        assert terminal.output.isascii()
        if screen_name == "home":
            terminal.wait(r"\* training")


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C.UTF-8"},
        {"LC_ALL": None, "LC_CTYPE": "en_US.utf8", "LANG": "C"},
        {"LC_ALL": None, "LC_CTYPE": None, "LANG": "de_DE.UTF-8"},
        {"LC_ALL": None, "LC_CTYPE": None, "LANG": None},
    ],
)
def test_glyphs_are_sent_with_utf8_support(
    folder: Path, environment: dict[str, str | None]
) -> None:
    with open_at("home", folder, environment) as terminal:
        terminal.wait("● training")


def test_pasting_a_megabyte_keeps_the_app_responsive(folder: Path) -> None:
    with open_at("data", folder) as terminal:
        terminal.send(b"\x1b[200~" + b"x" * 1_000_000 + b"\x1b[201~")
        terminal.send("\x1bOP")
        terminal.wait("read and check the file")
        terminal.send("\x1b")
        terminal.wait("Press enter to read")
        assert set(terminal.screen.foreign) <= {"\a"}, "only the bell, since the name is too long"
