"""Line-by-line prompting: the common base, and prompts answered by number."""

from __future__ import annotations

import contextlib
import select
import shutil
import sys
import termios
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rich.text import Text

from ftwizard.cli import output
from ftwizard.errors import FtwizardError
from ftwizard.runs import describe
from ftwizard.runs.progress import Progress
from ftwizard.screens import layout, palette, subprocesses
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.draft.suggestions import MAX_CHARACTERS, Suggest
from ftwizard.screens.terminal.glyphs import make_printable
from ftwizard.text import make_lines_visible, make_visible

BACK, OTHER, FORGET = "\0back", "\0other", "\0forget"
"""Values that no answer has."""
CONTINUE = ""
MAX_SUGGESTIONS = 8
POLL_S = 0.5
Value = TypeVar("Value")
Validator = Callable[[str], str]
"""Maps typed text to an error message; empty if valid."""


AskFunction = Callable[["Prompter", Draft], Draft]
"""A question: takes a draft and returns it with the answer."""


class GoBack(Exception):
    """Go back to the previous question, or to the named one."""

    def __init__(self, to: str = "") -> None:
        super().__init__(to)
        self.to = to


class UserQuit(Exception):
    """The person quit, or can no longer answer."""


class Prompter(ABC):
    """Prints and asks; every question may raise GoBack or UserQuit."""

    keys: str
    """Description of the keys."""

    def __init__(self, *, ascii: bool) -> None:
        self._console = output.make_console()
        self._ascii = ascii
        self.question_count = 0
        """Questions asked so far."""
        self.written_files: list[str] = []
        """Files written so far on request."""
        self.can_go_back = False

    @property
    def width(self) -> int:
        """Return the width of a line in cells."""
        return self._console.width

    def print(self, text: Text | str = "", *, hang: int = 0) -> None:
        """Print text, wrapped at words, with control characters made visible.

        Continuation lines are indented by ``hang``.
        """
        if isinstance(text, str):
            text = Text(make_lines_visible(text))
        for line in layout.wrap_hanging(text, hang, self._console.width).split(
            "\n", allow_blank=True
        ):
            self.print_line(line)

    def print_line(self, line: Text | str) -> None:
        """Print a line without wrapping, so that it can be copied."""
        text = Text(make_visible(line)) if isinstance(line, str) else line
        self._console.print(Text(self.fit(text.plain)) if self._ascii else text, soft_wrap=True)

    def note(self, words: str) -> None:
        self.print(Text(make_lines_visible(words), "dim"))

    def explain(self, words: str) -> None:
        """Explain the next question, after a blank line."""
        self.print()
        self.note(words)

    def print_problem(self, error: FtwizardError | str) -> None:
        """Print an error and its hint."""
        message, hint = (error, "") if isinstance(error, str) else (error.message, error.hint)
        self.print(
            Text.assemble(("✗ ", f"bold {palette.BAD}"), make_visible(message, 1500)), hang=2
        )
        if hint:
            self.print(f"  {make_visible(hint, 1000)}", hang=2)

    def choose(self, question: str, options: Sequence[tuple[str, str]], default: str = "") -> str:
        """Ask for one of the options (value, label); Enter takes ``default``, else the first."""
        self.question_count += 1
        width = shutil.get_terminal_size().columns - 8
        shown = [(value, make_visible(self.fit(label), width)) for value, label in options]
        values = [value for value, _ in options]
        if self.can_go_back:
            shown.append((BACK, "back"))
        chosen = self._choose(
            self.fit(question), shown, default if default in values else values[0]
        )
        if chosen == BACK:
            raise GoBack
        return chosen

    def ask_line(
        self, question: str, default: str = "", *, check: Validator, suggest: Suggest | None = None
    ) -> str:
        """Ask for a line that ``check`` accepts; Enter takes ``default``."""
        self.question_count += 1

        def whole_check(typed: str) -> str:
            if len(typed) > MAX_CHARACTERS:
                return "That is too long."
            if any(unicodedata.category(char) in ("Cc", "Cs") for char in typed):
                return f"“{make_visible(typed, 40)}” contains control characters."
            return check(typed.strip())

        return self._line(self.fit(question), default, whole_check, suggest).strip()

    def ask_value(
        self,
        question: str,
        default: str = "",
        *,
        parse: Callable[[str], Value],
        suggest: Suggest | None = None,
    ) -> Value:
        """Ask for a line that ``parse`` accepts, and return its result.

        ``parse`` raises FtwizardError or ValueError.
        """

        def check(typed: str) -> str:
            try:
                parse(typed)
            except FtwizardError as error:
                return error.text
            except ValueError as error:
                return str(error)
            return ""

        return parse(self.ask_line(question, default, check=check, suggest=suggest))

    def confirm_phrase(self, warning: str, hint: str, phrase: str) -> None:
        """Require a typed phrase, so that Enter alone does not confirm."""
        self.print(Text.assemble(("! ", f"bold {palette.WARNING}"), warning))
        self.print(f"  {hint}")
        wrong = f"Type “{phrase}”, or go back."
        self.ask_line(
            f"To continue anyway, type “{phrase}”",
            check=lambda typed: "" if typed.lower() == phrase else wrong,
        )

    def ask_secret(self, question: str) -> str:
        """Ask for a line that is not shown, and that no log or history has."""
        self.question_count += 1
        while not (typed := self._secret(self.fit(question)).strip()):
            self.print_problem("Enter it, or go back.")
        return typed

    def run(
        self,
        title: str,
        *argv: str,
        lasting: bool = False,
        keys: Mapping[str, str] | None = None,
    ) -> Any:
        """Run a command and show its progress; return its document. Raises FtwizardError.

        ``keys`` are in its environment only.
        """
        try:
            with self._busy(self.fit(title)) as tell:
                return subprocesses.run_blocking(*argv, tell=tell, lasting=lasting, keys=keys)
        except KeyboardInterrupt:
            raise UserQuit from None
        finally:
            # Discard keys that were pressed while nothing was asked.
            with contextlib.suppress(termios.error, OSError):
                termios.tcflush(0, termios.TCIFLUSH)

    def fit(self, text: str) -> str:
        """Return text in characters that this terminal can show."""
        if not self._ascii:
            return text
        return "\n".join(make_printable(line, True) for line in text.split("\n"))

    @abstractmethod
    def _choose(self, question: str, options: Sequence[tuple[str, str]], default: str) -> str: ...

    @abstractmethod
    def _line(
        self, question: str, default: str, check: Validator, suggest: Suggest | None
    ) -> str: ...

    @abstractmethod
    def _secret(self, question: str) -> str: ...

    @abstractmethod
    def _busy(self, title: str) -> contextlib.AbstractContextManager[Callable[[Progress], None]]:
        """Show that a command is running; yield a progress callback."""


