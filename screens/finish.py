"""What a run made: the comparison, the answers one by one, the files, and what to type next."""

from __future__ import annotations

import shlex
from typing import Any, ClassVar

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftwizard import outcome, runs, words
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.screens import palette, readings
from ftwizard.screens.page import Page
from ftwizard.text import plural, visible, visible_lines

TOGETHER = 3
"""Answers that are shown at once where there is room."""
SHOWN = 400
"""Characters of a text that are shown at first, so that base and tuned are seen together."""


class Finish(Page[str]):
    """Shows the results of a run; dismisses with ``monitor`` to go back there, or None."""

    NAME = "Results"
    HELP = (
        "Both models answered rows that neither was trained on. Left and right step through the "
        "answers; all of them are in eval/compare.json in the run's folder.\n\n"
        "merged/ holds the whole tuned model in 16 bit: any server that loads safetensors serves "
        "it. adapter/ holds the LoRA weights alone."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,n", "turn(1)", "next answer", key_display="→"),
        Binding("left,p", "turn(-1)", "previous", key_display="←"),
        Binding("a", "turn_whole", "whole answers"),
        Binding("m", "monitor", "monitor"),
        Binding("escape,enter,q", "back", "done", key_display="enter"),
    ]

    def __init__(self, folder: JobFolder) -> None:
        super().__init__()
        self._folder = folder
        self._result = runs.result(folder)
        self._answers = _answers(folder)
        self._place = 0
        self._shown: int | None = SHOWN

    def top_line(self) -> Text:
        line = Text.assemble((" ftwizard ", "bold reverse"), "  ", no_wrap=True)
        line.append(visible(self._folder.id), "bold")
        ended = observe(self._folder)
        reason = ended.end_reason or "lost"
        return line.append(
            f"  {words.MARKS.get(reason, '✗')} {words.sentence(reason)}", palette.GOOD
        )

    def body(self) -> ComposeResult:
        with VerticalScroll(id="finish"):
            yield Static(self._scores(), id="scores", markup=False)
            yield Static(id="answer", markup=False)
            yield Static(self._files(), id="files", markup=False)

    def on_mount(self) -> None:
        self.query_one("#finish").focus()
        self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self._answers) if action in ("turn", "turn_whole") else True

    def action_turn(self, by: int) -> None:
        step = self._together
        last = (len(self._answers) - 1) // step * step
        place = self._place // step * step + by * step
        self._place = 0 if place > last else last if place < 0 else place
        self._show()

    @property
    def _together(self) -> int:
        """How many answers are shown at once."""
        return TOGETHER if self.has_class("-tall") else 1

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def action_turn_whole(self) -> None:
        """Show whole texts, or their beginnings again."""
        self._shown = None if self._shown else SHOWN
        self._show()

    def action_monitor(self) -> None:
        self.dismiss("monitor")

    def _show(self) -> None:
        part = self.query_one("#answer", Static)
        part.display = bool(self._answers)
        if self._answers:
            shown = range(self._place, min(self._place + self._together, len(self._answers)))
            parts: list[RenderableType] = []
            for place in shown:
                one = answer(self._answers[place], place, len(self._answers), self._shown)
                parts += ["", one]
            part.update(Group(*parts[1:]))

    def _scores(self) -> Text:
        compared = self._result.get("compare") or {}
        if not compared.get("rows"):
            return Text("No comparison was asked for, or no row was held out.", "dim")
        return scores(compared)

    def _files(self) -> Table:
        folder = self._folder
        merged = self._result.get("merged")
        places = (
            ("merged", folder.merged, merged),
            ("adapter", folder.adapter, folder.adapter.is_dir()),
            ("answers", folder.evaluations / "compare.json", self._answers),
            ("plan", folder.plan, True),
        )
        rows = [(name, visible(str(path))) for name, path, there in places if there]
        if merged:
            rows.append(("serve", _command("vllm", "serve", str(folder.merged))))
        rows.append(("again", _command("ftwizard", "train", str(folder.plan))))
        training = self._result.get("training") or {}
        if trained := words.rows_trained(training):
            # That all is well can wait below what to type next, on a small terminal.
            rows.insert(len(rows) if words.all_trained(training) else 0, ("rows", trained))
        if came := outcome.of_result(self._result):
            for line in words.predicted_and_actual(came):
                name, _, said = line.partition("  ")
                rows.append((name, said.strip()))
        return readings.table(rows)


def scores(compared: dict[str, Any]) -> Text:
    """Return base and tuned model side by side, the better one marked."""
    text = Text.assemble(
        (f"{plural(compared['rows'], 'held-out row'):<28}", "bold"), ("    base     tuned", "dim")
    )
    base, tuned = compared["base"], compared["tuned"]
    for key, name, lower in (
        ("loss", "loss of the answers", True),
        ("exact", "exactly as expected", False),
        ("json_valid", "valid by the schema", False),
    ):
        before, after = base.get(key), tuned.get(key)
        if before is None or after is None:
            continue
        shown = [f"{v:8.3f}" if lower else f"{v:8.0%}" for v in (before, after)]
        better = after < before if lower else after > before
        mark, style = (
            ("✓", palette.GOOD)
            if better
            else ("=", "dim")
            if after == before
            else ("!", palette.WARNING)
        )
        text.append(f"\n  {name:<26}{shown[0]}  {shown[1]}  ").append(mark, style)
    return text


def answer(one: dict[str, Any], place: int, count: int, shown: int | None = SHOWN) -> Group:
    """Return one held-out row: what was asked, expected, and answered by both.

    ``shown``: characters of each text, None for all of them.
    """
    asked = one["prompt"][-1]["content"] if one.get("prompt") else ""
    right = one["tuned"].strip() == one["expected"].strip()
    title = Text.assemble(
        (f"answer {place + 1} of {count}", "bold"), (f"  row {one['line']}", "dim"),
        ("  ✓ as expected", palette.GOOD) if right else ("  · differs from the expected one", "dim"),
    )  # fmt: skip
    return Group(
        title,
        readings.table([
            ("asked", _shown(asked, shown)),
            ("expected", _shown(one["expected"], shown)),
            ("base", _shown(one["base"], shown)),
            ("tuned", Text(_shown(one["tuned"], shown), "bold")),
        ]),
    )  # fmt: skip


def _command(*argv: str) -> str:
    return visible(shlex.join(argv), 1000)


def _shown(text: str, count: int | None) -> str:
    text = text.strip()
    cut = count is not None and len(text) > count
    return visible_lines(text[:count] if cut else text) + ("…" if cut else "")


def _answers(folder: JobFolder) -> list[dict[str, Any]]:
    try:
        found = msgspec.json.decode((folder.evaluations / "compare.json").read_bytes())
        return list(found["answers"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return []
