"""Every screen of the app, each with the way that leads to it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ftwizard.jobs.folder import JobFolder
from tests.e2e.cli import FTWIZARD
from tests.e2e.terminal import Terminal
from tests.helpers.jobs import make, start, until_step
from tests.paths import ROOT
from tests.screens.runs_helpers import make_result, make_run

RUN = "dummy"
HELPER = (sys.executable, "-m", "tests.e2e.open_screen")
ROWS = "rows.jsonl"


def running(home: Path, **inputs: object) -> JobFolder:
    """Start a run that trains nothing and goes on for long."""
    more = {"steps": 1_000_000, "step_s": 0.05, **inputs}
    folder = start(make(home / "runs" / RUN, **more))
    until_step(folder, 3)
    return folder


def write_rows(folder: Path) -> Path:
    """Write a few chat rows."""
    path = folder / ROWS
    lines = [
        json.dumps({"messages": [
            {"role": "user", "content": f"question {n}"},
            {"role": "assistant", "content": f"answer {n}"},
        ]})
        for n in range(30)
    ]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    return path


def write_result(home: Path) -> None:
    """Write a run that has ended, with its results."""
    said = {"expected": "a", "base": "b", "tuned": "a", "line": 1}
    make_result(make_run(home, "done"), [{"prompt": [{"role": "user", "content": "q"}], **said}])


def _path(terminal: Terminal) -> None:
    terminal.wait("New fine-tune")
    terminal.send("n")
    terminal.wait("What should (it|the model) learn")


def _data(terminal: Terminal) -> None:
    _path(terminal)
    terminal.send("\r")
    terminal.wait("Press enter to read")


def _rows(terminal: Terminal) -> None:
    _data(terminal)
    terminal.send(f"{ROWS}\r")
    terminal.wait(r"30 rows, chat messages")


def _row(terminal: Terminal) -> None:
    _rows(terminal)
    terminal.wait("▌ → Continue|> Continue")
    terminal.send("\x1b[B\r")
    terminal.wait("next row")


def _split(terminal: Terminal) -> None:
    _rows(terminal)
    terminal.wait("→ Continue|> Continue")
    terminal.wait("s split")
    terminal.send("s")
    terminal.wait("Split into two files")


def _recipe(terminal: Terminal) -> None:
    """Where the machine has no GPU, the way to train here leads through one more page."""
    _rows(terminal)
    terminal.send("\r")
    if "Enter to train on this machine" in terminal.wait(
        "Enter to train on this machine|The base model"
    ):
        terminal.send("\r")
    terminal.wait("The base model")


def _seeing(pattern: str, *keys: tuple[str, str]) -> Callable[[Terminal], None]:
    """Return a way: wait for ``pattern``, then press each key and wait for what it shows."""

    def go(terminal: Terminal) -> None:
        terminal.wait(pattern)
        for key, shows in keys:
            terminal.send(key)
            terminal.wait(shows)

    return go


_LOSS = "loss +0"
DIALOGS = ("split?", "volume")
"""Places that are left as the page below them is."""
Way = tuple[tuple[object, ...], tuple[object, ...], Callable[[Terminal], None]]
"""The command and its arguments (none: ftwizard), and what then leads to the place."""

PLACES: Mapping[str, Way] = {
    "home": ((), (), _seeing("New fine-tune")),
    "help": ((), (), _seeing("New fine-tune", ("?", "to open the selected line"))),
    "demo": ((), ("demo",), _seeing("You see the loss fall")),
    "path": ((), (), _path),
    "data": ((), (), _data),
    "rows": ((), (), _rows),
    "row": ((), (), _row),
    "split?": ((), (), _split),
    "recipe": ((), (), _recipe),
    "estimate": (HELPER, ("estimate", RUN, "rows"), _seeing("million trainable")),
    "costs": (HELPER, ("costs", RUN, "rows"), _seeing("current prices")),
    "volume": (
        HELPER,
        ("costs", RUN, "rows"),
        _seeing("current prices", ("v", "Requests per month")),
    ),
    "review": (HELPER, ("review", RUN, "rows"), _seeing("same as")),
    "elsewhere": (HELPER, ("elsewhere", RUN, "rows"), _seeing("Enter to train on this machine")),
    "working": (HELPER, ("working", RUN, "rows"), _seeing("esc cancels")),
    "problem": (HELPER, ("problem", RUN, "rows"), _seeing("It cannot be read")),
    "typed": (HELPER, ("typed", RUN, "rows"), _seeing("To continue anyway, type")),
    "finish": (HELPER, ("finish", "done", "rows"), _seeing("answer 1 of 1")),
    "monitor": ((), ("watch", RUN), _seeing(_LOSS)),
    "stop?": ((), ("watch", RUN), _seeing(_LOSS, ("s", "Stop this run"))),
    "compare": (
        (),
        ("compare", RUN, "done", "--curves"),
        _seeing("best validation loss"),
    ),
    "log": ((), ("watch", RUN), _seeing(_LOSS, ("o", "no more to say|Output"))),
}


@contextlib.contextmanager
def at(
    place: str,
    folder: Path,
    environment: Mapping[str, str | None] | None = None,
    *,
    size: tuple[int, int] = (80, 24),
    more: tuple[str, ...] = (),
    controlling: bool = True,
) -> Iterator[Terminal]:
    """Give a terminal that shows ``place``, started in ``folder`` with ``more`` arguments."""
    command, arguments, go = PLACES[place]
    with Terminal(
        *arguments,
        *more,
        columns=size[0],
        rows=size[1],
        environment={"PYTHONPATH": str(ROOT), **(environment or {})},
        controlling=controlling,
        cwd=folder,
        command=command or (FTWIZARD,),
    ) as terminal:
        go(terminal)
        yield terminal
