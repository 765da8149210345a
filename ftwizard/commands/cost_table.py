"""The costs as a table that fits a terminal of 80 columns."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Literal

from ftwizard.catalog import models
from ftwizard.catalog.models import PLATFORM_NAMES
from ftwizard.catalog.prices import mark
from ftwizard.commands import output
from ftwizard.commands.costs import Costs
from ftwizard.estimate import gpu_cost
from ftwizard.estimate.offer import CHECK, Offer
from ftwizard.figure import Figure
from ftwizard.text import plural, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

TOLD = ("The hours are not known yet.", gpu_cost.TOO_SMALL, gpu_cost.TOO_SMALL_HERE)
"""Notes that the table says already."""
NOTES = 8
"""Lines of notes under the table; the rest is asked for."""
MANY = 2
"""Models of a platform without any price that are shown one by one; more are named in a line."""
BESIDE = {
    "input": "input", "output": "output", "hosting": "an hour of it", "setup": "setting it up",
}  # fmt: skip
"""Figures of the table whose other edition is told in a note."""
_ENDS = re.compile(r"No jobs from|Since \d|The tuned model is shut down")
GROUPS: dict[str, str] = {
    **{str(host): name for host, name in PLATFORM_NAMES.items()},
    "local": "Self-hosted, a GPU",
}
LEGEND = {
    "in / out": "in / out: $ per million tokens", "base": "base: that above the base model's",
    "keep": "keep: the weights are yours to keep", "": "→ the one to try first",
    "as of": "! a price over 90 days old",
}  # fmt: skip
COLUMNS = ("training", "in / out", "base", "host/h", "keep", "as of")
WIDEST = 78
"""Columns of a terminal that all of them take."""
SPARED = ("base", "host/h", "keep")
"""Left out first where there is less room; the JSON has them all."""
NARROW = 62
"""Where that is not enough either: what answering costs goes too."""


def show(out: Console, found: Costs, model: str | None = None, *, all_notes: bool = False) -> None:
    """Print it; ``model`` is the one that was asked for, which is shown whatever is known of it.

    ``all_notes``: not only the most important, ``NOTES`` lines.
    """
    asked = models.find(model) if model else None
    shown, gone, unknown = _sorted_out(found, asked.id if asked else None)
    total = found.counted["total"]
    output.say(
        out, f"Costs of {_tokens(total)} tokens, {_edition(found.edition)}, as of each price"
    )
    columns = _columns(out.width)
    out.print(_table(shown, found.sort == "path", columns, found.date))
    if left := [name for name in COLUMNS if name not in columns]:
        output.say(out, f"Left out for want of room: {', '.join(left)}. Wider, or: --json")
    for words, which in (("Can no longer be tuned", gone), ("No price known", unknown)):
        if which:
            names = ", ".join(one.name for one in which)
            check = f" ({CHECK})" if which is unknown else ""
            output.say(out, f"{words}{check}: {names}")
    if found.monthly:
        out.print("", _monthly_table(found, shown), sep="\n")
    notes = [*found.notes, *_said(shown)]
    kept = notes if all_notes or len(notes) <= NOTES else notes[: NOTES - 1]
    # Where the editions differ both are to be seen: that is never left out.
    output.say(out, "", *(f"· {note}" for note in [*kept, *_apart(shown, found.date)]))
    if more := len(notes) - len(kept):
        output.say(out, f"· {plural(more, 'more note')} on single rows: --notes, or --json")


def _sorted_out(found: Costs, asked: str | None) -> tuple[list[Offer], list[Offer], list[Offer]]:
    """Return the offers that are shown, those that are gone, and those without any price."""
    priceless = [one for one in found.costs if _is_priceless(one) and one.model != asked]
    many = {
        name for name in PLATFORM_NAMES if sum(one.platform == name for one in priceless) > MANY
    }
    current = found.edition == "current"
    gone = [one for one in found.costs if current and not one.tunable and one.model != asked]
    unknown = [one for one in priceless if one.platform in many and one not in gone]
    return [one for one in found.costs if one not in gone and one not in unknown], gone, unknown


def _is_priceless(one: Offer) -> bool:
    return one.path != "local" and not (one.training or one.rate or one.input)


def _blank() -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0)
    table.caption_justify = "left"
    return table


def _columns(width: int) -> tuple[str, ...]:
    """Return the columns for which there is room, beside names that are not broken."""
    if width >= WIDEST:
        return COLUMNS
    spared = SPARED if width >= NARROW - 12 else (*SPARED, "in / out")
    return tuple(name for name in COLUMNS if name not in spared)


def _table(
    shown: list[Offer], grouped: bool, columns: tuple[str, ...], today: datetime.date
) -> Table:
    table = _blank()
    table.add_column("", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    group = ""
    for one in shown:
        if grouped and one.platform != group:
            group = one.platform
            table.add_row(GROUPS[group], style="bold")
        name = _short(one) if grouped else one.name
        cells = _cells(one, today)
        table.add_row(
            visible(("→ " if one.recommended else "  ") + name),
            *(cells[column] for column in columns),
        )
        if one.setup and one.training:
            table.add_row("    setting it up", _spread(one.setup))
    table.caption = "; ".join(text for name, text in LEGEND.items() if not name or name in columns)
    return table


def _cells(one: Offer, today: datetime.date) -> dict[str, str]:
    return {
        "training": _training(one, today),
        "in / out": _answers(one),
        "base": _relative(one.relative),
        "host/h": _money(one.hosting) if one.hosting else "",
        "keep": {"unknown": "?"}.get(one.weights, one.weights),
        "as of": f"{one.as_of[:7]}{'!' if one.stale else ''}" if one.as_of else "",
    }


def _short(one: Offer) -> str:
    """Return the name without its platform's."""
    return one.name.removeprefix(f"{GROUPS[one.platform]} ")


