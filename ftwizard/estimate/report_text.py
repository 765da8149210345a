"""Text of an estimate: model, memory, time, disk, cost, rows and steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ftwizard.estimate.disk import DiskReport, describe_later_exports, format_parts
from ftwizard.estimate.gpu_fit import Verdict, judge_bytes
from ftwizard.estimate.longest_rows import LongestRows
from ftwizard.estimate.memory import SHARDED, MemoryEstimate
from ftwizard.estimate.parallelism import MODE_NAMES, ParallelEstimate
from ftwizard.estimate.report import EstimateReport, PartReport
from ftwizard.estimate.training_setup import METHOD_NAMES
from ftwizard.objectives import ObjectiveName
from ftwizard.plan.schema import Recipe
from ftwizard.pricing import machine_rate
from ftwizard.pricing.money import format_price
from ftwizard.quantity import Figure, oldest_date
from ftwizard.text import (
    Span,
    format_byte_range,
    format_bytes,
    format_count,
    format_duration_range,
    format_epochs,
    make_visible,
)

BAR_WIDTH = 48
"""Cells of the memory bar."""
MAX_CHANGES = 4
"""Suggested changes that would make it fit."""
PARTS_PER_LINE = 3
"""Parts per line of the legend, so that none wraps."""
MIN_PART_BYTES = 5e5
"""Smaller parts are not shown."""
FIT_MARKS: dict[Verdict, Span] = {
    "fits": Span("✓ fits", "good"),
    "tight": Span("! tight", "warning"),
    "does not fit": Span("✗ does not fit", "bad"),
}
PART_NAMES = {"train": "training", "mix": "mixed in", "validation": "validation", "test": "test"}
ROW_UNITS: dict[ObjectiveName, str] = {
    "sft": "row", "dpo": "pair", "kto": "row", "grpo": "answer",
}  # fmt: skip
"""What a batch is counted in."""
_GROUPS = (
    ("█", "weights", ("weights",)),
    ("▓", "gathered", ("gathered",)),
    ("▆", "LoRA", ("adapter",)),
    ("▃", "gradients", ("gradients",)),
    ("▅", "optimizer", ("optimizer",)),
    ("▒", "activations", ("activations", "logits", "dequantisation")),
    ("░", "overhead", ("context",)),
)
"""Bar glyph, label and estimate parts of each group."""
_MEASURED = "█"


class ReportLine(NamedTuple):
    """A line: its name, empty for a continuation, and its text."""

    name: str
    spans: tuple[Span, ...]

    @property
    def text(self) -> str:
        """Return the text without styles."""
        return "".join(span.text for span in self.spans)


class Hints(NamedTuple):
    """How to learn more, in words."""

    price: str
    """How to set the hourly price."""
    probe: str
    """How to measure the memory."""


def _line(name: str, *texts: str | Span) -> ReportLine:
    spans = (text if isinstance(text, Span) else Span(text) for text in texts)
    return ReportLine(name, tuple(spans))


def _dim(text: str, name: str = "") -> ReportLine:
    return _line(name, Span(text, "dim"))


def _warn(text: str) -> ReportLine:
    return _line("", Span("! ", "warning"), text)


def format_report(report: EstimateReport, hints: Hints) -> Iterator[ReportLine]:
    """Yield the lines of an estimate; those without a text separate groups.

    First whether it fits, how long it takes and what it costs, with warnings; then the details.
    """
    yield _line("model", make_visible(report.model.description))
    if report.refused:
        yield _line("", Span("✗ ", "bad"), make_visible(report.refused, 600))
    if report.run and report.run.parallel:
        yield from format_parallel(report.run.parallel)
    yield from format_memory(report, hints)
    yield _format_time(report)
    yield from format_cost(report, hints)
    if report.disk:
        yield from format_disk(report.disk)
    yield from format_warnings(report)
    yield _line("")
    yield from _format_rows(report)
    yield from _format_training(report)
    share = report.trained / report.parameters
    counts = f"{report.parameters:,}, of which {report.trained:,} trainable ({share:.1%})"
    yield _line("parameters", counts)
    if report.longest_rows:
        yield _line("longest", *_format_longest(report.longest_rows))
    if disk := report.disk:
        yield from _format_kept(disk)
    if report.memory:
        yield _dim(_describe_memory_source(report.memory), "source")
    if rule := report.article:
        parts = ", ".join(f"{name} {format_bytes(part.value)}" for name, part in rule.parts.items())
        peak = format_bytes(rule.peak.value) + (f" ({parts})" if parts else "")
        yield _dim(f"the article's rule of thumb for QLoRA ({rule.peak.as_of}): {peak}. {rule.why}")


def format_warnings(report: EstimateReport) -> Iterator[ReportLine]:
    """Yield the warnings before training."""
    for warning in report.warnings:
        option = f" Training needs --allow {warning.allow}." if warning.allow else ""
        yield _line("!", make_visible(warning.message, 600) + option)
    if why := report.epochs_because:
        yield _line("epochs", make_visible(why, 600))


# Several processes: their mode, and their speed against one.


def format_parallel(parallel: ParallelEstimate) -> Iterator[ReportLine]:
    """Yield how several processes train together, how fast, and why so."""
    unit = "one GPU" if parallel.on_gpu else "one process"
    words = describe_processes(parallel)
    if speedup := parallel.speedup:
        words += f" · {_format_times(speedup)} as fast as {unit}"
        yield _line("processes", words, Span(f"  ({make_visible(speedup.source, 200)})", "dim"))
    else:
        yield _line("processes", f"{words} · speed against {unit} unknown")
    yield _dim(make_visible(parallel.reason, 600))


def describe_processes(parallel: ParallelEstimate) -> str:
    """Describe several processes: ``8 GPUs on 2 nodes, FSDP``."""
    unit = ("GPU", "GPUs") if parallel.on_gpu else ("CPU process", "CPU processes")
    nodes = f" on {format_count(parallel.nodes, 'node')}" if parallel.nodes > 1 else ""
    return f"{format_count(parallel.processes, *unit)}{nodes}, {MODE_NAMES[parallel.mode]}"


def _format_times(speedup: Figure) -> str:
    low, high = f"{speedup.lowest:.2g}", f"{speedup.highest:.2g}"
    return f"{low}–{high} times" if low != high else f"{low} times"


def _format_shared(
    parallel: ParallelEstimate, memory: MemoryEstimate, measured: Figure | None
) -> ReportLine:
    """Return the memory of all processes, and what each has of the model.

    ``measured``: of the process that needs most.
    """
    if measured:
        total = f"at most {format_bytes(measured.value * parallel.processes)}"
    else:
        low, high = memory.peak.lowest, memory.peak.highest
        total = format_byte_range(low * parallel.processes, high * parallel.processes)
    if parallel.mode == "ddp":
        each = "each has the whole model"
    else:
        parts = [name for _, name, of in _GROUPS if memory.parts[of[0]].value and of[0] in SHARDED]
        each = f"divided among them: {', '.join(parts)}; the rest is on each"
        if parallel.gathered:
            each += f", with {format_bytes(parallel.gathered.value)} of gathered layers"
    return _dim(f"{total} on all {parallel.processes}: {each}")


# Memory: total, parts, and comparison with measurements.


def format_memory(report: EstimateReport, hints: Hints) -> Iterator[ReportLine]:
    """Yield the memory in total and in parts, and what would make it fit."""
    if report.memory is None:
        yield _dim(f"unknown for this kind of model; {hints.probe}", "memory")
    else:
        yield from _format_needed(report, report.memory)
    for note in (report.uncounted, report.one_gpu):
        if note:
            yield _dim(make_visible(note, 600))
    if report.memory and not report.measured:
        yield from _format_changes(report)


def _describe_memory_source(memory: MemoryEstimate) -> str:
    """Describe where the memory is from, and why its peak has no gradients."""
    source = f"memory {format_source(memory.peak)}"
    if memory.moment == "loss" and not memory.parts["gradients"].value:
        source += ". No gradients then: the last step's are freed, the next ones not yet computed"
    return source


def _format_longest(rows: Sequence[LongestRows]) -> Iterator[str | Span]:
    """Yield the longest rows that fit, by rows per pass; with fewer only if that makes a difference."""
    if not any(longest.may_fit for longest in rows):
        yield "none fits: choose a smaller model, or a machine with more memory"
        return
    for number, longest in enumerate(rows[:1] if rows[0].is_limited else rows):
        yield "; " if number else ""
        yield describe_longest(longest)
        yield Span(f" ({format_count(longest.batch_size, longest.unit)} per pass)", "dim")


def describe_longest(longest: LongestRows) -> str:
    """Describe the longest rows that fit: ``3,200 tokens fit, 4,544 may fit``."""
    if longest.is_limited:
        return f"{longest.fits:,} tokens fit, all that the model was made for"
    if not longest.may_fit:
        return "none fits"
    if not longest.fits:
        return f"{longest.may_fit:,} tokens may fit, none surely"
    may = f", {longest.may_fit:,} may fit" if longest.may_fit > longest.fits else ""
    return f"{longest.fits:,} tokens fit{may}"


def _format_needed(report: EstimateReport, memory: MemoryEstimate) -> Iterator[ReportLine]:
    peak, measured, device = memory.peak, report.measured, report.here
    estimated = format_byte_range(peak.lowest, peak.highest)
    needed = measured or peak
    words = format_bytes(needed.value) if measured else estimated
    whole = device.memory if device else None
    room = report.room or whole
    parallel = report.run.parallel if report.run else None
    if device is None or whole is None or not room:
        each = "" if not parallel else " on each GPU" if parallel.on_gpu else " for each process"
        yield _line("memory", f"{words}{each}")
    else:
        most = needed.value if measured else peak.highest
        mark = FIT_MARKS[judge_bytes(needed.value, most, room)]
        divided = (
            parallel is not None and not device.gpu
        )  # among processes, of the machine's memory
        free = f"{format_bytes(room)} free of " if room < whole and not divided else ""
        name = make_visible(device.name, 40)
        if parallel:
            name = f"on each {name}" if device.gpu else f"for each process on {name}"
        shown = format_bytes(room if divided else whole)
        yield _line("memory", mark, f"  {words} of {free}{shown}, {name}")
        groups = [(_MEASURED, "", needed.value)] if measured else _group_parts(memory)
        yield _draw_bar(groups, room)
    if measured:
        yield _dim(f"measured by a probe here on {measured.as_of}; estimated {estimated}:")
    yield from _format_legend(memory, drawn=not measured)
    if parallel:
        yield _format_shared(parallel, memory, measured)
    if (probe := report.probe) and probe.halved:
        yield _line(
            "",
            f"probe: batch size {probe.batch_size} fits in {format_bytes(probe.memory.value)}; "
            "this one did not fit",
        )
    elif (
        probe and parallel and parallel.nodes > 1 and probe.measured.processes > 1 and not measured
    ):
        peak_there = format_bytes(probe.memory.value)
        yield _line("", f"probe of one node: at most {peak_there} for each process")


def _group_parts(memory: MemoryEstimate) -> list[tuple[str, str, float]]:
    parts = memory.parts
    return [
        (glyph, name, sum(parts[part].value for part in names if part in parts))
        for glyph, name, names in _GROUPS
    ]


def _draw_bar(groups: list[tuple[str, str, float]], room: float) -> ReportLine:
    """Draw the groups as shares of ``room``, or of their sum if that is larger."""
    whole = max(room, sum(value for *_, value in groups))
    bar, before = "", 0.0
    for glyph, _, value in groups:
        before += value
        bar += glyph * (round(before / whole * BAR_WIDTH) - len(bar))
    return _line("", Span(bar, "accent"), Span("·" * (BAR_WIDTH - len(bar)), "dim"))


def _format_legend(memory: MemoryEstimate, *, drawn: bool) -> Iterator[ReportLine]:
    """Yield the parts and their sizes; ``drawn``: with the bar's glyphs."""
    shown = [
        (Span(f"{glyph} " if drawn else "", "accent"), Span(f"{name} ", "dim"), Span(format_bytes(value)))
        for glyph, name, value in _group_parts(memory)
        if value >= MIN_PART_BYTES
    ]  # fmt: skip
    for first in range(0, len(shown), PARTS_PER_LINE):
        spans: list[Span] = []
        for part in shown[first : first + PARTS_PER_LINE]:
            spans += [*([Span("  ")] if spans else []), *part]
        yield ReportLine("", tuple(spans))


