"""Costs of the providers for a draft's data, and what the data suggests."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from ftwizard.advice.evidence import Evidence, read_evidence
from ftwizard.advice.provider_costs import estimate_provider_costs
from ftwizard.advice.questions import planned_size
from ftwizard.catalog.providers import catalog
from ftwizard.pricing.offer import Offer
from ftwizard.screens.costs import inputs
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.wizard.provider.text import DataFindings
from ftwizard.text import make_visible


@dataclass(frozen=True)
class PricedOffers:
    """Every offer for a draft's data; depends only on the rows and the model size."""

    offers: tuple[Offer, ...]
    tokens: str
    """Description of the tokens trained on."""
    own_left_out: bool
    """Whether the user's own prices are ignored."""

    def find(self, evidence: Evidence | None, draft: Draft, today: datetime.date) -> DataFindings:
        """Return the findings with the cost of each provider under the answers of a draft."""
        tuning = evidence.tuning if evidence else None
        costs = estimate_provider_costs(self.offers, draft.machine, draft.answers, today, tuning)
        return DataFindings(
            evidence,
            costs,
            self.tokens,
            own_left_out=self.own_left_out,
            model=_describe_model(draft),
        )


def _describe_model(draft: Draft) -> str:
    """Describe the model that the costs are for: the draft's, else one of the planned size."""
    if name := draft.plan.model.name:
        return make_visible(name.rstrip("/").rpartition("/")[2], 40)
    return f"a model {catalog().need(planned_size(draft.machine, draft.answers)).label}"


def can_price(draft: Draft) -> bool:
    """Tell whether a draft's data was read and has usable rows."""
    report = draft.checked
    return bool(report and report.usable and (report.tokens or draft.estimate))


def price_offers(draft: Draft, today: datetime.date) -> PricedOffers | None:
    """Compute every offer for a draft's data; None if its tokens are unknown.

    Reads the user's prices and the model's configuration, so run it in a thread.
    """
    basis = inputs.build_basis(draft, today)
    if basis.load is None:
        return None
    table, problem = inputs.load_prices(today)
    return PricedOffers(
        tuple(inputs.compute_offers(basis, table)), basis.tokens, problem is not None
    )


def get_evidence(draft: Draft) -> Evidence | None:
    """Return what the data itself suggests; None if it was not read."""
    if draft.checked is None or draft.checked.partial:
        return None
    return read_evidence(draft.checked)
