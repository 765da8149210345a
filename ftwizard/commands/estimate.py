"""``estimate``: what training comes to before it is started: money on every path; of a plan, its needs."""

from __future__ import annotations

import argparse
import datetime
import math
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import msgspec

from ftwizard import (
    forecast,
    model_config,
    models,
    plan,
    plan_names,
    positions,
    probes,
    settings,
    speeds,
)
from ftwizard.advice import recipe as recipes
from ftwizard.advice.follows import Follows
from ftwizard.catalog import models as catalog
from ftwizard.catalog.prices import Prices
from ftwizard.commands import (
    by_config,
    cost_table,
    costs,
    counted,
    ledgers,
    needs,
    output,
    plan_file,
    progress,
    room,
    tokenizer,
    warned,
)
from ftwizard.commands.costs import Costs
from ftwizard.commands.of_estimate import EPOCHS
from ftwizard.commands.progress import Say
from ftwizard.data import hub
from ftwizard.data.tokens import Estimate
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate import disk
from ftwizard.estimate.memory import Memory
from ftwizard.estimate.offer import Load
from ftwizard.machine import is_installed
from ftwizard.paths import local
from ftwizard.plan import Plan
from ftwizard.text import visible

if TYPE_CHECKING:
    from ftwizard.estimate.shape import Shape
    from ftwizard.machine import Facts
    from ftwizard.models import Source
    from ftwizard.train.preview import Preview
    from ftwizard.train.tokenise import Report

WARNED: tuple[plan.RiskName, ...] = ("many-epochs", "no-validation")
"""What an estimate warns of; training refuses unless it is allowed."""
RULE = (6e9, 10e9)
"""Parameters of a model that the article's hours, of one of 8B, say something of."""


def estimate(arguments: argparse.Namespace) -> int:
    """Count what is trained on, and say what it costs on every path; of a plan, what it needs."""
    _check_card(arguments)
    if arguments.examples is not None or arguments.mean_tokens is not None:
        return _print(arguments, counted.typed(arguments))
    if not arguments.plan:
        raise FtwizardError(
            "There is nothing to estimate.",
            "Name a plan, or rows and a model (DATA --model M), or --examples N --mean-tokens T.",
            USAGE,
        )
    if arguments.model:
        return _of_data(arguments)
    with_model = "Name the model too: ftwizard estimate {name} --model gpt-4.1-mini"
    chosen = plan_file.load(arguments.plan, arguments.allow, data_hint=with_model, later=WARNED)
    return _of_plan(arguments, chosen)


def _check_card(arguments: argparse.Namespace) -> None:
    """Raise FtwizardError for ``--gpu`` with a card that is not known, or where nothing fits on one."""
    if not arguments.gpu:
        return
    by_config.facts(arguments)
    model = arguments.model
    typed = arguments.examples is not None
    if (typed and not model) or (model and "/" not in model and catalog.find(model)):
        raise FtwizardError(
            "--gpu is of a model that is trained on one, and none is named.",
            "Name an open model: --model meta-llama/Llama-3.1-8B-Instruct.",
            USAGE,
        )


def _refuse_hosted(chosen: Plan) -> None:
    """Raise FtwizardError for a model that only a platform has."""
    name = chosen.model.name
    catalog.refuse(name, datetime.date.today())
    hosted = None if "/" in name else catalog.find(name)
    if hosted and not models.is_folder(name):
        raise FtwizardError(
            f"{visible(name, 60)} is tuned at {catalog.PLATFORM_NAMES[hosted.platform]}; a plan is "
            "of a model that is trained here.",
            "What it costs there: ftwizard estimate "
            f"{visible(chosen.data.files.train, 200)} --model {visible(name, 60)}",
        )


def _of_plan(arguments: argparse.Namespace, chosen: Plan) -> int:
    _refuse_hosted(chosen)
    local.check_installed(chosen)
    prices = costs.of_arguments(arguments)  # a price that is none is said at once
    facts = by_config.facts(arguments)
    with progress.reporter() as say:
        say("looking", what="for the model")
        try:
            source = models.locate(chosen.model.name, chosen.model.revision)
            base = tokenizer.fetched(source, say)
        except FtwizardError as error:
            return _unseen(arguments, chosen, facts, error, say)
        known = _look(chosen, source, base, facts, say)
    come = _come(chosen, known, prices)
    found = _needs(chosen, known, come) | {"hour": by_config.hour(chosen, facts, prices)}
    money = _costs_of_plan(arguments, chosen, known, come)
    return _say(arguments, found, money)


def _unseen(
    arguments: argparse.Namespace, chosen: Plan, facts: Facts, error: FtwizardError, say: Say
) -> int:
    """Estimate by the configuration that the catalogue has of a model which is not to be had.

    Raises ``error`` where it has none.
    """
    shape = by_config.shape(chosen.model.name)
    if shape is None:
        raise error
    arguments.plan, arguments.model = chosen.data.files.train, chosen.model.name
    arguments.epochs = chosen.recipe.epochs
    rows = counted.rows(arguments, None, say)
    # The last of what was tried is what a person can do something about.
    why = f"It is not here itself: {error.message.rpartition(', and ')[2] or error.message}"
    return _known_by_config(arguments, chosen, rows, shape, facts, why, say)


