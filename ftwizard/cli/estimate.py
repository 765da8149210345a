"""``estimate``: cost on every provider before training; for a plan also memory, time and disk."""

from __future__ import annotations

import argparse
import datetime
import math
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import msgspec

from ftwizard import locations
from ftwizard.advice import plan_warnings, recipe_advice, run_history
from ftwizard.catalog import hosted_models
from ftwizard.catalog.prices import Prices
from ftwizard.cli import (
    cost_inputs,
    cost_table,
    disk_check,
    estimate_by_config,
    estimate_text,
    output,
    plan_argument,
    progress,
    tokenizer,
)
from ftwizard.cli.cost_inputs import Costs
from ftwizard.cli.parser import EPOCHS
from ftwizard.cli.progress import Say
from ftwizard.data.hub import datasets
from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate import batching, disk, plan_estimate, probe_cache
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.recipe_estimate import RecipeEstimate
from ftwizard.hardware.machine import is_installed
from ftwizard.models import hub, model_config
from ftwizard.plan import plan_file, schema
from ftwizard.plan.schema import Plan
from ftwizard.pricing.offer import TrainingLoad
from ftwizard.text import make_visible
from ftwizard.train import command, ledger_cache

if TYPE_CHECKING:
    from ftwizard.hardware.machine import MachineInfo
    from ftwizard.models.hub import ModelSource
    from ftwizard.models.shapes import ModelShape
    from ftwizard.train.encoder import EncodingReport
    from ftwizard.train.preview import Preview

DEFERRED_RISKS: tuple[schema.RiskName, ...] = ("many-epochs", "no-validation")
"""Risks that an estimate only warns about; training refuses them unless allowed."""
RULE_PARAMETERS = (6e9, 10e9)
"""Range of parameters to which the article's hours, given for 8B, apply."""


def estimate(arguments: argparse.Namespace) -> int:
    """Count tokens and print what training costs on every provider; for a plan, also what it needs."""
    _check_gpu(arguments)
    if arguments.examples is not None or arguments.mean_tokens is not None:
        return _print_costs(arguments, cost_inputs.from_options(arguments))
    if not arguments.plan:
        raise FtwizardError(
            "There is nothing to estimate.",
            "Name a plan, or data and a model (DATA --model M), or --examples N --mean-tokens T.",
            USAGE,
        )
    if arguments.model:
        return _estimate_data(arguments)
    hint = "Add a model: ftwizard estimate {name} --model gpt-4.1-mini"
    chosen = plan_argument.load(
        arguments.plan, arguments.allow, data_hint=hint, deferred=DEFERRED_RISKS
    )
    if arguments.epochs is not None:
        raise FtwizardError(
            "--epochs cannot be combined with a plan.",
            f"The plan sets recipe.epochs: {chosen.recipe.epochs:g}. Change it there.",
            USAGE,
        )
    return _estimate_plan(arguments, chosen)


def _check_gpu(arguments: argparse.Namespace) -> None:
    """Raise FtwizardError for ``--gpu`` with an unknown GPU, or without a model to train on it."""
    if not arguments.gpu:
        return
    estimate_by_config.machine_facts(arguments)
    model = arguments.model
    typed = arguments.examples is not None
    if (typed and not model) or (model and "/" not in model and hosted_models.find_model(model)):
        raise FtwizardError(
            "--gpu needs a model that is trained on a GPU.",
            "Name an open model: --model meta-llama/Llama-3.1-8B-Instruct.",
            USAGE,
        )


def _refuse_hosted(chosen: Plan) -> None:
    """Raise FtwizardError for a model that only a platform offers."""
    name = chosen.model.name
    hosted_models.check_refused(name, datetime.date.today())
    hosted = None if "/" in name else hosted_models.find_model(name)
    if hosted and not hub.is_folder(name):
        raise FtwizardError(
            f"{make_visible(name, 60)} is fine-tuned at {hosted_models.PLATFORM_NAMES[hosted.platform]}; a plan "
            "trains a model on this machine.",
            "To see its cost there: ftwizard estimate "
            f"{make_visible(chosen.data.files.train, 200)} --model {make_visible(name, 60)}",
        )


