"""What a draft's rows say of the paths: what each costs for them, and what they speak for."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from ftwizard.advice import evidence as evidences
from ftwizard.advice import path as advice
from ftwizard.advice.evidence import Evidence
from ftwizard.advice.path_costs import PathCost, by_path
from ftwizard.advice.questions import effective
from ftwizard.errors import FtwizardError
from ftwizard.estimate.offer import Offer
from ftwizard.screens import cost_basis
from ftwizard.screens.draft import Draft


@dataclass(frozen=True)
class Priced:
    """Every offer for the rows of a draft: it goes by the rows and the size of the model alone."""

    offers: tuple[Offer, ...]
    tokens: str
    """What is trained on, in words."""
    own_left_out: bool
    """Whether a person's own prices cannot be used."""

    def by_path(self, draft: Draft, today: datetime.date) -> tuple[PathCost, ...]:
        """Return what each path costs by the answers of a draft."""
        facts, answers = draft.machine, effective(draft.machine, draft.answers)
        verdicts = advice.verdicts(facts, draft.answers, today)
        return by_path(self.offers, verdicts, facts, answers)


def is_known(draft: Draft) -> bool:
    """Say whether the rows of a draft were read, and some can be trained on."""
    found = draft.checked or {}
    return bool(found.get("usable") and (found.get("tokens") or draft.estimate))


def priced(draft: Draft, today: datetime.date) -> Priced | None:
    """Return every offer for the rows of a draft; None where their tokens are not known.

    It reads a person's own prices and the configuration of the model: not in the way of keys.
    """
    basis = cost_basis.basis(draft, today)
    if basis.load is None:
        return None
    table, problem = cost_basis.prices(today)
    return Priced(tuple(cost_basis.offers(basis, table)), basis.tokens, problem is not None)


def evidence(draft: Draft) -> Evidence | None:
    """Return what the rows themselves speak for; None where they were not read."""
    if not draft.checked or draft.checked.get("partial"):
        return None
    try:
        return evidences.evidence(draft.checked)
    except FtwizardError:  # a report of an older version says less
        return None
