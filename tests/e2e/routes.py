"""Screens of the app and the keys that open them."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ftwizard.jobs.folder import JobFolder
from tests.e2e.cli import FTWIZARD
from tests.e2e.terminal import Terminal
from tests.helpers.jobs import end_all, make, start, until_step
from tests.paths import ROOT
from tests.screens.runs_helpers import make_result, make_run

RUN = "dummy"
HELPER = (sys.executable, "-m", "tests.e2e.open_screen")
ROWS = "rows.jsonl"


def running(home: Path, **inputs: object) -> JobFolder:
    """Start a long dummy run."""
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
    """Write a finished run with results."""
    prompt = [{"role": "user", "content": "q"}]
    pair = {"prompt": prompt, "expected": "a", "base": "b", "tuned": "a", "line": 1}
    make_result(make_run(home, "done"), [pair])


@contextlib.contextmanager
def make_home(folder: Path) -> Iterator[Path]:
    """Yield a home with a live run, a finished run and a data file."""
    write_rows(folder)
    write_result(folder)
    running(folder)
    yield folder
    end_all(folder)


def _provider(terminal: Terminal) -> None:
    terminal.wait("New fine-tune")
    terminal.send("n")
    terminal.wait("What should (it|the model) learn")


def _data(terminal: Terminal) -> None:
    _provider(terminal)
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
    _rows(terminal)
    terminal.send("\r")
    terminal.wait("The base model")


def _press_keys(pattern: str, *keys: tuple[str, str]) -> Callable[[Terminal], None]:
    """Return a route: wait for ``pattern``, then press each key and wait for its text."""

    def go(terminal: Terminal) -> None:
        terminal.wait(pattern)
        for key, shows in keys:
            terminal.send(key)
            terminal.wait(shows)

    return go


_LOSS = "loss +0"
DIALOGS = ("split?", "volume")
"""Dialogs, which exit like the page below them."""
Route = tuple[tuple[object, ...], tuple[object, ...], Callable[[Terminal], None]]
"""Command (empty: ftwizard), its arguments, and the keys to press then."""

ROUTES: Mapping[str, Route] = {
    "home": ((), (), _press_keys("New fine-tune")),
    "help": ((), (), _press_keys("New fine-tune", ("?", "open the line"))),
    "demo": ((), ("demo",), _press_keys("Watch the loss fall")),
    "provider": ((), (), _provider),
    "data": ((), (), _data),
    "rows": ((), (), _rows),
    "row": ((), (), _row),
    "split?": ((), (), _split),
    "recipe": ((), (), _recipe),
    "estimate": (HELPER, ("estimate", RUN, "rows"), _press_keys("memory +unknown")),
    "costs": (HELPER, ("costs", RUN, "rows"), _press_keys("current prices")),
    "volume": (
        HELPER,
        ("costs", RUN, "rows"),
        _press_keys("current prices", ("v", "Requests per month")),
    ),
    "review": (HELPER, ("review", RUN, "rows"), _press_keys("same as")),
    "account": (HELPER, ("account", RUN, "rows"), _press_keys("accepts the login")),
    "working": (HELPER, ("working", RUN, "rows"), _press_keys("esc cancel")),
    "problem": (HELPER, ("problem", RUN, "rows"), _press_keys("It cannot be read")),
    "typed": (HELPER, ("typed", RUN, "rows"), _press_keys("To continue anyway, type")),
    "finish": (HELPER, ("finish", "done", "rows"), _press_keys("too few test rows")),
    "monitor": ((), ("watch", RUN), _press_keys(_LOSS)),
    "stop?": ((), ("watch", RUN), _press_keys(_LOSS, ("s", "Stop this run"))),
    "compare": (
        (),
        ("compare", RUN, "done", "--curves"),
        _press_keys("best validation loss"),
    ),
    "log": ((), ("watch", RUN), _press_keys(_LOSS, ("o", "no more to say|Output"))),
}


@contextlib.contextmanager
def open_at(
    screen_name: str,
    folder: Path,
    environment: Mapping[str, str | None] | None = None,
    *,
    size: tuple[int, int] = (80, 24),
    more: tuple[str, ...] = (),
    controlling: bool = True,
) -> Iterator[Terminal]:
    """Yield a terminal that shows the screen, started in ``folder`` with ``more`` arguments."""
    command, arguments, go = ROUTES[screen_name]
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
