"""Token counts for an estimate without a plan: from a data file, or from typed numbers."""

from __future__ import annotations

import argparse
import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ftwizard.catalog import models
from ftwizard.catalog.models import HostedModel
from ftwizard.commands.of_estimate import EPOCHS
from ftwizard.commands.progress import Say
from ftwizard.data import container, counting, encodings, examine, hub, recount
from ftwizard.data.examine import COUNTED_BYTES
from ftwizard.data.targets import target
from ftwizard.data.tokens import Counts, Estimate
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate import batches
from ftwizard.estimate.batches import Lengths
from ftwizard.estimate.offer import Load
from ftwizard.text import visible

if TYPE_CHECKING:
    from ftwizard.data.recount import Way
    from ftwizard.plan import Plan

MAX_TOKENS = 10**15
"""Of all epochs; pretraining uses up to 10**14."""
PLAN_BLOCKS = 8
"""Blocks of 64 KB on which the tokenizers of hosted models are compared with the plan's own."""


class CountedRows(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of the rows."""

    load: Load
    request: tuple[Decimal, Decimal] | None = None
    """Mean tokens of a request (not trained on) and of its answer (trained on)."""
    lengths: Lengths | None = None
    """Distribution of row lengths."""


def from_options(arguments: argparse.Namespace) -> CountedRows:
    """Return the tokens from ``--examples`` and ``--mean-tokens``.

    Raises FtwizardError where one is missing, and for a model that cannot be fine-tuned.
    """
    if arguments.examples is None or arguments.mean_tokens is None:
        missing = "--mean-tokens T" if arguments.mean_tokens is None else "--examples N"
        raise FtwizardError(
            "--examples and --mean-tokens must be used together.",
            f"Add {missing}, or name the file: ftwizard estimate DATA --model M.",
            USAGE,
        )
    if arguments.plan:
        raise FtwizardError(
            f"{visible(arguments.plan, 100)} and --examples cannot be combined.",
            "Use one of them.",
            USAGE,
        )
    check_model(arguments.model)
    tokens = max(1, round(arguments.examples * arguments.mean_tokens))
    if tokens * (arguments.epochs or EPOCHS) > MAX_TOKENS:
        raise FtwizardError(
            f"{arguments.examples:,} examples of {arguments.mean_tokens:,f} tokens are more tokens "
            "than any training uses.",
            "Check both numbers; --mean-tokens is per row.",
            USAGE,
        )
    exact = Estimate(value=tokens, low=tokens, high=tokens)
    source = f"{arguments.examples:,} examples × {arguments.mean_tokens:,f} tokens, as given"
    return CountedRows(
        load=Load(
            tokens=exact, epochs=arguments.epochs or EPOCHS, counted=source, rows=arguments.examples
        ),
        lengths=batches.of_one_length(arguments.examples, float(arguments.mean_tokens)),
    )


def check_model(name: str | None) -> HostedModel | None:
    """Return the hosted model of that name, or None for an open one.

    Raises FtwizardError for a model that cannot be fine-tuned, and for an unknown name.
    """
    if name is None:
        return None
    models.refuse(name, datetime.date.today())
    # A platform may use the Hub name of an open model; then the open model is meant.
    owner, slash, _ = name.partition("/")
    is_hub_name = slash and owner.lower() not in models.PLATFORM_NAMES and "@" not in name
    hosted = None if is_hub_name else models.find(name)
    if hosted is None and "/" not in name and not Path(name).exists():
        near = models.nearest(name)
        raise FtwizardError(
            f"Unknown model {visible(name, 60)}.",
            f"Did you mean {near}?" if near else "Name a hosted model, a folder, or owner/model.",
        )
    return hosted


def count_rows(arguments: argparse.Namespace, model: HostedModel | None, say: Say) -> CountedRows:
    """Count the tokens of a file with the tokenizer of the model, and of each hosted model.

    Raises FtwizardError where no row can be read.
    """
    file, _ = hub.locate(arguments.plan, say)
    goal = model.limits(model.methods[0]) if model else target("trl-sft")
    inspected = container.inspect(file)
    format = examine.guessed(file, inspected, None)

    def report(done: int, total: int) -> None:
        say("counting", what=file.name, done=done, total=total, unit="bytes")

    name = model.id if model else arguments.model
    if inspected.size > COUNTED_BYTES and inspected.plain:
        counts = counting.estimated(file, inspected, format, goal, None, model=name)
    else:
        counts = counting.exact(file, inspected, format, goal, None, say=report, model=name)
    if counts is None or not counts.tokens.total:
        raise FtwizardError(
            f"No row of {visible(str(file), 200)} can be read.",
            f"To see why: ftwizard check {visible(str(file), 200)}",
        )
    tokens = counts.tokens
    pair = goal, encodings.choose(goal, name)
    hosted = {f"{host.platform}/{host.id}": _target_and_tokenizer(host) for host in models.hosted()}
    load = Load(
        tokens=Estimate(value=tokens.total, low=tokens.low, high=tokens.high),
        epochs=arguments.epochs or EPOCHS,
        counted=f"tokens of {visible(file.name, 100)} by {tokens.encoding}",
        rows=tokens.rows,
        by_model=recount.recount(file, inspected, format, pair, tokens.total, hosted),
    )
    lengths = batches.lengths(msgspec.to_builtins(tokens))
    return CountedRows(load=load, request=_mean_request(counts), lengths=lengths)


def count_by_model(chosen: Plan, base: Path, tokens: int) -> dict[str, Estimate]:
    """Return the tokens of a plan's rows for each hosted model; empty where that fails.

    ``tokens``: their count with the tokenizer in ``base``.
    """
    file = Path(chosen.data.files.train)
    try:
        inspected = container.inspect(file)
        format = examine.guessed(file, inspected, None)
        pair = target("trl-sft"), encodings.of_folder(base, chosen.model.name)
        hosted = {
            f"{host.platform}/{host.id}": _target_and_tokenizer(host) for host in models.hosted()
        }
        return recount.recount(file, inspected, format, pair, tokens, hosted, blocks=PLAN_BLOCKS)
    except (FtwizardError, OSError, ValueError):  # costs can do without it
        return {}


def _target_and_tokenizer(model: HostedModel) -> Way:
    goal = model.limits(model.methods[0])
    return goal, encodings.choose(goal, model.id)


def _mean_request(counts: Counts) -> tuple[Decimal, Decimal] | None:
    """Return the mean tokens of a request (not trained on) and of its answer (trained on)."""
    rows, trained = counts.tokens.rows, counts.trained.total
    untrained = counts.tokens.total - trained
    if trained <= 0 or untrained <= 0:
        return None
    return (
        Decimal(round(untrained / rows)) or Decimal(1),
        Decimal(round(trained / rows)) or Decimal(1),
    )
