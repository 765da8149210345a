"""The dialog for a run that takes a few minutes at most."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.app import App, ComposeResult
from textual.widgets import Input, Static

from ftwizard.advice import time_cap
from ftwizard.advice.time_cap import TimeCap
from ftwizard.screens.dialogs.forms import FormDialog
from ftwizard.screens.draft import time_limit
from ftwizard.screens.draft.drafts import Draft

MIN_HEIGHT = 20
"""Rows of a terminal below which the explanation is left out, and lines are joined."""


class TimeLimitDialog(FormDialog[TimeCap]):
    """Asks for the minutes, and shows what they give up while they are typed."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(
            time_limit.TITLE,
            Text(time_limit.EXPLANATION, "dim"),
            fields=[("Minutes", f"{time_cap.DEFAULT_MINUTES:g}")],
            enter="use it",
        )
        self._draft = draft

    def body(self) -> ComposeResult:
        yield from super().body()
        yield Static(id="losses", markup=False)

    def parse(self, typed: list[str]) -> TimeCap:
        return time_limit.find_fit(self._draft, typed[0])

    def show_problem(self, problem: str) -> None:
        super().show_problem(problem)
        # On a small terminal, what is given up matters more than the explanation.
        self.query(".details").set(display=not self._is_low)
        losses = self.query_one("#losses", Static)
        losses.display = not problem
        if not problem:
            losses.update(self._format_losses())

    @property
    def _is_low(self) -> bool:
        return self.app.size.height < MIN_HEIGHT

    def _format_losses(self) -> Text:
        """Return what the typed minutes give up, or why they are not enough."""
        try:
            typed = self.query_one(Input).value
            cap = time_limit.compute(self._draft, time_limit.parse_minutes(typed))
        except ValueError as error:
            return Text(str(error), "dim")
        if cap is None:
            return Text(time_limit.NO_ESTIMATE, "dim")
        lines = time_cap.describe_losses(cap) if cap.fits else []
        if self._is_low:
            return Text("; ".join(lines) + (". " if lines else "") + time_cap.describe_outcome(cap))
        text = Text("".join(f"· {line}\n" for line in lines))
        return text.append(time_cap.describe_outcome(cap))


async def switch(app: App[Any], draft: Draft) -> Draft | None:
    """Ask for a limit, or undo the draft's; None if nothing changes."""
    if draft.limit is not None:
        return time_limit.undo(draft)
    cap = await app.push_screen_wait(TimeLimitDialog(draft))
    return time_limit.apply(draft, cap) if cap else None
