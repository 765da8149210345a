"""Plans from a data file and a model, with the settings that the wizard advises."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import msgspec

from ftwizard.advice import plan_advice
from ftwizard.advice.recipe_rules import AdvisedValue, setting
from ftwizard.advice.time_cap import TimeCap, describe_outcome
from ftwizard.catalog import hosted_models, model_configs
from ftwizard.cli import output, progress, read_arguments, time_cap, tokenizer
from ftwizard.cli.progress import Say
from ftwizard.data import reader
from ftwizard.data.checks import run
from ftwizard.data.checks.run import CheckOptions
from ftwizard.data.documents import DataReport
from ftwizard.data.format_names import FormatChoice
from ftwizard.data.hub import datasets
from ftwizard.data.io.read_options import ReadOptions
from ftwizard.errors import FtwizardError
from ftwizard.hardware import machine
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models import hub, model_config, support
from ftwizard.models.architectures import build_shape
from ftwizard.models.shapes import ModelShape
from ftwizard.objectives import ObjectiveName
from ftwizard.plan import plan_file, schema
from ftwizard.plan.schema import Method, Plan
from ftwizard.pricing import user_prices
from ftwizard.text import format_count, format_learning_rate, make_visible
from ftwizard.train import command, estimate_report
from ftwizard.train.estimate_report import PlanFacts

if TYPE_CHECKING:
    from rich.console import Console


class AdvisedPlan(NamedTuple):
    """A plan, and the advice that it follows."""

    plan: Plan
    advice: tuple[AdvisedValue, ...]
    report: DataReport
    """Of the check of the data."""
    cap: TimeCap | None
    """How the plan was reduced to ``--minutes``."""


def build(arguments: argparse.Namespace) -> AdvisedPlan:
    """Check the data, read the model's configuration, and advise every setting that was not typed.

    A data set on the Hub is downloaded first. Raises FtwizardError for unusable data, an unknown
    model and invalid settings.
    """
    with progress.reporter() as say:
        plan = _make_plan(arguments, say)
        command.check_installed(plan)
        facts = _read_model(plan, say)
        report = _check_data(plan, say)
    kept = {name for name in ("method", "epochs") if getattr(arguments, name) is not None}
    here, rows = machine.read_machine_info(), plan_advice.count_training_rows(plan, report)

    def advise(method: Method) -> dict[str, AdvisedValue]:
        return plan_advice.advise(plan, method, here, report, rows=rows, **facts)

    advice = plan_advice.choose(plan.recipe, kept, advise)
    values = {name: advised.value for name, advised in advice.items()}
    recipe = msgspec.structs.replace(plan.recipe, **values)
    plan = msgspec.structs.replace(plan, recipe=recipe)
    plan = plan_file.complete(plan, Path.cwd(), arguments.allow, deferred=("many-epochs",))
    if arguments.minutes is None:
        return AdvisedPlan(plan, tuple(advice.values()), report, None)
    cap = _fit(plan, arguments.minutes, here)
    reduced = {change.setting for change in cap.changes}
    kept_advice = (value for name, value in advice.items() if f"recipe.{name}" not in reduced)
    return AdvisedPlan(cap.plan, tuple(kept_advice), report, cap)


def _fit(plan: Plan, minutes: float, here: MachineInfo) -> TimeCap:
    """Reduce a plan to minutes, with its rows counted; raise FtwizardError if it takes longer."""
    source, prices = hub.locate(plan.model.name), user_prices.load_prices([], datetime.date.today())
    with progress.reporter() as say:
        base = tokenizer.download(source, say)

        def inspect(candidate: Plan) -> PlanFacts:
            return estimate_report.inspect_plan(candidate, source, base, here, prices, say)

        _, cap = time_cap.fit_facts(inspect(plan), minutes, inspect)
    if not cap.fits:
        raise FtwizardError(
            f"A run does not fit into {minutes:g} min; nothing was started.",
            describe_outcome(cap),
        )
    return cap


def _make_plan(arguments: argparse.Namespace, say: Say) -> Plan:
    """Return the plan with what was typed, and defaults for the rest."""
    _check_model(arguments.model, arguments.plan)
    train, _ = datasets.locate(arguments.plan, say)
    validation = arguments.val and str(datasets.locate(arguments.val, say)[0])
    options = read_arguments.get_options(arguments)
    data = schema.Data(
        files=schema.Files(train=str(train), validation=validation),
        format=arguments.format, columns=options.columns, encoding=options.encoding,
    )  # fmt: skip
    typed = {
        "method": arguments.method, "epochs": arguments.epochs,
        "objective": _find_objective(train, data.format, options),
    }  # fmt: skip
    recipe = schema.Recipe(**{name: value for name, value in typed.items() if value is not None})
    plan = Plan(data=data, model=schema.Model(name=arguments.model), recipe=recipe)
    return plan_file.complete(plan, Path.cwd(), arguments.allow, deferred=("many-epochs",))


def _find_objective(file: Path, format: FormatChoice, options: ReadOptions) -> ObjectiveName | None:
    """Return the training objective for the rows of a file; None if they cannot be read."""
    with contextlib.suppress(FtwizardError):
        return schema.OBJECTIVES.get(reader.open_reader(file, format, options=options).format)
    return None


def _check_model(name: str, data: str) -> None:
    """Raise FtwizardError for a name that can only be a hosted model, or a part of an id."""
    if "/" in name or hub.is_folder(name):
        return
    shown = make_visible(name, 60)
    hosted_models.check_refused(name, datetime.date.today())
    if hosted := hosted_models.find_model(name):
        raise FtwizardError(
            f"{shown} is fine-tuned at {hosted_models.PLATFORM_NAMES[hosted.platform]}, not on "
            "this machine.",
            f"To see its cost there: ftwizard estimate {make_visible(shlex.quote(data))} --model {shown}",
        )
    near = model_configs.nearest_ids(name, 1)
    raise FtwizardError(
        f"Model {shown} was not found.",
        f"Did you mean {near[0]}?"
        if near
        else "Name a folder, or owner/name on the Hugging Face Hub. To search: "
        f"ftwizard models {make_visible(shlex.quote(name), 60)}",
    )


class _ModelFacts(TypedDict, total=False):
    shape: ModelShape
    context: int


def _read_model(plan: Plan, say: Say) -> _ModelFacts:
    """Return what the advice needs of a model's configuration; download that where it is missing."""
    say("looking", what="for the model")
    base = tokenizer.download(hub.locate(plan.model.name), say)
    facts = _ModelFacts()
    with contextlib.suppress(FtwizardError):  # training reports a configuration it cannot use
        if result := model_config.read_config(str(base)):
            if limits := support.read_context_length(result[0]):
                facts["context"] = limits.max_tokens
            facts["shape"] = build_shape(*result)
    return facts


