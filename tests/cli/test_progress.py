"""Progress of a command on a line of the terminal."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from ftwizard.cli import output, progress


def test_line_says_how_long_a_phase_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    file = io.StringIO()
    console = Console(file=file, width=60)
    monkeypatch.setattr(output, "make_console", lambda **_: console)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)

    def render(say: progress.Say) -> str:
        file.truncate(file.seek(0))
        console.print(say)
        return file.getvalue().rstrip()

    with progress.reporter() as say:
        assert render(say) == "starting"
        say("loading", what="libraries")
        assert render(say) == "loading: libraries"
        now[0] += 12
        assert render(say) == "loading: libraries  12 s"
        say("checking", what="rows.jsonl", done=4e6, total=2e8, unit="bytes")
        assert render(say) == "checking: rows.jsonl, 4 MB of 200 MB"


def test_lines_are_printed_now_and_then_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with progress.reporter() as say:
        say("loading", what="libraries")
    assert capfd.readouterr().err == "", "what is quick prints nothing"
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.01)
    with progress.reporter() as say:
        say("asking", what="base model", done=3, total=40, unit="answers")
        text = ""
        while text.count("\n") < 2:
            text += capfd.readouterr().err
            time.sleep(0.01)
    assert text.splitlines()[1].startswith("asking: base model, 3 of 40 answers")
    capfd.readouterr()
    time.sleep(0.05)
    assert capfd.readouterr().err == "", "none after the end"
