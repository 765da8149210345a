"""What is trained on where there is no plan: rows of a file that are counted, or numbers as typed."""

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

MOST_TOKENS = 10**15
"""Of all epochs; models learn from up to 10**14 when they are made."""
PLAN_BLOCKS = 8
"""Of 64 KB, by which the tokenizers of hosted models are set against the plan's own."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """Rows, as tokens."""

    load: Load
    request: tuple[Decimal, Decimal] | None = None
    """Tokens of a row that are not learnt, and those that are: a request and its answer."""
    lengths: Lengths | None = None
    """How long the rows are."""


def typed(arguments: argparse.Namespace) -> Counted:
    """Return the tokens of ``--examples`` and ``--mean-tokens``.

    Raises FtwizardError where one of them is missing, and for a model that cannot be tuned.
    """
    if arguments.examples is None or arguments.mean_tokens is None:
        missing = "--mean-tokens T" if arguments.mean_tokens is None else "--examples N"
        raise FtwizardError(
            "The tokens are --examples × --mean-tokens, and one of them is missing.",
            f"Add {missing}, or name the file: ftwizard estimate DATA --model M.",
            USAGE,
        )
    if arguments.plan:
        raise FtwizardError(
            f"Both {visible(arguments.plan, 100)} and --examples say what is trained on.",
            "Give one of them.",
            USAGE,
        )
    check_model(arguments.model)
    tokens = max(1, round(arguments.examples * arguments.mean_tokens))
    if tokens * (arguments.epochs or EPOCHS) > MOST_TOKENS:
        raise FtwizardError(
            f"{arguments.examples:,} examples of {arguments.mean_tokens:,f} tokens are more tokens "
            "than any training takes.",
            "Look at both numbers again: --mean-tokens is of one row.",
            USAGE,
        )
    exact = Estimate(value=tokens, low=tokens, high=tokens)
    words = f"{arguments.examples:,} examples × {arguments.mean_tokens:,f} tokens, as given"
    return Counted(
        load=Load(
            tokens=exact, epochs=arguments.epochs or EPOCHS, counted=words, rows=arguments.examples
        ),
        lengths=batches.of_one_length(arguments.examples, float(arguments.mean_tokens)),
    )


def check_model(name: str | None) -> HostedModel | None:
    """Return the hosted model that is named, None for an open one; raise FtwizardError for one that
    cannot be tuned, or whose name is nearly a known one's."""
    if name is None:
        return None
    models.refuse(name, datetime.date.today())
    # A platform may call an open model as the Hub does: then the model itself is meant.
    owner, slash, _ = name.partition("/")
    of_the_hub = slash and owner.lower() not in models.PLATFORM_NAMES and "@" not in name
    found = None if of_the_hub else models.find(name)
    if found is None and "/" not in name and not Path(name).exists():
        near = models.nearest(name)
        raise FtwizardError(
            f"No model {visible(name, 60)} is known.",
            f"Did you mean {near}?"
            if near
            else "Name one of a platform, a folder, or owner/model.",
        )
    return found


def rows(arguments: argparse.Namespace, model: HostedModel | None, say: Say) -> Counted:
    """Count the rows of a file by the tokenizer of the model that is named, and of the others by
    theirs.

    Raises FtwizardError for a file of which no row can be read.
    """
    file, _ = hub.locate(arguments.plan, say)
    place = model.limits(model.methods[0]) if model else target("trl-sft")
    what = container.inspect(file)
    format = examine.guessed(file, what, None)

    def told(done: int, total: int) -> None:
        say("counting", what=file.name, done=done, total=total, unit="bytes")

    name = model.id if model else arguments.model
    if what.size > COUNTED_BYTES and what.plain:
        counts = counting.estimated(file, what, format, place, None, model=name)
    else:
        counts = counting.exact(file, what, format, place, None, say=told, model=name)
    if counts is None or not counts.tokens.total:
        raise FtwizardError(
            f"No row of {visible(str(file), 200)} can be read.",
            f"What is wrong with them: ftwizard check {visible(str(file), 200)}",
        )
    tokens = counts.tokens
    way = place, encodings.choose(place, name)
    others = {f"{one.platform}/{one.id}": _way(one) for one in models.hosted()}
    load = Load(
        tokens=Estimate(value=tokens.total, low=tokens.low, high=tokens.high),
        epochs=arguments.epochs or EPOCHS,
        counted=f"tokens of {visible(file.name, 100)} by {tokens.encoding}",
        rows=tokens.rows,
        by_model=recount.recount(file, what, format, way, tokens.total, others),
    )
    lengths = batches.lengths(msgspec.to_builtins(tokens))
    return Counted(load=load, request=_request(counts), lengths=lengths)


def by_model(chosen: Plan, base: Path, tokens: int) -> dict[str, Estimate]:
    """Return what hosted models count of the rows of a plan, which are ``tokens`` by the tokenizer
    in ``base``; empty where that cannot be told."""
    file = Path(chosen.data.files.train)
    try:
        what = container.inspect(file)
        format = examine.guessed(file, what, None)
        way = target("trl-sft"), encodings.of_folder(base, chosen.model.name)
        others = {f"{one.platform}/{one.id}": _way(one) for one in models.hosted()}
        return recount.recount(file, what, format, way, tokens, others, blocks=PLAN_BLOCKS)
    except (FtwizardError, OSError, ValueError):  # the rows were read; another tokenizer's were not
        return {}


def _way(model: HostedModel) -> Way:
    place = model.limits(model.methods[0])
    return place, encodings.choose(place, model.id)


def _request(counts: Counts) -> tuple[Decimal, Decimal] | None:
    """Return the mean tokens of what is not learnt and of what is: a request and its answer."""
    rows, learnt = counts.tokens.rows, counts.trained.total
    asked = counts.tokens.total - learnt
    if learnt <= 0 or asked <= 0:
        return None
    return Decimal(round(asked / rows)) or Decimal(1), Decimal(round(learnt / rows)) or Decimal(1)
