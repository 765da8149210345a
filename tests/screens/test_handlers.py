"""Names that Textual looks up as text: renaming a class silences its handlers and styles."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import TypeVar

import textual.widgets
from textual.dom import DOMNode
from textual.message import Message

from ftwizard import screens
from tests.paths import ROOT


def load_screens() -> list[ModuleType]:
    for name in vars(textual.widgets)["__all__"]:
        getattr(textual.widgets, name)
    return [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(screens.__path__, "ftwizard.screens.")
    ]


T = TypeVar("T")


def subclasses(cls: type[T]) -> Iterator[type[T]]:
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_handler_name_matches_a_message_class() -> None:
    modules = load_screens()
    messages = {message.handler_name for message in subclasses(Message)}
    handlers = {
        f"{cls.__module__}.{cls.__name__}.{method}"
        for module in modules
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__
        for method in vars(cls)
        if method.startswith("on_")
    }
    assert len(handlers) > 30
    assert not {name for name in handlers if name.rpartition(".")[2] not in messages}


def test_every_style_selector_names_an_existing_class() -> None:
    load_screens()
    expected = {cls.__name__ for cls in subclasses(DOMNode)}
    sheets = [path.read_text() for path in (ROOT / "assets").glob("*.tcss")]
    text = re.sub(r"/\*.*?\*/|\{[^{}]*\}", "", "\n".join(sheets), flags=re.DOTALL)
    text = re.sub(r"\{[^{}]*\}", "", text)
    named = set(re.findall(r"(?<![\w.#$-])[A-Z]\w+", text))
    assert len(named) > 20
    assert named <= expected
