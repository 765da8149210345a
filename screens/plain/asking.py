"""Asking in lines of text: what every way of it has, and the one that works by number."""

from __future__ import annotations

import contextlib
import select
import shutil
import sys
import termios
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.text import Text

from ftwizard import words
from ftwizard.commands import output
from ftwizard.errors import FtwizardError
from ftwizard.runs import Progress
from ftwizard.screens import children, palette, texts
from ftwizard.screens.draft import Draft
from ftwizard.screens.glyphs import harmless
from ftwizard.screens.suggestions import MAX_CHARACTERS, Suggest
from ftwizard.text import visible, visible_lines

BACK, OTHER = "\0back", "\0other"
"""No answer is called so."""
GO_ON = ""
SUGGESTED = 8
LOOK_EVERY_S = 0.5
Check = Callable[[str], str]
"""What was typed → what is wrong with it, empty where nothing is."""


Ask = Callable[["Asker", Draft], Draft]
"""A question: a draft and the same answered."""


class Back(Exception):
    """To the question before, or to the one of that name."""

    def __init__(self, to: str = "") -> None:
        super().__init__(to)
        self.to = to


class Left(Exception):
    """The person has left, or can no longer answer."""


class Asker(ABC):
    """Says things and asks things; whatever is asked may raise Back or Left."""

    keys: str
    """How one goes back, in words."""

    def __init__(self, *, ascii: bool) -> None:
        self._console = output.console()
        self._ascii = ascii
        self.asked = 0
        """Questions so far."""
        self.written: list[str] = []
        """Files that were written so far, as asked for."""
        self.can_go_back = False

    @property
    def width(self) -> int:
        """Return the cells of a line."""
        return self._console.width

    def say(self, text: Text | str = "", *, hang: int = 0) -> None:
        """Print text, wrapped at words; none of it is obeyed by the terminal.

        A line that is too long goes on below itself, at column ``hang``.
        """
        if isinstance(text, str):
            text = Text(visible_lines(text))
        for line in texts.hanging(text, hang, self._console.width).split("\n", allow_blank=True):
            self.keep(line)

    def keep(self, line: Text | str) -> None:
        """Print a line that is not broken, so that it can be copied."""
        text = Text(visible(line)) if isinstance(line, str) else line
        self._console.print(Text(self.fit(text.plain)) if self._ascii else text, soft_wrap=True)

    def note(self, words: str) -> None:
        self.say(Text(visible_lines(words), "dim"))

    def explain(self, words: str) -> None:
        """Say why something is asked, apart from what stands above."""
        self.say()
        self.note(words)

    def problem(self, error: FtwizardError | str) -> None:
        """Say what is wrong, and what to do about it."""
        message, hint = (error, "") if isinstance(error, str) else (error.message, error.hint)
        self.say(Text.assemble(("✗ ", f"bold {palette.BAD}"), visible(message, 1500)), hang=2)
        if hint:
            self.say(f"  {visible(hint, 1000)}", hang=2)

    def choose(self, question: str, options: Sequence[tuple[str, str]], given: str = "") -> str:
        """Ask for one of some options (value and label); Enter takes ``given``, else the first."""
        self.asked += 1
        width = shutil.get_terminal_size().columns - 8
        shown = [(value, visible(self.fit(label), width)) for value, label in options]
        values = [value for value, _ in options]
        if self.can_go_back:
            shown.append((BACK, "back"))
        chosen = self._choose(self.fit(question), shown, given if given in values else values[0])
        if chosen == BACK:
            raise Back
        return chosen

    def line(
        self, question: str, given: str = "", *, check: Check, suggest: Suggest | None = None
    ) -> str:
        """Ask for a line that ``check`` finds nothing wrong with; Enter takes ``given``."""
        self.asked += 1

        def whole_check(typed: str) -> str:
            if len(typed) > MAX_CHARACTERS:
                return "That is too long."
            if any(unicodedata.category(char) in ("Cc", "Cs") for char in typed):
                return f"There are control characters in “{visible(typed, 40)}”."
            return check(typed.strip())

        return self._line(self.fit(question), given, whole_check, suggest).strip()

    def insist(self, warning: str, hint: str, phrase: str) -> None:
        """Have a phrase typed: a slip of Enter is no decision."""
        self.say(Text.assemble(("! ", f"bold {palette.WARNING}"), warning))
        self.say(f"  {hint}")
        wrong = f"Only “{phrase}” will do, or going back."
        self.line(
            f"To insist, type “{phrase}”",
            check=lambda typed: "" if typed.lower() == phrase else wrong,
        )

    def run(self, title: str, *argv: str, lasting: bool = False) -> Any:
        """Run a command and say how far it is; return its document. Raises FtwizardError."""
        try:
            with self._busy(self.fit(title)) as tell:
                return children.run(*argv, tell=tell, lasting=lasting)
        except KeyboardInterrupt:
            raise Left from None
        finally:
            # Keys that were pressed while nothing was asked answer nothing.
            with contextlib.suppress(termios.error, OSError):
                termios.tcflush(0, termios.TCIFLUSH)

    def fit(self, text: str) -> str:
        """Return text in the characters that this terminal shows."""
        if not self._ascii:
            return text
        return "\n".join(harmless(line, True) for line in text.split("\n"))

    @abstractmethod
    def _choose(self, question: str, options: Sequence[tuple[str, str]], given: str) -> str: ...

    @abstractmethod
    def _line(self, question: str, given: str, check: Check, suggest: Suggest | None) -> str: ...

    @abstractmethod
    def _busy(self, title: str) -> contextlib.AbstractContextManager[Callable[[Progress], None]]:
        """Show that a command works; yield what tells how far it is."""