def _known_by_config(
    arguments: argparse.Namespace, chosen: Plan, rows: counted.Counted, shape: Shape,
    facts: Facts, why: str, say: Say,
) -> int:  # fmt: skip
    lengths = {"train": rows.lengths}
    prices = costs.of_arguments(arguments)
    found = by_config.document(chosen, lengths, shape, facts, why, say, prices)
    cards = {card for card, _ in costs.of_arguments(arguments).cards()}
    hours = forecast.hours(chosen, lengths, shape, cards)
    money = costs.costs(
        rows.load, arguments, request=rows.request, model=chosen.model.name, hours=hours or None,
        by_rule=RULE[0] <= shape.parameters <= RULE[1],
        too_small=forecast.too_small(chosen, lengths, shape, cards), served=2.0 * shape.parameters,
        here=forecast.this_machine(
            chosen, facts, *msgspec.convert(
                (found["follows"], found["memory"]), tuple[Follows | None, Memory | None]
            ),
        ),
    )  # fmt: skip
    return _say(arguments, found | {"tokens": money.tokens}, money)


def _say(arguments: argparse.Namespace, found: dict[str, Any], money: Costs) -> int:
    if arguments.json:
        document = found | _document(money, tokens=found["tokens"])
        output.print_json(document)
    else:
        out = output.console()
        cost_table.show(out, money, all_notes=arguments.notes)
        out.print("", output.pairs(needs.lines(found)), sep="\n")  # last: it is what stays in sight
    return 0


class _Known(NamedTuple):
    """What was counted of a plan, what its model is, and the machine."""

    source: Source
    base: Path
    """The folder of its tokenizer and configuration."""
    config: dict[str, Any] | None
    seen: Preview
    shape: Shape | None
    facts: Facts
    counted: ledgers.Counted
    """By the ledger, where the closed form does not cover the model."""


def _costs_of_plan(
    arguments: argparse.Namespace, chosen: Plan, known: _Known, come: Follows | None
) -> Costs:
    """Return the costs of the tokens that the plan trains on, as its own model counts them."""
    seen, epochs = known.seen, chosen.recipe.epochs
    train = seen.parts["train"]
    tokens = max(1, round(seen.tokens / epochs))
    load = Load(
        tokens=Estimate(value=tokens, low=tokens, high=tokens),
        epochs=epochs,
        counted="rows that the plan trains on, by its own model's tokenizer",
        rows=train.kept,
        by_model=counted.by_model(chosen, known.base, tokens),
    )
    cards = {card for card, _ in costs.of_arguments(arguments).cards()}
    hours = forecast.hours(chosen, seen.lengths, known.shape, cards)
    return costs.costs(
        load, arguments, request=_request(train), model=chosen.model.name, hours=hours or None,
        too_small=forecast.too_small(chosen, seen.lengths, known.shape, cards),
        served=2.0 * seen.parameters,
        by_rule=chosen.recipe.method != "full" and RULE[0] <= seen.parameters <= RULE[1],
        here=forecast.this_machine(chosen, known.facts, come, known.counted.memory),
    )  # fmt: skip


def _request(train: Report) -> tuple[Decimal, Decimal] | None:
    """Return the mean tokens of what is not learnt and of what is: a request and its answer."""
    asked = train.tokens - train.trained
    if not train.kept or asked <= 0 or train.trained <= 0:
        return None
    into, out = (max(1, round(one / train.kept)) for one in (asked, train.trained))
    return Decimal(into), Decimal(out)


def _of_data(arguments: argparse.Namespace) -> int:
    model = counted.check_model(arguments.model)
    if model is None and all(is_installed(name) for name in tokenizer.REQUIRED_PACKAGES):
        with progress.reporter(shown=True) as say:
            file, _ = hub.locate(arguments.plan, say)
        return _of_plan(arguments, _plan(arguments, file))
    with progress.reporter(shown=True) as say:
        found = counted.rows(arguments, model, say)
    return _print(arguments, found)


def _plan(arguments: argparse.Namespace, file: Path) -> Plan:
    """Return the plan that rows and a model come to, everything else as a plan has it."""
    data = plan.Data(files=plan.Files(train=str(file)), split=plan.Split(group_by="near-copies"))
    recipe = plan.Recipe(epochs=arguments.epochs or EPOCHS, method=_method(arguments))
    chosen = Plan(data=data, model=plan.Model(name=arguments.model), recipe=recipe)
    return plan_names.whole(chosen, Path.cwd())


