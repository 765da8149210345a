"""Parsers of the data commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import get_args

from ftwizard.data.format_names import FormatChoice
from ftwizard.data.target_names import TargetName

MAX_VALIDATION = 0.5
Add = Callable[[str, str, str], argparse.ArgumentParser]
"""Adds a command: its name, its summary, and its function as ``module:function``."""


def add_commands(add: Add, add_allow_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the data commands; ``add_allow_option`` adds ``--allow`` to those with a risk."""
    _add_check(add)
    _add_show(add)
    _add_mask(add)
    split = _add_split(add)
    add_allow_option(split)
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
        "--model", metavar="M", help="count tokens as local training of this model does"
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
        help="write a fixed copy, and every change to OUT.changes.jsonl; checks the copy, and "
        "exits 1 if rows were left out",
    )  # fmt: skip
    check.add_argument(
        "--redact", action="store_true",
        help="with --fix: replace secrets with placeholders",
    )  # fmt: skip


def _add_show(add: Add) -> None:
    show = add("show", "show rows as parsed, with the problems of each", "show:show")
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


def _add_split(add: Add) -> argparse.ArgumentParser:
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
    return split


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
