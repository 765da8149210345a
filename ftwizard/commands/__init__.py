"""Commands: parse, call the engine, print. Nothing heavy is imported to parse."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Protocol

from ftwizard import __version__
from ftwizard.commands import of_data, of_estimate
from ftwizard.commands.of_data import Add
from ftwizard.commands.wrong_usage import Parser, parse
from ftwizard.errors import DECLINED, FtwizardError

EPILOG = """\
exit codes: 0 done · 1 failed, or unusable input · 2 wrong usage or a missing extra ·
3 declined by you or by a safety rule · 4 cannot tell
"""


class Door(Protocol):
    """Opens the screens; returns an exit code."""

    def __call__(
        self,
        route: tuple[str, str] | None,
        ascii: bool,
        /,
        *,
        plain: bool = False,
        slow: bool = False,
    ) -> int:
        """Open home, or with a route (what and its name) that alone; ``plain``: the wizard in
        lines of text; ``slow``: redrawn seldom."""


IN_THE_WAY = {
    errno.ENOSPC: "Free some space there, and try again.",
    errno.EDQUOT: "Free some space there: what you may use of it is used up.",
    errno.EACCES: "See who may read and write there: ls -ld",
    errno.EPERM: "See who may read and write there: ls -ld",
    errno.EROFS: "It can only be read there: name another folder.",
}
"""What to do about what the system refuses."""


def parser() -> Parser:
    """Return the parser of all commands."""
    return _parsers()[0]


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of all commands, and each command's own by its name."""
    root = Parser(
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
    return root, commands.choices


def _add_beginnings(add: Add) -> None:
    demo = add("demo", "a real small fine-tune, end to end, in about five minutes", "demo:demo")
    demo.add_argument(
        "--yes", action="store_true", help="ask nothing, and say how it goes line by line"
    )
    _view_options(demo)

    advise = add(
        "advise", "compare the paths for this machine, your answers and your rows", "advise:advise"
    )
    advise.add_argument(
        "data", metavar="DATA", nargs="?",
        help="rows, or what check --json said of them: the advice then goes by what is in them",
    )  # fmt: skip
    advise.add_argument(
        "--answer", metavar="ID=OPTION", action="append", default=[],
        help="answer a question that it lists (may be given again)",
    )  # fmt: skip

    train = add("train", "start a run from a plan, detached, and print its id", "train:train")
    train.add_argument("plan", metavar="PLAN", help="a YAML file")
    train.add_argument("--name", metavar="ID", help="the run's id (default: from plan and time)")
    train.add_argument("--watch", action="store_true", help="follow it to its end")
    _price_option(train)
    _view_options(train)
    train.add_argument(
        "--yes", action="store_true", help="ask nothing (training on this machine never does)"
    )
    _add_allow_option(train)


def _add_looks_ahead(add: Add) -> None:
    of_data.add_commands(add, _add_allow_option)
    of_estimate.add_command(add, _add_allow_option)
    probe = add("probe", "a few real steps at the longest rows: memory and speed", "probe:probe")
    probe.add_argument("plan", metavar="PLAN", help="a YAML file")
    probe.add_argument(
        "--steps", metavar="N", type=int, default=3,
        help="optimizer steps at the longest rows, then as many at others (default: 3)",
    )  # fmt: skip
    probe.add_argument("--write", metavar="OUT", help="write a new plan with the batch that fits")
    _add_allow_option(probe)
    doctor = add("doctor", "what this machine can do, and what is missing", "doctor:doctor")
    doctor.add_argument(
        "--quick", action="store_true", help="only look; do not try a training step"
    )


def _add_runs(add: Add) -> None:
    listing = add("runs", "list the runs, or those that a search finds", "runs:list_runs")
    listing.add_argument(
        "words", metavar="WORD", nargs="*",
        help="what must be true of a run: any word of it, state:finished, model:qwen, rate>1e-4",
    )  # fmt: skip
    listing.add_argument("--limit", metavar="N", type=int, help="the newest N alone")
    _add_several(add)
    for name, what, function in (
        ("status", "say what state a run is in", "runs:status"),
        ("watch", "follow a run; leaving the view leaves the run alone", "watch:watch"),
        ("resume", "go on from the newest complete checkpoint", "train:resume"),
    ):
        one = add(name, what, function)
        one.add_argument("run", metavar="RUN", help="a run's id")
        if name == "watch":
            _view_options(one)
        if name == "resume":
            _price_option(one)
    diagnose = add("diagnose", "the verdict on a loss curve", "diagnose:run")
    diagnose.add_argument(
        "run", metavar="RUN|FILE",
        help="a run's id, or a trainer_state.json, an OpenAI result file, a CSV, JSON or JSON Lines",
    )  # fmt: skip
    branch = add("branch", "a child run: the same with one setting changed", "branch:branch")
    branch.add_argument("run", metavar="RUN", help="the parent's id; it has to have ended")
    branch.add_argument(
        "--from", dest="begin", metavar="best|start|STEP",
        help="whose weights it begins with: those of the best checkpoint (default), none but the "
        "base model's, or those of a checkpoint on disk",
    )  # fmt: skip
    branch.add_argument("--rate-times", metavar="X", type=float, help="change the learning rate")
    branch.add_argument(
        "--accumulation-times", metavar="N", type=int, help="change the gradient accumulation"
    )
    branch.add_argument("--name", metavar="ID", help="the run's id (default: from parent and time)")
    branch.add_argument("--watch", action="store_true", help="follow it to its end")
    _view_options(branch)
    stop = add("stop", "save, then stop a run; once more ends it at once", "stop:stop")
    stop.add_argument("run", metavar="RUN", help="a run's id")
    stop.add_argument("--kill", action="store_true", help="do not wait until it has saved")


def _add_several(add: Add) -> None:
    compare = add("compare", "runs side by side: settings that differ, and scores", "compare:run")
    compare.add_argument("runs", metavar="RUN", nargs="+", help="the ids of two runs or more")
    compare.add_argument(
        "--curves", action="store_true", help="on a screen, with the curves over each other"
    )
    _view_options(compare)
    remove = add("remove", "remove runs from the disk", "remove:remove")
    remove.add_argument("runs", metavar="RUN", nargs="+", help="the ids of the runs")
    remove.add_argument("--yes", action="store_true", help="ask nothing")
    remove.add_argument(
        "--checkpoints", action="store_true", help="the checkpoints alone; what was made stays"
    )


def _add_allow_option(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--allow", metavar="NAME", action="append", default=[],
        help="overrule a warning by its name (may be given again)",
    )  # fmt: skip


def _price_option(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--price", metavar="machine=USD", action="append", default=[],
        help="what an hour of this machine costs: the run keeps it, and what it came to",
    )  # fmt: skip


def _view_options(one: argparse.ArgumentParser, default: bool | str = argparse.SUPPRESS) -> None:
    """Add what is asked of a view; only the root has a ``default``.

    That of a subcommand would undo what was said before it: ``ftwizard --ascii watch RUN``.
    """
    for name, what in (
        ("--plain", "lines of text instead of screens"),
        ("--ascii", "draw with ASCII characters only"),
        ("--slow", "redraw seldom, for a slow line (a line that backs up does it by itself)"),
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
    try:
        arguments = parse(*_parsers(), argv)
    except FtwizardError as error:
        return _fail(error, "--json" in argv)
    arguments.door = door
    try:
        code = int(_function(arguments.function)(arguments))
        sys.stdout.flush()
        return code
    except FtwizardError as error:
        return _fail(error, arguments.json)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        # Where it came up in code that a library made of text, the interpreter remembers it, and
        # would end this process by the signal; with the next such text it forgets it.
        exec("")  # noqa: S102
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
        return _fail(_refused(error), arguments.json)


def _refused(error: OSError) -> FtwizardError:
    """Return what the system refused, where, and what to do about it."""
    where = str(error.filename or "")
    if not where:
        try:
            sys.stdout.flush()
        except OSError:
            where = "what this command prints"
    what = error.strerror or str(error)
    hint = IN_THE_WAY.get(error.errno or 0, "")
    return FtwizardError(f"{what}{f' ({where})' if where else ''}.", hint)


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

        with contextlib.suppress(OSError):  # where not even that can be written, it stands above
            print_json({"error": {"message": error.message, "hint": error.hint}, **error.document})
    return error.exit_code
