"""What a table of costs is computed from: the tokens of a draft, its answers, and the prices."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from ftwizard import forecast, settings
from ftwizard.advice.follows import Follows
from ftwizard.advice.path_costs import supposed
from ftwizard.advice.questions import wanted_size
from ftwizard.catalog import own_prices
from ftwizard.catalog.paths import PathId, PlatformId, catalog
from ftwizard.catalog.prices import Edition, Prices, Rate, packaged
from ftwizard.data.tokens import Estimate
from ftwizard.errors import FtwizardError
from ftwizard.estimate import cost
from ftwizard.estimate.memory import Memory
from ftwizard.estimate.offer import Asked, Here, Load, Offer, Volume
from ftwizard.figure import Figure
from ftwizard.plan import Plan
from ftwizard.screens import prospect, values
from ftwizard.screens.draft import Draft
from ftwizard.text import plural, visible

USUAL_IN, USUAL_OUT = Decimal(300), Decimal(150)
"""Tokens of a request and its answer where the rows tell nothing."""
MOST = Decimal(10**12)
_BY_RULE = (6e9, 10e9)
"""Parameters of models that the article's hours (of 8B) are taken for."""
_NOTHING = Estimate(value=0, low=0, high=0)
PRIVATE = {
    "stay": "your answers say that the data stays on this machine",
    "own-cloud": "your answers say that the data goes to your own cloud account only",
}
"""Why data cannot be shared with a provider, by the answer to “data”."""


@dataclass(frozen=True)
class Basis:
    """All that a table of costs depends on."""

    load: Load | None
    """None: the tokens are not known."""
    asked: Asked
    usual: Volume
    """What one request of the data comes to; without a number of requests."""
    measured: bool
    """Whether ``usual`` was seen in the data."""
    private: str = ""
    """Why the data cannot be shared for a discount; empty where it can."""
    path: PathId = "local"
    platform: PlatformId | None = None
    """The recommended ones."""
    own_machine: bool = False
    """Whether training on one's own path means this machine, or another of one's own: with a GPU
    here or there, or on processors, or as the data stays; else a GPU is rented."""
    hour: Rate | None = None
    """What an hour of this machine costs; None: as the prices say."""

    def asking(self, **changes: Any) -> Basis:
        """Return the basis of a table that is asked for otherwise."""
        return replace(self, asked=msgspec.structs.replace(self.asked, **changes))

    def other_edition(self) -> Basis:
        """Return the basis with the other edition's prices."""
        edition: Edition = "2026-04" if self.asked.edition == "current" else "current"
        return self.asking(edition=edition)

    @property
    def tokens(self) -> str:
        """Return in words what is trained on."""
        return _tokens(self.load)


def basis(draft: Draft, today: datetime.date) -> Basis:
    """Return what a draft's costs are computed from: counted where it was, else by the check."""
    size, plan = draft.parameters, supposed(draft.plan, draft.answers)
    cards = _estimated_cards(draft.estimate or {}) or _cards(draft, plan, today)
    shape = prospect.shape(plan.model.name)
    weights = size or (shape.parameters if shape else None)
    asked = Asked(
        today=today,
        hours=cards.hours or None,
        too_small=cards.too_small,
        served=2.0 * weights if weights else None,
        here=_here(draft, plan),
        by_rule=bool(draft.plan.model.name)
        and plan.recipe.method != "full"
        and (size is None or _BY_RULE[0] <= size <= _BY_RULE[1]),
        model=plan.model.name,
    )
    seen = _of_rows(draft)
    return Basis(
        load=_counted(draft) or _checked(draft),
        asked=asked,
        usual=seen or Volume(tokens_in=USUAL_IN, tokens_out=USUAL_OUT),
        measured=seen is not None,
        private=PRIVATE.get(draft.answers.get("data", ""), ""),
        path=draft.recommended,
        platform=draft.platform,
        own_machine=_has_own(draft),
        hour=draft.hour,
    )


def _has_own(draft: Draft) -> bool:
    answers = draft.answers
    return (
        bool(draft.machine.gpus)
        or answers.get("gpu_elsewhere") == "own"
        or answers.get("data") == "stay"
        or catalog().need(wanted_size(answers)).processors
    )


def _here(draft: Draft, plan: Plan) -> Here:
    """Return a run on this machine: as it was estimated, else at a glance."""
    come, counted = None, None
    if (known := draft.estimate or {}).get("follows"):
        come, counted = msgspec.convert(
            (known["follows"], known.get("memory")), tuple[Follows, Memory | None]
        )
    else:
        come = prospect.of(replace(draft, plan=plan))
    return forecast.this_machine(plan, draft.machine, come, counted)


class _Cards(NamedTuple):
    """What is known of a training on the cards that have a price."""

    hours: Mapping[str, Figure]
    too_small: frozenset[str]


def _cards(draft: Draft, plan: Plan, today: datetime.date) -> _Cards:
    """Return the hours of the plan by card, none where model or rows are not known, and the cards
    that it does not fit on."""
    given = plan, prospect.lengths(draft), prospect.shape(plan.model.name)
    names = {card for card, _ in prices(today)[0].cards()}
    try:
        return _Cards(forecast.hours(*given, names), forecast.too_small(*given, names))
    except (FtwizardError, ValueError, OverflowError, ZeroDivisionError):
        return _Cards({}, frozenset())


