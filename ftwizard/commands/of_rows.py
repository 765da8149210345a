"""What rows say of the path and the recipe: read, checked, and said beside the advice."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from ftwizard import forecast, model_config
from ftwizard.advice import evidence, path, recipe
from ftwizard.advice.evidence import Evidence
from ftwizard.advice.path_costs import PathCost, by_path, supposed
from ftwizard.advice.questions import Answers
from ftwizard.advice.recipe import Advised, Method
from ftwizard.advice.setting import setting
from ftwizard.catalog.paths import catalog
from ftwizard.commands import costs, output, progress
from ftwizard.data.tokens import Estimate
from ftwizard.errors import FtwizardError
from ftwizard.estimate import cost
from ftwizard.estimate.batches import Lengths
from ftwizard.estimate.offer import Asked, Load
from ftwizard.machine import Facts
from ftwizard.plan import Data, Files, Model, Plan, Recipe
from ftwizard.text import plural, visible

if TYPE_CHECKING:
    from rich.console import Console

REPORT_BYTES = 64_000_000
"""A file of more is no report of a check."""
SHOWN = ("method", "learning_rate", "epochs", "max_length", "packing", "batch_size",
         "gradient_accumulation", "rank")  # fmt: skip
"""Settings of the recipe that are said; all are in the JSON."""


def read(data: str) -> Evidence:
    """Return what a data file, or the report of a check, says.

    Raises FtwizardError for others, and where no row can be used.
    """
    found = _read(data)
    if not found.usable:
        name = visible(found.path, 200)
        raise FtwizardError(
            f"No row of {name} can be used.", f"What is wrong with them: ftwizard check {name}"
        )
    return found


def _read(data: str) -> Evidence:
    if report := _report(Path(data)):
        return evidence.evidence(report)
    from ftwizard.data import examine, hub

    with progress.reporter(shown=True) as say:
        file, _ = hub.locate(data, say)
        found = examine.examine(
            file,
            # Copies bear on the split and on what is learnt, not on path or recipe.
            examine.Asked(max_length=Recipe().max_length, near=False),
            say=lambda done, total: say("checking", what=file.name, done=done, **_unit(total)),
        )
    return evidence.evidence(msgspec.to_builtins(found))


def _report(file: Path) -> dict[str, Any] | None:
    """Return a report; None for what is none, which is then read as rows."""
    try:
        if file.suffix != ".json" or file.stat().st_size > REPORT_BYTES:
            return None
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    is_report = isinstance(found, dict) and {"verdict", "findings", "usable"} <= found.keys()
    return found if is_report else None


def _unit(total: int) -> dict[str, int | str]:
    return {"total": total, "unit": "bytes"} if total else {"unit": "rows"}


def document(
    found: Evidence, facts: Facts, answers: Answers, today: datetime.date
) -> dict[str, Any]:
    """Return what is printed as JSON; ``costs`` are of the paths that are possible."""
    costs_ = path_costs(found, facts, answers, today)
    return {
        "evidence": found,
        "changing_share": found.changing_share,
        "raised": evidence.raised(found),
        "recipe": advised(found, facts),
        "costs": {one.path: one for one in costs_ if not one.why_not},
    }


def path_costs(
    found: Evidence, facts: Facts, answers: Answers, today: datetime.date
) -> tuple[PathCost, ...]:
    """Return what training on these rows costs by each path, by its cheapest offer that is known.

    As a plan has it that says nothing else: a tenth of the rows validates, another is held out,
    three epochs; the hours on a rented GPU are of a known model of the size that was answered.
    Empty where no tokens were counted.
    """
    plan = supposed(Plan(data=Data(files=Files(train=found.path)), model=Model(name="")), answers)
    load = _load(found, plan)
    if load is None:
        return ()
    prices = costs.own([], today)
    lengths, shape = _lengths(found, plan), model_config.shape(plan.model.name)
    cards = {card for card, _ in prices.cards()}
    hours = forecast.hours(plan, lengths, shape, cards)
    asked = Asked(
        today=today,
        model=plan.model.name,
        hours=hours or None,
        too_small=forecast.too_small(plan, lengths, shape, cards),
        here=forecast.this_machine(plan, facts, forecast.of_plan(plan, lengths, shape, facts)),
        by_rule=False,
    )
    offers = cost.offers(load, prices, asked)
    return by_path(offers, path.verdicts(facts, answers, today), facts, answers)


def _load(found: Evidence, plan: Plan) -> Load | None:
    tokens = found.tokens
    if tokens is None or not found.usable:
        return None
    left = 1 - plan.validation_share - plan.test_share
    low, high = (tokens.value if end is None else end for end in (tokens.low, tokens.high))
    return Load(
        tokens=Estimate(
            value=max(1, round(tokens.value * left)),
            low=math.floor(low * left),
            high=math.ceil(high * left),
        ),
        epochs=plan.recipe.epochs,
        counted=tokens.source,
        rows=round(found.usable * left),
    )


def _lengths(found: Evidence, plan: Plan) -> dict[str, Lengths | None]:
    """Return how long the rows are that are trained on, and those that validate."""
    if found.lengths is None:
        return {}
    held = round(found.usable * plan.validation_share)
    train = max(1, found.usable - held - round(found.usable * plan.test_share))
    return {
        "train": found.lengths.scaled(train),
        "validation": found.lengths.scaled(held) if held else None,
    }


def advised(found: Evidence, facts: Facts) -> list[Advised]:
    """Return the recipe to begin with on this machine, before there is a model."""
    way = recipe.method_for(None, facts)
    method: Method = next(one for one in get_args(Method) if one == way.value)
    named = recipe.advise(method, None, found.usable or None, facts, lengths=found.lengths)
    return [way, *named, recipe.report_to()]


def say(
    out: Console, found: Evidence, facts: Facts, answers: Answers, today: datetime.date
) -> None:
    """Print it."""
    output.say(out, "", f"Rows: {visible(found.path)}")
    lines = [("rows", f"{found.usable:,} of {plural(found.rows, 'row')} usable")]
    if tokens := found.tokens:
        span = f" ({tokens.low:,.0f} to {tokens.high:,.0f})" if tokens.low is not None else ""
        lines.append(("tokens", f"{tokens.value:,.0f}{span}, {tokens.source}"))
    if again := evidence.raised(found):
        where = ", ".join(map(str, again.lines))
        lines.append(("✗ tool" if again.wrong_tool else "! tool", f"{again.words} Lines: {where}."))
    if found.rft:
        where = ", ".join(found.rft.where)
        lines.append(("RFT", f"{found.rft.reason} {found.rft.caution} Offered by {where}."))
    out.print(output.pairs(lines))
    _say_costs(out, path_costs(found, facts, answers, today))
    output.say(out, "", "A recipe to begin with, on this machine")
    by_name = {one.name: one for one in advised(found, facts)}
    out.print(output.pairs(_settings([by_name[name] for name in SHOWN if name in by_name])))


def _say_costs(out: Console, found: tuple[PathCost, ...]) -> None:
    if not found:
        return
    recipe = Recipe()
    output.say(out, "", f"Training on these rows, {recipe.epochs:g} epochs, by the cheapest offer")
    name = {one.id: one.name for one in catalog().paths}
    out.print(output.pairs((name[one.path], _price(one)) for one in found))
    output.say(
        out,
        "A fifth of the rows validates and compares.",
        "All of them: ftwizard estimate DATA --model M",
    )


def _price(one: PathCost) -> str:
    if one.why_not:
        return f"{one.amount}: {one.words}"
    owner = f"; the weights: {one.owner[0].lower()}{one.owner[1:]}" if one.owner else ""
    return f"{one.amount}: {one.words}{owner}"


def _settings(advised: list[Advised]) -> list[tuple[str, str]]:
    return [
        (setting(one.name).label, f"{_value(one)}: {one.reason} ({one.source}, {one.as_of})")
        for one in advised
    ]


def _value(one: Advised) -> str:
    if options := setting(one.name).options:
        return next(option.label for option in options if option.value == one.value)
    if one.name == "learning_rate" and isinstance(one.value, float):
        return recipe.in_words(one.value)
    return f"{one.value:g}" if isinstance(one.value, int | float) else str(one.value)
