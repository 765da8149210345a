"""Chat page: one prompt, and the answers of the tuned and the base model side by side."""

from __future__ import annotations

import time
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static, TextArea

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.chat_protocol import (
    ErrorEvent,
    Event,
    LoadingEvent,
    ReadyEvent,
    Side,
    StopRequest,
)
from ftwizard.runs.result import AnswerPair, read_answers
from ftwizard.screens import palette
from ftwizard.screens.chat.conversation import Answer, Conversation, Turn
from ftwizard.screens.chat.process import ChatProcess
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.text import format_count, format_duration, make_lines_visible, make_visible

MIN_SIDE_BY_SIDE = 100
"""Columns needed to show both answers next to each other."""
MAX_PROMPT_CHARACTERS = 100_000
LABEL_CELLS = 10
BOTH: list[Side] = ["tuned", "base"]
LOADING_NOTE = "You can type already; the first answer follows once the models are loaded."


class PromptArea(TextArea):
    """Input of a prompt: Enter sends it, and pasted line breaks are kept."""

    class Sent(Message):
        """Enter was pressed."""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Sent())
        else:
            await super()._on_key(event)

    async def _on_paste(self, event: events.Paste) -> None:
        if len(self.text) + len(event.text) > MAX_PROMPT_CHARACTERS:
            event.prevent_default()
            self.notify(
                f"Too long: at most {MAX_PROMPT_CHARACTERS:,} characters. Nothing was inserted.",
                severity="warning", markup=False,
            )  # fmt: skip
            return
        await super()._on_paste(event)


class TurnView(Static):
    """One turn of the conversation."""

    def __init__(self, turn: Turn) -> None:
        super().__init__(markup=False, classes="turn")
        self.turn = turn

    def on_mount(self) -> None:
        transcript = self.parent
        if isinstance(transcript, ScrollPane):
            self.draw(transcript.scrollable_content_region.width)
            transcript.scroll_end(animate=False)

    def draw(self, width: int) -> None:
        self.update(build_turn(self.turn, width))


