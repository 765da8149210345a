"""Text of a chat: what answers, and the turns with their answers side by side."""

from __future__ import annotations

import time

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.widgets import Static

from ftwizard.runs.chat_protocol import ReadyEvent, Side
from ftwizard.runs.conversation import (
    ChatRow,
    ChatSession,
    ChatTurn,
    PartialAnswer,
    describe_temperature,
)
from ftwizard.screens import palette
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.text import format_count, format_duration, make_lines_visible, make_visible

MIN_SIDE_BY_SIDE = 100
"""Columns needed to show both answers next to each other."""
LABEL_CELLS = 10
LOADING_NOTE = "You can type already; the first answer follows once the models are loaded."


class TurnView(Static):
    """One turn of the conversation."""

    def __init__(self, turn: ChatTurn) -> None:
        super().__init__(markup=False, classes="turn")
        self.turn = turn

    def on_mount(self) -> None:
        transcript = self.parent
        if isinstance(transcript, ScrollPane):
            self.draw(transcript.scrollable_content_region.width)
            transcript.scroll_end(animate=False)

    def draw(self, width: int) -> None:
        self.update(build_turn(self.turn, width))


def describe_chat(
    ready: ReadyEvent | None,
    conversation: ChatSession,
    loading: str,
    sides: list[Side],
    row: ChatRow | None,
) -> Text:
    """Return what answers, what it is told first, and what the machine is busy with."""
    if ready is None:
        return Text.assemble((f"Loading: {loading}", "bold"), f"\n{LOADING_NOTE}")
    models = Text.assemble(("tuned", "bold"), f" step {ready.step:,}" if ready.step else "")
    if "base" in sides:
        models.append("  base", "bold").append(f" {make_visible(ready.base_name, 60)}")
    decoding = describe_temperature(conversation.temperature)
    lines = [models.append(f"  on {make_visible(ready.device, 40)}, {decoding}", "dim")]
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


def _describe_system(ready: ReadyEvent, conversation: ChatSession) -> Text:
    system = conversation.system
    if not ready.has_template and ready.system:
        return Text("The system prompt of the training data is not used.", "dim")
    if system is None:
        off = "off" if conversation.data_system else "none"
        return Text(f"System prompt: {off} (^o edits it)", "dim")
    origin = " of the training data" if system == conversation.data_system else ", edited"
    return Text(f"System prompt{origin}: “{make_visible(system, 300)}”", "dim")


def build_turn(turn: ChatTurn, width: int) -> Group:
    """Return a turn: the prompt, and the answers side by side, or below each other if narrow."""
    head = Table.grid(padding=(0, 1, 0, 0))
    head.add_column(width=LABEL_CELLS, style="dim")
    head.add_column(overflow="fold")
    head.add_row("you", Text(make_lines_visible(turn.prompt), f"bold {palette.ACCENT}"))
    expected = turn.row.answer if turn.row else None
    if turn.row is not None:
        head.add_row(f"row {turn.row.line}", Text("expected:", "dim"))
        head.add_row("", make_lines_visible(expected or ""))
    if len(turn.samples) > 1:
        count = f"answer {turn.shown + 1} of {len(turn.samples)}"
        head.add_row("", Text(f"{count} (^l shows the next)", "dim"))
    if turn.added_to:
        head.add_row("", Text(f"✓ added to {make_visible(turn.added_to)}", palette.GOOD))
    if width >= MIN_SIDE_BY_SIDE and len(turn.answers) > 1:
        return Group(head, _build_columns(turn, width, expected))
    for side in turn.answers:
        head.add_row(Text(side, "bold"), _build_answer(turn, side, expected))
    return Group(head)


def _build_columns(turn: ChatTurn, width: int, expected: str | None) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    cells = (width - 2) // len(turn.answers) - 2
    for _ in turn.answers:
        table.add_column(width=cells, overflow="fold")
    table.add_row(*(Text(side, "bold underline") for side in turn.answers))
    table.add_row(*(_build_answer(turn, side, expected) for side in turn.answers))
    return table


def _build_answer(turn: ChatTurn, side: Side, expected: str | None) -> Text:
    answer = turn.answers[side]
    text = Text(make_lines_visible(answer.text.strip()))
    if answer.error:
        return text.append(f"{' ' if text else ''}✗ {make_visible(answer.error)}", palette.BAD)
    if answer.is_open:
        return text.append(_describe_wait(turn, side), "dim")
    if not answer.text and answer.reason != "stopped":
        text.append("(empty)", "dim")
    if expected is not None and answer.text.strip() == expected:
        text.append("  ✓ as expected", palette.GOOD)
    return text.append(f"{'  ' if text else ''}({_describe_end(answer)})", "dim")


def _describe_wait(turn: ChatTurn, side: Side) -> str:
    """Say what an open answer waits for: the models answer one after the other."""
    answer = turn.answers[side]
    if answer.text:
        return "▌"
    current = next(name for name, other in turn.answers.items() if other.is_open)
    if current != side:
        return f"… after {current}"
    waited_s = time.monotonic() - answer.asked
    return f"… {format_duration(waited_s)}" if waited_s >= 1 else "…"


def _describe_end(answer: PartialAnswer) -> str:
    count = format_count(answer.tokens, "token")
    note = {
        "end": f"{count}, {format_duration(answer.seconds)}",
        "limit": f"cut off after {count}",
        "stopped": "stopped",
    }[answer.reason or "end"]
    return f"{note}, {describe_temperature(answer.temperature)}" if answer.temperature else note
