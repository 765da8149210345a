"""What a plan comes to, in words: rows, steps, memory by part, time, disk; by screens and lines."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from rich.text import Text

from ftwizard import hour_price
from ftwizard.catalog.prices import Rate
from ftwizard.estimate import disk, hour_cost
from ftwizard.figure import Figure
from ftwizard.screens import estimate_memory, palette
from ftwizard.text import plural, size, spans, visible

NAMES_WIDTH = 12
"""Cells of the names of the figures."""
HOW = "h says what an hour here costs"


def figures(
    found: dict[str, Any], max_length: int, hour: Rate | None = None, *, how: str = HOW
) -> Text:
    """Return the estimate in groups: model, rows, steps, time, room and cost.

    ``hour``: what one of this machine costs; ``how`` that is said, in words.
    """
    text = Text()
    _row(text, "model", Text(visible(found["model"]["said"])))
    trained = found["trained"] / found["parameters"]
    _row(text, "parameters", Text(
        f"{found['parameters'] / 1e6:,.0f} million; {found['trained'] / 1e6:,.1f} million trained "
        f"({trained:.1%})"
    ))  # fmt: skip
    text.append("\n")
    text.append_text(estimate_memory.memory(found, NAMES_WIDTH))
    _row(text, "time", _time(found))
    _row(text, "disk", _disk(found["disk"]))
    _cost(text, found, hour, how)
    text.append("\n")
    text.append(
        f"{'':<{NAMES_WIDTH}}{'rows':>7}{'tokens':>12}{'with loss':>12}{'longest':>9}\n", "dim"
    )
    for name, label in (
        ("train", "train on"), ("mix", "mixed in"), ("validation", "validate"), ("test", "compare")
    ):  # fmt: skip
        if (part := found["parts"].get(name)) is None:
            continue
        line = f"{part['kept']:>7,}{part['tokens']:>12,}{part['trained']:>12,}{part['longest']:>9,}"
        text.append(f"{label:<{NAMES_WIDTH}}", "dim")
        text.append(line if part["kept"] else f"{'none':>7}")
        text.append("\n")
    text.append_text(_notes(found["parts"], max_length))
    if short := found.get("mix_short"):
        text.append("! ", f"bold {palette.WARNING}").append(f"{visible(short)}\n")
    text.append("\n")
    each = f"{plural(found['steps'], 'step')}, {found['steps_per_epoch']:,} an epoch"
    if found["evaluate_every"]:
        each += f"; validation every {plural(found['evaluate_every'], 'step')}"
    _row(text, "steps", Text(each))
    _row(text, "tokens", Text(f"{found['tokens']:,} pass through the model in training"))
    _kept(text, found["disk"])
    return text


def _cost(text: Text, found: Mapping[str, Any], hour: Rate | None, how: str) -> None:
    """Add what the run costs here, and setting up as a line of its own; else what would tell it."""
    if hour is None:
        rental = msgspec.convert((found.get("hour") or {}).get("rental"), Figure | None)
        words = f"not known; {how}"
        if guide := hour_price.guide(rental):
            words += f" ({guide})"
        _row(text, "cost", Text(words, "dim"))
        return
    price, come = hour.figure(), found.get("follows") or {}
    time = msgspec.convert(come.get("whole") or found["time"], Figure | None)
    if cost := hour_cost.cost(time, hour):
        said = (f"  ({hour_price.an_hour(price)})", "dim")
        _row(text, "cost", Text.assemble(hour_price.spread(cost), said))
    else:
        words = f"not known, as the time is not; {hour_price.an_hour(price)}"
        _row(text, "cost", Text(words, "dim"))
    _row(text, "set-up", Text(hour_price.set_up(price), "dim"))


def _row(text: Text, name: str, value: Text) -> None:
    text.append(f"{name:<{NAMES_WIDTH}}", "dim").append_text(value).append("\n")


def _notes(parts: dict[str, Any], max_length: int) -> Text:
    """Say which rows are cut, and which train nothing."""
    text = Text()
    for name, part in parts.items():
        if part["cut"]:
            text.append("! ", f"bold {palette.WARNING}")
            text.append(f"{plural(part['cut'], 'row')} ({name}) longer than {max_length:,} tokens "
                        "lose their end\n")  # fmt: skip
        if part["lost"]:
            first = ", ".join(map(str, part["lost"][:5]))
            text.append("! ", f"bold {palette.WARNING}")
            text.append(f"{plural(len(part['lost']), 'row')} ({name}) have nothing to train on and "
                        f"are left out: line {first}\n")  # fmt: skip
    return text


def _time(found: Mapping[str, Any]) -> Text:
    figure = found["time"]
    if figure is None:
        return Text("known after the first steps: no run of this model has trained here yet", "dim")
    words = spans(figure["low"], figure["high"])
    whole = (found.get("follows") or {}).get("whole")
    if whole:
        words += f"; {spans(whole['low'], whole['high'])} in all"
    ends = time.strftime("%H:%M", time.localtime(time.time() + (whole or figure)["value"]))
    return Text.assemble(f"{words}, until about {ends}", (f"  ({_first(figure['source'])})", "dim"))


def _first(source: str) -> str:
    """Return the beginning of a source, up to what only ``--json`` tells."""
    return visible(source.split(";")[0].split(" (")[0], 200)


def _disk(found: dict[str, Any]) -> Text:
    """Return what the run writes against what is free, and what of it is fetched."""
    if short := found.get("short"):
        said = visible(f"{short['message']} {short['hint']}", 600)
        text = Text.assemble(("✗", palette.BAD), f" {said}")
    else:
        words = f" about {size(found['needed']['value'])} of {size(found['free']['value'])} free"
        parts: Mapping[str, Any] = found.get("parts") or {}
        if there := found.get("elsewhere"):
            words += f"; {size(there['needed']['value'])} to fetch, of {size(there['free']['value'])} where models are"
        elif fetched := parts.get("download"):
            words += f"; {size(fetched['value'])} of it to fetch the model"
        text = Text.assemble(("✓", palette.GOOD), words)
    return text


def _kept(text: Text, found: dict[str, Any]) -> None:
    """Add what stays on the disk by part, and what an export would take on top."""
    parts, later = msgspec.convert(
        (found.get("parts") or {}, found.get("later") or {}),
        tuple[dict[str, Figure], dict[str, Figure]],
    )
    if parts:
        _row(text, "kept", Text(disk.named(parts)))
    if later:
        _row(text, "", Text(disk.later_words(later, disk.left(found)), "dim"))
