"""What commands print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec

from ftwizard.jobs.ending import NEXT_STEP
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status
from ftwizard.text import visible, visible_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType
    from rich.table import Table

MARKS = {"finished": "✓", "early_stopped": "✓", "stopped": "■", "refused": "✗"}
IN_WORDS = {
    "finished": "finished",
    "early_stopped": "finished early",
    "stopped": "stopped",
    "killed": "killed",
    "out_of_gpu_memory": "out of GPU memory",
    "out_of_memory": "out of memory",
    "disk_full": "disk full",
    "nan": "the loss became no number",
    "crashed": "crashed",
    "refused": "refused",
    "cancelled": "cancelled",
    "lost": "lost",
}


def print_json(value: Any) -> None:
    """Print one JSON document, and nothing else, on stdout."""
    data = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(data.decode() + "\n")


def console(*, stderr: bool = False) -> Console:
    """Return a console that obeys no markup in what it prints."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the door knows what to do; rich would exit with 1

    return Plain(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)


def say(out: Console, *lines: str) -> None:
    """Print lines: wrapped at words on a terminal, left whole in a pipe or a log."""
    for line in lines:
        out.print(visible_lines(line), soft_wrap=not out.is_terminal)


def pairs(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Return names and values in two columns; long values wrap within theirs."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, visible(value) if isinstance(value, str) else value)
    return table


def ending(folder: JobFolder, status: Status) -> list[str]:
    """Say how a run ended and what to do next, a line each."""
    reason = status.end_reason or "lost"
    lines = [f"{MARKS.get(reason, '✗')} Run {folder.id} {_sentence(reason)}."]
    if status.message:
        lines.append(visible(status.message, 600))
    step = status.hint or NEXT_STEP.get(reason, "")
    if step:
        lines.append(visible(step.format(id=folder.id, folder=folder.path), 600))
    return lines


def _sentence(reason: str) -> str:
    words = IN_WORDS.get(reason, reason)
    if reason in ("finished", "early_stopped", "crashed"):
        return f"has {words}" if reason != "crashed" else "crashed"
    if reason in ("out_of_gpu_memory", "out_of_memory"):
        return f"ran {words}"
    if reason in ("disk_full", "nan"):
        return f"ended: {words}"
    return f"was {words}"
