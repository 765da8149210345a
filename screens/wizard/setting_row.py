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

    def __init__(self, setting: Setting, value: Any, *, resets: bool = False) -> None:
        """``resets``: whether a field that is emptied follows the advice again, or the default."""
        classes = "setting advanced" if setting.advanced else "setting"
        super().__init__(classes=classes, id=get_row_id(setting))
        self.setting = setting
        self._resets = resets
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
            yield TextInput(self._shown_value, max_length=400, placeholder=self._get_empty_text())
            yield Static(self._describe_origin(), classes="origin", markup=False)

    def _get_empty_text(self) -> str:
        """Return what an empty field shows without a value to follow."""
        is_shown = setting_values.can_be_automatic(self.setting)
        is_shown = is_shown or self.setting.empty == setting_values.NEEDED
        return self.setting.empty if is_shown else ""

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
    def _is_emptied(self) -> bool:
        """Return whether the field is empty, and so stands for what it would have without a choice."""
        field = self.field
        return self._resets and isinstance(field, Input) and not field.value.strip()

    @property
    def is_changed(self) -> bool:
        """Return whether the field has another value than the page put into it."""
        return not self._is_emptied and self.field.value != self._shown_value

    @property
    def edited(self) -> bool:
        """Return whether the person has chosen the value.

        Compares values, as the Changed message arrives later than the change itself.
        """
        is_chosen = self.origin not in ("default", "advised") and not self._is_emptied
        return is_chosen or self.is_changed

    @property
    def value(self) -> Any:
        """Return the value; raise ValueError with a message if it is invalid."""
        typed = self._shown_value if self._is_emptied else self.field.value
        return setting_values.parse_value(self.setting, typed)

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
        """Show a value that the person has not chosen now.

        Where they have just emptied the field, it shows faintly until they leave it: they may be about
        to type another one.
        """
        self._shown_value = self._format(value)
        field = self.field
        if isinstance(field, Input) and self._resets and value is None and origin == "yours":
            self._shown_value = self.setting.empty  # an empty field follows the advice
        if isinstance(field, Input) and self._is_emptied and field.has_focus:
            field.placeholder = self._shown_value or self._get_empty_text()
        else:
            self._fill()
        self._set_origin(origin)

    def _fill(self) -> None:
        with self.prevent(Choice.Changed, Input.Changed, TextBlock.Changed):
            self.field.value = self._shown_value
        if isinstance(self.field, Input):
            self.field.placeholder = self._get_empty_text()

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
        if self._is_emptied and self.origin in ("default", "advised"):
            event.input.placeholder = self._shown_value or self._get_empty_text()
        elif self._is_emptied:
            self.put(setting_values.get_default(self.setting), "default")
            self.post_message(self.Changed(self))
        elif self.edited:  # an input also reports its initial value
            self._changed()

    def on_input_blurred(self) -> None:
        if self._is_emptied:
            self._fill()

    def _changed(self) -> None:
        self._set_origin("yours", self._describe_range())
        self.post_message(self.Changed(self))


class SettingProblem(NamedTuple):
    """What keeps the page from being left, and the row of the setting that it is about."""

    text: str
    row: SettingRow | None = None
