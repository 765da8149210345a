"""``estimate``: memory, time, disk and cost of a plan before training, and the cost on every provider."""

from __future__ import annotations

import argparse
import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from ftwizard.advice import recipe_advice
from ftwizard.advice.time_cap import TimeCap
from ftwizard.catalog import gpu_specs, hosted_models, model_configs
from ftwizard.catalog.prices import ARTICLE, Prices
from ftwizard.cli import (
    cost_inputs,
    cost_table,
    longest_rows,
    output,
    plan_argument,
    progress,
    read_arguments,
    time_cap,
    tokenizer,
)
from ftwizard.cli.commands import EPOCHS
from ftwizard.cli.progress import Say
from ftwizard.data.hub import datasets
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate import batching, plan_machine, report_text, row_counts
from ftwizard.estimate.batching import Lengths
from ftwizard.estimate.report import EstimateReport
from ftwizard.estimate.row_counts import CountedRows
from ftwizard.hardware import machine
from ftwizard.hardware.machine import Gpu, MachineInfo, is_installed
from ftwizard.models import hub, model_config, support
from ftwizard.models.weight_files import DAMAGED
from ftwizard.plan import plan_file, schema
from ftwizard.plan.schema import Plan
from ftwizard.pricing import machine_rate
from ftwizard.pricing.cost_report import CostReport
from ftwizard.pricing.offer import TrainingLoad
from ftwizard.text import make_visible
from ftwizard.train import command, estimate_report
from ftwizard.train.estimate_report import PlanFacts

if TYPE_CHECKING:
    from ftwizard.models.shapes import ModelShape

DEFERRED_RISKS: tuple[schema.RiskName, ...] = ("many-epochs", "no-validation")
"""Risks that an estimate only warns about; training refuses them unless allowed."""
MAX_GPUS = 64
REFERENCE = "meta-llama/Llama-3.1-8B-Instruct"
"""The model that GPUs are priced for if none is named: the article's."""
REFERENCE_NOTE = "GPU hours are for Llama 3.1 8B. Name another open model with --model owner/name."
_NUMBER = r"[-+]?\d[\d.,_]*"
_COUNT_FIRST = re.compile(rf"\s*(?P<count>{_NUMBER})\s*[xX×]\s*(?P<name>\S.*)")
_NAME_FIRST = re.compile(rf"\s*(?P<name>\S.*?)(?:\s+|(?<=\d))[xX×]\s*(?P<count>{_NUMBER})\s*")


def estimate(arguments: argparse.Namespace) -> int:
    """Count tokens and print what training costs on every provider; for a plan, also what it needs."""
    _check_gpu(arguments)
    _check_minutes(arguments)
    if arguments.longest:
        return _print_longest(arguments)
    if arguments.examples is not None or arguments.mean_tokens is not None:
        return _print_costs(arguments, cost_inputs.from_options(arguments))
    if not arguments.plan:
        raise FtwizardError(
            "Nothing to estimate.",
            "Name a plan, or data and a model (DATA --model M), or --examples N --mean-tokens T.",
            USAGE,
        )
    if arguments.model:
        return _estimate_data(arguments)
    hint = "Add a model: ftwizard estimate {name} --model gpt-4.1-mini"
    chosen = plan_argument.load(
        arguments.plan, arguments.allow, data_hint=hint, deferred=DEFERRED_RISKS
    )
    _refuse_plan_settings(arguments, chosen)
    return _estimate_plan(arguments, chosen)


def _print_longest(arguments: argparse.Namespace) -> int:
    """Print the longest rows that fit, for a plan, or for a model with default settings."""
    if arguments.model:
        if cost_inputs.check_model(arguments.model) is not None:
            raise FtwizardError(
                "--longest needs a model that is trained on a GPU or on this machine.",
                "Name an open model: --model owner/name.",
                USAGE,
            )
        chosen = _make_plan(arguments, "", arguments.model)
    elif arguments.plan:
        chosen = plan_argument.load(arguments.plan, arguments.allow, deferred=DEFERRED_RISKS)
        plan_argument.require_local(chosen, "no row has to fit on a GPU here", arguments.plan)
        _refuse_hosted(chosen)
    else:
        raise FtwizardError(
            "--longest needs a plan or a model.",
            "Name one: ftwizard estimate --model owner/name --longest",
            USAGE,
        )
    return longest_rows.show(arguments, chosen, _read_machine(arguments, chosen))