class ChatPage(Page[None]):
    """Loads the models in a child process, and ends that when it is left."""

    NAME = "Chat"
    NOTES = (
        "Each model has its own conversation.",
        "Answers are greedy: the same prompt gets the same answer.",
        "As a command: ftwizard chat RUN --prompt TEXT --base",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "send", "send", key_display="enter", tooltip="send the prompt to both models"
        ),
        Binding(
            "ctrl+t",
            "take_row",
            "test row",
            key_display="^t",
            tooltip="take the next test row as prompt",
        ),
        Binding("ctrl+n", "restart", "new", key_display="^n", tooltip="new conversation"),
        Binding(
            "ctrl+o",
            "toggle_system",
            "system prompt",
            key_display="^o",
            tooltip="system prompt of the data on or off",
        ),
        Binding("ctrl+g", "toggle_base", "base", key_display="^g", tooltip="base model on or off"),
        Binding(
            "pageup",
            "scroll(-1)",
            "scroll up",
            show=False,
            priority=True,
            tooltip="scroll the answers",
        ),
        Binding(
            "pagedown",
            "scroll(1)",
            "scroll down",
            show=False,
            priority=True,
            tooltip="scroll the answers",
        ),
        Binding(
            "escape", "back", "stop/leave", key_display="esc", tooltip="stop the answer, or leave"
        ),
        Binding("f1", "help", "help", key_display="f1", tooltip="this list"),
    ]

    def __init__(self, folder: JobFolder) -> None:
        super().__init__()
        self._folder = folder
        self._rows = [row for row in read_answers(folder) if row.prompt]
        self._row_index = -1
        self._row: AnswerPair | None = None
        """The test row in the input, unless it was edited."""
        self._conversation = Conversation()
        self._ready: ReadyEvent | None = None
        self._loading, self._loading_since = "starting", time.monotonic()
        self._shows_base = True
        self._process = ChatProcess(str(folder.path), self._take)

    def top_line(self) -> Text:
        return super().top_line().append(f"  {make_visible(self._folder.id)}")

    def body(self) -> ComposeResult:
        with ScrollPane(id="transcript", can_focus=False):
            yield Static(id="about", markup=False)
        area = PromptArea(
            id="prompt", compact=True, soft_wrap=True, highlight_cursor_line=False,
            placeholder="Type a prompt",
        )  # fmt: skip
        area.show_line_numbers = False
        yield area

    def on_mount(self) -> None:
        self.query_one(PromptArea).focus()
        self.set_interval(1.0, self._tick)
        self._draw_about()
        self._run()

    async def on_unmount(self) -> None:
        await self._process.close()

    @work(group="chat", exclusive=True, exit_on_error=False)
    async def _run(self) -> None:
        try:
            await self._process.run()
        except FtwizardError as error:
            await self.app.push_screen_wait(ErrorDialog(error))
            self.dismiss(None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        needs: dict[str, object] = {
            "take_row": self._rows,
            "toggle_system": self._has_system,
            "toggle_base": self._ready is None or self._ready.has_base,
            "restart": self._conversation.turns,
        }
        return bool(needs.get(action, True))

    @property
    def _has_system(self) -> bool:
        return bool(self._conversation.system) or self._row is not None

    @property
    def _sides(self) -> list[Side]:
        has_base = self._shows_base and (self._ready is None or self._ready.has_base)
        return BOTH if has_base else BOTH[:1]

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_all)

    def _take(self, event: Event) -> None:
        """Take an event of the child process."""
        if isinstance(event, LoadingEvent):
            self._loading, self._loading_since = event.part, time.monotonic()
        elif isinstance(event, ReadyEvent):
            self._ready = event
            self._conversation.system = event.system if event.has_template else None
            self._send_requests()
            self.refresh_bindings()
        else:
            self._take_answer(event)
            return
        self._draw_about()

    def _take_answer(self, event: Event) -> None:
        for view in self.query(TurnView):
            if not isinstance(event, LoadingEvent | ReadyEvent) and view.turn.take(event):
                self._draw(view)
                if isinstance(event, ErrorEvent) or not view.turn.is_open:
                    self.refresh_bindings()

    def on_prompt_area_sent(self, event: PromptArea.Sent) -> None:
        event.stop()
        self.action_send()

    def action_send(self) -> None:
        """Send the prompt to the models; it waits while they are being loaded."""
        area = self.query_one(PromptArea)
        text = area.text.strip()
        if not text:
            return
        if self._is_answering:
            self.notify("Still answering. Press esc to stop it.", markup=False)
            return
        row = self._row if self._row and self._row.question.strip() == text else None
        if row is not None:
            self._clear()
        self._row = None
        area.text = ""
        self._draw_about()
        turn = self._conversation.add(text, self._sides, row)
        self.query_one("#transcript").mount(TurnView(turn))
        self._send_requests()
        self.refresh_bindings()

    def _send_requests(self) -> None:
        turns = self._conversation.turns
        if self._ready is None or not turns or not turns[-1].is_open:
            return
        if not self._ready.has_base:
            turns[-1].answers.pop("base", None)
        for request in self._conversation.build_requests():
            self._process.send(request)

    @property
    def _is_answering(self) -> bool:
        turns = self._conversation.turns
        return bool(turns) and turns[-1].is_open

    def action_back(self) -> None:
        """Stop the answer in progress, or leave."""
        if not self._is_answering:
            self.dismiss(None)
            return
        self._process.send(StopRequest())
        view = self.query(TurnView).last()
        view.turn.stop_waiting()
        self._draw(view)

    def action_take_row(self) -> None:
        """Put the next test row into the input."""
        self._row_index = (self._row_index + 1) % len(self._rows)
        self._row = self._rows[self._row_index]
        area = self.query_one(PromptArea)
        area.text = self._row.question.strip()
        area.move_cursor(area.document.end)
        self._draw_about()
        self.refresh_bindings()

    def action_restart(self) -> None:
        """Start a new conversation."""
        if self._is_answering:
            self._process.send(StopRequest())
        self._clear()
        self._draw_about()
        self.refresh_bindings()

    def _clear(self) -> None:
        self._conversation.turns = []
        self.query(TurnView).remove()

    def action_toggle_system(self) -> None:
        self._conversation.uses_system = not self._conversation.uses_system
        self._draw_about()
        self._announce("System prompt", self._conversation.uses_system)

    def action_toggle_base(self) -> None:
        self._shows_base = not self._shows_base
        self._draw_about()
        self._announce("Base model", self._shows_base)

    def _announce(self, name: str, is_on: bool) -> None:
        """Show what changed from the next prompt on; the line that says so may be scrolled away."""
        self.notify(f"{name}: {'on' if is_on else 'off'}", markup=False, timeout=2)

    def action_scroll(self, by: int) -> None:
        self.query_one("#transcript", ScrollPane).scroll_pages(by)

    def _draw(self, view: TurnView) -> None:
        transcript = self.query_one("#transcript")
        follows = transcript.scroll_offset.y >= transcript.max_scroll_y - 1
        if view.is_mounted:
            view.draw(transcript.scrollable_content_region.width)
        if follows:
            transcript.scroll_end(animate=False)

    def _draw_all(self) -> None:
        for view in self.query(TurnView):
            self._draw(view)

    def _tick(self) -> None:
        """Show how long what is awaited takes."""
        if self._ready is None:
            self._draw_about()
        for view in self.query(TurnView):
            if view.turn.is_open:
                self._draw(view)

    def _draw_about(self) -> None:
        loading = f"{self._loading}…  {format_duration(time.monotonic() - self._loading_since)}"
        self.query_one("#about", Static).update(
            describe_chat(self._ready, self._conversation, loading, self._sides, self._row)
        )


