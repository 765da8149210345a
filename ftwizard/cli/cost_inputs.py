"""Token counts for an estimate without a plan: from a data file, or from typed numbers."""

from __future__ import annotations

import argparse
import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ftwizard.catalog import gpu_specs, hosted_models
from ftwizard.catalog.hosted_models import HostedModel
from ftwizard.catalog.prices import Prices
from ftwizard.cli.commands import EPOCHS
from ftwizard.cli.progress import Say
from ftwizard.data.checks import run
from ftwizard.data.checks.run import COUNTED_BYTES
from ftwizard.data.hub import datasets
from ftwizard.data.io import inspect
from ftwizard.data.platforms import get_target
from ftwizard.data.tokens import counting, tokenizers
from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate import batching
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.pricing import cost_report, user_prices
from ftwizard.pricing.cost_report import CostReport
from ftwizard.pricing.offer import PricingQuery, TrainingLoad, Volume
from ftwizard.text import make_visible

if TYPE_CHECKING:
    from ftwizard.data.tokens.counting import TargetEncoding
    from ftwizard.plan.schema import Plan


MAX_TOKENS = 10**15
"""Of all epochs; pretraining uses up to 10**14."""
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
            f"{make_visible(arguments.plan, 100)} and --examples cannot be combined.",
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
    source = f"{arguments.examples:,} examples × {arguments.mean_tokens:,f} tokens, as given"
    return CountedRows(
        load=TrainingLoad(
            tokens=exact_tokens(tokens),
            epochs=arguments.epochs or EPOCHS,
            counted=source,
            rows=arguments.examples,
        ),
        lengths=batching.from_mean(arguments.examples, float(arguments.mean_tokens)),
    )


def check_model(name: str | None) -> HostedModel | None:
    """Return the hosted model of that name, or None for an open one.

    Raises FtwizardError for a model that cannot be fine-tuned, and for an unknown name.
    """
    if name is None:
        return None
    hosted_models.check_refused(name, datetime.date.today())
    # A platform may use the Hub name of an open model; then the open model is meant.
    owner, slash, _ = name.partition("/")
    is_hub_name = slash and owner.lower() not in hosted_models.PLATFORM_NAMES and "@" not in name
    hosted = None if is_hub_name else hosted_models.find_model(name)
    if hosted is None and "/" not in name and not Path(name).exists():
        near = hosted_models.nearest_model(name)
        raise FtwizardError(
            f"Unknown model {make_visible(name, 60)}.",
            f"Did you mean {near}?" if near else "Name a hosted model, a folder, or owner/model.",
        )
    return hosted


def count_rows(arguments: argparse.Namespace, model: HostedModel | None, say: Say) -> CountedRows:
    """Count the tokens of a file with the tokenizer of the model, and of each hosted model.

    Raises FtwizardError where no row can be read.
    """
    file, _ = datasets.locate(arguments.plan, say)
    goal = model.limits(model.methods[0]) if model else get_target("trl-sft")
    inspected = inspect.inspect(file)
    format = run.guess_format(file, inspected, None)

    def report(done: int, total: int) -> None:
        say("counting", what=file.name, done=done, total=total, unit="bytes")

    name = model.id if model else arguments.model
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
        epochs=arguments.epochs or EPOCHS,
        counted=f"tokens of {make_visible(file.name, 100)} by {tokens.encoding}",
        rows=tokens.rows,
        by_model=counting.recount(file, inspected, format, pair, tokens.total, _list_encodings()),
    )
    lengths = batching.from_check_tokens(tokens)
    request = find_mean_request(tokens.rows, tokens.total, counts.trained.total)
    return CountedRows(load=load, request=request, lengths=lengths)


def count_by_model(chosen: Plan, base: Path, tokens: int) -> dict[str, TokenEstimate]:
    """Return the tokens of a plan's rows for each hosted model; empty where that fails.

    ``tokens``: their count with the tokenizer in ``base``.
    """
    file = Path(chosen.data.files.train)
    try:
        inspected = inspect.inspect(file)
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


# Options of the cost table.


def compute_costs(
    load: TrainingLoad,
    arguments: argparse.Namespace,
    *,
    request: Request | None = None,
    **known: Any,
) -> CostReport:
    """Return what ``load`` costs on every provider, with the options of the command line.

    ``request``: tokens in and out, from the data; ``known``: further fields of the ``PricingQuery``.
    Raises FtwizardError for unusable options and user prices.
    """
    prices = from_arguments(arguments)
    query = PricingQuery(
        today=datetime.date.today(),
        edition=arguments.edition,
        share_data=arguments.share_data,
        volume=_read_volume(arguments, request),
        serve_on=_find_card(arguments.serve_on, prices),
        **known,
    )
    return cost_report.build_cost_report(
        load, prices, query, sort=arguments.sort, confidential=arguments.confidential
    )


def exact_tokens(tokens: int) -> TokenEstimate:
    """Return a count that is not an estimate."""
    return TokenEstimate(value=tokens, low=tokens, high=tokens)


def from_arguments(arguments: argparse.Namespace) -> Prices:
    """Return the prices for ``estimate``.

    ``--gpu`` means a different machine than the one in the price file, so its hourly price can only
    come from the command line.
    """
    today = datetime.date.today()
    prices = user_prices.load_prices(arguments.price, today)
    if not arguments.gpu:
        return prices
    kept = tuple(row for row in prices.rows if row.kind != user_prices.MACHINE)
    typed = user_prices.parse_options(arguments.price, today)
    return msgspec.structs.replace(prices, rows=kept).over(typed)


def _read_volume(arguments: argparse.Namespace, request: Request | None) -> Volume | None:
    into, out = request or (None, None)
    into, out = arguments.tokens_in or into, arguments.tokens_out or out
    if into is None or out is None:
        if not (into or out or arguments.requests_per_month):
            return None
        raise FtwizardError(
            "Tokens per request and per answer are unknown.",
            "Pass both: --tokens-in T --tokens-out T.",
            USAGE,
        )
    return Volume(tokens_in=into, tokens_out=out, requests=arguments.requests_per_month)


def _find_card(name: str, prices: Prices) -> str:
    names = sorted({card for card, market in prices.cards() if market == "on demand"})
    if name in names:
        return name
    gpu = gpu_specs.find_gpu(name)  # as typed for --gpu: “A100 40 GB”
    match = next((card for card in names if gpu and gpu_specs.find_gpu(card) == gpu), None)
    if match is None:
        raise FtwizardError(
            f"No price is known for GPU {make_visible(name, 40)}.",
            f"Choose from: {', '.join(names)}.",
            USAGE,
        )
    return match
