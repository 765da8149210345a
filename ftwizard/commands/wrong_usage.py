"""What is typed and cannot be meant: a sentence, and the nearest that is right."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import visible

_SHOWN = 100
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
_CHOICE = re.compile(r"argument (.+?): invalid choice: '(.*)' \(choose from (.*)\)", re.DOTALL)
_TYPE = re.compile(r"argument (.+?): invalid (int|float) value: '(.*)'", re.DOTALL)
_TYPES = {"int": "whole number", "float": "number"}
_BOTH = re.compile(r"argument (.+): not allowed with argument (.+)")
_NO_VALUE = re.compile(r"argument (.+): expected (?:one|at least one) argument")
_MISSING = re.compile(r"the following arguments are required: (.+)")
_AMBIGUOUS = re.compile(r"ambiguous option: (\S+) could match (.+)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """A parser that raises FtwizardError (``USAGE``) where argparse prints its usage and leaves."""

    def error(self, message: str) -> NoReturn:
        """Raise what ``message``, argparse's own, means."""
        raise self._said(message)

    def _said(self, message: str) -> FtwizardError:
        more = f"All of it: {self.prog} --help"
        if found := _CHOICE.fullmatch(message):
            return self._no_choice(*found.groups())
        if found := _TYPE.fullmatch(message):
            name, kind, value = found.groups()
            return _wrong(f"{name}: {_quoted(value)} is no {_TYPES[kind]}.", more)
        if found := _BOTH.fullmatch(message):
            return _wrong(f"{found[1]} and {found[2]} cannot both be meant.", "Leave one out.")
        if found := _NO_VALUE.fullmatch(message):
            return _wrong(f"{found[1]} needs a value after it.", more)
        if found := _MISSING.fullmatch(message):
            usage = " ".join(self.format_usage().removeprefix("usage: ").split())
            return _wrong(f"{found[1]} is missing.", f"As it is typed: {usage}")
        if found := _AMBIGUOUS.fullmatch(message):
            return _wrong(f"{_shown(found[1])} may mean {found[2]}.", "Write it out.")
        return _wrong(f"{_shown(message.removeprefix('argument '), 300).rstrip('.')}.", more)

    def _no_choice(self, name: str, value: str, choices: str) -> FtwizardError:
        known = re.findall(r"'([^']*)'", choices)
        guess = _near(value, known)
        if name == "COMMAND":
            return _wrong(
                f"There is no command {_shown(value)}.", guess or f"Commands: {', '.join(known)}."
            )
        said = f"{name} cannot be {_quoted(value)}."
        return _wrong(said, guess or f"One of: {', '.join(known)}.")


def parse(root: Parser, commands: dict[str, Parser], argv: Sequence[str]) -> argparse.Namespace:
    """Return what ``argv`` says; raise FtwizardError for a word or an option that nothing knows."""
    found, rest = root.parse_known_args(argv)
    if rest:
        raise _unknown(rest, commands.get(found.command or "", root))
    return found


def _unknown(rest: Sequence[str], of: Parser) -> FtwizardError:
    option = next((one for one in rest if one.startswith("-") and one != "-"), None)
    if option is None:
        return _wrong(
            f"{of.prog} does not know what to do with {_quoted(rest[0])}.",
            f"All of it: {of.prog} --help",
        )
    name = option.partition("=")[0]
    known = sorted(set(_OPTION.findall(of.format_help())))
    hint = _near(name, known) or f"Its options: {', '.join(known)}."
    return _wrong(f"{of.prog} has no option {_shown(name)}.", hint)


def _near(value: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(value.lower(), list(known), 1)
    return f"Did you mean {near[0]}?" if near else ""


def _wrong(message: str, hint: str) -> FtwizardError:
    return FtwizardError(message, hint, USAGE)


def _quoted(value: Any) -> str:
    return f"“{_shown(value)}”"


def _shown(value: Any, most: int = _SHOWN) -> str:
    return visible(str(value), most)
