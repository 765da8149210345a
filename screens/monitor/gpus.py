"""GPU table of the monitor: one line per GPU, as pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.text import Text

from ftwizard.jobs.events import to_number
from ftwizard.runs.progress import Progress
from ftwizard.screens import palette
from ftwizard.screens.chart.sparkline import draw_bars
from ftwizard.screens.monitor.readings import get_number
from ftwizard.text import format_count, make_visible

OURS, OTHERS, FREE = "━", "┅", "─"
"""Distinct without color and in ASCII; thin, so that adjacent lines stay separate."""
FULL = 100 * 7 / 6
"""Utilization of a full-height bar: 100% stays below it, separate from the line above."""
ALARM = f"bold {palette.WARNING}"
POWER_CAP = "power cap"
"""Normal for a busy GPU, so not a problem."""
HINT = "z: GPUs only"
SPAN, HISTORY_S = "10 min", 600.0
"""Length of a history."""
GpuReading = dict[str, Any]


class GpuSettings(msgspec.Struct, frozen=True):
    """Columns that a line shows."""

    bar: int
    """Cells of the memory bar."""
    history: int
    """Cells of the utilization history."""
    details: bool
    """Whether memory used by others has its own figure."""
    name: bool = False
    power: bool = True


LAYOUTS = (
    GpuSettings(24, 24, True, name=True),
    GpuSettings(16, 20, True, name=True),
    GpuSettings(16, 20, True),
    GpuSettings(10, 10, True),
    GpuSettings(8, 0, True),
    GpuSettings(8, 8, False),
    GpuSettings(5, 0, False),
    GpuSettings(0, 0, False),
    GpuSettings(0, 0, False, power=False),
)
"""From the widest to the narrowest."""
LAYOUTS_WITH_HISTORY_LINES = (
    GpuSettings(24, 0, True, name=True),
    GpuSettings(16, 0, True),
    GpuSettings(5, 0, True),
    GpuSettings(0, 0, True),
    GpuSettings(5, 0, False),
    GpuSettings(0, 0, False),
    GpuSettings(0, 0, False, power=False),
)
"""Layouts for histories on separate lines."""


class GpuRow(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU with its texts; None where the driver reports nothing."""

    head: str
    utilization: str = "    "
    history: list[float | None] = []
    shares: tuple[float, float] | None = None
    """Shares of the memory: this run, others."""
    memory: tuple[str, str] = ("memory n/a", "memory n/a")
    """Memory in short, and in detail."""
    rest: tuple[str, ...] = ()
    """Temperature, power."""
    problem: str = ""
    note: tuple[str, str] = ("", "")
    """A note and its style."""
    name: str = ""
    index: int | None = None


def newest(samples: Sequence[GpuReading]) -> list[GpuReading]:
    gpus = samples[-1].get("gpus") if samples else None
    return [gpu for gpu in gpus if isinstance(gpu, dict)] if isinstance(gpus, list) else []


def build_lines(
    samples: Sequence[GpuReading],
    progress: Progress,
    width: int,
    max_lines: int,
    planned_gpu: int | None = None,
    *,
    alone: bool = False,
) -> Text:
    """Return at most ``max_lines`` lines of the newest reading, one per GPU.

    If there are more GPUs, this run's come first, then those with problems, then the busiest; the
    rest are counted. ``planned_gpu`` is the index from the plan. With ``alone``, the table fills the
    screen, and each history gets its own line if there is space.
    """
    gpus = newest(samples)
    if not gpus:
        return Text()
    our_bytes = find_our_memory(gpus, progress, planned_gpu)
    gpu_count = max_lines if len(gpus) <= max_lines else max(1, max_lines - 1)
    shown = _select_gpus(gpus, our_bytes, gpu_count)
    histories = build_histories(samples, max(layout.history for layout in LAYOUTS))
    rows: list[GpuRow] = []
    for index in shown:
        rows.append(_build_row(gpus[index], our_bytes[index], histories))
        instances = _build_instances(gpus[index])
        if len(rows) + len(instances) <= max_lines - (len(shown) - shown.index(index) - 1):
            rows += instances
    if alone and 2 * len(rows) <= max_lines and len(shown) == len(gpus):
        return Text("\n").join(_layout_with_histories(rows, samples, width))
    lines = _fit_layout(rows, width)
    if len(gpus) > len(shown):
        lines.append(_summarize_rest(gpus, shown))
        if not alone:
            lines[-1].append(f"  {HINT}", "dim")
    return Text("\n").join(lines)


