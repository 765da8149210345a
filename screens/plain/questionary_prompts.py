"""Prompts with a cursor, using questionary, which is slow to import."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import questionary
from prompt_toolkit.application.current import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, has_completions
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent, merge_key_bindings
from rich.text import Text

from ftwizard.runs import describe
from ftwizard.runs.progress import Progress
from ftwizard.screens import palette
from ftwizard.screens.draft.suggestions import Suggest
from ftwizard.screens.plain.prompts import GoBack, Prompter, UserQuit, Validator
from ftwizard.text import format_duration, make_visible


class CursorPrompter(Prompter):
    """Asks with a cursor that arrow keys move."""

    keys = "Arrows select, enter confirms, esc goes back, ctrl+c quits."

    def _choose(self, question: str, options: Sequence[tuple[str, str]], default: str) -> str:
        choices = [questionary.Choice(label, value) for value, label in options]
        look: dict[str, Any] = {"pointer": ">", "instruction": " ", **self._look()}
        return self._ask(questionary.select(question, choices, default, **look))

    def _line(self, question: str, default: str, check: Validator, suggest: Suggest | None) -> str:
        look = {
            "default": default,
            "validate": lambda typed: self.fit(check(typed)) or True,
            "validate_while_typing": False,
            **self._look(),
        }
        if suggest is None:
            return self._ask(questionary.text(question, **look))
        return self._ask(questionary.path(question, completer=Suggestions(suggest), **look))

    def _secret(self, question: str) -> str:
        return self._ask(questionary.password(question, **self._look()))

    @contextlib.contextmanager
    def _busy(self, title: str) -> Iterator[Callable[[Progress], None]]:
        began = time.monotonic()

        def tell(progress: Progress) -> None:
            doing = f": {describe.describe_progress(progress)}" if progress.phase else ""
            spent = format_duration(time.monotonic() - began)
            status.update(Text(self.fit(f"{title}{doing}  {spent}"), overflow="ellipsis"))

        with self._console.status(Text(title), spinner="line") as status:
            yield tell

    def _look(self) -> dict[str, Any]:
        style = questionary.Style([
            ("qmark", palette.ACCENT), ("question", "bold"), ("answer", palette.ACCENT),
            ("pointer", f"{palette.ACCENT} bold"), ("highlighted", f"{palette.ACCENT} bold"),
            ("selected", "noinherit"), ("validation-toolbar", "noinherit bold"),
        ])  # fmt: skip
        return {"qmark": "?", "style": style}

    def _ask(self, question: questionary.Question) -> str:
        app = question.application
        theirs = app.key_bindings or KeyBindings()
        app.key_bindings = merge_key_bindings([theirs, _build_keys(self.can_go_back)])
        app.ttimeoutlen = 0.1  # seconds after which esc is not the start of an arrow key
        try:
            return str(question.unsafe_ask())
        except (KeyboardInterrupt, EOFError):
            raise UserQuit from None
        except GoBack:
            self.note("back")  # the question is erased, its explanation is not
            raise


def _build_keys(can_go_back: bool) -> KeyBindings:
    """Bind esc, ctrl+d and, for lines with suggestions, Enter."""

    keys = KeyBindings()

    @keys.add("escape", eager=True, filter=~has_completions)
    def back(event: KeyPressEvent) -> None:
        if can_go_back:
            event.app.erase_when_done = True
            event.app.exit(exception=GoBack())

    @keys.add("escape", eager=True, filter=has_completions)
    def close(event: KeyPressEvent) -> None:
        event.current_buffer.cancel_completion()

    @keys.add("c-d", eager=True, filter=Condition(lambda: not get_app().current_buffer.text))
    def end(event: KeyPressEvent) -> None:
        event.app.exit(exception=EOFError())

    # questionary's path prompt spends the first Enter on closing the suggestions.
    is_name = Condition(lambda: not get_app().current_buffer.text.endswith("/"))

    @keys.add("enter", eager=True, filter=has_completions & is_name)
    def answer(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None
        if event.current_buffer.validate(set_cursor=True):
            event.app.exit(result=event.current_buffer.text)

    return keys


class Suggestions(Completer):
    """Completions below the line."""

    def __init__(self, suggest: Suggest) -> None:
        self._suggest = suggest

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        typed = document.text_before_cursor
        for value, name, note in self._suggest(typed):
            if make_visible(value) == value:  # only names that display unchanged
                yield Completion(
                    value, -len(typed), display=make_visible(name), display_meta=make_visible(note)
                )
