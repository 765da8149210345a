"""Command line: parser and dispatch. Parsing imports nothing heavy."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import math
import os
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from importlib import import_module
from typing import Protocol, get_args

from ftwizard import __version__
from ftwizard.cli.usage_errors import Parser, parse
from ftwizard.data.format_names import FormatChoice, TargetName
from ftwizard.errors import DECLINED, FtwizardError

EPILOG = """\
exit codes: 0 done · 1 failed, or unusable input · 2 wrong usage or a missing extra ·
3 declined by you or a safety rule
"""
ERROR_HINTS = {
    errno.ENOSPC: "Free some disk space there, then try again.",
    errno.EDQUOT: "Your disk quota is used up. Free some space there.",
    errno.EACCES: "Check the permissions there: ls -ld",
    errno.EPERM: "Check the permissions there: ls -ld",
    errno.EROFS: "It is read-only. Use another folder.",
}
"""Fix for each error number of the operating system."""
RISKS = ("no-validation", "many-epochs", "skip-bad-rows")
"""Values of ``plan.RiskName``, without importing it to parse."""
MAX_VALIDATION = 0.5
Add = Callable[[str, str, str], argparse.ArgumentParser]
"""Adds a command: its name, its summary, and its function as ``module:function``."""
MAX_COUNT = 10**12
"""Maximum of examples, tokens and requests: more is a typo."""
MAX_EPOCHS = 1000
EPOCHS = 3.0
"""Epochs by default, as in a plan."""
EDITIONS = ("2026-04", "current")
SORTS = ("provider", "name", "training", "input", "output", "hosting", "monthly", "break_even")


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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ✓ is not an error
    if argv[:1] == ["_work"]:
        return int(_load_function("work:work")(argv[1]))
    try:
        arguments = parse(*_build_parsers(), argv)
    except FtwizardError as error:
        return _report_error(error, "--json" in argv)
    arguments.open_screens = open_screens
    try:
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


def parser() -> Parser:
    """Return the parser of all commands."""
    return _build_parsers()[0]


def _build_parsers() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of all commands, and the parser of each command by name."""
    root = Parser(
        prog="ftwizard",
        description="Fine-tune an LLM from your terminal, compare it with its base model, and merge it "
        "for serving.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"ftwizard {__version__}")
    root.set_defaults(function="home:home", json=False, command=None)
    _add_view_options(root, default=False)
    commands = root.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def add(name: str, summary: str, function: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(function=function)
        command.add_argument("--json", action="store_true", help="print one JSON document")
        return command

    _add_start_commands(add)
    _add_preview_commands(add)
    _add_run_commands(add)
    return root, commands.choices


def _add_start_commands(add: Add) -> None:
    demo = add("demo", "run a small fine-tune end to end in about 5 minutes", "demo:demo")
    demo.add_argument("--yes", action="store_true", help="ask nothing; print progress line by line")
    _add_view_options(demo)

    advise = add(
        "advise", "compare providers for this machine, your answers and your data", "advise:advise"
    )
    advise.add_argument(
        "data", metavar="DATA", nargs="?",
        help="data file, or the output of check --json, on which to base the advice",
    )  # fmt: skip
    advise.add_argument(
        "--answer", metavar="ID=OPTION", action="append", default=[],
        help="answer one of the questions that advise lists (repeatable)",
    )  # fmt: skip

    train = add("train", "start a run in the background and print its id", "train:train")
    train.add_argument("plan", metavar="PLAN", help="plan (YAML file)")
    train.add_argument("--name", metavar="ID", help="run id (default: from plan and time)")
    train.add_argument("--watch", action="store_true", help="follow the run until it ends")
    _add_price_option(train)
    _add_view_options(train)
    train.add_argument(
        "--yes", action="store_true", help="ask nothing (training on this machine never asks)"
    )
    _add_allow_option(train)


def _add_preview_commands(add: Add) -> None:
    _add_data_commands(add)
    _add_estimate(add)
    probe = add("probe", "measure memory and speed in a few real steps", "probe:probe")
    probe.add_argument("plan", metavar="PLAN", help="plan (YAML file)")
    probe.add_argument(
        "--steps", metavar="N", type=int, default=3,
        help="optimizer steps on the longest examples, and as many on average ones (default: 3)",
    )  # fmt: skip
    probe.add_argument(
        "--write", metavar="OUT", help="write a new plan to OUT, with the batch size that fits"
    )
    _add_allow_option(probe)
    doctor = add("doctor", "show what this machine can do and what is missing", "doctor:doctor")
    doctor.add_argument("--quick", action="store_true", help="skip the trial training step")


def _add_run_commands(add: Add) -> None:
    listing = add("runs", "list runs, or search them", "runs:list_runs")
    listing.add_argument(
        "words", metavar="WORD", nargs="*",
        help="search terms: any word, state:finished, model:qwen, lr>1e-4",
    )  # fmt: skip
    listing.add_argument("--limit", metavar="N", type=int, help="show only the newest N")
    _add_multi_run_commands(add)
    for name, summary, function in (
        ("status", "show the state of a run", "runs:status"),
        ("watch", "follow a run; leaving the view does not stop it", "watch:watch"),
        ("resume", "continue from the newest complete checkpoint", "train:resume"),
    ):
        command = add(name, summary, function)
        command.add_argument("run", metavar="RUN", help="run id")
        if name == "watch":
            _add_view_options(command)
        if name == "resume":
            _add_price_option(command)
    diagnose = add("diagnose", "diagnose a loss curve", "diagnose:run")
    diagnose.add_argument(
        "run", metavar="RUN|FILE",
        help="run id, trainer_state.json, OpenAI result file, or a CSV, JSON or JSON Lines file",
    )  # fmt: skip
    branch = add("branch", "start a child run with one setting changed", "train:branch")
    branch.add_argument("run", metavar="RUN", help="id of the parent run, which must have ended")
    branch.add_argument(
        "--from", dest="begin", metavar="best|start|STEP",
        help="initial weights: the best checkpoint (default), the start of the parent, or the "
        "checkpoint at STEP",
    )  # fmt: skip
    branch.add_argument(
        "--rate-times", metavar="X", type=float, help="multiply the learning rate by X"
    )
    branch.add_argument(
        "--accumulation-times", metavar="N", type=int, help="multiply gradient accumulation by N"
    )
    branch.add_argument("--name", metavar="ID", help="run id (default: from parent and time)")
    branch.add_argument("--watch", action="store_true", help="follow the run until it ends")
    _add_view_options(branch)
    stop = add("stop", "save and stop a run; a second stop kills it", "stop:stop")
    stop.add_argument("run", metavar="RUN", help="run id")
    stop.add_argument("--kill", action="store_true", help="kill the run without saving")


def _add_multi_run_commands(add: Add) -> None:
    compare = add("compare", "compare the settings and scores of runs", "compare:run")
    compare.add_argument("runs", metavar="RUN", nargs="+", help="ids of two or more runs")
    compare.add_argument(
        "--curves", action="store_true", help="open a screen with the loss curves overlaid"
    )
    _add_view_options(compare)
    remove = add("remove", "delete runs", "remove:remove")
    remove.add_argument("runs", metavar="RUN", nargs="+", help="run ids")
    remove.add_argument("--yes", action="store_true", help="ask nothing")
    remove.add_argument(
        "--checkpoints", action="store_true", help="delete only the checkpoints; keep the results"
    )


def _add_data_commands(add: Add) -> None:
    _add_check(add)
    _add_show(add)
    _add_mask(add)
    _add_split(add)
    _add_convert(add)


def _add_check(add: Add) -> None:
    check = add("check", "check a data set before training", "check:check")
    _add_data_arguments(check)
    check.add_argument(
        "--target", metavar="T", choices=get_args(TargetName),
        help="provider and method to train on (default: detected): "
        + ", ".join(get_args(TargetName)),
    )  # fmt: skip
    check.add_argument("--val", metavar="FILE", help="validation data, checked too")
    check.add_argument(
        "--model",
        metavar="M",
        help="count tokens with the tokenizer and chat template of this model",
    )
    check.add_argument(
        "--max-length", metavar="L", type=int,
        help="maximum tokens per example (default: 1024, as in a plan)",
    )  # fmt: skip
    check.add_argument(
        "--count", choices=("exact", "estimate", "no"),
        help="count tokens of all rows, of a sample, or not (default: exact up to 1 GB)",
    )  # fmt: skip
    check.add_argument("--no-near", action="store_true", help="skip the near-duplicate check")
    check.add_argument(
        "--fix", metavar="OUT",
        help="write a fixed copy, list the changes in OUT.changes.jsonl, and check the copy; exits 1 "
        "if rows were left out",
    )  # fmt: skip
    check.add_argument(
        "--redact", action="store_true",
        help="with --fix: replace secrets with placeholders",
    )  # fmt: skip


def _add_show(add: Add) -> None:
    show = add("show", "show rows as they are read, with the findings of each", "show:show")
    _add_data_arguments(show)
    show.add_argument(
        "--line", metavar="N", type=int, action="append", required=True,
        help="show the row at this line (repeatable)",
    )  # fmt: skip
    show.add_argument(
        "--target", metavar="T", choices=get_args(TargetName),
        help="provider and method whose rules apply (default: detected)",
    )  # fmt: skip


def _add_mask(add: Add) -> None:
    mask = add("mask", "show the loss mask: which tokens are trained on", "mask:mask")
    _add_data_arguments(mask)
    mask.add_argument(
        "--model", metavar="M", required=True, help="folder, or model on the Hugging Face Hub"
    )
    mask.add_argument(
        "--row", metavar="N", type=int, help="show the row at this line (default: the first row)"
    )
    mask.add_argument(
        "--max-length", metavar="L", type=int, default=1024,
        help="maximum tokens per example (default: 1024, as in a plan)",
    )  # fmt: skip
    mask.add_argument(
        "--packing", action="store_true", help="pack several examples into one sequence"
    )


def _add_split(add: Add) -> None:
    split = add("split", "split a file into a training and a validation file", "split:split")
    _add_data_arguments(split)
    split.add_argument(
        "--out-train", metavar="FILE", required=True, help="new file for the training rows"
    )
    split.add_argument(
        "--out-validation", metavar="FILE", required=True, help="new file for the validation rows"
    )
    split.add_argument(
        "--validation", metavar="SHARE", type=_parse_share, default=0.1,
        help=f"share of the rows for validation, up to {MAX_VALIDATION} (default: 0.1)",
    )  # fmt: skip
    split.add_argument(
        "--seed", metavar="N", type=int, default=42, help="random seed (default: 42)"
    )
    _add_allow_option(split)


def _parse_share(text: str) -> float:
    share = float(text)
    if not 0 < share <= MAX_VALIDATION:
        raise argparse.ArgumentTypeError(
            f"{text} is not a number above 0 and up to {MAX_VALIDATION}"
        )
    return share


def _add_convert(add: Add) -> None:
    convert = add(
        "convert",
        "convert data to the format of a provider",
        "convert:convert",
    )
    _add_data_arguments(convert)
    convert.add_argument(
        "--target", required=True, choices=get_args(TargetName), metavar="T",
        help="provider and method to train on: " + ", ".join(get_args(TargetName)),
    )  # fmt: skip
    convert.add_argument(
        "--out", required=True, metavar="FILE", help="new file; never overwrites one"
    )
    convert.add_argument(
        "--as", dest="written_as", choices=("openai-chat", "prompt-completion", "bedrock-converse"),
        help="format of conversations, where the target accepts several (default: the one that "
        "keeps the most)",
    )  # fmt: skip
    convert.add_argument(
        "--skip-bad", action="store_true",
        help="exit 0 even if rows were left out (usable rows are always written)",
    )  # fmt: skip


def _add_data_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "data",
        metavar="DATA",
        help="data file, or a data set on the Hugging Face Hub: owner/name[/config][:split]",
    )
    command.add_argument(
        "--format", default="auto", choices=get_args(FormatChoice), metavar="FORMAT",
        help="data format (default: detected): "
        + ", ".join(get_args(FormatChoice)),
    )  # fmt: skip


def _add_estimate(add: Add) -> None:
    command = add(
        "estimate",
        "estimate cost on every provider; for a plan, also memory, time and disk",
        "estimate:estimate",
    )
    command.add_argument(
        "plan", metavar="PLAN|DATA", nargs="?",
        help="plan (YAML); with --model a data file, or a data set on the Hugging Face Hub",
    )  # fmt: skip
    data = command.add_argument_group("data, without a plan")
    data.add_argument("--model", metavar="M", help="model to train: gpt-4.1-mini, owner/name")
    data.add_argument(
        "--examples", metavar="N", type=_parse_count, help="number of rows, instead of DATA"
    )
    data.add_argument(
        "--mean-tokens",
        metavar="T",
        type=_parse_amount,
        help="with --examples: mean tokens per row",
    )
    data.add_argument(
        "--epochs", metavar="E", type=_parse_epochs, help=f"number of epochs (default: {EPOCHS:g})"
    )
    command.add_argument(
        "--gpu", metavar="CARD", help="estimate for this GPU: “RTX 4090”, “2 x A100 80 GB”"
    )
    costs = command.add_argument_group("costs")
    costs.add_argument(
        "--edition", choices=EDITIONS, default="current",
        help="prices of April 2026, or the current ones (default)",
    )  # fmt: skip
    costs.add_argument(
        "--price", metavar="PROVIDER/MODEL/KIND=USD", action="append", default=[],
        help="your own price (repeatable; KIND of a GPU: gpu-spot, gpu-on-demand); "
        "machine=USD: hourly price of this machine",
    )  # fmt: skip
    costs.add_argument(
        "--requests-per-month",
        metavar="N",
        type=_parse_amount,
        help="requests per month to the tuned model",
    )
    costs.add_argument(
        "--tokens-in",
        metavar="T",
        type=_parse_amount,
        help="tokens per request (default: from the data)",
    )
    costs.add_argument(
        "--tokens-out",
        metavar="T",
        type=_parse_amount,
        help="tokens per answer (default: from the data)",
    )
    costs.add_argument(
        "--serve-on", metavar="CARD", default="a100-40gb",
        help="GPU for the break-even (default: a100-40gb)",
    )  # fmt: skip
    costs.add_argument(
        "--sort",
        metavar="COLUMN",
        choices=SORTS,
        default="provider",
        help="sort by: " + ", ".join(SORTS),
    )
    costs.add_argument(
        "--notes",
        action="store_true",
        help="show all notes, not only the first few",
    )
    sharing = costs.add_mutually_exclusive_group()
    sharing.add_argument(
        "--share-data", action="store_true", help="apply OpenAI's discount for shared data"
    )
    sharing.add_argument(
        "--confidential", action="store_true", help="never share the data: no discount"
    )
    _add_allow_option(command)


def _parse_count(text: str) -> int:
    try:
        count = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        count = 0
    if not 0 < count <= MAX_COUNT:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to {MAX_COUNT:,}")
    return count


def _parse_amount(text: str) -> Decimal:
    try:
        amount = Decimal(text.replace(",", "").replace("_", ""))
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or not 0 < amount <= MAX_COUNT:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0 and up to {MAX_COUNT:,}")
    return amount


def _parse_epochs(text: str) -> float:
    try:
        epochs = float(text)
    except ValueError:
        epochs = 0.0
    if not (math.isfinite(epochs) and 0 < epochs <= MAX_EPOCHS):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0 and up to {MAX_EPOCHS:,}")
    return epochs


def _add_allow_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--allow", metavar="NAME", action="append", default=[],
        help=f"allow a risk: {', '.join(RISKS)} (repeatable)",
    )  # fmt: skip


def _add_price_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--price", metavar="machine=USD", action="append", default=[],
        help="hourly price of this machine, for the cost of the run",
    )  # fmt: skip


def _add_view_options(
    command: argparse.ArgumentParser, default: bool | str = argparse.SUPPRESS
) -> None:
    """Add the options of a view; only the root parser has a ``default``.

    A default of the subcommand would override ``ftwizard --ascii watch RUN``.
    """
    for name, text in (
        ("--plain", "lines of text instead of screens"),
        ("--ascii", "use ASCII characters only"),
        ("--slow", "redraw rarely, for slow connections (otherwise automatic)"),
    ):
        command.add_argument(name, action="store_true", help=text, default=default)