def _format_changes(report: EstimateReport) -> Iterator[ReportLine]:
    """Yield the verdict in words and, where it does not surely fit, changes that make it fit."""
    if report.fit is None or (report.fit.verdict == "fits" and report.room):
        return
    yield _line("", make_visible(report.fit.sentence, 600))
    for change in report.fit.changes[:MAX_CHANGES]:
        needs = format_byte_range(change.memory.peak.lowest, change.memory.peak.highest)
        yield _line(
            "",
            Span("→ ", "accent"),
            f"{make_visible(change.description, 200)}: {needs}",
            Span(f"  {make_visible(change.costs, 200)}", "dim"),
        )


# Time and cost.


def _format_time(report: EstimateReport) -> ReportLine:
    figure = report.time
    if figure is None:
        return _dim(_explain_unknown_time(report), "time")
    words = format_duration_range(figure.lowest, figure.highest)
    total = report.run.whole if report.run else None
    if total:
        whole = format_duration_range(total.lowest, total.highest)
        words = f"training {words}, whole run {whole}"
    if report.minutes is not None:
        words += f"; ends within {report.minutes:g} min: budget.minutes"
    if _does_not_fit(report):
        words += ", if it fit"
    elif report.queued:
        words += ", after its wait in the queue"
    else:
        end = time.localtime(time.time() + (total or figure).value)
        words += f", ends about {time.strftime('%H:%M', end)}"
    return _line("time", words, Span(f"  ({make_visible(figure.brief_source, 200)})", "dim"))