def find_our_memory(
    gpus: Sequence[GpuReading], progress: Progress, planned_gpu: int | None
) -> list[float | None]:
    """Return this run's bytes on each GPU, None where unknown.

    If the keeper could not measure them, use the run's own figure for the GPU that it must be; this
    excludes the CUDA context. A run on the CPU has no such figure.
    """
    our_bytes = [get_number(gpu, "ours") for gpu in gpus]
    our_index = 0 if len(gpus) == 1 else planned_gpu
    for index, gpu in enumerate(gpus):
        if our_bytes[index] is None and progress.gpu_memory and gpu.get("index") == our_index:
            used = get_number(gpu, "memory_used")
            # A figure above the memory in use must belong to another GPU.
            fits = used and progress.gpu_memory <= used
            our_bytes[index] = progress.gpu_memory if fits else None
    return our_bytes


def _select_gpus(
    gpus: Sequence[GpuReading], our_bytes: Sequence[float | None], count: int
) -> list[int]:
    def rank(index: int) -> tuple[bool, bool, float, int]:
        gpu = gpus[index]
        utilization = get_number(gpu, "utilisation") or 0.0
        return not our_bytes[index], not _describe_problem(gpu), -utilization, index

    return sorted(sorted(range(len(gpus)), key=rank)[:count])


def _summarize_rest(gpus: Sequence[GpuReading], shown: Sequence[int]) -> Text:
    rest = [gpu for index, gpu in enumerate(gpus) if index not in shown]
    line = Text.assemble((f"and {format_count(len(rest), 'more GPU')}", "dim"))
    utilizations = [v for gpu in rest if (v := get_number(gpu, "utilisation")) is not None]
    if utilizations:
        low, high = f"{min(utilizations):.0f}", f"{max(utilizations):.0f}"
        line.append(f", {low if low == high else f'{low}–{high}'}% utilization", "dim")
    problems = sum(bool(_describe_problem(gpu)) for gpu in rest)
    return line.append(f"  ! {format_count(problems, 'problem')}", ALARM) if problems else line


def _build_row(
    gpu: GpuReading, our_bytes: float | None, histories: dict[int, list[float | None]]
) -> GpuRow:
    index = gpu.get("index")
    head = f"GPU {make_visible(str(index), 8)}"
    if gpu.get("lost") or gpu.get("error"):
        return GpuRow(head=head, problem=_describe_problem(gpu))
    names = ("utilisation", "temperature", "power", "power_limit")
    utilization, temperature, power, limit = (get_number(gpu, name) for name in names)
    watts = "n/a" if power is None else f"{power:.0f} W"
    if power is not None and limit:
        watts = f"{power:.0f} of {limit:.0f} W"
    shares, memory = _describe_memory(gpu, our_bytes)
    number = index if isinstance(index, int) else None
    return GpuRow(
        head=head,
        utilization=" n/a" if utilization is None else f"{utilization:3.0f}%",
        history=[] if number is None else histories.get(number, []),
        index=number,
        shares=shares,
        memory=memory,
        rest=("n/a" if temperature is None else f"{temperature:.0f} °C", watts),
        problem=_describe_problem(gpu),
        note=_format_note(gpu),
        name=make_visible(str(gpu.get("name") or ""), 40),
    )