def describe_chat(
    ready: ReadyEvent | None,
    conversation: Conversation,
    loading: str,
    sides: list[Side],
    row: AnswerPair | None,
) -> Text:
    """Return what answers, what it is told first, and what the machine is busy with."""
    if ready is None:
        return Text.assemble((f"Loading: {loading}", "bold"), f"\n{LOADING_NOTE}")
    models = Text.assemble(("tuned", "bold"), f" step {ready.step:,}")
    if "base" in sides:
        models.append("  base", "bold").append(f" {make_visible(ready.base_name, 60)}")
    lines = [models.append(f"  on {make_visible(ready.device, 40)}", "dim")]
    lines.append(_describe_system(ready, conversation))
    if not ready.has_template:
        lines.append(Text("The model has no chat template: each prompt is answered on its own."))
    lines += [Text(f"! {make_visible(note)}", palette.WARNING) for note in ready.notes]
    if ready.busy:
        run = make_visible(ready.busy[0])
        lines.append(
            Text(f"! Run {run} is training on this machine: both are slower.", palette.WARNING)
        )
    if row is not None:
        lines.append(Text(f"Test row {row.line} is in the input. enter sends it.", "dim"))
    return Text("\n").join(lines)


def _describe_system(ready: ReadyEvent, conversation: Conversation) -> Text:
    if not ready.system:
        return Text("No system prompt: the training data has none, or several.", "dim")
    if not ready.has_template:
        return Text("The system prompt of the training data is not used.", "dim")
    if not conversation.uses_system:
        return Text("System prompt of the training data: off (^o turns it on)", "dim")
    return Text(f"System prompt of the training data: “{make_visible(ready.system, 300)}”", "dim")


def build_turn(turn: Turn, width: int) -> Group:
    """Return a turn: the prompt, and the answers side by side, or below each other if narrow."""
    head = Table.grid(padding=(0, 1, 0, 0))
    head.add_column(width=LABEL_CELLS, style="dim")
    head.add_column(overflow="fold")
    head.add_row("you", Text(make_lines_visible(turn.prompt), f"bold {palette.ACCENT}"))
    if turn.row is not None:
        head.add_row(f"row {turn.row.line}", Text("expected:", "dim"))
        head.add_row("", make_lines_visible(turn.row.expected.strip()))
    expected = turn.row.expected if turn.row else None
    if width >= MIN_SIDE_BY_SIDE and len(turn.answers) > 1:
        return Group(head, _build_columns(turn, width, expected))
    for side, answer in turn.answers.items():
        head.add_row(Text(side, "bold"), _build_answer(answer, expected))
    return Group(head)


def _build_columns(turn: Turn, width: int, expected: str | None) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    cells = (width - 2) // len(turn.answers) - 2
    for _ in turn.answers:
        table.add_column(width=cells, overflow="fold")
    table.add_row(*(Text(side, "bold underline") for side in turn.answers))
    table.add_row(*(_build_answer(answer, expected) for answer in turn.answers.values()))
    return table


def _build_answer(answer: Answer, expected: str | None) -> Text:
    text = Text(make_lines_visible(answer.text.strip()))
    if answer.error:
        return text.append(f"✗ {make_visible(answer.error)}", palette.BAD)
    if answer.is_open:
        waited_s = time.monotonic() - answer.asked
        waiting = f"… {format_duration(waited_s)}" if waited_s >= 1 else "…"
        return text.append("▌" if answer.text else waiting, "dim")
    if not answer.text:
        text.append("(empty)", "dim")
    count = format_count(answer.tokens, "token")
    note = {
        "end": f"{count}, {format_duration(answer.seconds)}",
        "limit": f"cut off after {count}",
        "stopped": "stopped",
    }[answer.reason or "end"]
    if expected is not None and answer.text.strip() == expected.strip():
        text.append("  ✓ as expected", palette.GOOD)
    return text.append(f"  ({note})", "dim")
