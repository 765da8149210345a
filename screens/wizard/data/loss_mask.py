"""The loss mask of a row, shown in its rendered template."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text
from textual.app import App

from ftwizard.errors import FtwizardError
from ftwizard.models.loss_mask import MaskReport, RowMask
from ftwizard.plan.schema import Plan
from ftwizard.screens import palette
from ftwizard.screens.dialogs import command_progress
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.terminal import visible_text
from ftwizard.screens.wizard.data import data_check
from ftwizard.text import format_count

TRAINED, CUT = "▌ ", "░ "
_NO_LOSS = "  "
MAX_CHARACTERS = 20_000
NO_MODEL = FtwizardError(
    "No model is chosen yet. The loss mask depends on the model's chat template.",
    "Choose a model on the next page, Recipe. Then press esc to come back.",
)


async def fetch_mask(app: App[Any], plan: Plan, path: str, line: int) -> RowMask | None:
    """Render a row as a run of the plan would; return it with its loss mask. Return None after
    showing an error."""
    if not plan.model.name:
        await app.push_screen_wait(ErrorDialog(NO_MODEL))
        return None
    argv = ("mask", *data_check.build_file_args(plan, path), "--model", plan.model.name)
    argv += ("--row", str(line), "--max-length", str(plan.recipe.max_length))
    document = await command_progress.run_command(
        app, "Rendering the row with the chat template", *argv
    )
    return msgspec.convert(document, MaskReport).row if document else None


def format_mask(row: RowMask, width: int) -> Text:
    """Format a row's spans in ``width`` cells; a bar at the left marks trainable tokens."""
    trainable, kept = row.trained, row.kept
    lines = [
        Text.assemble((f"row {row.line:,}", "bold"), "  as trained on"),
        Text.assemble(
            (TRAINED, palette.ACCENT), f"{trainable:,} of {format_count(row.tokens, 'token')} count toward the loss"
            if trainable else "no trainable tokens: the row is skipped",
        ),
    ]  # fmt: skip
    if kept < row.tokens:
        cut = format_count(row.tokens - kept, "token")
        lines.append(Text.assemble((CUT, palette.WARNING), f"{cut} beyond {kept:,} truncated"))
    lines.append(Text())
    left = MAX_CHARACTERS
    for span in row.spans:
        gutter, style = (CUT, palette.WARNING) if span.start >= kept else (
            (TRAINED, palette.ACCENT) if span.trained else (_NO_LOSS, "")
        )  # fmt: skip
        text_style = "" if span.trained else "dim"
        text = visible_text.mark_lines(span.text, left)
        lines += _add_gutter(text, gutter, style, text_style, width)
        left -= len(span.text)
        if left <= 0:
            break
    return Text("\n").join(lines)


def _add_gutter(text: Text, gutter: str, style: str, text_style: str, width: int) -> list[Text]:
    """Wrap text to ``width`` cells, with a gutter before each line."""
    room = max(10, width - len(gutter))
    text.right_crop(1) if text.plain.endswith("\n") else None
    text.style = text_style
    wrapped = [
        part
        for line in text.split("\n", allow_blank=True) or [Text()]
        for part in line.wrap(Console(width=room), room) or [Text()]
    ]
    return [Text.assemble((gutter, style), part) for part in wrapped]