def _estimate_plan(arguments: argparse.Namespace, chosen: Plan) -> int:
    _refuse_hosted(chosen)
    command.check_installed(chosen)
    prices = cost_inputs.from_arguments(arguments)  # fail early on an invalid price
    facts = estimate_by_config.machine_facts(arguments)
    with progress.reporter() as say:
        say("looking", what="for the model")
        try:
            source = hub.locate(chosen.model.name, chosen.model.revision)
            base = tokenizer.fetched(source, say)
        except FtwizardError as error:
            return _estimate_unavailable(arguments, chosen, facts, error, say)
        inspected = _inspect(chosen, source, base, facts, say)
    forecasted = _forecast(chosen, inspected, prices)
    document = _plan_document(chosen, inspected, forecasted) | {
        "hour": estimate_by_config.price_document(chosen, facts, prices)
    }
    money = _plan_costs(arguments, chosen, inspected, forecasted)
    return _print_estimate(arguments, document, money)


def _estimate_unavailable(
    arguments: argparse.Namespace, chosen: Plan, facts: MachineInfo, error: FtwizardError, say: Say
) -> int:
    """Estimate from the catalog's configuration of a model that could not be downloaded.

    Raises ``error`` where the catalog has none.
    """
    shape = estimate_by_config.model_shape(chosen.model.name)
    if shape is None:
        raise error
    arguments.plan, arguments.model = chosen.data.files.train, chosen.model.name
    arguments.epochs = chosen.recipe.epochs
    rows = cost_inputs.count_rows(arguments, None, say)
    return _estimate_from_config(arguments, chosen, rows, shape, facts, error.message, say)


def _estimate_from_config(
    arguments: argparse.Namespace, chosen: Plan, rows: cost_inputs.CountedRows, shape: ModelShape,
    facts: MachineInfo, why: str, say: Say,
) -> int:  # fmt: skip
    lengths = {"train": rows.lengths}
    prices = cost_inputs.from_arguments(arguments)
    document = estimate_by_config.to_document(chosen, lengths, shape, facts, why, say, prices)
    cards = {card for card, _ in cost_inputs.from_arguments(arguments).cards()}
    hours = plan_estimate.estimate_gpu_hours(chosen, lengths, shape, cards)
    money = cost_inputs.compute_costs(
        rows.load, arguments, request=rows.request, model=chosen.model.name, hours=hours or None,
        by_rule=RULE_PARAMETERS[0] <= shape.parameters <= RULE_PARAMETERS[1],
        too_small=plan_estimate.too_small_gpus(chosen, lengths, shape, cards), served=2.0 * shape.parameters,
        here=plan_estimate.local_offer(
            chosen, facts, *msgspec.convert(
                (document["follows"], document["memory"]), tuple[RecipeEstimate | None, MemoryEstimate | None]
            ),
        ),
    )  # fmt: skip
    return _print_estimate(arguments, document | {"tokens": money.tokens}, money)


def _print_estimate(
    arguments: argparse.Namespace, needs_document: dict[str, Any], money: Costs
) -> int:
    if arguments.json:
        document = needs_document | _cost_document(money, tokens=needs_document["tokens"])
        output.print_json(document)
    else:
        out = output.make_console()
        cost_table.show(out, money, all_notes=arguments.notes)
        out.print(
            "", output.build_pair_table(estimate_text.to_lines(needs_document)), sep="\n"
        )  # last, so that it stays in view
    return 0


class _Inspected(NamedTuple):
    """The tokenized data of a plan, its model and the machine."""

    source: ModelSource
    base: Path
    """Folder of the tokenizer and configuration."""
    config: dict[str, Any] | None
    preview: Preview
    shape: ModelShape | None
    facts: MachineInfo
    counted: ledger_cache.MemoryCount
    """Memory from the ledger, where the closed form does not cover the model."""


