"""Usage errors: argparse's messages as sentences, with the closest valid word."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from ftwizard import user_paths
from ftwizard.cli.help_text import EXAMPLES, MISSING_COMMANDS, SYNONYMS, HelpFormatter
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
            verb = "are" if "," in match[1] else "is"
            example = EXAMPLES[self.prog.partition(" ")[2]]
            return _usage_error(f"{match[1]} {verb} missing.", f"For example: {example}")
        return _usage_error(f"{_clip(message.removeprefix('argument '), 300).rstrip('.')}.", more)

    def _convert_choice(self, name: str, value: str, quoted_choices: str) -> FtwizardError:
        choices = re.findall(r"'([^']*)'", quoted_choices)
        word = value.lower()
        guess = format_suggestion(word, choices)
        if name == "COMMAND":
            guess = MISSING_COMMANDS.get(word) or format_suggestion(word, (*choices, "help"))
            if word in SYNONYMS:
                guess = f"Did you mean {SYNONYMS[word]}?"
            return _usage_error(
                f"{_clip(value)} is not a command.", guess or "List them with: ftwizard --help"
            )
        return _usage_error(
            f"{name} cannot be {_quote(value)}.", guess or f"Choose from: {', '.join(choices)}."
        )


def parse(root: Parser, commands: dict[str, Parser], argv: Sequence[str]) -> argparse.Namespace:
    """Parse ``argv``; raise FtwizardError for an unknown word or option."""
    parser = next((commands[word] for word in argv if word in commands), root)
    try:
        arguments, rest = root.parse_known_args(argv)
    except FtwizardError:
        # A mistyped option explains why another is missing, or why its value is one too many.
        if mistyped := [word for word in argv if _is_mistyped(word, parser)]:
            raise _unknown_error(mistyped, parser) from None
        raise
    if rest:
        raise _find_second_file(rest, arguments, parser) or _unknown_error(rest, parser)
    return arguments


def _find_second_file(
    rest: Sequence[str], arguments: argparse.Namespace, parser: Parser
) -> FtwizardError | None:
    """Return the error for a second data file, with what to do with both."""
    first = getattr(arguments, "data", None) or getattr(arguments, "plan", None) or ""
    files = [first, *rest]
    if not all(map(user_paths.is_file, files)):
        return None
    hint = f"For validation data: --val {shlex.quote(rest[0])}. " if "val" in arguments else ""
    if all(name.lower().endswith((".jsonl", ".ndjson")) for name in files):
        hint += f"To use the rows of all: cat {shlex.join(files)} > all.jsonl"
    else:
        hint += "To use the rows of all, join them into one file."
    return _usage_error(f"{parser.prog} takes one data file.", make_visible(hint))


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
    if name in options:
        return _usage_error(
            f"{name} is not where {parser.prog} reads options.",
            f"Write it right after the command: {parser.prog} {name} …",
        )
    hint = _describe_setting(name, parser) or format_suggestion(name.lower(), options)
    return _usage_error(
        f"{parser.prog} has no option {_clip(name)}.",
        hint or f"List them with: {parser.prog} --help",
    )


def _is_mistyped(word: str, parser: Parser) -> bool:
    return (
        word.startswith("--")
        and len(word) > 2
        and word.partition("=")[0] not in _list_options(parser)
    )


def _describe_setting(option: str, parser: Parser) -> str:
    """Say where a plan has the setting that an option of ``train`` or ``estimate`` may mean."""
    if parser.prog.partition(" ")[2] not in ("train", "estimate"):
        return ""
    from ftwizard.plan import schema

    name = {"lr": "learning_rate"}.get(key := option.lstrip("-").replace("-", "_"), key)
    if name == "provider":
        return (
            "A plan names it, such as provider: openai. The wizard asks for it, too: ftwizard FILE"
        )
    for group, kind in (
        ("recipe", schema.Recipe),
        ("data", schema.Data),
        ("budget", schema.Budget),
    ):
        if name in kind.__struct_fields__:
            return f"It is {group}.{name} in a plan. The wizard asks for it, too: ftwizard FILE"
    return ""


def _list_options(parser: Parser) -> list[str]:
    return sorted(set(_OPTION.findall(parser.format_help())))


def _usage_error(message: str, hint: str) -> FtwizardError:
    return FtwizardError(message, hint, USAGE)


def _quote(value: Any) -> str:
    return f"“{_clip(value)}”"


def _clip(value: Any, limit: int = _MAX_SHOWN) -> str:
    return make_visible(str(value), limit)
