"""What of a row is learnt: its rendered template, the tokens that carry loss told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from ftwizard.errors import FtwizardError
from ftwizard.plan import Plan
from ftwizard.screens import checking, flow, marked, palette
from ftwizard.text import plural

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp

LEARNT, CUT = "▌ ", "░ "
_OTHER = "  "
MOST_CHARACTERS = 20_000
NO_MODEL = FtwizardError(
    "No model is chosen yet: what is learnt of a row goes by the model's own template.",
    "Choose the model on the next page, Recipe; then come back here with esc.",
)


async def fetch(app: FtwizardApp, plan: Plan, path: str, line: int) -> dict[str, Any] | None:
    """Have a row of a file rendered as a run of the plan would; return what is learnt of it, None
    where that cannot be told (it has been said why)."""
    from ftwizard.screens.problem import Problem

    if not plan.model.name:
        await app.push_screen_wait(Problem(NO_MODEL))
        return None
    argv = ("mask", *checking.arguments(plan, path), "--model", plan.model.name)
    argv += ("--row", str(line), "--max-length", str(plan.recipe.max_length))
    found = await flow.work(app, "Rendering the row with the model's template", *argv)
    row: dict[str, Any] | None = found and found.get("row")
    return row


def text(row: dict[str, Any], width: int) -> Text:
    """Return a row's spans in ``width`` cells; a bar at the left stands where loss is carried."""
    learnt, kept = row["trained"], row["kept"]
    lines = [
        Text.assemble((f"row {row['line']:,}", "bold"), "  as it is trained on"),
        Text.assemble(
            (LEARNT, palette.ACCENT), f"{learnt:,} of {plural(row['tokens'], 'token')} are learnt"
            if learnt else "nothing of it is learnt: it is left out",
        ),
    ]  # fmt: skip
    if kept < row["tokens"]:
        cut = plural(row["tokens"] - kept, "token")
        lines.append(Text.assemble((CUT, palette.WARNING), f"{cut} beyond {kept:,} are cut off"))
    lines.append(Text())
    left = MOST_CHARACTERS
    for start, _, said, trained in row["spans"]:
        gutter, style = (CUT, palette.WARNING) if start >= kept else (
            (LEARNT, palette.ACCENT) if trained else (_OTHER, "")
        )  # fmt: skip
        lines += _guttered(marked.lines(said, left), gutter, style, "" if trained else "dim", width)
        left -= len(said)
        if left <= 0:
            break
    return Text("\n").join(lines)


def _guttered(said: Text, gutter: str, style: str, text_style: str, width: int) -> list[Text]:
    """Return lines of at most ``width`` cells, each behind a gutter."""
    room = max(10, width - len(gutter))
    said.right_crop(1) if said.plain.endswith("\n") else None
    said.style = text_style
    wrapped = [
        part
        for line in said.split("\n", allow_blank=True) or [Text()]
        for part in line.wrap(Console(width=room), room) or [Text()]
    ]
    return [Text.assemble((gutter, style), part) for part in wrapped]