def _plan_costs(
    arguments: argparse.Namespace,
    chosen: Plan,
    inspected: _Inspected,
    estimate: RecipeEstimate | None,
) -> Costs:
    """Return the costs of the plan's tokens, counted with its own tokenizer."""
    preview, epochs = inspected.preview, chosen.recipe.epochs
    train = preview.parts["train"]
    tokens = max(1, round(preview.tokens / epochs))
    load = TrainingLoad(
        tokens=TokenEstimate(value=tokens, low=tokens, high=tokens),
        epochs=epochs,
        counted="training rows, counted with the model's own tokenizer",
        rows=train.used,
        by_model=cost_inputs.count_by_model(chosen, inspected.base, tokens),
    )
    cards = {card for card, _ in cost_inputs.from_arguments(arguments).cards()}
    hours = plan_estimate.estimate_gpu_hours(chosen, preview.lengths, inspected.shape, cards)
    return cost_inputs.compute_costs(
        load, arguments, request=_mean_request(train), model=chosen.model.name, hours=hours or None,
        too_small=plan_estimate.too_small_gpus(chosen, preview.lengths, inspected.shape, cards),
        served=2.0 * preview.parameters,
        by_rule=chosen.recipe.method != "full" and RULE_PARAMETERS[0] <= preview.parameters <= RULE_PARAMETERS[1],
        here=plan_estimate.local_offer(chosen, inspected.facts, estimate, inspected.counted.memory),
    )  # fmt: skip


def _mean_request(train: EncodingReport) -> tuple[Decimal, Decimal] | None:
    """Return the mean tokens of a request (not trained on) and of its answer (trained on)."""
    untrained = train.tokens - train.trainable_tokens
    if not train.used or untrained <= 0 or train.trainable_tokens <= 0:
        return None
    into, out = (max(1, round(total / train.used)) for total in (untrained, train.trainable_tokens))
    return Decimal(into), Decimal(out)


def _estimate_data(arguments: argparse.Namespace) -> int:
    model = cost_inputs.check_model(arguments.model)
    if model is None and all(is_installed(name) for name in tokenizer.REQUIRED_PACKAGES):
        with progress.reporter(shown=True) as say:
            file, _ = datasets.locate(arguments.plan, say)
        return _estimate_plan(arguments, _make_plan(arguments, file))
    with progress.reporter(shown=True) as say:
        rows = cost_inputs.count_rows(arguments, model, say)
    return _print_costs(arguments, rows)


def _make_plan(arguments: argparse.Namespace, file: Path) -> Plan:
    """Return the plan for a data file and a model, with defaults for the rest."""
    data = schema.Data(files=schema.Files(train=str(file)))
    recipe = schema.Recipe(epochs=arguments.epochs or EPOCHS, method=_best_method(arguments))
    chosen = Plan(data=data, model=schema.Model(name=arguments.model), recipe=recipe)
    return plan_file.make_absolute(chosen, Path.cwd())


def _best_method(arguments: argparse.Namespace) -> schema.Method:
    """Return the best training method for the model on the chosen machine."""
    shape = estimate_by_config.model_shape(arguments.model)
    if shape is None:
        return schema.Recipe().method
    facts = estimate_by_config.machine_facts(arguments)
    first = msgspec.structs.replace(facts, gpus=facts.gpus[:1])  # a run uses one
    advised = recipe_advice.advise_method(shape.parameters, first, shape=shape).value
    return next(method for method in get_args(schema.Method) if method == advised)


def _print_costs(arguments: argparse.Namespace, rows: cost_inputs.CountedRows) -> int:
    name = arguments.model or ""
    hosted = hosted_models.find_model(name)
    is_open = bool(name) and cost_inputs.check_model(name) is None
    if is_open and (shape := estimate_by_config.model_shape(name)):
        # Typed lengths are never cut; rows of a file are cut as in a plan.
        length = max(schema.Recipe().max_length, math.ceil(arguments.mean_tokens or 0))
        recipe = schema.Recipe(
            epochs=arguments.epochs or EPOCHS, method=_best_method(arguments), max_length=length
        )
        data = schema.Data(files=schema.Files(train=""))
        chosen = Plan(data=data, model=schema.Model(name=name), recipe=recipe)
        with progress.reporter(shown=True) as say:
            facts = estimate_by_config.machine_facts(arguments)
            return _estimate_from_config(arguments, chosen, rows, shape, facts, "", say)
    size = hosted.billions if hosted else None
    by_rule = not is_open and (
        size is None or RULE_PARAMETERS[0] <= size * 1e9 <= RULE_PARAMETERS[1]
    )
    money = cost_inputs.compute_costs(rows.load, arguments, request=rows.request, by_rule=by_rule)
    unknown = (
        estimate_by_config.describe_unknown(name, rows=bool(arguments.plan)) if is_open else ""
    )
    if arguments.json:
        document = _cost_document(money, tokens=money.tokens) | {"memory": None, "time": None}
        document["notes"] = [*document["notes"], *([unknown] if unknown else [])]
        output.print_json(document)
    else:
        out = output.make_console()
        cost_table.show(out, money, arguments.model, all_notes=arguments.notes)
        if unknown:
            output.print_lines(out, "", f"! {unknown}")
    return 0


