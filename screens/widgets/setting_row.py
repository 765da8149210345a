"""One setting on a line: its name, its value to edit or choose, and where the value came from."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

from ftwizard.advice.setting import Setting
from ftwizard.screens.values import can_be_automatic, read_value, shown_value
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.entry import Entry


class SettingRow(Horizontal):
    """Shows and edits one setting."""

    class Changed(Message):
        """The person has changed the value (it may not be valid)."""

        def __init__(self, row: SettingRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self, setting: Setting, value: Any) -> None:
        super().__init__(classes="setting", id=f"setting-{setting.name}")
        self.setting = setting
        self._put = str(value) if setting.options else shown_value(value)
        """What the field was given to show."""
        self.origin = "default"

    def compose(self) -> ComposeResult:
        yield Static(self.setting.label, classes="name", markup=False)
        if self.setting.options:
            options = [(str(one.value), one.label) for one in self.setting.options]
            yield Choice(options, self._put)
        else:
            empty = self.setting.empty if can_be_automatic(self.setting) else ""
            yield Entry(self._put, max_length=400, placeholder=empty)
            yield Static(self.origin, classes="origin", markup=False)

    @property
    def edited(self) -> bool:
        """Return whether the person has chosen the value.

        A field tells of a change by a message, which comes after the change itself: what happens
        between the two must not take the value back.
        """
        field: Choice | Input = (
            self.query_one(Choice) if self.setting.options else self.query_one(Input)
        )
        return self.origin == "yours" or field.value != self._put

    @property
    def value(self) -> Any:
        """Return the value; raise ValueError with a sentence where it is none."""
        if self.setting.options:
            chosen = self.query_one(Choice).value
            return next(one.value for one in self.setting.options if str(one.value) == chosen)
        return read_value(self.setting, self.query_one(Input).value)

    def _unusual(self) -> str:
        """Say what is usual where the value is beyond it, or that it is none."""
        low, high = self.setting.low, self.setting.high
        try:
            value = self.value
        except ValueError:
            return "; not a value"
        if (
            not isinstance(value, int | float)
            or low is None
            or high is None
            or low <= value <= high
        ):
            return ""
        return f"; usual is {low:g} to {high:g}"

    def focus_field(self) -> None:
        """Put the focus where the value is changed."""
        self.query_one(Choice if self.setting.options else Input).focus()

    def put(self, value: Any, origin: str) -> None:
        """Show another value, which the person has not chosen."""
        self.origin = origin
        self._put = str(value) if self.setting.options else shown_value(value)
        if self.setting.options:
            with self.prevent(Choice.Changed):
                self.query_one(Choice).value = self._put
        else:
            with self.prevent(Input.Changed):
                self.query_one(Input).value = self._put
            self.query_one(".origin", Static).update(origin)

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._changed()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.edited:  # a line tells also of what it starts with
            self._changed()

    def _changed(self) -> None:
        self.origin = "yours"
        if not self.setting.options:
            self.query_one(".origin", Static).update(self.origin + self._unusual())
        self.post_message(self.Changed(self))