def _refuse_plan_settings(arguments: argparse.Namespace, chosen: Plan) -> None:
    """Raise FtwizardError for options that a plan sets itself."""
    if arguments.epochs is not None:
        raise FtwizardError(
            "--epochs cannot be combined with a plan.",
            f"The plan sets recipe.epochs: {chosen.recipe.epochs:g}. Change it there.",
            USAGE,
        )
    if arguments.columns or arguments.encoding:
        raise FtwizardError(
            "--columns and --encoding cannot be combined with a plan.",
            "Set data.columns and data.encoding in the plan.",
            USAGE,
        )


def _check_gpu(arguments: argparse.Namespace) -> None:
    """Raise FtwizardError for ``--gpu`` with an unknown GPU, or without a model to train on it."""
    if not arguments.gpu:
        return
    _read_machine(arguments)
    model = arguments.model
    typed = arguments.examples is not None
    if (typed and not model) or (model and "/" not in model and hosted_models.find_model(model)):
        raise FtwizardError(
            "--gpu needs a model that is trained on a GPU.",
            "Name an open model: --model meta-llama/Llama-3.1-8B-Instruct.",
            USAGE,
        )


def _check_minutes(arguments: argparse.Namespace) -> None:
    """Raise FtwizardError for ``--minutes`` without rows to train on here."""
    typed = arguments.examples is not None or arguments.mean_tokens is not None
    hosted = arguments.model and cost_inputs.check_model(arguments.model) is not None
    if arguments.minutes is not None and (typed or hosted):
        raise FtwizardError(
            "--minutes needs a training on this machine.",
            "Name a plan, or data with an open model: DATA --model owner/name.",
            USAGE,
        )


def _refuse_hosted(chosen: Plan) -> None:
    """Raise FtwizardError for a model that only a platform offers."""
    name = chosen.model.name
    hosted_models.check_refused(name, datetime.date.today())
    hosted = None if "/" in name else hosted_models.find_model(name)
    if hosted and not hub.is_folder(name):
        raise FtwizardError(
            f"{make_visible(name, 60)} is fine-tuned at {hosted_models.PLATFORM_NAMES[hosted.platform]}, but "
            "this plan trains on this machine.",
            "To train there, set provider in the plan. To see its cost there: ftwizard estimate "
            f"{make_visible(chosen.data.files.train, 200)} --model {make_visible(name, 60)}",
        )


def _estimate_plan(arguments: argparse.Namespace, chosen: Plan) -> int:
    plan_argument.require_local(
        chosen, "memory and time on this machine do not matter", arguments.plan
    )
    _refuse_hosted(chosen)
    command.check_installed(chosen)
    prices = cost_inputs.load_prices(arguments)  # fail early on an invalid price
    machine_info = _read_machine(arguments, chosen)
    cap: TimeCap | None = None
    assumed = ""
    with progress.reporter() as say:
        say("looking for the model")
        try:
            source = hub.locate(chosen.model.name, chosen.model.revision)
            base = tokenizer.download(source, say)
        except FtwizardError as error:
            if arguments.minutes is not None or error.code == DAMAGED:
                raise
            report, assumed = _estimate_unavailable(arguments, chosen, machine_info, error, say)
        else:

            def inspect(plan: Plan) -> PlanFacts:
                return estimate_report.inspect_plan(plan, source, base, machine_info, prices, say)

            facts = inspect(chosen)
            if arguments.minutes is not None:
                facts, cap = time_cap.fit_facts(facts, arguments.minutes, inspect)
            costs = _compute_plan_costs(arguments, facts, base, prices)
            report = estimate_report.build_report(facts, prices, costs)
    return _print_estimate(arguments, report, cap, assumed)