def prices(today: datetime.date) -> tuple[Prices, FtwizardError | None]:
    """Return the prices with a person's own over them, and what is wrong with the file of these:
    then the packaged ones alone."""
    try:
        own = own_prices.from_file(settings.prices_file(), today)
    except FtwizardError as error:
        return packaged(), error
    return packaged().over(own), None


def offers(basis: Basis, table: Prices) -> list[Offer]:
    """Return every offer; what training costs is unknown where the tokens are."""
    table = table.at(basis.hour)
    if basis.load is not None:
        return list(cost.offers(basis.load, table, basis.asked))
    nothing = Load(tokens=_NOTHING, epochs=1, counted="")
    asked = msgspec.structs.replace(basis.asked, by_rule=False)
    return [
        msgspec.structs.replace(one, training=None, other=None)
        for one in cost.offers(nothing, table, asked)
    ]


def recommended(found: list[Offer], basis: Basis) -> Offer | None:
    """Return the offer that the recommended path begins with; None where none can be made."""
    there = [one for one in found if one.tunable and one.path == basis.path]
    if basis.path == "local":
        own = [one for one in there if (one.card is None) == basis.own_machine]
        return min(own or there, key=_price, default=None)
    if basis.platform:
        there = [one for one in there if one.platform == basis.platform]
    first = [one for one in there if one.recommended]
    return next(iter(first or there), None)


def _price(one: Offer) -> tuple[bool, float]:
    return one.training is None, one.training.value if one.training else 0.0


def _counted(draft: Draft) -> Load | None:
    """Return what ``ftwizard estimate`` counted with the model's own tokenizer."""
    found = draft.estimate
    if not found or not found["tokens"]:
        return None
    epochs = draft.plan.recipe.epochs
    return Load(
        tokens=_exactly(max(1, round(found["tokens"] / epochs))),
        epochs=epochs,
        counted=f"as {_short(draft.plan.model.name)} counts them",
        rows=values.trained_rows(draft),
        by_model=msgspec.convert(found.get("by_model") or {}, dict[str, Estimate]),
    )


def _estimated_cards(found: dict[str, Any]) -> _Cards | None:
    """Return what ``ftwizard estimate`` forecasts by card; None where it was not asked."""
    rows = [row for row in found.get("costs", ()) if row.get("card")]
    hours = {row["card"]: msgspec.convert(row["hours"], Figure) for row in rows if row.get("hours")}
    small = frozenset(row["card"] for row in rows if row.get("too_small"))
    return _Cards(hours, small) if hours or small else None


def _checked(draft: Draft) -> Load | None:
    """Return what the check of the rows came to, without the shares that validate and compare."""
    counted = (draft.checked or {}).get("tokens")
    if not counted or not counted.get("total"):
        return None
    left = max(0.0, 1 - draft.plan.validation_share - draft.plan.test_share)
    return Load(
        tokens=Estimate(
            value=round(counted["total"] * left),
            low=math.floor(counted["low"] * left),
            high=math.ceil(counted["high"] * left),
        ),
        epochs=draft.plan.recipe.epochs,
        counted=f"by {visible(str(counted['encoding']), 40)}",
        rows=round(counted["rows"] * left),
    )  # fmt: skip


def _short(name: str) -> str:
    """Return a model's own name, without whose it is or where it lies."""
    return visible(name.rstrip("/").rpartition("/")[2], 40)


def _exactly(tokens: int) -> Estimate:
    return Estimate(value=tokens, low=tokens, high=tokens)


def _of_rows(draft: Draft) -> Volume | None:
    """Return the mean tokens of a row's prompt and answer, where both are known."""
    if draft.estimate and (part := draft.estimate["parts"].get("train")):
        return _mean(part["tokens"], part["trained"], part["kept"])
    found = draft.checked or {}
    tokens, trained = found.get("tokens"), found.get("trained_tokens")
    if tokens and trained:
        return _mean(tokens["total"], trained["total"], tokens["rows"])
    return None


def _mean(tokens: int, answers: int, rows: int) -> Volume | None:
    if not (rows and answers and tokens > answers):
        return None
    into = max(1, round((tokens - answers) / rows))
    return Volume(tokens_in=Decimal(into), tokens_out=Decimal(max(1, round(answers / rows))))


def _tokens(load: Load | None) -> str:
    if load is None:
        return "The tokens are not counted yet, so what training costs is unknown"
    about = "" if load.tokens.low == load.tokens.high else "about "
    passes = f"{load.tokens.value:,} × {_epochs(load.epochs)}"
    return f"{about}{load.total:,} tokens ({passes}), {load.counted}"


def _epochs(epochs: float) -> str:
    """``1 epoch``, ``2.5 epochs``."""
    if epochs == int(epochs):
        return plural(int(epochs), "epoch")
    return f"{epochs:g} epochs"