def _format_note(gpu: GpuReading) -> tuple[str, str]:
    mig = gpu.get("mig")
    notes = [f"MIG: {format_count(len(mig), 'instance')}"] if isinstance(mig, list) else []
    if _list_throttling(gpu) == [POWER_CAP]:
        notes.append("at power cap")
    return ", ".join(notes), "" if isinstance(mig, list) else "dim"


def _build_instances(gpu: GpuReading) -> list[GpuRow]:
    instances = gpu.get("mig")
    rows = []
    for instance in instances if isinstance(instances, list) else ():
        if isinstance(instance, dict):
            shares, memory = _describe_memory(instance, None)
            head = f" MIG {make_visible(str(instance.get('index')), 6)}"
            rows.append(GpuRow(head=head, shares=shares, memory=memory))
    return rows


def _describe_problem(gpu: GpuReading) -> str:
    if gpu.get("lost"):
        return "lost: no response from the driver"
    if error := gpu.get("error"):
        return make_visible(str(error), 60)
    reasons = [reason for reason in _list_throttling(gpu) if reason != POWER_CAP]
    return f"throttled: {', '.join(reasons)}" if reasons else ""


def _list_throttling(gpu: GpuReading) -> list[str]:
    value = gpu.get("throttled")
    reasons = value if isinstance(value, list) else []
    return [make_visible(reason, 30) for reason in reasons if isinstance(reason, str)][:3]


def _describe_memory(
    gpu: GpuReading, our_bytes: float | None
) -> tuple[tuple[float, float] | None, tuple[str, str]]:
    """Return the shares of a GPU's memory for the bar, and a short and a long text."""
    used, total = get_number(gpu, "memory_used"), get_number(gpu, "memory_total")
    if used is None or not total:
        return None, ("memory n/a", "memory n/a")
    digits = 0 if total >= 1e11 else 1

    def gb(count: float) -> str:
        return f"{count / 1e9:.{digits}f}"

    free = f"free {gb(max(0.0, total - used)):>4} GB"
    short = f"{gb(used)} of {gb(total)} GB"
    if our_bytes is None:
        return (0.0, used / total), (short, f"used {gb(used):>4}  {free}")
    ours = min(our_bytes, used)
    reserved = min(get_number(gpu, "memory_reserved") or 0.0, used - ours)
    others = used - ours - reserved
    details = f"run {gb(ours):>4}  others {gb(others):>4}  {free}"
    return (ours / total, (used - ours) / total), (short, details)


def _layout_with_histories(
    rows: Sequence[GpuRow], samples: Sequence[GpuReading], width: int
) -> list[Text]:
    """Return each row followed by the GPU's utilization history on a second, full-width line."""
    indent = max(len(row.head) for row in rows) + 5
    histories = build_histories(samples, max(1, width - indent - 1))
    lines = []
    for row, line in zip(rows, _fit_layout(rows, width, LAYOUTS_WITH_HISTORY_LINES), strict=True):
        lines.append(line)
        if row.index in histories:
            lines.append(Text(f"{SPAN:>{indent}} ", "dim", no_wrap=True))
            lines[-1].append(draw_bars(histories[row.index], 0.0, FULL), palette.ACCENT)
    return lines


def _fit_layout(
    rows: Sequence[GpuRow], width: int, layouts: Sequence[GpuSettings] = LAYOUTS
) -> list[Text]:
    lines: list[Text] = []
    for layout in layouts:
        lines = _build_columns(rows, layout)
        if all(line.cell_len <= width for line in lines):
            break
    return lines


