"""Live preview of a recipe: memory, time, cost and steps."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from rich.text import Text

from ftwizard import locations
from ftwizard.advice import run_history, target_modules, time_cap
from ftwizard.advice.target_modules import Adapted
from ftwizard.advice.time_cap import TimeCap
from ftwizard.errors import FtwizardError
from ftwizard.estimate import (
    batching,
    gpu_fit,
    plan_estimate,
    probe_cache,
    report_text,
    training_machine,
)
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.duration import RunSpeed
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.plan_estimate import RecipeEstimate
from ftwizard.estimate.probe_cache import CachedProbe
from ftwizard.models import model_config, support
from ftwizard.models.shapes import ModelShape
from ftwizard.objectives import ObjectiveName
from ftwizard.plan import schema
from ftwizard.plan.schema import Method, Recipe
from ftwizard.pricing import money
from ftwizard.screens import palette
from ftwizard.screens.draft.drafts import Draft
from ftwizard.text import Span, format_byte_range, format_bytes, format_count, format_duration_range

MAX_LINES = 2
SEPARATOR = "  ·  "
INDENT = 2
"""Cells of the arrow."""
UNPRICED = "cost unknown"
"""Shown last and dim; help and the next page explain how to set a price."""


@functools.lru_cache(maxsize=32)
def load_shape(name: str) -> ModelShape | None:
    """Return the shape of a local or known model; None otherwise."""
    try:
        return model_config.read_shape(name)
    except FtwizardError:  # the token count reports the error
        return None


@functools.lru_cache(maxsize=32)
def load_context_length(name: str) -> int | None:
    """Return a model's context length in tokens; None if unknown."""
    try:
        config = model_config.read_config(name)
    except FtwizardError:
        return None
    limits = support.read_context_length(config[0]) if config else None
    return limits.max_tokens if limits else None


def describe_caution(name: str, recipe: Recipe) -> str:
    """Describe the cautions for adapting a model with a recipe; empty if there are none."""
    adaptation = _predict_adapted(name, recipe)
    if adaptation is None or not adaptation.warnings:
        return ""
    safer = f"Safer for a first run: {' or '.join(adaptation.safer)}. " if adaptation.safer else ""
    return safer + " ".join(adaptation.warnings)


def summarize_caution(name: str, recipe: Recipe) -> str:
    """Describe the first of these cautions, or what is safer, in a few words."""
    adaptation = _predict_adapted(name, recipe)
    if adaptation is None or not adaptation.warnings:
        return ""
    first, safer = adaptation.warnings[0], adaptation.safer
    return f"this model adapts poorly; safer is {' or '.join(safer)}" if safer else first


def _predict_adapted(name: str, recipe: Recipe) -> Adapted | None:
    shape = load_shape(name)
    if shape is None or recipe.method == "full":
        return None
    return target_modules.predict_adapted(shape, recipe.rank, recipe.target_modules)


def get_lengths(draft: Draft) -> Mapping[str, LengthDistribution | None]:
    """Return the lengths of training and validation rows: counted with the model's tokenizer,
    else from the data check."""
    if draft.lengths:
        return draft.lengths
    report = draft.checked
    every = batching.from_check_tokens(report.tokens) if report else None
    if report is None or every is None:
        return {}
    return every.split(report.usable or round(every.rows), draft.plan)


def estimate_recipe(draft: Draft) -> RecipeEstimate | None:
    """Estimate the draft's recipe on this machine; None if too little is known.

    Uses the draft's estimate if there is one, else a probe, else earlier runs.
    """
    if estimate := _read_estimate(draft):
        return estimate
    plan = draft.final_plan
    try:
        return plan_estimate.estimate_plan(
            plan, get_lengths(draft), load_shape(plan.model.name), draft.hardware,
            speeds=_find_speeds(plan),
            probe=_find_probe(draft), hour=draft.hour,
        )  # fmt: skip
    except (FtwizardError, ValueError, OverflowError, ZeroDivisionError):
        return None  # an invalid setting; its field shows the error


def cap_recipe(draft: Draft, minutes: float, margin: float = 1.0) -> TimeCap | None:
    """Reduce the draft's recipe to ``minutes`` on this machine; None if its time is unknown.

    Uses what ``estimate_recipe`` uses. ``margin``: see ``cap_plan``.
    """
    plan = draft.final_plan
    try:
        return time_cap.cap_on_machine(
            plan, minutes, get_lengths(draft), load_shape(plan.model.name), draft.hardware,
            speeds=_find_speeds(plan),
            probe=_find_probe(draft), margin=margin,
        )  # fmt: skip
    except (FtwizardError, ValueError, OverflowError, ZeroDivisionError):
        return None  # an invalid setting; its field shows the error


