"""Options of ``estimate``: typed token counts, the model, prices and volumes."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.catalog import gpu_specs, hosted_models
from ftwizard.catalog.hosted_models import HostedModel
from ftwizard.catalog.prices import ARTICLE, Prices
from ftwizard.cli.commands import EPOCHS
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate import batching, row_counts
from ftwizard.estimate.row_counts import CountedRows, Request
from ftwizard.pricing import cost_report, user_prices
from ftwizard.pricing.cost_report import CostReport
from ftwizard.pricing.offer import PricingQuery, TrainingLoad, Volume
from ftwizard.text import make_visible

MAX_TOKENS = 10**15
"""Of all epochs; pretraining uses up to 10**14."""


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
    spread = (
        f"Of {arguments.mean_tokens:,f} tokens per row, only the mean is known. The lengths are assumed "
        f"to spread as in real files: log-normal with σ {batching.SPREAD:g}, the longest of 4 rows 1.7 "
        "times the mean."
    )
    return CountedRows(
        load=TrainingLoad(
            tokens=row_counts.exact_tokens(tokens),
            epochs=arguments.epochs or EPOCHS,
            counted=source,
            rows=arguments.examples,
        ),
        assumed=spread,
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


def compute_costs(
    load: TrainingLoad,
    arguments: argparse.Namespace,
    *,
    request: Request | None = None,
    **fields: Any,
) -> CostReport:
    """Return what ``load`` costs on every provider, with the options of the command line.

    ``request``: tokens in and out, from the data; ``fields``: further ones of the ``PricingQuery``.
    Raises FtwizardError for unusable options and user prices.
    """
    prices = load_prices(arguments)
    if arguments.edition == ARTICLE and fields.get("by_rule"):
        fields = fields | {"hours": None}  # the article's own rule is part of its edition
    query = PricingQuery(
        today=datetime.date.today(),
        edition=arguments.edition,
        share_data=arguments.share_data,
        volume=_read_volume(arguments, request),
        serve_on=_find_card(arguments.serve_on, prices),
        **fields,
    )
    return cost_report.build_cost_report(
        load, prices, query, sort=arguments.sort, confidential=arguments.confidential
    )


def load_prices(arguments: argparse.Namespace) -> Prices:
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
