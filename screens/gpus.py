"""What the GPUs of a run's machine do, a line each, in columns; pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from rich.text import Text

from ftwizard import telemetry
from ftwizard.runs import Progress
from ftwizard.screens import palette
from ftwizard.screens.readings import number
from ftwizard.screens.widgets.sparkline import bars
from ftwizard.text import plural, visible

YOURS, OTHERS, FREE = "━", "┅", "─"
"""Told apart without colour, in ASCII too; thin, so that lines below each other stay apart."""
FULL = 100 * 7 / 6
"""What a bar of full height would stand for: all of a GPU stays below it, apart from the next."""
ALARM = f"bold {palette.WARNING}"
POWER_CAP = "power cap"
"""The usual state of a busy card, and no trouble."""
HINT = "z: GPUs alone"
SPAN = "10 min"
"""How far back a history goes (telemetry.HISTORY_S)."""
Reading = dict[str, Any]


class Look(msgspec.Struct, frozen=True):
    """How much of a GPU a line has room for."""

    bar: int
    history: int
    apart: bool
    """Whether the memory of others has a figure of its own."""
    name: bool = False
    power: bool = True


LOOKS = (
    Look(24, 24, True, name=True),
    Look(16, 20, True, name=True),
    Look(16, 20, True),
    Look(10, 10, True),
    Look(8, 0, True),
    Look(8, 8, False),
    Look(5, 0, False),
    Look(0, 0, False),
    Look(0, 0, False, power=False),
)
"""From the most that is shown to the least."""
ALONE = (
    Look(24, 0, True, name=True),
    Look(16, 0, True),
    Look(5, 0, True),
    Look(0, 0, True),
    Look(5, 0, False),
    Look(0, 0, False),
    Look(0, 0, False, power=False),
)
"""The same where each history has a line of its own."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU, its words ready; None where the driver does not tell."""

    head: str
    use: float | None = None
    history: list[float | None] = []
    shares: tuple[float, float] | None = None
    """Of the memory: yours, others'."""
    apart: str = "memory n/a"
    memory: str = "memory n/a"
    rest: tuple[str, ...] = ()
    """Temperature, power."""
    trouble: str = ""
    note: str = ""
    name: str = ""
    index: int | None = None