def _check_data(plan: Plan, say: Say) -> DataReport:
    files = plan.data.files
    options = CheckOptions(
        format=plan.data.format, target=plan.target, max_length=plan.recipe.max_length,
        read=plan.data.read_options,
    )  # fmt: skip
    return run.check_files(
        Path(files.train),
        options,
        validation=Path(files.validation) if files.validation else None,
        say=say,
    )


def print_advice(
    plan: Plan,
    advice: Iterable[AdvisedValue],
    report: DataReport,
    file: Path | None,
    cap: TimeCap | None,
) -> None:
    """Print to stderr what was advised, what the data check found, and where the plan is.

    The reasons are in the JSON; here they would fill more than a small terminal.
    """
    out = output.make_console(stderr=True)
    rows, model = format_count(report.usable, "row"), make_visible(plan.model.name, 100)
    output.print_lines(out, f"Advised for {rows}, {model} and this machine:")
    listed = {
        setting(advised.name).label: _format_value(advised)
        for advised in advice
        if advised.value not in (None, "auto")  # otherwise the run decides
    }
    names = {"dpo": "DPO: the rows are pairs", "kto": "KTO: the rows have labels"}
    if (objective := plan.recipe.objective) in names:
        listed = {"Objective": names[objective], **listed}
    capped = time_cap.list_lines(cap) if cap else ()
    out.print(output.build_pair_table((*listed.items(), *capped)))
    if report.verdict != "ok":
        count = format_count(len(report.findings), "finding")
        _print_command(out, f"! The data has {count}. To see them:", "check", report.path)
    if file:
        _print_command(out, "To start the plan again, changed or not:", "train", str(file))


def _print_command(out: Console, words: str, *argv: str) -> None:
    """Print a command on a line of its own, which is never broken."""
    output.print_lines(out, words)
    out.print(f"  ftwizard {make_visible(shlex.join(argv))}", soft_wrap=True)


def _format_value(advised: AdvisedValue) -> str:
    value = advised.value
    if options := setting(advised.name).options:
        return next(option.name for option in options if option.value == value)
    if isinstance(value, float) and value < 1e-3:
        return format_learning_rate(value)
    return f"{value:g}" if isinstance(value, float) else f"{value:,}"
