"""The commands of data, as they are typed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import get_args

from ftwizard.data.format_names import FormatChoice
from ftwizard.data.target_names import TargetName

MOST_VALIDATION = 0.5
Add = Callable[[str, str, str], argparse.ArgumentParser]
"""Adds a command: its name, what it does, and the function that does it."""


def add_commands(add: Add, add_allow_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add them by ``add``; those that can be overruled get their option by ``add_allow_option``."""
    _add_check(add)
    _add_show(add)
    _add_mask(add)
    split = _add_split(add)
    add_allow_option(split)
    _add_convert(add)


def _add_check(add: Add) -> None:
    check = add("check", "is this data fit to train on?", "check:check")
    _data(check)
    check.add_argument(
        "--target", metavar="T", choices=get_args(TargetName),
        help="where they are to be trained on (default: what they look like): "
        + ", ".join(get_args(TargetName)),
    )  # fmt: skip
    check.add_argument("--val", metavar="FILE", help="the rows for validation, checked beside them")
    check.add_argument(
        "--model", metavar="M", help="count tokens as the training of this model here does"
    )
    check.add_argument(
        "--max-length", metavar="L", type=int,
        help="tokens of a row that training here keeps (default: 1024, as in a plan)",
    )  # fmt: skip
    check.add_argument(
        "--count", choices=("exact", "estimate", "no"),
        help="tokens: of every row, of a sample, or not (default: exact up to 1 GB)",
    )  # fmt: skip
    check.add_argument("--no-near", action="store_true", help="do not look for near copies")
    check.add_argument(
        "--fix", metavar="OUT",
        help="write a new file with what can be mended, and OUT.changes.jsonl with every change; "
        "the answer is then of the new file, and 1 if rows had to be left out",
    )  # fmt: skip
    check.add_argument(
        "--redact", action="store_true",
        help="with --fix: replace secrets by words that say what stood there",
    )  # fmt: skip


def _add_show(add: Add) -> None:
    show = add("show", "rows as they are read, with what is wrong with each", "show:show")
    _data(show)
    show.add_argument(
        "--line", metavar="N", type=int, action="append", required=True,
        help="the row at this line (may be given again)",
    )  # fmt: skip
    show.add_argument(
        "--target", metavar="T", choices=get_args(TargetName),
        help="by whose rules they are checked (default: what they look like)",
    )  # fmt: skip


def _add_mask(add: Add) -> None:
    mask = add("mask", "which tokens carry loss, as a model's training has them", "mask:mask")
    _data(mask)
    mask.add_argument(
        "--model", metavar="M", required=True, help="a folder, or a model on the Hugging Face Hub"
    )
    mask.add_argument(
        "--row", metavar="N", type=int, help="show the row at this line (default: the first)"
    )
    mask.add_argument(
        "--max-length", metavar="L", type=int, default=1024,
        help="tokens of a row that are kept (default: 1024, as in a plan)",
    )  # fmt: skip
    mask.add_argument("--packing", action="store_true", help="fill sequences with several rows")


def _add_split(add: Add) -> argparse.ArgumentParser:
    split = add("split", "divide a file into one to train on and one to validate on", "split:split")
    _data(split)
    split.add_argument("--out-train", metavar="FILE", required=True, help="new; rows to train on")
    split.add_argument(
        "--out-validation", metavar="FILE", required=True, help="new; rows to validate on"
    )
    split.add_argument(
        "--validation", metavar="SHARE", type=_share, default=0.1,
        help=f"share of the rows that validates, up to {MOST_VALIDATION} (default: 0.1)",
    )  # fmt: skip
    split.add_argument(
        "--seed", metavar="N", type=int, default=42, help="of the draw (default: 42)"
    )
    return split


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= MOST_VALIDATION:
        raise argparse.ArgumentTypeError(f"{text} is no share above 0, up to {MOST_VALIDATION}")
    return share


def _add_convert(add: Add) -> None:
    convert = add(
        "convert",
        "write data in the own format of where it is to be trained on",
        "convert:convert",
    )
    _data(convert)
    convert.add_argument(
        "--target", required=True, choices=get_args(TargetName), metavar="T",
        help="where it is to be trained on: " + ", ".join(get_args(TargetName)),
    )  # fmt: skip
    convert.add_argument(
        "--out", required=True, metavar="FILE", help="the new file; nothing is ever written over"
    )
    convert.add_argument(
        "--as", dest="written_as", choices=("openai-chat", "prompt-completion", "bedrock-converse"),
        help="how conversations are written, where a target takes several formats (default: the "
        "one that carries most)",
    )  # fmt: skip
    convert.add_argument(
        "--skip-bad", action="store_true",
        help="answer 0 although rows were left out; without it the answer is then 1, and the rows "
        "that can be used are written all the same",
    )  # fmt: skip


def _data(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "data",
        metavar="DATA",
        help="a file of rows, or a data set on the Hugging Face Hub: owner/name[/config][:split]",
    )
    one.add_argument(
        "--format", default="auto", choices=get_args(FormatChoice), metavar="FORMAT",
        help="what the rows are (default: what they look like): "
        + ", ".join(get_args(FormatChoice)),
    )  # fmt: skip