def _compute_plan_costs(
    arguments: argparse.Namespace, facts: PlanFacts, base: Path, prices: Prices
) -> CostReport:
    plan = facts.plan
    assert facts.preview
    train, epochs = facts.preview.parts["train"], facts.preview.epochs
    tokens = round(facts.preview.tokens / epochs)
    load = TrainingLoad(
        tokens=row_counts.exact_tokens(max(1, tokens)),
        epochs=epochs,
        counted="training rows, counted with the model's own tokenizer",
        rows=train.used,
        by_model=row_counts.count_by_model(plan, base, max(1, tokens)),
    )
    request = row_counts.find_mean_request(train.used, train.tokens, train.trainable_tokens)
    costs = cost_inputs.compute_costs(load, arguments, request=request, **facts.pricing(prices))
    costs = _add_notes(costs, _describe_objective(plan))
    return msgspec.structs.replace(costs, tokens=facts.preview.tokens)


def _describe_objective(plan: Plan) -> str:
    """Describe what the offers elsewhere leave out; empty for supervised fine-tuning."""
    objective = plan.recipe.objective
    if objective == "sft":
        return ""
    return (
        "The offers elsewhere are those of supervised fine-tuning on these rows. What "
        f"{objective.upper()} costs there is not known."
    )


def _estimate_unavailable(
    arguments: argparse.Namespace, chosen: Plan, machine_info: MachineInfo, error: FtwizardError, say: Say
) -> tuple[EstimateReport, str]:  # fmt: skip
    """Estimate from the catalog's configuration of a model that could not be downloaded; return also
    what was assumed about the rows.

    Raises ``error`` where the catalog has none.
    """
    shape = model_config.read_shape(chosen.model.name)
    if shape is None:
        raise error
    file = Path(chosen.data.files.train)
    rows = row_counts.count_rows(
        file, chosen.model.name, chosen.recipe.epochs, None, say, chosen.data.read_options
    )
    lengths = rows.lengths.split(round(rows.lengths.rows), chosen) if rows.lengths else {}
    rows = row_counts.take_training_rows(rows, chosen)
    report = _estimate_from_config(
        arguments, chosen, rows, lengths, shape, machine_info, error.message, say
    )
    return report, rows.assumed


def _estimate_from_config(
    arguments: argparse.Namespace, chosen: Plan, rows: CountedRows, lengths: Lengths,
    shape: ModelShape, machine_info: MachineInfo, why: str, say: Say,
) -> EstimateReport:  # fmt: skip
    prices = cost_inputs.load_prices(arguments)
    facts = estimate_report.inspect_config(chosen, lengths, shape, machine_info, prices, say)
    costs = cost_inputs.compute_costs(
        rows.load, arguments, request=rows.request, **facts.pricing(prices)
    )
    costs = _add_notes(costs, rows.assumed, _describe_objective(chosen))
    return estimate_report.build_report(facts, prices, costs, why=why)


def _print_estimate(
    arguments: argparse.Namespace,
    report: EstimateReport,
    cap: TimeCap | None = None,
    assumed: str = "",
) -> int:
    if arguments.json:
        more = {"cap": time_cap.to_document(cap)} if cap else {}
        output.print_json(msgspec.to_builtins(report) | more)
        return 0
    out = output.make_console()
    file = machine_rate.shown_file()
    hints = report_text.Hints(
        price=f"set the hourly price with {machine_rate.OPTION}, or in {file}: "
        'kind = "machine", usd = USD',
        probe="to measure it: ftwizard probe PLAN",
    )
    lines = report_text.format_report(report, hints)
    out.print(output.build_pair_table((line.name, line.text) for line in lines))
    if cap:
        out.print("", output.build_pair_table(time_cap.list_lines(cap)), sep="\n")
    if _asks_for_offers(arguments):
        out.print()
        cost_table.show(out, report, all_notes=arguments.notes)
        return 0
    output.print_lines(out, *([f"· {assumed}"] if assumed else []), "")
    if report.recipe is None or report.recipe.objective == "sft":
        cost_table.show_usual(out, report)
    else:
        objective = report.recipe.objective.upper()
        output.print_lines(
            out,
            f"Elsewhere: what {objective} costs there is not known.",
            "Offers of supervised fine-tuning, and notes: --notes",
        )
    return 0