class Numbered(Asker):
    """Asks by number, in lines that are only ever added: for terminals without a cursor to move,
    and for whoever has them read aloud."""

    keys = "A number or a text answers, b goes back, ctrl+c leaves."

    def _choose(self, question: str, options: Sequence[tuple[str, str]], given: str) -> str:
        self.say(Text(question, "bold"))
        numbers = {}
        for number, (value, label) in enumerate(options, 1):
            numbers[str(number)] = value
            if value == given:
                standard = str(number)
            if value != BACK:
                self.say(f"  {number}. {label}")
        numbers = {number: value for number, value in numbers.items() if value != BACK}
        while True:
            typed = self._read(f"Number (enter: {standard}{self._back})") or standard
            if typed in numbers:
                return numbers[typed]
            self.problem(f"“{visible(typed, 40)}” is no number from 1 to {len(numbers)}.")

    def _line(self, question: str, given: str, check: Check, suggest: Suggest | None) -> str:
        here = [value for value, _, _ in (suggest("") if suggest else ())][:SUGGESTED]
        if here and not given:
            self.note(f"Here: {', '.join(map(visible, here))}")
        said = f"enter: {visible(given)}" if given else ""
        notes = ", ".join(filter(None, (said, self._back.removeprefix(", "))))
        while True:
            typed = self._read(f"{question} ({notes})" if notes else question) or given
            if not (problem := check(typed)):
                return typed
            self.problem(problem)

    @contextlib.contextmanager
    def _busy(self, title: str) -> Iterator[Callable[[Progress], None]]:
        said: list[str] = []

        def tell(progress: Progress) -> None:
            if progress.phase and (key := f"{progress.phase}: {progress.what}") not in said:
                said.append(key)
                self.note(f"  {words.doing(progress)}")

        self.note(f"{title} …")
        yield tell

    @property
    def _back(self) -> str:
        return ", b: back" if self.can_go_back else ""

    def _read(self, prompt: str) -> str:
        """Return a line; raise Left where there are no more, Back for “b”."""
        while True:
            self._console.print(Text(self.fit(f"{prompt}: ")), end="")
            try:
                _wait_for_a_line()
                typed = input().strip()
                break
            except UnicodeDecodeError:
                self.problem("That is no text.")
            except (EOFError, KeyboardInterrupt, OSError):
                self._console.print()
                raise Left from None
        if typed.lower() == "b" and self.can_go_back:
            raise Back
        return typed


def _wait_for_a_line() -> None:
    """Wait in a way that no signal can miss: one that comes just before a read never ends it."""
    while not select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]:
        pass