class NumberedPrompter(Prompter):
    """Asks by number and only appends lines: for dumb terminals and screen readers."""

    keys = "Type a number or text, b to go back, ctrl+c to quit."

    def _choose(self, question: str, options: Sequence[tuple[str, str]], default: str) -> str:
        self.print(Text(question, "bold"))
        values = [value for value, _ in options if value != BACK]
        for number, (_, label) in enumerate(options[: len(values)], 1):
            self.print(f"  {number}. {label}")
        if len(values) + 2 > shutil.get_terminal_size().lines:
            self.print(Text(question, "bold"))  # it scrolled off
        numbers = {str(number): value for number, value in enumerate(values, 1)}
        standard = str(values.index(default) + 1)
        while True:
            typed = self._read(f"Number (enter: {standard}{self._back})") or standard
            if typed in numbers:
                return numbers[typed]
            self.print_problem(
                f"“{make_visible(typed, 40)}” is not a number from 1 to {len(numbers)}."
            )

    def _line(self, question: str, default: str, check: Validator, suggest: Suggest | None) -> str:
        suggestions = [value for value, _, _ in (suggest("") if suggest else ())][:MAX_SUGGESTIONS]
        if suggestions and not default:
            self.note(f"Here: {', '.join(map(make_visible, suggestions))}")
        enter_note = f"enter: {make_visible(default)}" if default else ""
        notes = ", ".join(filter(None, (enter_note, self._back.removeprefix(", "))))
        while True:
            typed = self._read(f"{question} ({notes})" if notes else question) or default
            if not (problem := check(typed)):
                return typed
            self.print_problem(problem)

    def _secret(self, question: str) -> str:
        with _without_echo():
            typed = self._read(f"{question} (hidden{self._back})")
        self._console.print()
        return typed

    @contextlib.contextmanager
    def _busy(self, title: str) -> Iterator[Callable[[Progress], None]]:
        noted: set[tuple[str | None, str | None]] = set()

        def tell(progress: Progress) -> None:
            phase = progress.phase, progress.detail
            if progress.phase and phase not in noted:
                noted.add(phase)
                self.note(f"  {describe.describe_progress(progress)}")

        self.note(f"{title} …")
        yield tell

    @property
    def _back(self) -> str:
        return ", b: back" if self.can_go_back else ""

    def _read(self, prompt: str) -> str:
        """Return a line; raise UserQuit at the end of input, GoBack for “b”."""
        while True:
            self._console.print(Text(self.fit(f"{prompt}: ")), end="")
            try:
                _wait_for_line()
                typed = input().strip()
                break
            except UnicodeDecodeError:
                self.print_problem("That is not valid text.")
            except (EOFError, KeyboardInterrupt, OSError):
                self._console.print()
                raise UserQuit from None
        if typed.lower() == "b" and self.can_go_back:
            raise GoBack
        return typed


@contextlib.contextmanager
def _without_echo() -> Iterator[None]:
    """Let the terminal not show what is typed."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    hidden = [*before]
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSADRAIN, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _wait_for_line() -> None:
    """Poll for input, as a signal just before a blocking read would not interrupt it."""
    while not select.select([sys.stdin], [], [], POLL_S)[0]:
        pass
