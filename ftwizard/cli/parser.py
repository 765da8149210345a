"""Command line: parser and dispatch. Parsing imports nothing heavy."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Protocol

from ftwizard import __version__, locations
from ftwizard.cli import deferred_compilation
from ftwizard.cli.commands import (
    COMMANDS,
    COSTS,
    ESTIMATED_DATA,
    JSON,
    SHARING,
    TRAINED_DATA,
    VIEW,
    Argument,
    parse_text,
)
from ftwizard.cli.help_text import DESCRIPTION, EPILOG, format_example, format_root_help
from ftwizard.cli.usage_errors import Parser, parse, parse_files
from ftwizard.errors import DECLINED, FtwizardError

ERROR_HINTS = {
    errno.ENOSPC: "Free some disk space there, then try again.",
    errno.EDQUOT: "Your disk quota is used up. Free some space there.",
    errno.EACCES: "Check the permissions there: ls -ld",
    errno.EPERM: "Check the permissions there: ls -ld",
    errno.EROFS: "It is read-only. Use another folder.",
    errno.ENOENT: "Check the name, and create the folder if it is missing.",
    errno.EFBIG: "Use a file system that takes files of this size, and check: ulimit -f",
}
"""Fix for each error number of the operating system."""


class TuiLauncher(Protocol):
    """Callable that opens the screens and returns an exit code."""

    def __call__(
        self,
        route: tuple[str, str] | None,
        ascii: bool,
        /,
        *,
        plain: bool = False,
        slow: bool = False,
    ) -> int:
        """Open home, or only the screen that ``route`` (kind, name) names.

        ``plain``: the wizard as lines of text; ``slow``: redraw rarely.
        """


def dispatch(argv: list[str], open_screens: TuiLauncher) -> int:
    """Run the command in ``argv`` and return its exit code.

    ``open_screens`` opens the screens, which the engine does not import.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ✓ is not an error
    deferred_compilation.install()
    if argv[:1] == ["_work"]:
        return int(_load_function("work:work")(argv[1]))
    if argv[:1] == ["_slurm"]:
        return int(_load_function("work:work_in_allocation")(argv[1]))
    if argv[:1] in (["_ranks"], ["_rank"]):
        return int(_load_function(f"ranks:run{argv[0]}")(argv[1]))
    try:
        arguments = _parse(argv)
    except FtwizardError as error:
        return _report_error(error, "--json" in argv)
    arguments.open_screens = open_screens
    try:
        locations.check_variables()
        code = int(_load_function(arguments.function)(arguments))
        sys.stdout.flush()
        return code
    except FtwizardError as error:
        return _report_error(error, arguments.json)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        # If it was raised in code compiled from a string, the interpreter remembers it and would
        # end this process by the signal; running another such string clears it.
        exec("")  # noqa: S102
        return DECLINED
    except BrokenPipeError:
        # The reader (a pager, head) is gone: print nothing more, also not at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except UnicodeEncodeError:
        return _report_error(
            FtwizardError("The name of a file or folder is not valid UTF-8."), arguments.json
        )
    except OSError as error:
        return _report_error(_from_os_error(error), arguments.json)


def _open_closed_streams() -> None:
    """Open the null device where stdout or stderr is closed: no file gets its descriptor."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse the command line: a command, or the names of files for the wizard."""
    root, commands = _build_parsers()
    if argv[:1] == ["help"]:  # as in git
        argv = [*(word for word in argv[1:] if word != "help"), "--help"]
    first = next((word for word in argv if not word.startswith("-")), None)
    if first is not None and first not in commands and not {"-h", "--help", "--version"} & {*argv}:
        from ftwizard.cli import open_files

        if open_files.is_file_name(first):
            return parse_files(_build_file_parser(), commands, argv)
    return parse(root, commands, argv)


def _build_file_parser() -> Parser:
    files = Parser(prog="ftwizard FILE", add_help=False)
    files.set_defaults(function="open_files:open_files", json=False, command=None)
    files.add_argument("files", nargs="+", metavar="FILE", type=parse_text)
    _add_view(files)
    return files


def _from_os_error(error: OSError) -> FtwizardError:
    """Convert an OSError: what failed, where, and the fix."""
    where = str(error.filename or "")
    if not where:
        try:
            sys.stdout.flush()
        except OSError:
            where = "the output of this command"
    problem = error.strerror or str(error)
    hint = ERROR_HINTS.get(error.errno or 0, "")
    return FtwizardError(f"{problem}{f' ({where})' if where else ''}.", hint)


def _load_function(name: str) -> Callable[..., int]:
    module, _, function = name.partition(":")
    implementation: Callable[..., int] = getattr(import_module(f"ftwizard.cli.{module}"), function)
    return implementation


def _report_error(error: FtwizardError, as_json: bool) -> int:
    from ftwizard.text import make_visible

    print(f"ftwizard: {make_visible(error.message)}", file=sys.stderr)
    if error.hint:
        print(f"  {make_visible(error.hint)}", file=sys.stderr)
    if as_json:
        from ftwizard.cli import output

        with contextlib.suppress(OSError):  # the error is on stderr already
            output.print_error(error)
    return error.exit_code


class _RootParser(Parser):
    """The parser of all commands, whose help groups them by task."""

    def format_help(self) -> str:
        summaries = {name: summary for name, summary, _, _ in COMMANDS}
        options = [action for action in self._actions if action.option_strings]
        return format_root_help(self._get_formatter(), summaries, options)


def parser() -> Parser:
    """Return the parser of all commands."""
    return _build_parsers()[0]


def _build_parsers() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of all commands, and the parser of each command by name."""
    root = _RootParser(prog="ftwizard", description=DESCRIPTION, epilog=EPILOG)
    root.add_argument("--version", action="version", version=f"ftwizard {__version__}")
    root.set_defaults(function="home:home", json=False, command=None)
    _add_view(root)
    commands = root.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=Parser
    )
    for name, summary, function, arguments in COMMANDS:
        command = commands.add_parser(
            name, help=summary, description=summary, epilog=format_example(name)
        )
        command.set_defaults(function=function)
        _add_arguments(command, [JSON, *arguments])
    for name, options in (("train", TRAINED_DATA), ("estimate", ESTIMATED_DATA)):
        group = commands.choices[name].add_argument_group("data, without a plan")
        _add_arguments(group, options)
    estimate = commands.choices["estimate"]
    costs = estimate.add_argument_group("costs")
    _add_arguments(costs, COSTS)
    _add_arguments(costs.add_mutually_exclusive_group(), SHARING)
    return root, commands.choices


def _add_view(parser: Parser) -> None:
    for name, keywords in VIEW:
        parser.add_argument(name, **{**keywords, "default": False})


def _add_arguments(container: argparse._ActionsContainer, arguments: Iterable[Argument]) -> None:
    for name, keywords in arguments:
        container.add_argument(name, **keywords)