def _explain_unknown_time(report: EstimateReport) -> str:
    if report.here and report.here.gpu and report.memory:
        name = make_visible(report.here.name, 40)
        return f"unknown for {name}; ftwizard probe measures it there"
    return "unknown until the first run of this model here"


def _does_not_fit(report: EstimateReport) -> bool:
    return report.fit is not None and report.fit.verdict == "does not fit"


def format_cost(report: EstimateReport, hints: Hints) -> Iterator[ReportLine]:
    """Yield the cost of the run and of its setup; without an hourly price, how to set one."""
    price = report.hour.price
    if price is None:
        guide = machine_rate.describe_rental(report.hour.rental)
        yield _dim(f"unknown; {hints.price}", "cost")
        if guide:
            yield _dim(guide)
        return
    several = report.run and report.run.parallel and report.run.parallel.nodes > 1
    unit = "hour and node" if several else "hour"
    rate = f"at {format_price(price)} per {unit}, your own price of {price.as_of}"
    cost = report.run.cost if report.run else None
    if cost is None:
        yield _dim(f"unknown: no time estimate; {rate}", "cost")
    else:
        fits = ", if it fit" if _does_not_fit(report) else ""
        each = _format_cost_each(report)
        words = f"{format_price(cost)} for the whole run{each}{fits}"
        yield _line("cost", words, Span(f"  ({rate})", "dim"))
    yield _dim(machine_rate.describe_setup_cost(price), "setup")


