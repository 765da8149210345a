"""Usage errors: argparse's messages as sentences, with the closest valid word."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from ftwizard.cli.help_text import SYNONYMS, HelpFormatter
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import format_suggestion, make_visible

_MAX_SHOWN = 100
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
_CHOICE = re.compile(r"argument (.+?): invalid choice: '(.*)' \(choose from (.*)\)", re.DOTALL)
_TYPE = re.compile(r"argument (.+?): invalid (int|float) value: '(.*)'", re.DOTALL)
_TYPES = {"int": "whole number", "float": "number"}
_BOTH = re.compile(r"argument (.+): not allowed with argument (.+)")
_NO_VALUE = re.compile(r"argument (.+): expected (?:one|at least one) argument")
_MISSING = re.compile(r"the following arguments are required: (.+)")


class Parser(argparse.ArgumentParser):
    """A parser that raises FtwizardError (``USAGE``) where argparse prints its usage and exits.

    Options cannot be abbreviated: a new option would change what an abbreviation means.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=HelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Raise FtwizardError for a message of argparse."""
        raise self._convert(message)

    def _convert(self, message: str) -> FtwizardError:
        more = f"See {self.prog} --help."
        if match := _CHOICE.fullmatch(message):
            return self._convert_choice(*match.groups())
        if match := _TYPE.fullmatch(message):
            name, kind, value = match.groups()
            return _usage_error(f"{name}: {_quote(value)} is not a {_TYPES[kind]}.", more)
        if match := _BOTH.fullmatch(message):
            return _usage_error(f"{match[1]} and {match[2]} cannot be combined.", "Remove one.")
        if match := _NO_VALUE.fullmatch(message):
            return _usage_error(f"{match[1]} needs a value.", more)
        if match := _MISSING.fullmatch(message):
            usage = " ".join(self.format_usage().removeprefix("usage: ").split())
            return _usage_error(f"{match[1]} is missing.", f"Usage: {usage}")
        return _usage_error(f"{_clip(message.removeprefix('argument '), 300).rstrip('.')}.", more)

    def _convert_choice(self, name: str, value: str, quoted_choices: str) -> FtwizardError:
        choices = re.findall(r"'([^']*)'", quoted_choices)
        guess = format_suggestion(value.lower(), choices)
        if name == "COMMAND":
            if value.lower() in SYNONYMS:
                guess = f"Did you mean {SYNONYMS[value.lower()]}?"
            return _usage_error(
                f"{_clip(value)} is not a command.",
                guess or f"Choose from: {', '.join(choices)}.",
            )
        return _usage_error(
            f"{name} cannot be {_quote(value)}.", guess or f"Choose from: {', '.join(choices)}."
        )


def parse(root: Parser, commands: dict[str, Parser], argv: Sequence[str]) -> argparse.Namespace:
    """Parse ``argv``; raise FtwizardError for an unknown word or option."""
    arguments, rest = root.parse_known_args(argv)
    if rest:
        raise _unknown_error(rest, commands.get(arguments.command or "", root))
    return arguments


def parse_files(
    files: Parser, commands: dict[str, Parser], argv: Sequence[str]
) -> argparse.Namespace:
    """Parse the names of files for the wizard; an option of a command names that command."""
    arguments, rest = files.parse_known_args(argv)
    option = next((word for word in rest if word.startswith("-")), None)
    if option is None:
        return arguments
    name = option.partition("=")[0]
    for command in ("check",) if name == "--json" else ("train", "check", "estimate"):
        if name in _list_options(commands[command]):
            raise _usage_error(
                f"{_clip(name)} is not an option of the wizard, but of a command.",
                f"Name the command: ftwizard {command} {_clip(arguments.files[0])} {_clip(name)} …",
            )
    raise _unknown_error(rest, files)


def _unknown_error(rest: Sequence[str], parser: Parser) -> FtwizardError:
    option = next((word for word in rest if word.startswith("-") and word != "-"), None)
    if option is None:
        return _usage_error(f"Unexpected argument {_quote(rest[0])}.", f"See {parser.prog} --help.")
    name = option.partition("=")[0]
    options = _list_options(parser)
    hint = format_suggestion(name.lower(), options) or f"Options: {', '.join(options)}."
    return _usage_error(f"{parser.prog} has no option {_clip(name)}.", hint)


def _list_options(parser: Parser) -> list[str]:
    return sorted(set(_OPTION.findall(parser.format_help())))


def _usage_error(message: str, hint: str) -> FtwizardError:
    return FtwizardError(message, hint, USAGE)


def _quote(value: Any) -> str:
    return f"“{_clip(value)}”"


def _clip(value: Any, limit: int = _MAX_SHOWN) -> str:
    return make_visible(str(value), limit)