def _build_columns(rows: Sequence[GpuRow], layout: GpuSettings) -> list[Text]:
    whole = [row for row in rows if row.rest]
    head_cells = max((len(row.head) for row in rows), default=0)
    memory_cells = max((len(row.memory[layout.details]) for row in whole), default=0)
    rest_cells = [max(map(len, texts)) for texts in zip(*(row.rest for row in whole), strict=True)]
    lines = []
    for row in rows:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{row.head:<{head_cells}} ", "dim")
        if row.rest or row.shares:
            _append_figures(line, row, layout, memory_cells, rest_cells[: 1 + layout.power])
        if row.problem:
            line.append(f"{'  ' if row.rest else ''}! {row.problem}", ALARM)
        if row.note[0]:
            line.append(f"  {row.note[0]}", row.note[1])
        if layout.name and row.name:
            line.append(f"  {row.name}", "dim")
        lines.append(line)
    return lines


def _append_figures(
    line: Text, row: GpuRow, layout: GpuSettings, memory_cells: int, rest_cells: Sequence[int]
) -> None:
    line.append(row.utilization)
    if layout.history:
        history = row.history[-layout.history :]
        line.append(f"  {draw_bars(history, 0.0, FULL):>{layout.history}}", palette.ACCENT)
    if layout.bar:
        line.append("  " if layout.history else " ").append_text(_bar(row.shares, layout.bar))
    line.append(f" {row.memory[layout.details]:<{memory_cells}}")
    for text, cells in zip(row.rest, rest_cells, strict=False):
        line.append(f"  {text:>{cells}}")


def _bar(shares: tuple[float, float] | None, cells: int) -> Text:
    if shares is None:
        return Text(" " * cells)
    our_cells, used_cells = (round(max(0.0, min(1.0, x)) * cells) for x in (shares[0], sum(shares)))
    return Text.assemble(
        (OURS * our_cells, palette.ACCENT),
        OTHERS * (used_cells - our_cells),
        (FREE * (cells - used_cells), "dim"),
    )


def build_histories(samples: Sequence[GpuReading], cells: int) -> dict[int, list[float | None]]:
    """Return each GPU's mean utilization (0–100) over the last ten minutes in ``cells`` equal spans.

    Oldest first, None for a span without a sample. The spans are fixed in time, so that a new
    sample only changes the last one.
    """
    span = HISTORY_S / max(1, cells)
    sums: dict[int, dict[int, tuple[float, int]]] = {}
    newest = None
    for time, sample in _place(samples):
        newest = int(time // span) if newest is None else newest
        for gpu, utilization in _utilizations(sample):
            spans = sums.setdefault(gpu, {})
            total, count = spans.get(int(time // span), (0.0, 0))
            spans[int(time // span)] = total + utilization, count + 1
    if newest is None:
        return {}
    indices = range(newest - cells + 1, newest + 1)
    return {
        gpu: [spans[i][0] / spans[i][1] if i in spans else None for i in indices]
        for gpu, spans in sums.items()
    }


def _place(samples: Sequence[GpuReading]) -> Iterator[tuple[float, GpuReading]]:
    """Yield samples with their times in seconds, newest first.

    Times follow the monotonic clock and the order of the samples: the date may have jumped between
    two of them, and a machine that was started again has a new clock.
    """
    time, newer = 0.0, None
    for sample in reversed(samples):
        t, m = (_to_finite(sample.get(name)) for name in ("t", "m"))
        if t is None:
            continue
        if newer is None:
            time = t if m is None else m
        elif m is not None and newer[1] is not None and newer[1] >= m:
            time -= newer[1] - m
        else:
            time -= max(0.0, newer[0] - t)
        newer = (t, m)
        yield time, sample


def _to_finite(value: Any) -> float | None:
    number = to_number(value)
    return number if number is not None and math.isfinite(number) else None


def _utilizations(sample: GpuReading) -> Iterator[tuple[int, float]]:
    gpus = sample.get("gpus")
    for gpu in gpus if isinstance(gpus, list) else ():
        index = gpu.get("index") if isinstance(gpu, dict) else None
        utilization = to_number(gpu.get("utilisation")) if isinstance(index, int) else None
        if isinstance(index, int) and utilization is not None and math.isfinite(utilization):
            yield index, utilization