def _answers(one: Offer) -> str:
    if one.input and one.output:
        return f"{_plain(one.input)}/{_plain(one.output)}"
    return "the GPU" if one.path == "local" else "?"


def _training(one: Offer, today: datetime.date) -> str:
    if one.training is None:
        if one.path == "local":
            return _hourly(one)
        per_hour = one.rate and one.rate.unit == "USD per hour"
        return f"{_money(one.rate)}/h" if one.rate and per_hour else "unknown"
    words = [_money(one.training) if one.other else _spread(one.training)]
    if one.other:
        words.append(f"{_month_of(one.other, today)}: {_money(one.other)}")
    return "\n".join(words)


def _hourly(one: Offer) -> str:
    if one.too_small:
        return "does not fit"
    if one.rate:
        return "hours unknown" if one.card else f"{_money(one.rate)}/h"
    return "unknown"


def _month_of(found: Figure, today: datetime.date) -> str:
    """Return the month that a figure is of, marked where that is long ago."""
    return f"{(found.as_of or '')[:7]}{mark(found.as_of, today)}"


def _monthly_table(found: Costs, shown: list[Offer]) -> Table:
    volume = found.monthly or {}
    table = _blank()
    into, out = (f"{volume[name].value:,.10g}" for name in ("tokens_in", "tokens_out"))
    table.add_column(f"{into} tokens in, {out} out", overflow="fold")
    asked = bool(volume["requests"])
    if asked:
        table.add_column("a month", justify="right")
    table.add_column("a GPU is cheaper from", justify="right")
    for one in shown:
        if one.break_even or (asked and one.monthly):
            month = [_both(one, "monthly", found.date)] if asked else []
            table.add_row(visible(one.name), *month, _both(one, "break_even", found.date))
    if gpu := volume["gpu_month"]:
        table.caption = (
            f"the GPU: {volume['gpu']} on demand, {_money(gpu)} a month, if one is enough"
        )
        if beside := volume["gpu_month_beside"]:
            table.caption += f"\n({_month_of(beside, found.date)}: {_money(beside)})"
    return table


def _both(one: Offer, name: Literal["monthly", "break_even"], today: datetime.date) -> str:
    """Return a figure of the month, and the other edition's under it where that is apart."""
    figure: Figure | None = getattr(one, name)
    if figure is None:
        return ""

    first = f"{figure.value:,.0f} requests" if name == "break_even" else _spread(figure, " ")
    beside = one.beside.get(name)
    if beside is None:
        return first
    words = f"{beside.value:,.0f}" if name == "break_even" else _money(beside)
    return f"{first}\n{_month_of(beside, today)}: {words}"


def _apart(shown: list[Offer], today: datetime.date) -> Iterator[str]:
    """Yield what the other edition has for prices of the table, where that is apart."""
    for one in shown:
        parts = [
            f"{BESIDE[name]} {_money(figure)} ({_month_of(figure, today)}), {_money(now)} in the table"
            for name, figure in one.beside.items()
            if name in BESIDE and (now := getattr(one, name))
        ]
        if parts:
            yield f"{one.name}, by the other edition: {'; '.join(parts)}."


def _said(shown: list[Offer]) -> Iterator[str]:
    """Yield the notes of the offers that are shown, once each, with whose they are and how many.

    First what ends on a day, then what most rows share.
    """
    whose: dict[str, list[Offer]] = {}
    for one in shown:
        for note in one.notes:
            if CHECK not in note and note not in TOLD:
                whose.setdefault(note, []).append(one)
    ordered = sorted(whose.items(), key=lambda one: (not _ENDS.match(one[0]), -len(one[1])))
    for note, which in ordered:
        names = ", ".join(dict.fromkeys(_whose(one, len(which) > 1) for one in which))
        yield f"{names}{f' ({len(which)} rows)' if len(which) > 1 else ''}: {note}"


def _whose(one: Offer, several: bool) -> str:
    if not several:
        return one.name
    if one.path == "local":
        return "Rented GPU"
    return GROUPS[one.platform]


def _edition(name: str) -> str:
    return "edition 2026-04 (the article)" if name == "2026-04" else "newest prices"


def _relative(found: Figure | None) -> str:
    return f"{found.value:+.0f} %" if found else ""


def _money(found: Figure) -> str:
    return _dollars(found.value)


def _dollars(value: float) -> str:
    cents = _cents(value)
    return "<$0.01" if value > 0 and not cents else f"${cents:,}"


def _plain(found: Figure) -> str:
    return f"{_cents(found.value):,}"


def _cents(value: float) -> Decimal:
    """Round as on a bill: half a cent up."""
    return Decimal(str(value)).quantize(Decimal("0.01"), ROUND_HALF_UP)


def _spread(found: Figure, between: str = "\n") -> str:
    """Return an amount with its range, if it has one."""
    if found.low is None or found.high is None:
        return _money(found)
    if not _cents(found.high) and found.high > 0:
        return _money(found)
    low = _dollars(found.low) if found.low else "$0"
    return f"{_money(found)}{between}({low}–{_cents(found.high):,})"


def _tokens(found: Figure) -> str:
    if found.low is None or found.high is None:
        return f"{found.value:,.0f}"
    return f"about {found.value:,.0f} ({found.low:,.0f}–{found.high:,.0f})"