def newest(samples: Sequence[Reading]) -> list[Reading]:
    """Return the GPUs of the newest reading."""
    said = samples[-1].get("gpus") if samples else None
    return [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []


def lines(
    samples: Sequence[Reading],
    progress: Progress,
    width: int,
    most: int,
    chosen: int | None = None,
    *,
    alone: bool = False,
) -> Text:
    """Return ``most`` lines at the most of what the newest reading says, a GPU a line.

    Where there are more GPUs, this run's come first, then those in trouble, then the busiest, and
    the rest are counted. ``chosen`` is the GPU that the plan names. ``alone`` says that nothing
    else is on the screen: where there is room, the history of each has a line of its own.
    """
    gpus = newest(samples)
    if not gpus:
        return Text()
    held = ours(gpus, progress, chosen)
    shown = _first(gpus, held, most if len(gpus) <= most else max(1, most - 1))
    uses = telemetry.history(samples, max(look.history for look in LOOKS))
    rows: list[Row] = []
    for place in shown:
        rows.append(_row(gpus[place], held[place], uses))
        parts = _instances(gpus[place])
        if len(rows) + len(parts) <= most - (len(shown) - shown.index(place) - 1):
            rows += parts
    if alone and 2 * len(rows) <= most and len(shown) == len(gpus):
        return Text("\n").join(_with_histories(rows, samples, width))
    found = _fitting(rows, width)
    if len(gpus) > len(shown):
        found.append(_others(gpus, shown))
        if not alone:
            found[-1].append(f"  {HINT}", "dim")
    return Text("\n").join(found)


def ours(gpus: Sequence[Reading], progress: Progress, chosen: int | None) -> list[float | None]:
    """Return the bytes of each GPU that are this run's, None where that is not known.

    Where the keeper could not tell, the run's own measure of its GPU stands for the one that it
    can be; it leaves out what CUDA itself takes. A run on the processors has no such measure.
    """
    held = [number(one, "ours") for one in gpus]
    only = 0 if len(gpus) == 1 else chosen
    for place, one in enumerate(gpus):
        if held[place] is None and progress.gpu_memory and one.get("index") == only:
            used = number(one, "memory_used")
            # More than is used at all is held on another card.
            held[place] = progress.gpu_memory if used and progress.gpu_memory <= used else None
    return held


def _first(gpus: Sequence[Reading], held: Sequence[float | None], count: int) -> list[int]:
    def rank(place: int) -> tuple[bool, bool, float, int]:
        one = gpus[place]
        return (
            not held[place],
            not _trouble(one),
            -(number(one, "utilisation") or 0.0),
            place,
        )

    return sorted(sorted(range(len(gpus)), key=rank)[:count])


def _others(gpus: Sequence[Reading], shown: Sequence[int]) -> Text:
    rest = [one for place, one in enumerate(gpus) if place not in shown]
    line = Text.assemble((f"and {plural(len(rest), 'more GPU')}", "dim"))
    uses = [use for one in rest if (use := number(one, "utilisation")) is not None]
    if uses:
        low, high = f"{min(uses):.0f}", f"{max(uses):.0f}"
        line.append(f", {low if low == high else f'{low}–{high}'} % in use", "dim")
    troubled = sum(bool(_trouble(one)) for one in rest)
    return line.append(f"  ! {troubled} in trouble", ALARM) if troubled else line


def _row(one: Reading, held: float | None, uses: dict[int, list[float | None]]) -> Row:
    index = one.get("index")
    head = f"GPU {visible(str(index), 8)}"
    if one.get("lost") or one.get("error"):
        return Row(head=head, trouble=_trouble(one))
    heat, power, limit = (number(one, name) for name in ("temperature", "power", "power_limit"))
    watts = "n/a" if power is None else f"{power:.0f} W"
    if power is not None and limit:
        watts = f"{power:.0f} of {limit:.0f} W"
    shares, apart, memory = _memory(one, held)
    mig = one.get("mig")
    return Row(
        head=head,
        use=number(one, "utilisation"),
        history=uses.get(index, []) if isinstance(index, int) else [],
        index=index if isinstance(index, int) else None,
        shares=shares,
        apart=apart,
        memory=memory,
        rest=("n/a" if heat is None else f"{heat:.0f} °C", watts),
        trouble=_trouble(one),
        note=_note(one, mig),
        name=visible(str(one.get("name") or ""), 40),
    )


def _note(one: Reading, mig: object) -> str:
    notes = [f"MIG: {plural(len(mig), 'instance')}"] if isinstance(mig, list) else []
    if _reasons(one) == [POWER_CAP]:
        notes.append("at its power cap")
    return ", ".join(notes)


def _instances(one: Reading) -> list[Row]:
    found = one.get("mig")
    rows = []
    for part in found if isinstance(found, list) else ():
        if isinstance(part, dict):
            shares, apart, memory = _memory(part, None)
            head = f" MIG {visible(str(part.get('index')), 6)}"
            rows.append(Row(head=head, shares=shares, apart=apart, memory=memory))
    return rows


def _trouble(one: Reading) -> str:
    if one.get("lost"):
        return "lost: the driver no longer answers for it"
    if error := one.get("error"):
        return visible(str(error), 60)
    reasons = [word for word in _reasons(one) if word != POWER_CAP]
    return f"throttled: {', '.join(reasons)}" if reasons else ""


def _reasons(one: Reading) -> list[str]:
    said = one.get("throttled")
    words = said if isinstance(said, list) else []
    return [visible(word, 30) for word in words if isinstance(word, str)][:3]


def _memory(one: Reading, held: float | None) -> tuple[tuple[float, float] | None, str, str]:
    """Return the shares of a GPU's memory for the bar, and figures in words, long and short."""
    used, total = number(one, "memory_used"), number(one, "memory_total")
    if used is None or not total:
        return None, "memory n/a", "memory n/a"
    digits = 0 if total >= 1e11 else 1

    def gb(count: float) -> str:
        return f"{count / 1e9:.{digits}f}"

    free = f"free {gb(max(0.0, total - used)):>4} GB"
    short = f"{gb(used)} of {gb(total)} GB"
    if held is None:
        return (0.0, used / total), f"in use {gb(used):>4}  {free}", short
    mine = min(held, used)
    reserved = min(number(one, "memory_reserved") or 0.0, used - mine)
    others = used - mine - reserved
    apart = f"yours {gb(mine):>4}  others {gb(others):>4}  {free}"
    return (mine / total, (used - mine) / total), apart, short


def _with_histories(rows: Sequence[Row], samples: Sequence[Reading], width: int) -> list[Text]:
    """Return each row with the use of its GPU in a second line, as wide as the first may be."""
    indent = max(len(row.head) for row in rows) + 6
    uses = telemetry.history(samples, max(1, width - indent - 1))
    made = []
    for row, line in zip(rows, _fitting(rows, width, ALONE), strict=True):
        made.append(line)
        if row.index in uses:
            made.append(Text(f"{SPAN:>{indent}} ", "dim", no_wrap=True))
            made[-1].append(bars(uses[row.index], 0.0, FULL), palette.ACCENT)
    return made


def _fitting(rows: Sequence[Row], width: int, looks: Sequence[Look] = LOOKS) -> list[Text]:
    """Return the rows in columns, as much of each as there is room for."""
    made: list[Text] = []
    for look in looks:
        made = _table(rows, look)
        if all(line.cell_len <= width for line in made):
            break
    return made


def _table(rows: Sequence[Row], look: Look) -> list[Text]:
    def wide(of: Callable[[Row], str]) -> int:
        return max((len(of(row)) for row in rows), default=0)

    head = wide(lambda row: row.head)
    memory = wide(lambda row: _words(row, look) if row.rest else "")
    rest = [
        wide(lambda row, n=n: row.rest[n] if row.rest else "")  # type: ignore[misc]
        for n in range(2 if look.power else 1)
    ]
    made = []
    for row in rows:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{row.head:<{head}} ", "dim")
        if row.rest or row.shares:
            _append_figures(line, row, look, memory, rest)
        if row.trouble:
            line.append(f"{'  ' if row.rest else ''}! {row.trouble}", ALARM)
        if row.note:
            line.append(f"  {row.note}", "" if row.note.startswith("MIG") else "dim")
        if look.name and row.name:
            line.append(f"  {row.name}", "dim")
        made.append(line)
    return made


def _append_figures(line: Text, row: Row, look: Look, memory: int, rest: Sequence[int]) -> None:
    if row.rest:
        line.append(" n/a " if row.use is None else f"{row.use:3.0f} %")
    else:
        line.append(" " * 5)
    if look.history:
        known = row.history[-look.history :]
        line.append(f"  {bars(known, 0.0, FULL):>{look.history}}", palette.ACCENT)
    if look.bar:
        line.append("  " if look.history else " ").append_text(_bar(row.shares, look.bar))
    line.append(f" {_words(row, look):<{memory}}")
    for words, cells in zip(row.rest, rest, strict=False):
        line.append(f"  {words:>{cells}}")


def _words(row: Row, look: Look) -> str:
    return row.apart if look.apart else row.memory


def _bar(shares: tuple[float, float] | None, cells: int) -> Text:
    if shares is None:
        return Text(" " * cells)
    mine, all_used = (round(max(0.0, min(1.0, x)) * cells) for x in (shares[0], sum(shares)))
    return Text.assemble(
        (YOURS * mine, palette.ACCENT),
        OTHERS * (all_used - mine),
        (FREE * (cells - all_used), "dim"),
    )
