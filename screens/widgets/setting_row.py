"""One setting on a line: its name, its value to edit or choose, and where the value came from."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static

from ftwizard.advice.setting import Setting
from ftwizard.plan import Recipe
from ftwizard.screens.widgets.choice import Choice
from ftwizard.text import visible

AUTOMATIC = "automatic"
_TYPES = typing.get_type_hints(Recipe)
_KINDS = {int: "a whole number", float: "a number"}


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
        self._start = value
        self.origin = "default"

    def compose(self) -> ComposeResult:
        yield Static(self.setting.label, classes="name", markup=False)
        if self.setting.options:
            options = [(str(one.value), one.label) for one in self.setting.options]
            yield Choice(options, str(self._start))
        else:
            yield Input(
                shown_value(self._start), placeholder=AUTOMATIC, compact=True, max_length=400,
                select_on_focus=False,
            )  # fmt: skip
            yield Static(self.origin, classes="origin", markup=False)

    @property
    def value(self) -> Any:
        """Return the value; raise ValueError with a sentence where it is none."""
        if self.setting.options:
            chosen = self.query_one(Choice).value
            return next(one.value for one in self.setting.options if str(one.value) == chosen)
        return read_value(self.setting, self.query_one(Input).value)

    def put(self, value: Any, origin: str) -> None:
        """Show another value, which the person has not chosen."""
        self.origin = origin
        if self.setting.options:
            with self.prevent(Choice.Changed):
                self.query_one(Choice).value = str(value)
        else:
            with self.prevent(Input.Changed):
                self.query_one(Input).value = shown_value(value)
            self.query_one(".origin", Static).update(origin)

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._changed()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.value != shown_value(self._start) or self.origin == "yours":
            self._changed()

    def _changed(self) -> None:
        self.origin = "yours"
        if not self.setting.options:
            self.query_one(".origin", Static).update(self.origin)
        self.post_message(self.Changed(self))


def shown_value(value: Any) -> str:
    """Return a value as it is typed; empty for “automatic”."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.0e}".replace("e-0", "e-") if 0 < value < 1e-3 else f"{value:g}"
    return str(value)


def read_value(setting: Setting, typed: str) -> Any:
    """Return what was typed as the plan's own type; raise ValueError with a sentence."""
    kind, text = _TYPES[setting.name], typed.strip()
    parts = typing.get_args(kind) or (kind,)
    if not text and type(None) in parts:
        return None
    if any(typing.get_origin(one) is tuple for one in (kind, *parts)):
        return tuple(text.replace(",", " ").split())
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        wanted = next((words for one, words in _KINDS.items() if one in parts), "another value")
        raise ValueError(f"{setting.label}: “{visible(text, 30)}” is not {wanted}.") from None


def reason(setting: Setting, why: str, origin: str) -> Text:
    """Return why a setting has its value, and where that comes from."""
    text = Text.assemble((setting.label, "bold"), f"  {why}")
    return text.append(f"\n{origin}: {setting.source}, {setting.as_of}", "dim")
