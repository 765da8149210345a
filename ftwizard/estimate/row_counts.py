"""Token counts of rows for an estimate: their total, their requests and their lengths."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec

from ftwizard.catalog import hosted_models
from ftwizard.catalog.hosted_models import HostedModel
from ftwizard.data.checks import run
from ftwizard.data.checks.run import COUNTED_BYTES
from ftwizard.data.io import records
from ftwizard.data.io.read_options import AS_IS, ReadOptions
from ftwizard.data.platforms import get_target
from ftwizard.data.tokens import counting, tokenizers
from ftwizard.data.tokens.counting import TargetEncoding
from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.errors import FtwizardError
from ftwizard.estimate import batching
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.plan.schema import Plan
from ftwizard.pricing.offer import TrainingLoad
from ftwizard.text import make_visible

PLAN_BLOCKS = 8
"""Blocks of 64 KB on which the tokenizers of hosted models are compared with the plan's own."""
Request = tuple[Decimal, Decimal]
"""Mean tokens of a request (not trained on) and of its answer (trained on)."""


class CountedRows(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of the rows."""

    load: TrainingLoad
    request: Request | None = None
    lengths: LengthDistribution | None = None
    """Distribution of row lengths."""
    assumed: str = ""
    """What is assumed about the lengths, as a sentence; empty if they were counted."""


def exact_tokens(tokens: int) -> TokenEstimate:
    """Return a count that is not an estimate."""
    return TokenEstimate(value=tokens, low=tokens, high=tokens)


def count_rows(
    file: Path, name: str, epochs: float, model: HostedModel | None, say: Callable[..., None],
    read: ReadOptions = AS_IS,
) -> CountedRows:  # fmt: skip
    """Count the tokens of a file with the tokenizer of the model, and of each hosted model.

    ``model``: the hosted model of that name, if it is one. Raises FtwizardError where no row can be read.
    """
    goal = model.limits(model.methods[0]) if model else get_target("trl-sft")
    inspected = records.open_file(file, read)
    format = run.guess_format(file, inspected, None)

    def report(done: int, total: int) -> None:
        say("counting", what=file.name, done=done, total=total, unit="bytes")

    name = model.id if model else name
    if inspected.size > COUNTED_BYTES and inspected.is_plain_lines:
        counts = counting.estimate_tokens(file, inspected, format, goal, None, model=name)
    else:
        counts = counting.count_tokens(file, inspected, format, goal, None, say=report, model=name)
    if counts is None or not counts.tokens.total:
        raise FtwizardError(
            f"No row of {make_visible(str(file), 200)} can be read.",
            f"To see why: ftwizard check {make_visible(str(file), 200)}",
        )
    tokens = counts.tokens
    pair = goal, tokenizers.choose_encoding(goal, name)
    load = TrainingLoad(
        tokens=TokenEstimate(value=tokens.total, low=tokens.low, high=tokens.high),
        epochs=epochs,
        counted=f"tokens of {make_visible(file.name, 100)} by {tokens.encoding}",
        rows=tokens.rows,
        by_model=counting.recount(file, inspected, format, pair, tokens.total, _list_encodings()),
    )
    lengths = batching.from_check_tokens(tokens)
    request = find_mean_request(tokens.rows, tokens.total, counts.trained.total)
    return CountedRows(load=load, request=request, lengths=lengths)


def take_training_rows(rows: CountedRows, plan: Plan) -> CountedRows:
    """Return the counts of the rows that the plan's shares and ``data.max_rows`` leave for training,
    drawn in proportion to length."""
    total = rows.load.rows
    if not total:
        return rows
    aside = round(total * plan.validation_share) + round(total * plan.test_share)
    most = min(max(1, total - aside), plan.data.max_rows or total)
    share = most / total
    if share == 1:
        return rows
    load = msgspec.structs.replace(
        rows.load,
        tokens=_scale(rows.load.tokens, share),
        rows=most,
        by_model={name: _scale(tokens, share) for name, tokens in rows.load.by_model.items()},
    )
    return msgspec.structs.replace(
        rows, load=load, lengths=rows.lengths.scaled(most) if rows.lengths else None
    )


def _scale(tokens: TokenEstimate, share: float) -> TokenEstimate:
    value, low, high = (
        max(1, round(share * count)) for count in (tokens.value, tokens.low, tokens.high)
    )
    return TokenEstimate(value=value, low=low, high=high)


def count_by_model(chosen: Plan, base: Path, tokens: int) -> dict[str, TokenEstimate]:
    """Return the tokens of a plan's rows for each hosted model; empty where that fails.

    ``tokens``: their count with the tokenizer in ``base``.
    """
    file = Path(chosen.data.files.train)
    try:
        inspected = records.open_file(file, chosen.data.read_options)
        format = run.guess_format(file, inspected, None)
        pair = get_target("trl-sft"), tokenizers.from_folder(base, chosen.model.name)
        encodings = _list_encodings()
        return counting.recount(
            file, inspected, format, pair, tokens, encodings, blocks=PLAN_BLOCKS
        )
    except (FtwizardError, OSError, ValueError):  # costs can do without it
        return {}


def _list_encodings() -> dict[str, TargetEncoding]:
    """Return the target and the tokenizer of each hosted model."""
    encodings = {}
    for host in hosted_models.list_hosted_models():
        goal = host.limits(host.methods[0])
        encodings[f"{host.platform}/{host.id}"] = goal, tokenizers.choose_encoding(goal, host.id)
    return encodings


def find_mean_request(rows: int, tokens: int, trained: int) -> Request | None:
    """Return the mean tokens of a request (not trained on) and of its answer (trained on)."""
    if not rows or not 0 < trained < tokens:
        return None
    into, out = (max(1, round(total / rows)) for total in (tokens - trained, trained))
    return Decimal(into), Decimal(out)
