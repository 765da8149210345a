"""What a recipe comes to, told at once while it is changed: steps, memory, time, cost."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from rich.text import Text

from ftwizard import forecast, hour_price, model_config, positions, probes, settings, speeds
from ftwizard import plan as plans
from ftwizard.advice import modules
from ftwizard.advice.follows import Follows
from ftwizard.errors import FtwizardError
from ftwizard.estimate import batches, hour_cost
from ftwizard.estimate.batches import Lengths
from ftwizard.estimate.duration import Speed
from ftwizard.estimate.memory import Memory
from ftwizard.estimate.shape import Shape
from ftwizard.plan import Method, Recipe
from ftwizard.probes import Probe
from ftwizard.screens import palette
from ftwizard.screens.draft import Draft
from ftwizard.screens.estimate_memory import verdict
from ftwizard.text import plural, size, sizes, spans

LINES = 2
BETWEEN = "  ·  "
INDENT = 2
"""Cells before what is said: of the arrow."""
UNPRICED = "cost not known"
"""Quietly, and last: F1 and the next page tell what an hour costs."""


@functools.lru_cache(maxsize=32)
def shape(name: str) -> Shape | None:
    """Return the shape of a model that is here or known; None where it is neither."""
    try:
        return model_config.shape(name)
    except FtwizardError:  # the count says what is wrong with it
        return None


@functools.lru_cache(maxsize=32)
def context(name: str) -> int | None:
    """Return the tokens that a model reads at most; None where that is not known."""
    try:
        found = model_config.config(name)
    except FtwizardError:
        return None
    known = positions.of(found[0]) if found else None
    return known.most if known else None


def caution(name: str, recipe: Recipe) -> str:
    """Return what is to be known of a model before it is adapted by a recipe; empty where there
    is nothing."""
    known = shape(name)
    if known is None or recipe.method == "full":
        return ""
    found = modules.adapted(known, recipe.rank, recipe.target_modules)
    if not found.warnings:
        return ""
    safer = f"Safer for a first run: {' or '.join(found.safer)}. " if found.safer else ""
    return safer + " ".join(found.warnings)


def lengths(draft: Draft) -> Mapping[str, Lengths | None]:
    """Return how long the rows are that are trained on, and those that validate: as the model's own
    tokenizer counted them, else by the check."""
    if draft.lengths:
        return draft.lengths
    every = batches.lengths((draft.checked or {}).get("tokens"))
    if every is None:
        return {}
    plan, rows = draft.plan, int((draft.checked or {}).get("usable") or every.rows)
    held = round(rows * plan.validation_share)
    train = max(1, rows - held - round(rows * plan.test_share))
    return {"train": every.scaled(train), "validation": every.scaled(held) if held else None}


def of(draft: Draft) -> Follows | None:
    """Return what the draft's recipe comes to on this machine; None where too little is known.

    As it was estimated, where it was; else a probe of it comes first, then earlier runs.
    """
    if known := _estimated(draft):
        return known
    plan = draft.plan
    try:
        return forecast.of_plan(
            plan, lengths(draft), shape(plan.model.name), draft.machine,
            speeds=_speeds(plan.model.name, plan.recipe.method, *_runs_until_now()),
            probe=_probe(draft), hour=draft.hour,
        )  # fmt: skip
    except (FtwizardError, ValueError, OverflowError, ZeroDivisionError):
        return None  # a setting makes no sense; what is wrong with it is said where it is typed


def _estimated(draft: Draft) -> Follows | None:
    """Return what was estimated of this very plan, with the memory as it was counted, at what an
    hour costs by now."""
    found = draft.estimate or {}
    if not found.get("follows") or _unrated(msgspec.convert(found["recipe"], Recipe)) != _unrated(
        draft.plan.recipe
    ):
        return None
    come, memory = msgspec.convert(
        (found["follows"], found["memory"]), tuple[Follows, Memory | None]
    )
    cost = hour_cost.cost(come.whole or come.time, draft.hour)
    return msgspec.structs.replace(come, memory=memory or come.memory, cost=cost)


def _unrated(recipe: Recipe) -> Recipe:
    """Return a recipe without its rate, which a plan that is read has been given."""
    return msgspec.structs.replace(recipe, learning_rate=None)


def _probe(draft: Draft) -> Probe | None:
    """Return what a probe measured of this very plan, with its own batch."""
    known = (draft.estimate or {}).get("probe")
    found = msgspec.convert(known, Probe) if known else probes.remembered(draft.plan)
    return None if found is None or found.halved else found


def _runs_until_now() -> tuple[int, int]:
    """Return what changes when a run is begun, and twice a minute: a run is faster or slower soon."""
    with contextlib.suppress(OSError):
        return settings.runs_folder().stat().st_mtime_ns, int(time.monotonic() // 30)
    return 0, 0


@functools.lru_cache(maxsize=32)
def _speeds(name: str, method: Method, *_: int) -> tuple[Speed, ...]:
    """Return the speeds of earlier runs of a model, read once as long as there are no others."""
    plan = plans.Plan(
        data=plans.Data(files=plans.Files(train="")),
        model=plans.Model(name=name),
        recipe=plans.Recipe(method=method),
    )
    return tuple(speeds.of_runs(plan))


def line(draft: Draft, width: int | None = None) -> Text:
    """Return it on one line, on two where that is wider than ``width``: the most important first.

    What two lines do not hold is left out. Empty where nothing is known.
    """
    found = of(draft)
    if found is None:
        return Text()
    return _laid(_parts(draft, found), width or 10**6)


def _parts(draft: Draft, found: Follows) -> Iterator[Text]:
    """Yield what is said, the most important first."""
    if found.memory is not None:
        yield _memory(draft, found.memory)
    if found.time and found.time.low is not None and found.time.high is not None:
        yield Text(spans(found.time.low, found.time.high))
    if found.cost:
        yield Text(f"{hour_price.spread(found.cost)} in all")
    if found.cut.value >= 0.001:
        yield Text(f"{found.cut.value:.1%} of the rows cut", palette.WARNING)
    yield Text(plural(round(found.steps.value), "step"))
    if found.padding.value >= 0.2:
        yield Text(f"{found.padding.value:.0%} padding")
    if not found.cost:
        yield Text(UNPRICED, "dim")


def _laid(parts: Iterable[Text], width: int) -> Text:
    """Return the parts on as many lines as they take, no more than ``LINES``."""
    lines = [Text.assemble(("→ ", palette.ACCENT))]
    for part in parts:
        now = lines[-1]
        if now.cell_len > INDENT and now.cell_len + len(BETWEEN) + part.cell_len > width:
            if len(lines) == LINES:
                break
            lines.append(now := Text(" " * INDENT))
        if now.cell_len > INDENT:
            now.append(BETWEEN, "dim")
        now.append_text(part)
    return Text("\n").join(lines)


def _memory(draft: Draft, memory: Memory) -> Text:
    low, middle, high, room = against(draft, memory)
    if not room:
        return Text(sizes(low, high))
    mark, said, style = verdict(middle, high, room)
    one = forecast.gpu(draft.plan, draft.machine)
    of = f"{size(room)} free" if one and one.held else size(room)
    return Text.assemble(f"{sizes(low, high)} of {of} ", (f"{mark} {said}", style))


def against(draft: Draft, memory: Memory) -> tuple[float, float, float, int | None]:
    """Return the low, the middle and the high end of the memory, as a probe measured it where one
    did, and what there is for it."""
    room, peak = forecast.room(draft.plan, draft.machine), memory.peak
    if probe := _probe(draft):
        value = forecast.measured(probe, memory).value
        return value, value, value, room
    return peak.low or peak.value, peak.value, peak.high or peak.value, room