def _format_cost_each(report: EstimateReport) -> str:
    """Return the cost of each of several processes; empty for one."""
    parallel = report.run.parallel if report.run else None
    if parallel is None or parallel.cost_each is None:
        return ""
    unit = "GPU" if parallel.on_gpu else "process"
    return f", {format_price(parallel.cost_each)} per {unit}"


# Disk.


def format_disk(disk: DiskReport) -> Iterator[ReportLine]:
    """Yield the disk space needed, free, and to download."""
    if short := disk.short:
        yield _line("disk", Span("✗", "bad"), f" {make_visible(f'{short.message} {short.hint}', 600)}")  # fmt: skip
        return
    words = f" about {format_bytes(disk.needed.value)} of {format_bytes(disk.free.value)} free"
    if cache := disk.elsewhere:
        words += (
            f"; {format_bytes(cache.needed.value)} to download, of "
            f"{format_bytes(cache.free.value)} free in the model cache"
        )
    elif download := disk.parts.get("download"):
        words += f"; includes {format_bytes(download.value)} to download"
    yield _line("disk", Span("✓", "good"), words)


def _format_kept(disk: DiskReport) -> Iterator[ReportLine]:
    """Yield what stays on disk by part, and what an export would add."""
    if disk.parts:
        date = oldest_date(part.as_of for part in disk.parts.values())
        source = f"parameters × bytes per parameter{f'; {date[:7]}' if date else ''}"
        yield _line("kept", format_parts(disk.parts), Span(f" ({source})", "dim"))
    if disk.later:
        yield _dim(describe_later_exports(disk.later, disk.free_after_run))


# Rows and steps.


def _format_rows(report: EstimateReport) -> Iterator[ReportLine]:
    if not report.parts:
        return
    is_grpo = report.recipe is not None and report.recipe.objective == "grpo"
    trained = "" if is_grpo else f"{'trained on':>12}"
    yield _dim(f"{'prompts' if is_grpo else 'rows':>7}{'tokens':>12}{trained}{'longest':>9}")
    for name, label in PART_NAMES.items():
        if part := report.parts.get(name):
            trained = "" if is_grpo else f"{part.trainable_tokens:>12,}"
            counts = f"{part.used:>7,}{part.tokens:>12,}{trained}{part.longest_row:>9,}"
            yield _line(label, counts if part.used else f"{'none':>7}")
    for name, part in report.parts.items():
        if (available := report.available.get(name, 0)) > part.rows:
            yield _line(
                "",
                f"· {part.rows:,} of {format_count(available, 'row')} ({PART_NAMES[name]}), drawn by "
                "kind and length: data.max_rows",
            )
        yield from _format_notes(PART_NAMES[name], part, report.recipe)
    if short := report.mix_short:
        yield _warn(make_visible(short))
    yield _line("")


