"""Commands: parse, call the engine, print. Nothing heavy is imported to parse."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Protocol, get_args

from ftwizard import __version__
from ftwizard.data.format_names import FormatChoice
from ftwizard.errors import DECLINED, FtwizardError

EPILOG = """\
exit codes: 0 done · 1 failed, or unusable input · 2 wrong usage or a missing extra ·
3 declined by you or by a safety rule · 4 cannot tell
"""


Add = Callable[[str, str, str], argparse.ArgumentParser]
"""Adds a command: its name, what it does, and the function that does it."""


class Door(Protocol):
    """Opens the screens; returns an exit code."""

    def __call__(
        self, route: tuple[str, str] | None, ascii: bool, /, *, plain: bool = False
    ) -> int:
        """Open home, or with a route (what and its name) that alone; ``plain``: the wizard in
        lines of text."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    root = argparse.ArgumentParser(
        prog="ftwizard",
        description="From a data set to a fine-tuned model, compared with its base and merged.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"ftwizard {__version__}")
    root.set_defaults(function="home:home", json=False, command=None)
    _view_options(root, default=False)
    commands = root.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def add(name: str, what: str, function: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=what, description=what)
        one.set_defaults(function=function)
        one.add_argument("--json", action="store_true", help="print one JSON document")
        return one

    _add_beginnings(add)
    _add_looks_ahead(add)
    _add_runs(add)
    return root


def _add_beginnings(add: Add) -> None:
    demo = add("demo", "a real small fine-tune, end to end, in about five minutes", "demo:demo")
    demo.add_argument(
        "--yes", action="store_true", help="ask nothing, and say how it goes line by line"
    )
    _view_options(demo)

    advise = add("advise", "compare the paths for this machine and your answers", "advise:advise")
    advise.add_argument(
        "--answer", metavar="ID=OPTION", action="append", default=[],
        help="answer a question that it lists (may be given again)",
    )  # fmt: skip

    train = add("train", "start a run from a plan, detached, and print its id", "train:train")
    train.add_argument("plan", metavar="PLAN", help="a YAML file")
    train.add_argument("--name", metavar="ID", help="the run's id (default: from plan and time)")
    train.add_argument("--watch", action="store_true", help="follow it to its end")
    _view_options(train)
    train.add_argument(
        "--yes", action="store_true", help="ask nothing (training on this machine never does)"
    )
    _insist_option(train)


def _add_looks_ahead(add: Add) -> None:
    check = add("check", "is this data fit to train on?", "check:check")
    check.add_argument(
        "data",
        metavar="DATA",
        help="a file of rows, or a data set on the Hugging Face Hub: owner/name[/config][:split]",
    )
    check.add_argument(
        "--format", default="auto", choices=get_args(FormatChoice),
        help="what the rows are (default: what they look like)",
    )  # fmt: skip
    estimate = add("estimate", "rows, tokens, steps, time and disk of a plan", "estimate:estimate")
    estimate.add_argument("plan", metavar="PLAN", help="a YAML file")
    _insist_option(estimate)
    add("doctor", "what this machine can do, and what is missing", "doctor:doctor")


def _add_runs(add: Add) -> None:
    add("runs", "list the runs", "runs:list_runs")
    for name, what, function in (
        ("status", "say what state a run is in", "runs:status"),
        ("watch", "follow a run; leaving the view leaves the run alone", "watch:watch"),
        ("resume", "go on from the newest complete checkpoint", "train:resume"),
    ):
        one = add(name, what, function)
        one.add_argument("run", metavar="RUN", help="a run's id")
        if name == "watch":
            _view_options(one)
    stop = add("stop", "save, then stop a run; once more ends it at once", "stop:stop")
    stop.add_argument("run", metavar="RUN", help="a run's id")
    stop.add_argument("--kill", action="store_true", help="do not wait until it has saved")


def _insist_option(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--insist", metavar="NAME", action="append", default=[],
        help="overrule a warning by its name (may be given again)",
    )  # fmt: skip


def _view_options(one: argparse.ArgumentParser, default: bool | str = argparse.SUPPRESS) -> None:
    """Add what is asked of a view; only the root has a ``default``.

    That of a subcommand would undo what was said before it: ``ftwizard --ascii watch RUN``.
    """
    for name, what in (
        ("--plain", "lines of text instead of screens"),
        ("--ascii", "draw with ASCII characters only"),
    ):
        one.add_argument(name, action="store_true", help=what, default=default)


def dispatch(argv: list[str], door: Door) -> int:
    """Run the command that ``argv`` names and return its exit code.

    ``door`` is how a command opens the screens: the engine does not know them.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no ✓ is no error
    if argv[:1] == ["_work"]:
        return int(_function("work:work")(argv[1]))
    arguments = parser().parse_args(argv)
    arguments.door = door
    try:
        code = int(_function(arguments.function)(arguments))
        sys.stdout.flush()
        return code
    except FtwizardError as error:
        return _fail(error, arguments.json)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return DECLINED
    except BrokenPipeError:
        # The reader has gone (a pager, head): nothing is left to say, also not at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except UnicodeEncodeError:
        return _fail(
            FtwizardError("A file or folder has a name that is not UTF-8."), arguments.json
        )
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _fail(FtwizardError(f"{error.strerror or error}{where}."), arguments.json)


def _function(name: str) -> Callable[..., int]:
    module, _, function = name.partition(":")
    found: Callable[..., int] = getattr(import_module(f"ftwizard.commands.{module}"), function)
    return found


def _fail(error: FtwizardError, as_json: bool) -> int:
    from ftwizard.text import visible

    print(f"ftwizard: {visible(error.message)}", file=sys.stderr)
    if error.hint:
        print(f"  {visible(error.hint)}", file=sys.stderr)
    if as_json:
        from ftwizard.commands.output import print_json

        print_json({"error": {"message": error.message, "hint": error.hint}, **error.document})
    return error.exit_code