def _asks_for_offers(arguments: argparse.Namespace) -> bool:
    """Return whether an option is about the offers elsewhere, or about serving there."""
    serves = arguments.tokens_in or arguments.tokens_out or arguments.requests_per_month
    is_ordered = arguments.sort != "provider" or arguments.edition != "current"
    return bool(arguments.notes or serves or is_ordered)


def _estimate_data(arguments: argparse.Namespace) -> int:
    model = cost_inputs.check_model(arguments.model)
    with progress.reporter() as say:
        file, _ = datasets.locate(arguments.plan, say)
    if model is None and all(is_installed(name) for name in tokenizer.REQUIRED_PACKAGES):
        chosen = plan_file.make_absolute(
            _make_plan(arguments, str(file), arguments.model), Path.cwd()
        )
        return _estimate_plan(arguments, chosen)
    with progress.reporter() as say:
        epochs = arguments.epochs or EPOCHS
        rows = row_counts.count_rows(
            file, arguments.model, epochs, model, say, read_arguments.get_options(arguments)
        )
    return _print_costs(arguments, rows)


def _make_plan(arguments: argparse.Namespace, train: str, name: str) -> Plan:
    """Return the plan for a data file and the model ``name``, with defaults for the rest.

    Of typed lengths, only the longest rows are cut; rows of a file are cut as in a plan.
    """
    length = schema.Recipe().max_length
    if arguments.mean_tokens is not None:
        config = model_config.read_config(name)
        limit = support.read_context_length(config[0]) if config else None
        context = limit.max_tokens if limit else None
        length = batching.fitting_max_length(float(arguments.mean_tokens), length, context)
    recipe = schema.Recipe(
        epochs=arguments.epochs or EPOCHS,
        method=_best_method(arguments, name),
        max_length=length,
    )
    read = read_arguments.get_options(arguments)
    files = schema.Files(train=train)
    data = schema.Data(files=files, columns=read.columns, encoding=read.encoding)
    return Plan(data=data, model=schema.Model(name=name), recipe=recipe)


def _best_method(arguments: argparse.Namespace, name: str) -> schema.Method:
    """Return the best training method for a model on the chosen machine."""
    shape = model_config.read_shape(name)
    if shape is None:
        return schema.Recipe().method
    machine_info = _read_machine(arguments)
    first = msgspec.structs.replace(machine_info, gpus=machine_info.gpus[:1])  # a run uses one
    advised = recipe_advice.advise_method(shape.parameters, first, shape=shape).value
    return next(method for method in get_args(schema.Method) if method == advised)


def _print_costs(arguments: argparse.Namespace, rows: CountedRows) -> int:
    name = arguments.model or ""
    hosted = hosted_models.find_model(name)
    is_open = bool(name) and cost_inputs.check_model(name) is None
    if is_open and (shape := model_config.read_shape(name)):
        chosen = _make_plan(arguments, "", name)
        with progress.reporter() as say:
            machine_info = _read_machine(arguments)
            report = _estimate_from_config(
                arguments, chosen, rows, {"train": rows.lengths}, shape, machine_info, "", say
            )
        return _print_estimate(arguments, report, assumed=rows.assumed)
    low, high = estimate_report.RULE_PARAMETERS
    size = hosted.billions if hosted else None
    by_rule = not is_open and (size is None or low <= size * 1e9 <= high)
    fields = _price_reference(arguments, rows) if by_rule else {"by_rule": False}
    costs = cost_inputs.compute_costs(rows.load, arguments, request=rows.request, **fields)
    reference = REFERENCE_NOTE if by_rule and costs.edition != ARTICLE else ""
    costs = _add_notes(costs, rows.assumed, reference)
    unknown = _describe_unknown(name, rows=bool(arguments.plan)) if is_open else ""
    if arguments.json:
        notes = [*costs.notes, *([unknown] if unknown else [])]
        document = msgspec.to_builtins(costs) | {"memory": None, "time": None, "notes": notes}
        output.print_json(document)
    else:
        out = output.make_console()
        cost_table.show(out, costs, arguments.model, all_notes=arguments.notes)
        if unknown:
            output.print_lines(out, "", f"! {unknown}")
    return 0


