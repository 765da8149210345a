"""Parser of the estimate command."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from ftwizard.commands.of_data import Add

MAX_COUNT = 10**12
"""Maximum of examples, tokens and requests: more is a typo."""
MAX_EPOCHS = 1000
EPOCHS = 3.0
"""Epochs by default, as in a plan."""
EDITIONS = ("2026-04", "current")
SORTS = ("path", "name", "training", "input", "output", "hosting", "monthly", "break_even")


def add_command(add: Add, add_allow_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command estimate."""
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
        help="2026-04: the article's prices; current: the newest (default)",
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
        default="path",
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
    add_allow_option(command)


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