def _read_estimate(draft: Draft) -> RecipeEstimate | None:
    """Return the draft's estimate if it is of this recipe, with measured memory and the current
    hourly price."""
    report = draft.estimate.with_price(draft.hour) if draft.estimate else None
    if report is None or report.run is None or report.recipe is None:
        return None
    recipe = draft.final_plan.recipe  # loading a plan fills in the learning rate
    if msgspec.structs.replace(report.recipe, learning_rate=recipe.learning_rate) != recipe:
        return None
    return msgspec.structs.replace(report.run, memory=report.memory or report.run.memory)


def _find_probe(draft: Draft) -> CachedProbe | None:
    """Return a probe of this plan with its own batch size; None if there is none."""
    probe = draft.estimate.probe if draft.estimate else None
    probe = probe or probe_cache.read_cached_probe(draft.plan)
    return None if probe is None or probe.halved else probe


def _runs_state() -> tuple[int, int]:
    """Return a cache key that changes with each new run and every 30 s."""
    with contextlib.suppress(OSError):
        return locations.runs_folder().stat().st_mtime_ns, int(time.monotonic() // 30)
    return 0, 0


def _find_speeds(plan: schema.Plan) -> tuple[RunSpeed, ...]:
    recipe = plan.recipe
    return _speeds(
        plan.model.name, recipe.method, recipe.objective, plan.where, plan.slurm, *_runs_state()
    )


@functools.lru_cache(maxsize=32)
def _speeds(
    name: str, method: Method, objective: ObjectiveName, where: schema.Where, slurm: schema.Slurm,
    *_: int,
) -> tuple[RunSpeed, ...]:  # fmt: skip
    """Return the speeds of earlier runs of a model, cached while there are no new ones."""
    plan = schema.Plan(
        data=schema.Data(files=schema.Files(train="")),
        model=schema.Model(name=name),
        recipe=schema.Recipe(method=method, objective=objective),
        where=where,
        slurm=slurm,
    )
    return tuple(run_history.find_speeds(plan))


def format_prospect(draft: Draft, width: int | None = None) -> Text:
    """Format the preview on one line, or two if wider than ``width``, most important first.

    Parts that do not fit are dropped. Empty if nothing is known.
    """
    estimate = estimate_recipe(draft)
    if estimate is None:
        return Text()
    return _lay_out(_list_parts(draft, estimate), width or 10**6)


def _list_parts(draft: Draft, estimate: RecipeEstimate) -> Iterator[Text]:
    """Yield the parts, most important first."""
    if estimate.memory is not None:
        yield _format_memory(draft, estimate.memory)
    if estimate.parallel:
        yield Text(report_text.describe_processes(estimate.parallel))
    if estimate.time and estimate.time.low is not None and estimate.time.high is not None:
        yield Text(format_duration_range(estimate.time.low, estimate.time.high))
    if estimate.cost:
        yield Text(f"{money.format_price(estimate.cost)} in total")
    if estimate.cut.value >= 0.001:
        digits = 1 if estimate.cut.value < 0.1 else 0
        yield Text(f"{estimate.cut.value:.{digits}%} of rows truncated", palette.WARNING)
    yield Text(format_count(round(estimate.steps.value), "step"))
    if estimate.padding.value >= 0.2:
        yield Text(f"{estimate.padding.value:.0%} padding")
    if not estimate.cost:
        yield Text(UNPRICED, "dim")


def _lay_out(parts: Iterable[Text], width: int) -> Text:
    """Lay the parts out on up to ``MAX_LINES`` lines."""
    lines = [Text.assemble(("→ ", palette.ACCENT))]
    for part in parts:
        now = lines[-1]
        if now.cell_len > INDENT and now.cell_len + len(SEPARATOR) + part.cell_len > width:
            if len(lines) == MAX_LINES:
                break
            lines.append(now := Text(" " * INDENT))
        if now.cell_len > INDENT:
            now.append(SEPARATOR, "dim")
        now.append_text(part)
    return Text("\n").join(lines)


def _format_memory(draft: Draft, memory: MemoryEstimate) -> Text:
    """Format the memory need and the memory of the GPU. A probe's measurement replaces the
    estimate."""
    plan, machine, peak = draft.plan, draft.hardware, memory.peak
    available = training_machine.available_bytes(plan, machine)
    low, middle, high = peak.low or peak.value, peak.value, peak.high or peak.value
    if plan.ranks == 1 and (probe := _find_probe(draft)):
        low = middle = high = plan_estimate.measured_peak(probe, memory).value
    need = format_byte_range(low, high)
    if plan.ranks > 1:
        need += " per GPU" if machine.gpus else " per process"
    if not available:
        return Text(need)
    mark = report_text.FIT_MARKS[gpu_fit.judge_bytes(middle, high, available)]
    gpu = training_machine.plan_gpu(plan, machine)
    free = " free" if gpu and gpu.used_by_others else ""
    return palette.to_text([Span(f"{need} of {format_bytes(available)}{free} "), mark])