def _format_notes(name: str, part: PartReport, recipe: Recipe | None) -> Iterator[ReportLine]:
    """Yield which rows are truncated, and which have no trainable tokens or lose a part."""
    for lost, count in part.dropped.items():
        rows = f"{format_count(count, 'row')} ({name})"
        yield _warn(f"the chat template leaves out the {lost} of {rows}: see ftwizard mask")
    if part.truncated:
        limit = f" of {recipe.max_length:,} tokens" if recipe else ""
        rows = f"{format_count(part.truncated, 'row')} ({name})"
        yield _warn(f"{rows} over the max length{limit}, truncated")
    if lines := part.lines_without_loss:
        first = ", ".join(map(str, lines[:5]))
        rows = f"{format_count(len(lines), 'row')} ({name})"
        within = " within that length" if part.truncated else ""
        yield _warn(f"{rows} have no trainable tokens{within} and are skipped: line {first}")
    if lines := part.equal_pairs:
        first = ", ".join(map(str, lines[:5]))
        pairs = f"{format_count(len(lines), 'pair')} ({name})"
        yield _warn(f"{pairs} with two equal answers, left out: line {first}")
    if lines := part.too_long:
        first = ", ".join(map(str, lines[:5]))
        most = f"{recipe.max_length:,} tokens" if recipe else "the max length"
        prompts = f"{format_count(len(lines), 'prompt')} ({name})"
        yield _warn(f"{prompts} longer than {most}, left out: line {first}")


def _format_training(report: EstimateReport) -> Iterator[ReportLine]:
    if report.steps:
        steps = f"{format_count(report.steps, 'step')}, {report.steps_per_epoch:,} per epoch"
        most = report.recipe.max_steps if report.recipe else None
        if most == report.steps and report.steps_per_epoch:
            steps += f", {format_epochs(round(most / report.steps_per_epoch, 2))}: recipe.max_steps"
        if report.evaluate_every:
            steps += f"; validation every {format_count(report.evaluate_every, 'step')}"
        yield _line("steps", steps)
    if report.recipe and report.recipe.objective == "grpo":
        yield _line("tokens", _describe_written(report.recipe, report.tokens))
    else:
        padding = report.run.padding.value if report.run else 0.0
        padded = f"; padding adds {padding / (1 - padding):.0%}" if 0.005 <= padding < 1 else ""
        yield _line("tokens", f"{report.tokens:,} processed in training{padded}")
    if report.recipe:
        parallel = report.run.parallel if report.run else None
        ranks = parallel.processes if parallel else 1
        yield _line("recipe", _format_recipe(report.recipe, ranks))


def _describe_written(recipe: Recipe, tokens: int) -> str:
    """Describe the tokens of reinforcement; ``tokens``: of all prompts, over all epochs."""
    settings = recipe.grpo
    answers = format_count(settings.num_generations, "answer")
    return (
        f"{tokens:,} of prompts; each gets {answers} of up to {settings.max_completion_length:,} "
        "tokens, which are trained on"
    )


def _describe_objective(recipe: Recipe) -> str:
    """Describe the objective with what it is weighed by; empty for supervised training."""
    if recipe.objective == "dpo":
        losses = recipe.dpo.loss_type
        named = losses if isinstance(losses, str) else " + ".join(losses)
        return f"DPO ({named}, beta {recipe.dpo.beta:g}), "
    if recipe.objective == "kto":
        return f"KTO ({recipe.kto.loss_type}, beta {recipe.kto.beta:g}), "
    return "GRPO, " if recipe.objective == "grpo" else ""


def _format_recipe(recipe: Recipe, ranks: int) -> str:
    rank = "" if recipe.method == "full" else f", rank {recipe.rank}"
    passes = recipe.gradient_accumulation
    step = f" × {format_count(passes, 'pass', 'passes')}" if passes > 1 else ""
    step += f" × {ranks} processes" if ranks > 1 else ""
    unit = "packed sequence" if recipe.packing else ROW_UNITS[recipe.objective]
    rows = format_count(recipe.batch_size, unit)
    limit = "prompts of up to" if recipe.objective == "grpo" else "max length"
    most = f", at most {format_count(recipe.max_steps, 'step')}" if recipe.max_steps else ""
    return (
        f"{_describe_objective(recipe)}{METHOD_NAMES[recipe.method]}{rank}; {rows}{step} per step, "
        f"{limit} {recipe.max_length:,} tokens; {format_epochs(recipe.epochs)}{most}"
    )


def format_source(figure: Figure) -> str:
    """Format the source of a figure, and the month of its date."""
    return f"{figure.source}; {figure.as_of[:7]}" if figure.as_of else figure.source