def _price_reference(arguments: argparse.Namespace, rows: CountedRows) -> dict[str, Any]:
    """Return the fields of a ``PricingQuery`` for ``REFERENCE``: what GPUs are priced for if no open
    model is named. They are those of ``--model REFERENCE``, so that the same job costs the same."""
    shape = model_config.read_shape(REFERENCE)
    if shape is None or rows.lengths is None:
        return {"by_rule": True}
    prices, machine_info = cost_inputs.load_prices(arguments), _read_machine(arguments)
    chosen, lengths = _make_plan(arguments, "", REFERENCE), {"train": rows.lengths}
    with progress.reporter() as say:
        facts = estimate_report.inspect_config(chosen, lengths, shape, machine_info, prices, say)
    return facts.pricing(prices)


def _add_notes(costs: CostReport, *notes: str) -> CostReport:
    """Return the costs with more notes, which come first; empty ones are left out."""
    return msgspec.structs.replace(costs, notes=[*filter(None, notes), *costs.notes])


def _read_machine(arguments: argparse.Namespace, plan: Plan | None = None) -> MachineInfo:
    """Return the facts of the machine that ``plan`` trains on, None: this one, with its GPUs replaced
    by those in ``--gpu``.

    Raises FtwizardError (``USAGE``) for an unknown GPU, and for a count that is not a whole number
    from 1 to ``MAX_GPUS``.
    """
    local_facts = machine.read_machine_info()
    if plan is not None:
        local_facts = plan_machine.resolve_machine(plan, local_facts)
    if not arguments.gpu:
        return local_facts
    count, name = _parse_count(arguments.gpu)
    if memory := gpu_specs.parse_memory_size(name):
        gpu = Gpu(name=f"a GPU with {name.strip()}", memory=memory)
        return msgspec.structs.replace(local_facts, gpus=(gpu,) * count, no_gpu=None)
    card = gpu_specs.find_typed_gpu(name)
    if card is None:
        _check_supported(name)
        near = gpu_specs.nearest_gpu(name)
        guess = f"Did you mean {near}? " if near else ""
        raise FtwizardError(
            f"Unknown GPU {make_visible(name, 60)}.",
            f"{guess}{gpu_specs.describe_known()} For any other, give its memory: --gpu '8 GB'.",
            USAGE,
        )
    gpu = Gpu(name=card.name, memory=card.usable)
    return msgspec.structs.replace(local_facts, gpus=(gpu,) * count, no_gpu=None)


def _check_supported(name: str) -> None:
    """Raise FtwizardError (``USAGE``) for a GPU of a vendor that ftwizard does not train on."""
    if vendor := gpu_specs.find_unsupported(name):
        raise FtwizardError(
            f"{make_visible(name, 60)} is not supported: ftwizard trains on NVIDIA GPUs and on CPUs, "
            f"not on {vendor} GPUs.",
            "Choose an NVIDIA GPU, such as --gpu 'RTX 4090'.",
            USAGE,
        )


def _parse_count(text: str) -> tuple[int, str]:
    """Parse ``2 x A100``, ``A100 x 2`` or ``A100`` into a count and a name."""
    match = _COUNT_FIRST.fullmatch(text) or _NAME_FIRST.fullmatch(text)
    if match is None:
        return 1, text
    count = match["count"]
    if not (re.fullmatch(r"\d{1,4}", count) and 1 <= int(count) <= MAX_GPUS):
        raise FtwizardError(
            f"{make_visible(count, 20)} is not a valid number of GPUs.",
            f"Use 1 to {MAX_GPUS}: --gpu '2 x A100 80 GB'.",
            USAGE,
        )
    return int(count), match["name"]


def _describe_unknown(name: str, *, rows: bool) -> str:
    """Return the note on a model with unknown configuration; ``rows``: a data file was named."""
    shown = make_visible(name, 100)
    fetched = f"To download it: ftwizard estimate DATA --model {shown}"
    if rows:
        fetched = "To download it, first run: pip install 'ftwizard[local]'"
    near = ", ".join(model_configs.nearest_ids(name))
    nearest = f"Closest known: {near}. " if near else ""
    return (
        f"Memory, time and GPU hours are unknown: no configuration of {shown} is here or in the "
        f"catalog. {nearest}{fetched}"
    )
