"""Blind pairs page: two answers to a prompt in random order, judged by one key."""

from __future__ import annotations

import subprocess
from itertools import zip_longest
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from ftwizard.background import run_in_thread
from ftwizard.cli.blind_pairs import CUT, cut
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import blind_pairs
from ftwizard.runs.blind_pairs import KEYS, BlindPair
from ftwizard.runs.evaluation_files import NewestEvaluation, find_newest
from ftwizard.screens import subprocesses
from ftwizard.screens.dialogs.dialog import show_error
from ftwizard.screens.monitor import evaluated
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.text import make_visible

MIN_SIDE_BY_SIDE = 100
"""Columns needed to show both answers side by side."""
MARGIN = 5
"""Cells of a line beside the text: padding and scroll bar."""
GAP = 3
"""Cells between the answers."""
_LINES = 8
"""Lines of a screen besides the texts: bars, headings and the lines between."""


class BlindPairsPage(Page[None]):
    """Shows pair by pair; no score before the end, which would tell the models apart.

    A child process records what it is sent, also if this process ends.
    """

    NAME = "Blind pairs"
    NOTES = (
        "One answer is the base model's, one the tuned model's.",
        "It ends once the result can hardly be chance.",
        "Equal, both wrong and skip count for neither model.",
        "Leave at any time: it continues where you left.",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "judge('a')", "A", tooltip="A is better"),
        Binding("b", "judge('b')", "B", tooltip="B is better"),
        Binding("e,equals_sign", "judge('e')", "equal", tooltip="equally good"),
        Binding("n", "judge('n')", "both wrong", tooltip="both are wrong"),
        Binding("s", "judge('s')", "skip", tooltip="skip this pair"),
        Binding("u", "judge('u')", "undo", tooltip="take the last judgment back"),
        Binding("m", "toggle_full", "in full", tooltip="texts in full"),
        Binding("enter", "next", "results", key_display="enter", tooltip="back to the results"),
        Binding("escape,q", "back", "leave", key_display="esc", tooltip="leave; all is kept"),
    ]

    def __init__(self, run: JobFolder, newest: NewestEvaluation) -> None:
        super().__init__()
        self._run, self._newest = run, newest
        self._pairs = blind_pairs.read(newest.folder)
        self._child: subprocess.Popen[bytes] | None = None
        """Records the judgments; None before the first one."""
        self._is_ending = False
        """Whether the end of the child is awaited."""
        self._is_full = self._is_cut = False
        """Whether the texts are shown in full, and whether one of them did not fit."""

    def top_line(self) -> Text:
        line = super().top_line().append(f"  {make_visible(self._run.id)}")
        done = self._pairs.next is None
        counted = "" if done else f"  {len(self._pairs.judged) + 1} of {len(self._pairs.pairs)}"
        return line.append(counted, "dim")

    def body(self) -> ComposeResult:
        with ScrollPane(id="finish"):
            yield Static(id="pair", markup=False)

    def on_mount(self) -> None:
        self.query_one("#finish").focus()
        if self._pairs.compare() == self._newest.evaluation.by_hand:
            self._show()
        else:  # it was ended before its end
            self._child = self._start()
            self._end()

    def on_resize(self) -> None:
        self._show()

    def on_unmount(self) -> None:
        if self._child and self._child.stdin:
            self._child.stdin.close()  # which ends it

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        is_done = self._pairs.next is None
        if action == "next":
            return is_done
        if action == "judge" and parameters == ("u",):
            return bool(self._pairs.judged)
        if action == "toggle_full":
            return not is_done and (self._is_full or self._is_cut)
        return action != "judge" or not is_done

    def action_judge(self, key: str) -> None:
        pair = self._pairs.next
        item = self._pairs.last if key == "u" else pair and pair.item.id
        if self._is_ending or not item:
            return
        try:
            self._child = self._child or self._start()
            assert self._child.stdin
            self._child.stdin.write(f"{item}={key}\n".encode())
        except OSError:  # it has ended, and says why
            self._end()
            return
        self._pairs.judge(item, KEYS[key])
        self._is_full = False
        if self._pairs.next is None:
            self._end()
        self._show()

    def _start(self) -> subprocess.Popen[bytes]:
        path = str(self._run.path)
        return subprocesses.start_with_input("eval", path, "--by-hand", "--choose", "-")

    @work(group="end", exit_on_error=False)
    async def _end(self, *, leaves: bool = False) -> None:
        """Wait for the child, which judges the evaluation again; show the result, or leave."""
        child, self._child, self._is_ending = self._child, None, True
        error = None
        if child:
            out, err = await run_in_thread(child.communicate)
            try:
                subprocesses.decode_document("eval", child.returncode, out, err)
            except FtwizardError as failure:
                error = failure
        self._is_ending = False
        self._pairs = blind_pairs.read(self._newest.folder)
        self._newest = find_newest(self._run) or self._newest
        if error:
            show_error(self.app, error)
        elif leaves:
            self.dismiss(None)
            return
        self._show()

    def action_toggle_full(self) -> None:
        self._is_full = not self._is_full
        self._show()

    def action_next(self) -> None:
        self.action_back()

    def action_back(self) -> None:
        if not self._is_ending:
            self._end(leaves=True)

    def _show(self) -> None:
        if not self.size.width:
            return
        pair = self._pairs.next
        self.query_one("#pair", Static).update(self._build(pair) if pair else self._build_end())
        self.query_one("#finish", ScrollPane).scroll_home()
        self.refresh_top_line()
        self.refresh_bindings()

    def _build_end(self) -> RenderableType:
        evaluation = self._newest.evaluation
        if self._is_ending or evaluation.by_hand is None:
            return Text("All is judged. Judging the evaluation again …", "dim")
        title = Text(blind_pairs.describe(evaluation.by_hand), "bold")
        return Group(title, "", evaluated.build_verdict(evaluation))

    def _build(self, pair: BlindPair) -> RenderableType:
        width, room = self.size.width - MARGIN, max(6, self.size.height - _LINES)
        is_wide = self.size.width >= MIN_SIDE_BY_SIDE
        columns = (width - GAP) // 2 if is_wide else width
        prompt = cut(pair.question, width, None if self._is_full else room // 4)
        answered = None if self._is_full else (room - len(prompt)) // (1 if is_wide else 2)
        first, second = (cut(text, columns, answered) for text in pair.texts)
        self._is_cut = any(lines[-1] == CUT for lines in (prompt, first, second))
        heading = Text.assemble(("Which answer is better?", "bold"))
        if not self._pairs.judged:
            heading.append(f"  {blind_pairs.describe_identical(self._pairs.identical)}", "dim")
        lines = [heading, Text(), *map(Text, prompt), Text()]
        first_lines, second_lines = (
            [Text(name, "bold"), *map(Text, text)] for name, text in (("A", first), ("B", second))
        )
        if not is_wide:
            return Text("\n").join([*lines, *first_lines, Text(), *second_lines])
        for left, right in zip_longest(first_lines, second_lines, fillvalue=Text()):
            lines.append(Text.assemble(left, " " * (columns + GAP - left.cell_len), right))
        return Text("\n").join(lines)
