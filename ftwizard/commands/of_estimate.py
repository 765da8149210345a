"""The command estimate, as it is typed."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from ftwizard.commands.of_data import Add

MOST = 10**12
"""Of examples, tokens and requests: more is a slip of the hand."""
MOST_EPOCHS = 1000
EPOCHS = 3.0
"""Where none are said: as in a plan."""
EDITIONS = ("2026-04", "current")
SORTS = ("path", "name", "training", "input", "output", "hosting", "monthly", "break_even")


def add_command(add: Add, add_allow_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command by ``add``."""
    one = add(
        "estimate",
        "what a plan, a file or a number of tokens costs on every path, and what a plan needs",
        "estimate:estimate",
    )
    one.add_argument(
        "plan", metavar="PLAN|DATA", nargs="?",
        help="a plan (YAML); with --model rows: a file, or a data set on the Hugging Face Hub",
    )  # fmt: skip
    what = one.add_argument_group("what is trained on, without a plan")
    what.add_argument(
        "--model", metavar="M", help="whose tokens are counted: gpt-4.1-mini, owner/name"
    )
    what.add_argument("--examples", metavar="N", type=_count, help="in place of DATA: rows")
    what.add_argument(
        "--mean-tokens", metavar="T", type=_amount, help="with --examples: tokens a row"
    )
    what.add_argument(
        "--epochs", metavar="E", type=_epochs, help=f"times through the rows (default: {EPOCHS:g})"
    )
    one.add_argument(
        "--gpu", metavar="CARD", help="as if this card were here: “RTX 4090”, “2 x A100 80 GB”"
    )
    costs = one.add_argument_group("costs")
    costs.add_argument(
        "--edition", choices=EDITIONS, default="current",
        help="2026-04: the article's figures; current: the newest (default)",
    )  # fmt: skip
    costs.add_argument(
        "--price", metavar="PROVIDER/MODEL/KIND=USD", action="append", default=[],
        help="a price of your own (may be given again; KIND of a GPU: gpu-spot, gpu-on-demand); "
        "machine=USD: an hour of this machine",
    )  # fmt: skip
    costs.add_argument(
        "--requests-per-month", metavar="N", type=_amount, help="what the tuned model is to answer"
    )
    costs.add_argument(
        "--tokens-in", metavar="T", type=_amount, help="of a request (default: as the rows)"
    )
    costs.add_argument(
        "--tokens-out", metavar="T", type=_amount, help="of an answer (default: as the rows)"
    )
    costs.add_argument(
        "--serve-on", metavar="CARD", default="a100-40gb",
        help="the GPU that a break-even is against (default: a100-40gb)",
    )  # fmt: skip
    costs.add_argument(
        "--sort",
        metavar="COLUMN",
        choices=SORTS,
        default="path",
        help="one of: " + ", ".join(SORTS),
    )
    costs.add_argument(
        "--notes",
        action="store_true",
        help="every note on the rows of the table, not the first few",
    )
    sharing = costs.add_mutually_exclusive_group()
    sharing.add_argument(
        "--share-data", action="store_true", help="with OpenAI's discount for shared data"
    )
    sharing.add_argument(
        "--confidential", action="store_true", help="the data must not be shared: no discount"
    )
    add_allow_option(one)


def _count(text: str) -> int:
    try:
        found = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        found = 0
    if not 0 < found <= MOST:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 to {MOST:,}")
    return found


def _amount(text: str) -> Decimal:
    try:
        found = Decimal(text.replace(",", "").replace("_", ""))
    except InvalidOperation:
        found = Decimal(0)
    if not found.is_finite() or not 0 < found <= MOST:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0, up to {MOST:,}")
    return found


def _epochs(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not (math.isfinite(found) and 0 < found <= MOST_EPOCHS):
        raise argparse.ArgumentTypeError(f"{text} is no number above 0, up to {MOST_EPOCHS:,}")
    return found
