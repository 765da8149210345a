"""Handmade offers and drafts for the cost page."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any, get_args

from ftwizard.plan import schema
from ftwizard.pricing.offer import Offer, Volume
from ftwizard.quantity import EndDate, Figure
from ftwizard.screens.costs.inputs import Basis
from ftwizard.screens.costs.table import ColumnId
from ftwizard.screens.draft.drafts import Draft
from tests.helpers.estimates import make_report
from tests.helpers.machines import make_machine
from tests.screens.wizard.data.reports import report

TODAY = datetime.date(2026, 11, 25)
FACTS = make_machine(extras=("local",))
_PART = {"kept": 5000, "tokens": 1_500_000, "trained": 500_000}
ESTIMATE: dict[str, Any] = {
    "model": {"said": "meta-llama/Llama-3.1-8B"}, "parameters": 8_030_000_000,
    "parts": {"train": _PART}, "tokens": 4_500_000, "steps": 900, "evaluate_every": 50,
}  # fmt: skip
MONTH = Volume(requests=Decimal(2_000_000), tokens_in=Decimal(200), tokens_out=Decimal(100))
COLUMN_IDS: tuple[ColumnId, ...] = get_args(ColumnId)
LIST, ARTICLE = "the provider's list", "the article"


def counted(**answers: str) -> Draft:
    """Return a draft with an estimate: 5,000 rows of 300 tokens, 3 epochs."""
    draft = Draft(FACTS).with_plan(model=schema.Model(name="meta-llama/Llama-3.1-8B"))
    return (
        draft.with_estimate(make_report(**ESTIMATE))
        .with_recommendation("openai")
        .with_answers(answers)
    )


def checked() -> Draft:
    """Return a draft with checked rows and no estimate."""
    return Draft(FACTS).with_check(
        schema.Files(train="/data/rows.jsonl"), report("/data/rows.jsonl")
    )


def usd(
    value: float, low: float | None = None, high: float | None = None, per: str = "",
    source: str = LIST, as_of: str = "2026-11",
) -> Figure:  # fmt: skip
    unit = f"USD per {per}" if per else "USD"
    return Figure(value=value, unit=unit, low=low, high=high, source=source, as_of=as_of)


def offer(name: str, **more: Any) -> Offer:
    """Return a hosted offer with only the given fields set."""
    usual = {"provider": "openai", "platform": "openai", "model": name, "weights": "no",
             "owner": "No, it stays there"}  # fmt: skip
    return Offer(name=name, **{**usual, **more})


def day(year: int, month: int, number: int) -> EndDate:
    """Return an announced end date."""
    return EndDate(date=datetime.date(year, month, number), source=LIST, as_of="2026-11")


def offers(basis: Basis, *_: object) -> list[Offer]:
    """Return one offer of each kind, with monthly costs where the basis has a volume."""
    month = basis.query.volume is not None
    return [
        offer(
            "OpenAI small", recommended=True,
            training=usd(22.5, 3.36, 24.0, source=f"4,500,000 tokens × $5.00 ({LIST})"),
            other_training=usd(3.6, 3.36, 3.84, source=ARTICLE, as_of="2026-04"),
            input=usd(0.8, per="million tokens"), output=usd(3.2, per="million tokens"),
            relative=Figure(value=100, unit="%", source=LIST, as_of="2026-11"),
            until=day(2027, 1, 6), ends=day(2027, 1, 14),
            monthly=usd(960.0, per="month") if month else None,
            break_even=Figure(
                value=4_166_667, low=3e6, high=5e6, unit="requests per month", source=LIST,
                as_of="2026-11",
            ) if month else None,
            notes=("No jobs from 2027-01-06 on.", "The first to try."), note_codes=("end", "advice"),
        ),
        offer("OpenAI large", training=usd(112.5), input=usd(3.0), output=usd(12.0),
              monthly=usd(3600.0) if month else None),
        offer("OpenAI gone", training=usd(6.75), tunable=False, until=day(2026, 10, 23),
              notes=("Since 2026-10-23: It is shut down. Nearest: OpenAI small.",),
              note_codes=("end",)),
        offer("A100 40 GB on demand", provider="local", platform="local", model="llama-3.1-8b",
              card="a100-40gb", market="on demand", weights="yes", owner="Yes, run it anywhere",
              training=usd(5.48, 1.99, 6.8), setup=usd(2.74, 0.99, 6.8),
              hosting=usd(2.74, 1.99, 3.4, per="hour"),
              monthly=usd(2000.2, 1452.7, 2482.0, per="month") if month else None),
        offer("Your own GPU", provider="local", platform="local", weights="yes",
              owner="Yes, run it anywhere"),
        offer("Together 8B", provider="cloud", platform="together", weights="yes", stale=True,
              training=usd(2.16, 2.02, 20.25, as_of="2026-05-08"), as_of="2026-05-08"),
        offer("Bedrock Nova", provider="cloud", platform="bedrock",
              hosting=usd(108.15, per="hour"), storage=usd(1.95, per="month")),
        offer("Foundry 20B", provider="cloud", platform="foundry", weights="unknown",
              rate=usd(100.0, per="hour"), notes=("Training is billed by the hour.",),
              note_codes=("price",)),
    ]  # fmt: skip