def _method(arguments: argparse.Namespace) -> plan.Method:
    """Return how the model that is named is best trained on the machine that is meant."""
    shape = by_config.shape(arguments.model)
    if shape is None:
        return plan.Recipe().method
    facts = by_config.facts(arguments)
    first = msgspec.structs.replace(facts, gpus=facts.gpus[:1])  # a run takes one
    advised = recipes.method_for(shape.parameters, first, shape=shape).value
    return next(one for one in get_args(plan.Method) if one == advised)


def _print(arguments: argparse.Namespace, found: counted.Counted) -> int:
    name = arguments.model or ""
    hosted = catalog.find(name)
    is_open = bool(name) and counted.check_model(name) is None
    if is_open and (shape := by_config.shape(name)):
        # Rows whose length was typed are meant whole; those of a file are cut as a plan cuts them.
        length = max(plan.Recipe().max_length, math.ceil(arguments.mean_tokens or 0))
        recipe = plan.Recipe(
            epochs=arguments.epochs or EPOCHS, method=_method(arguments), max_length=length
        )
        data = plan.Data(files=plan.Files(train=""))
        chosen = Plan(data=data, model=plan.Model(name=name), recipe=recipe)
        with progress.reporter(shown=True) as say:
            facts = by_config.facts(arguments)
            return _known_by_config(arguments, chosen, found, shape, facts, "", say)
    size = hosted.billions if hosted else None
    by_rule = not is_open and (size is None or RULE[0] <= size * 1e9 <= RULE[1])
    money = costs.costs(found.load, arguments, request=found.request, by_rule=by_rule)
    unknown = by_config.unknown(name, rows=bool(arguments.plan)) if is_open else ""
    if arguments.json:
        document = _document(money, tokens=money.tokens) | {"memory": None, "time": None}
        document["notes"] = [*document["notes"], *([unknown] if unknown else [])]
        output.print_json(document)
    else:
        out = output.console()
        cost_table.show(out, money, arguments.model, all_notes=arguments.notes)
        if unknown:
            output.say(out, "", f"! {unknown}")
    return 0


def _document(money: Costs, *, tokens: int) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(money)
    return document | {"tokens": tokens}


def _look(chosen: Plan, source: Source, base: Path, facts: Facts, say: Say) -> _Known:
    from ftwizard.train.preview import preview

    seen, shape = preview(chosen, base, say), forecast.shape(base)
    read = model_config.config(str(base))
    config = read[0] if read else None
    counted = ledgers.of_plan(
        chosen, config, shape, seen.lengths, facts, say
    )  # fmt: skip
    return _Known(source, base, config, seen, shape, facts, counted)


def _come(chosen: Plan, known: _Known, prices: Prices) -> Follows | None:
    """Return what the plan comes to on this machine, at what an hour of it costs."""
    return forecast.of_plan(
        chosen, known.seen.lengths, known.shape, known.facts,
        speeds=tuple(speeds.of_runs(chosen)), probe=probes.remembered(chosen, known.source),
        hour=prices.machine(),
    )  # fmt: skip


def _needs(chosen: Plan, known: _Known, come: Follows | None) -> dict[str, Any]:
    """Return what the plan comes to on this machine, as a document."""
    source, seen, shape = known.source, known.seen, known.shape
    facts, counted = known.facts, known.counted
    memory = counted.memory
    needs = disk.parts(
        trained=seen.trained,
        parameters=seen.parameters,
        adapter=chosen.recipe.method != "full",
        merges=chosen.finish.merge,
        download=models.bytes_to_fetch(source),
    )
    probe = probes.remembered(chosen, source)
    found: dict[str, Any] = msgspec.to_builtins(seen)
    return found | {
        "model": msgspec.to_builtins(source),
        "recipe": msgspec.to_builtins(chosen.recipe),
        "disk": room.room(needs, settings.runs_folder(), models.hub_cache(), seen.parameters),
        "time": msgspec.to_builtins(come.time if come else None),
        "memory": msgspec.to_builtins(memory or (come.memory if come else None)),
        "uncounted": counted.why,
        "one_gpu": by_config.one_gpu(chosen, facts),
        "here": by_config.here(chosen, facts),
        "room": forecast.room(chosen, facts),
        "refused": None,  # such a model was refused when it was looked at
        "fit": msgspec.to_builtins(
            forecast.fits(chosen, seen.lengths, shape, facts, counted=memory)
        ),
        "article": msgspec.to_builtins(forecast.article(chosen, seen.lengths, shape, facts)),
        "follows": msgspec.to_builtins(come),
        "probe": msgspec.to_builtins(probe),
        "warnings": msgspec.to_builtins(
            [
                *warned.of_lengths(
                    known.config, positions.longest(seen.lengths["train"], chosen.recipe.max_length)
                ),
                *warned.of_plan(chosen, seen.parameters),
            ]
        ),
        "epochs_because": warned.because(chosen),
        "measured": msgspec.to_builtins(
            forecast.measured(probe, memory or (come.memory if come else None))
            if probe and not probe.halved
            else None
        ),
    }
