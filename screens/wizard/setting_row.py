"""A row of a page that shows and edits one setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static

from ftwizard.advice.recipe_rules import Setting
from ftwizard.screens.draft import setting_values
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.screens.widgets.text_input import TextInput
from ftwizard.screens.wizard.text_block import TextBlock


def get_row_id(setting: Setting) -> str:
    """Return the id of the row of a setting."""
    return f"setting-{setting.key.replace('.', '-')}"


class SettingFields(ScrollPane, can_focus=False, inherit_bindings=False):
    """Fields that up and down move between; the focused one is scrolled into view."""


class SettingRow(Horizontal):
    """Shows and edits one setting."""

    @dataclass
    class Changed(Message):
        """The person changed the value, which may be invalid."""

        row: SettingRow

    def __init__(self, setting: Setting, value: Any) -> None:
        classes = "setting advanced" if setting.advanced else "setting"
        super().__init__(classes=classes, id=get_row_id(setting))
        self.setting = setting
        self._shown_value = self._format(value)
        """The value that the page put into the field."""
        self.origin = "default"

    def _format(self, value: Any) -> str:
        return (
            str(value) if self.setting.options else setting_values.format_field(self.setting, value)
        )

    def compose(self) -> ComposeResult:
        setting = self.setting
        yield Static(setting.label, classes="name", markup=False)
        if setting.options:
            yield Choice(setting_values.list_options(setting), self._shown_value)
        elif setting.in_lines:
            yield TextBlock(
                self._shown_value, title=setting.label, note="one command a line; ^s takes them over",
                summarize=self._summarize, find_problem=setting_values.find_lines_problem,
            )  # fmt: skip
        else:
            is_shown = setting_values.can_be_automatic(setting)
            is_shown = is_shown or setting.empty == setting_values.NEEDED
            empty = setting.empty if is_shown else ""
            yield TextInput(self._shown_value, max_length=400, placeholder=empty)
            yield Static(self._describe_origin(), classes="origin", markup=False)

    def _summarize(self, text: str) -> str:
        return setting_values.describe_value(self.setting, text)

    @property
    def field(self) -> Choice | Input | TextBlock:
        """Return the widget that edits the value."""
        if self.setting.in_lines:
            return self.query_one(TextBlock)
        return self.query_one(Choice) if self.setting.options else self.query_one(Input)

    def suggest(self, names: Sequence[str]) -> None:
        """Complete what is typed with one of these names."""
        if isinstance(field := self.field, Input):
            field.suggester = SuggestFromList(names, case_sensitive=False) if names else None

    @property
    def is_changed(self) -> bool:
        """Return whether the field has another value than the page put into it."""
        return self.field.value != self._shown_value

    @property
    def edited(self) -> bool:
        """Return whether the person has chosen the value.

        Compares values, as the Changed message arrives later than the change itself.
        """
        is_chosen = self.origin not in ("default", "advised")
        return is_chosen or self.is_changed

    @property
    def value(self) -> Any:
        """Return the value; raise ValueError with a message if it is invalid."""
        return setting_values.parse_value(self.setting, self.field.value)

    def _describe_range(self) -> str:
        """Describe the usual range if the value is outside it or invalid."""
        low, high = self.setting.low, self.setting.high
        try:
            value = self.value
        except ValueError:
            return "; invalid"
        is_outside = (
            isinstance(value, int | float)
            and low is not None
            and high is not None
            and not low <= value <= high
        )
        return f"; usually {low:g} to {high:g}" if is_outside else ""

    def put(self, value: Any, origin: str) -> None:
        """Show a value that the person has not chosen."""
        self._shown_value = self._format(value)
        with self.prevent(Choice.Changed, Input.Changed, TextBlock.Changed):
            self.field.value = self._shown_value
        self._set_origin(origin)

    def _set_origin(self, origin: str, note: str = "") -> None:
        self.origin = origin
        for shown in self.query(".origin").results(Static):
            shown.update(self._describe_origin() + note)

    def _describe_origin(self) -> str:
        """Describe where the value is from; empty while the person still has to name one."""
        lacks = self.setting.empty == setting_values.NEEDED and not self._shown_value
        return "" if lacks and self.origin == "default" else self.origin

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._changed()

    def on_text_block_changed(self, event: TextBlock.Changed) -> None:
        event.stop()
        self._changed()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.edited:  # an input also reports its initial value
            self._changed()

    def _changed(self) -> None:
        self._set_origin("yours", self._describe_range())
        self.post_message(self.Changed(self))


class SettingProblem(NamedTuple):
    """What keeps the page from being left, and the row of the setting that it is about."""

    text: str
    row: SettingRow | None = None
