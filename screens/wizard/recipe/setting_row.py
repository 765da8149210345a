"""A row with one setting: name, value and origin."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

from ftwizard.advice.recipe_rules import Setting
from ftwizard.screens.draft.setting_values import can_be_automatic, format_input, parse_value
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.text_input import TextInput


class SettingRow(Horizontal):
    """Shows and edits one setting."""

    class Changed(Message):
        """The person changed the value, which may be invalid."""

        def __init__(self, row: SettingRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self, setting: Setting, value: Any) -> None:
        super().__init__(classes="setting", id=f"setting-{setting.name}")
        self.setting = setting
        self._shown_value = str(value) if setting.options else format_input(value)
        """The value that the page put into the field."""
        self.origin = "default"

    def compose(self) -> ComposeResult:
        yield Static(self.setting.label, classes="name", markup=False)
        if self.setting.options:
            options = [(str(option.value), option.label) for option in self.setting.options]
            yield Choice(options, self._shown_value)
        else:
            empty = self.setting.empty if can_be_automatic(self.setting) else ""
            yield TextInput(self._shown_value, max_length=400, placeholder=empty)
            yield Static(self.origin, classes="origin", markup=False)

    @property
    def edited(self) -> bool:
        """Return whether the person has chosen the value.

        Compares values, as the Changed message arrives later than the change itself.
        """
        field: Choice | Input = (
            self.query_one(Choice) if self.setting.options else self.query_one(Input)
        )
        return self.origin == "yours" or field.value != self._shown_value

    @property
    def value(self) -> Any:
        """Return the value; raise ValueError with a message if it is invalid."""
        if self.setting.options:
            chosen = self.query_one(Choice).value
            return next(
                option.value for option in self.setting.options if str(option.value) == chosen
            )
        return parse_value(self.setting, self.query_one(Input).value)

    def _describe_range(self) -> str:
        """Describe the usual range if the value is outside it or invalid."""
        low, high = self.setting.low, self.setting.high
        try:
            value = self.value
        except ValueError:
            return "; invalid"
        if (
            not isinstance(value, int | float)
            or low is None
            or high is None
            or low <= value <= high
        ):
            return ""
        return f"; usually {low:g} to {high:g}"

    def focus_field(self) -> None:
        """Focus the value."""
        self.query_one(Choice if self.setting.options else Input).focus()

    def put(self, value: Any, origin: str) -> None:
        """Show a value that the person has not chosen."""
        self.origin = origin
        self._shown_value = str(value) if self.setting.options else format_input(value)
        if self.setting.options:
            with self.prevent(Choice.Changed):
                self.query_one(Choice).value = self._shown_value
        else:
            with self.prevent(Input.Changed):
                self.query_one(Input).value = self._shown_value
            self.query_one(".origin", Static).update(origin)

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._changed()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.edited:  # an input also reports its initial value
            self._changed()

    def _changed(self) -> None:
        self.origin = "yours"
        if not self.setting.options:
            self.query_one(".origin", Static).update(self.origin + self._describe_range())
        self.post_message(self.Changed(self))