def _cost_document(money: Costs, *, tokens: int) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(money)
    return document | {"tokens": tokens}


def _inspect(
    chosen: Plan, source: ModelSource, base: Path, facts: MachineInfo, say: Say
) -> _Inspected:
    from ftwizard.train.preview import preview_plan

    previewed, shape = preview_plan(chosen, base, say), plan_estimate.read_shape(base)
    read = model_config.read_config(str(base))
    config = read[0] if read else None
    counted = ledger_cache.count_plan(
        chosen, config, shape, previewed.lengths, facts, say
    )  # fmt: skip
    return _Inspected(source, base, config, previewed, shape, facts, counted)


def _forecast(chosen: Plan, inspected: _Inspected, prices: Prices) -> RecipeEstimate | None:
    """Estimate the plan on this machine, at its hourly price."""
    return plan_estimate.estimate_plan(
        chosen, inspected.preview.lengths, inspected.shape, inspected.facts,
        speeds=tuple(run_history.find_speeds(chosen)), probe=probe_cache.read_cached_probe(chosen, inspected.source),
        hour=prices.machine(),
    )  # fmt: skip


def _plan_document(
    chosen: Plan, inspected: _Inspected, estimate: RecipeEstimate | None
) -> dict[str, Any]:
    """Return the estimate of the plan on this machine, as a document."""
    source, preview, shape = inspected.source, inspected.preview, inspected.shape
    facts, counted = inspected.facts, inspected.counted
    memory = counted.memory
    needs = disk.estimate_parts(
        trained=preview.trained,
        parameters=preview.parameters,
        adapter=chosen.recipe.method != "full",
        merges=chosen.finish.merge,
        download=hub.bytes_to_fetch(source),
    )
    probe = probe_cache.read_cached_probe(chosen, source)
    document: dict[str, Any] = msgspec.to_builtins(preview)
    return document | {
        "model": msgspec.to_builtins(source),
        "recipe": msgspec.to_builtins(chosen.recipe),
        "disk": disk_check.to_document(
            needs, locations.runs_folder(), locations.hub_cache_folder(), preview.parameters
        ),
        "time": msgspec.to_builtins(estimate.time if estimate else None),
        "memory": msgspec.to_builtins(memory or (estimate.memory if estimate else None)),
        "uncounted": counted.why,
        "one_gpu": estimate_by_config.describe_gpu_choice(chosen, facts),
        "here": estimate_by_config.device_document(chosen, facts),
        "room": plan_estimate.available_bytes(chosen, facts),
        "refused": None,  # such a model was refused above
        "fit": msgspec.to_builtins(
            plan_estimate.check_plan_fit(chosen, preview.lengths, shape, facts, counted=memory)
        ),
        "article": msgspec.to_builtins(
            plan_estimate.compare_with_article(chosen, preview.lengths, shape, facts)
        ),
        "follows": msgspec.to_builtins(estimate),
        "probe": msgspec.to_builtins(probe),
        "warnings": msgspec.to_builtins(
            [
                *plan_warnings.check_lengths(
                    inspected.config,
                    batching.longest_row_tokens(preview.lengths["train"], chosen.recipe.max_length),
                ),
                *plan_warnings.find_warnings(chosen, preview.parameters),
            ]
        ),
        "epochs_because": plan_warnings.explain_epochs(chosen),
        "measured": msgspec.to_builtins(
            plan_estimate.measured_peak(probe, memory or (estimate.memory if estimate else None))
            if probe and not probe.halved
            else None
        ),
    }
