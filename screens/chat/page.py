"""Chat page: one prompt, and the answers of the tuned and the base model side by side."""

from __future__ import annotations

import time
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from ftwizard.data import row_addition
from ftwizard.data.row_addition import RowAddition
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import additions
from ftwizard.runs.chat_protocol import (
    ErrorEvent,
    Event,
    LoadingEvent,
    ReadyEvent,
    Side,
    StopRequest,
)
from ftwizard.runs.conversation import ChatRow, ChatSession, read_rows
from ftwizard.screens import palette
from ftwizard.screens.chat.dialogs import (
    AddedRow,
    AddRowDialog,
    PromptArea,
    SettingsDialog,
    make_area,
)
from ftwizard.screens.chat.process import ChatProcess
from ftwizard.screens.chat.turn_view import TurnView, describe_chat
from ftwizard.screens.dialogs.dialog import ErrorDialog, NoticeDialog
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.text import format_duration, make_visible

BOTH: list[Side] = ["tuned", "base"]
KEPT_NOTE = "The conversation is kept. The next prompt, or ^r, loads the models again."


class ChatPage(Page[None]):
    """Loads the models in a child process, and ends that when it is left."""

    NAME = "Chat"
    NOTES = (
        "Each model has its own conversation; one answers at a time.",
        "^r samples another answer; the chat continues from it.",
        "A changed system prompt counts from the next answer on.",
        "In it, ctrl+j breaks the line.",
        "As a command: ftwizard chat RUN --prompt TEXT --base",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "send", "send", key_display="enter", tooltip="send the prompt to both models"
        ),
        Binding(
            "ctrl+r",
            "ask_again",
            "again",
            key_display="^r",
            tooltip="answer the last prompt again",
        ),
        Binding(
            "ctrl+s",
            "add_row",
            "add row",
            key_display="^s",
            tooltip="add the last turn to a data file as a row",
        ),
        Binding(
            "ctrl+o",
            "edit_settings",
            "system prompt",
            key_display="^o",
            tooltip="edit the system prompt and the temperature",
        ),
        Binding("ctrl+n", "restart", "new", key_display="^n", tooltip="new conversation"),
        Binding(
            "ctrl+t",
            "take_row",
            "test row",
            key_display="^t",
            tooltip="take the next test row as prompt",
        ),
        Binding(
            "ctrl+l",
            "show_next",
            "other answers",
            key_display="^l",
            tooltip="next of several answers to the last prompt",
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
            "ctrl+c",
            "stop",
            "stop",
            key_display="^c",
            show=False,
            priority=True,
            tooltip="stop the answer",
        ),
        Binding(
            "escape", "back", "stop/leave", key_display="esc", tooltip="stop the answer, or leave"
        ),
        Binding("f1", "help", "help", key_display="f1", tooltip="this list"),
    ]

    def __init__(self, folder: JobFolder) -> None:
        super().__init__()
        self._folder = folder
        self._rows = read_rows(folder)
        self._row_index = -1
        self._row: ChatRow | None = None
        """The test row in the input, unless it was edited."""
        self._conversation = ChatSession()
        self._ready: ReadyEvent | None = None
        self._loading, self._loading_since = "starting", time.monotonic()
        self._shows_base = True
        self._failure: FtwizardError | None = None
        """Why the models are no longer loaded."""
        self._files = additions.find_files(folder)
        self._file = str(self._files.additions)
        """Data file that was added to last."""
        self._process = self._make_process()

    def _make_process(self) -> ChatProcess:
        return ChatProcess(str(self._folder.path), self._take)

    def top_line(self) -> Text:
        return super().top_line().append(f"  {make_visible(self._folder.id)}")

    def body(self) -> ComposeResult:
        with ScrollPane(id="transcript", can_focus=False):
            yield Static(id="about", markup=False)
        yield make_area(id="prompt", placeholder="Type a prompt")

    def on_mount(self) -> None:
        self.query_one("#prompt").focus()
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
            if self._conversation.turns or self.query_one("#prompt", PromptArea).text:
                self._keep_after(error)
                return
            await self.app.push_screen_wait(ErrorDialog(error))
            self.dismiss(None)

    def _keep_after(self, error: FtwizardError) -> None:
        """Keep the conversation after the models have ended; the next prompt loads them again."""
        self._failure, self._ready = error, None
        if self._conversation.is_open:
            self._conversation.turns[-1].stop(error.text)
            self._draw_all()
        self._draw_about()
        self.refresh_bindings()
        title = Text.assemble(("✗ ", f"bold {palette.BAD}"), make_visible(error.message, 1500))
        hint = make_visible(error.hint, 1000)
        self.app.push_screen(NoticeDialog(title, f"{hint}\n{KEPT_NOTE}".strip()))

    def _load_again(self) -> None:
        self._failure = None
        self._loading, self._loading_since = "starting", time.monotonic()
        self._process = self._make_process()
        self._draw_about()
        self._run()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        needs: dict[str, object] = {
            "take_row": self._rows,
            "edit_settings": self._ready is None or self._ready.has_template,
            "ask_again": self._conversation.turns and not self._is_answering,
            "add_row": self._conversation.turns and not self._is_answering,
            "show_next": self._has_samples and not self._is_answering,
            "stop": self._is_answering,
            "toggle_base": self._ready is None or self._ready.has_base,
            "restart": self._conversation.turns,
        }
        return bool(needs.get(action, True))

    @property
    def _has_samples(self) -> bool:
        turns = self._conversation.turns
        return bool(turns) and len(turns[-1].samples) > 1

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
            self._conversation.take_data_system(event.system if event.has_template else None)
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
        area = self.query_one("#prompt", PromptArea)
        text = area.text.strip()
        if not text:
            return
        if self._is_answering:
            self.notify("Still answering. Press esc to stop it.", markup=False)
            return
        row = self._row if self._row and self._row.question == text else None
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
        if self._failure is not None:
            self._load_again()
        if self._ready is None or not turns or not turns[-1].is_open:
            return
        if not self._ready.has_base:
            turns[-1].samples[-1].pop("base", None)
        for request in self._conversation.build_requests():
            self._process.send(request)

    @property
    def _is_answering(self) -> bool:
        return self._conversation.is_open

    def action_back(self) -> None:
        """Stop the answer in progress, or leave."""
        if self._is_answering:
            self.action_stop()
        else:
            self.dismiss(None)

    def action_stop(self) -> None:
        """Stop the answers at once; what stands is kept, also in the conversation."""
        self._process.send(StopRequest())
        self._conversation.turns[-1].stop()
        self._draw(self.query(TurnView).last())
        self.refresh_bindings()

    def action_ask_again(self) -> None:
        """Answer the last prompt again; the answers so far are kept."""
        self._conversation.ask_again(self._sides)
        self._draw(self.query(TurnView).last())
        self._send_requests()
        self.refresh_bindings()

    def action_show_next(self) -> None:
        """Show the next of several answers to the last prompt."""
        self._conversation.turns[-1].show_next()
        self._draw(self.query(TurnView).last())

    def action_add_row(self) -> None:
        """Ask for the data file that the last turn is added to."""
        added = AddedRow(self._conversation, self._files, self._file, self._show_added)
        self.app.push_screen(AddRowDialog(added))

    def _show_added(self, addition: RowAddition) -> None:
        self._file = str(addition.path)
        self._conversation.turns[-1].added_to = addition.path.name
        self._draw(self.query(TurnView).last())
        first, *rest = row_addition.describe_addition(addition, self._files.training)
        title = Text.assemble(("✓ ", f"bold {palette.GOOD}"), first)
        self.app.push_screen(NoticeDialog(title, "\n".join(rest)))

    def action_take_row(self) -> None:
        """Put the next test row into the input."""
        self._row_index = (self._row_index + 1) % len(self._rows)
        self._row = self._rows[self._row_index]
        area = self.query_one("#prompt", PromptArea)
        area.text = self._row.question
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

    @work(group="settings", exclusive=True, exit_on_error=False)
    async def action_edit_settings(self) -> None:
        if await self.app.push_screen_wait(SettingsDialog(self._conversation)):
            self._draw_about()
            self.notify("Counts from the next answer on.", markup=False, timeout=2)

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
        about = self.query_one("#about", Static)
        if self._failure is not None:
            problem = Text(f"✗ {make_visible(self._failure.text)}\n{KEPT_NOTE}", palette.BAD)
            about.update(problem)
            return
        loading = f"{self._loading}…  {format_duration(time.monotonic() - self._loading_since)}"
        about.update(
            describe_chat(self._ready, self._conversation, loading, self._sides, self._row)
        )
