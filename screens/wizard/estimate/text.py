"""Texts of the estimate: rows, steps, memory, time, disk and cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from rich.text import Text

from ftwizard.catalog.prices import PriceRate
from ftwizard.estimate import disk
from ftwizard.pricing import machine_rate, money
from ftwizard.quantity import Figure
from ftwizard.screens import palette
from ftwizard.screens.wizard.estimate import memory
from ftwizard.text import format_bytes, format_count, format_duration_range, make_visible

NAMES_WIDTH = 12
"""Cells of the name column."""
PRICE_HINT = "h sets the hourly price"


def format_estimate(
    estimate: dict[str, Any],
    max_length: int,
    hour: PriceRate | None = None,
    *,
    how: str = PRICE_HINT,
) -> Text:
    """Format the estimate in groups: model, memory, time, disk, cost, rows and steps.

    ``hour``: hourly price of this machine; ``how``: how to set it, in words.
    """
    text = Text()
    _append_row(text, "model", Text(make_visible(estimate["model"]["said"])))
    trained = estimate["trained"] / estimate["parameters"]
    _append_row(text, "parameters", Text(
        f"{estimate['parameters'] / 1e6:,.0f} million; {estimate['trained'] / 1e6:,.1f} million trainable "
        f"({trained:.1%})"
    ))  # fmt: skip
    text.append("\n")
    text.append_text(memory.format_memory(estimate, NAMES_WIDTH))
    _append_row(text, "time", _format_time(estimate))
    _append_row(text, "disk", _format_disk(estimate["disk"]))
    _append_cost(text, estimate, hour, how)
    text.append("\n")
    text.append(
        f"{'':<{NAMES_WIDTH}}{'rows':>7}{'tokens':>12}{'trained on':>12}{'longest':>9}\n", "dim"
    )
    for name, label in (
        ("train", "training"), ("mix", "mixed in"), ("validation", "validation"), ("test", "test")
    ):  # fmt: skip
        if (part := estimate["parts"].get(name)) is None:
            continue
        line = f"{part['kept']:>7,}{part['tokens']:>12,}{part['trained']:>12,}{part['longest']:>9,}"
        text.append(f"{label:<{NAMES_WIDTH}}", "dim")
        text.append(line if part["kept"] else f"{'none':>7}")
        text.append("\n")
    text.append_text(_format_notes(estimate["parts"], max_length))
    if short := estimate.get("mix_short"):
        text.append("! ", f"bold {palette.WARNING}").append(f"{make_visible(short)}\n")
    text.append("\n")
    each = f"{format_count(estimate['steps'], 'step')}, {estimate['steps_per_epoch']:,} per epoch"
    if estimate["evaluate_every"]:
        each += f"; validation every {format_count(estimate['evaluate_every'], 'step')}"
    _append_row(text, "steps", Text(each))
    _append_row(text, "tokens", Text(f"{estimate['tokens']:,} processed in training"))
    _append_kept(text, estimate["disk"])
    return text


def _append_cost(text: Text, estimate: Mapping[str, Any], hour: PriceRate | None, how: str) -> None:
    """Append the cost of the run and of its setup; without a price, how to set one."""
    if hour is None:
        rental = msgspec.convert((estimate.get("hour") or {}).get("rental"), Figure | None)
        words = f"unknown; {how}"
        if guide := machine_rate.describe_rental(rental):
            words += f" ({guide})"
        _append_row(text, "cost", Text(words, "dim"))
        return
    price, recipe_estimate = hour.figure(), estimate.get("follows") or {}
    time = msgspec.convert(recipe_estimate.get("whole") or estimate["time"], Figure | None)
    if cost := machine_rate.estimate_cost(time, hour):
        rate = (f"  ({machine_rate.describe_price(price)})", "dim")
        _append_row(text, "cost", Text.assemble(money.format_price(cost), rate))
    else:
        words = f"unknown: no time estimate; {machine_rate.describe_price(price)}"
        _append_row(text, "cost", Text(words, "dim"))
    _append_row(text, "setup", Text(machine_rate.describe_setup_cost(price), "dim"))


def _append_row(text: Text, name: str, value: Text) -> None:
    text.append(f"{name:<{NAMES_WIDTH}}", "dim").append_text(value).append("\n")


def _format_notes(parts: dict[str, Any], max_length: int) -> Text:
    """Format which rows are truncated, and which have no trainable tokens."""
    text = Text()
    for name, part in parts.items():
        if part["cut"]:
            text.append("! ", f"bold {palette.WARNING}")
            text.append(f"{format_count(part['cut'], 'row')} ({name}) exceed the max length of "
                        f"{max_length:,} tokens and are truncated\n")  # fmt: skip
        if part["lost"]:
            first = ", ".join(map(str, part["lost"][:5]))
            text.append("! ", f"bold {palette.WARNING}")
            text.append(f"{format_count(len(part['lost']), 'row')} ({name}) have no trainable tokens "
                        f"and are skipped: line {first}\n")  # fmt: skip
    return text


def _format_time(estimate: Mapping[str, Any]) -> Text:
    figure = estimate["time"]
    if figure is None:
        return Text("known after the first steps: this model was never trained here", "dim")
    words = format_duration_range(figure["low"], figure["high"])
    whole = (estimate.get("follows") or {}).get("whole")
    if whole:
        words += f"; {format_duration_range(whole['low'], whole['high'])} in total"
    ends = time.strftime("%H:%M", time.localtime(time.time() + (whole or figure)["value"]))
    return Text.assemble(
        f"{words}, ends about {ends}", (f"  ({_shorten_source(figure['source'])})", "dim")
    )


def _shorten_source(source: str) -> str:
    """Shorten a source to its first part; ``--json`` has the rest."""
    return make_visible(source.split(";")[0].split(" (")[0], 200)


def _format_disk(disk_estimate: dict[str, Any]) -> Text:
    """Format the disk space needed, free, and to download."""
    if short := disk_estimate.get("short"):
        message = make_visible(f"{short['message']} {short['hint']}", 600)
        text = Text.assemble(("✗", palette.BAD), f" {message}")
    else:
        words = f" about {format_bytes(disk_estimate['needed']['value'])} of {format_bytes(disk_estimate['free']['value'])} free"
        parts: Mapping[str, Any] = disk_estimate.get("parts") or {}
        if there := disk_estimate.get("elsewhere"):
            words += f"; {format_bytes(there['needed']['value'])} to download, of {format_bytes(there['free']['value'])} free in the model cache"
        elif fetched := parts.get("download"):
            words += f"; {format_bytes(fetched['value'])} of it for the model download"
        text = Text.assemble(("✓", palette.GOOD), words)
    return text


def _append_kept(text: Text, disk_estimate: dict[str, Any]) -> None:
    """Append what stays on disk by part, and what an export would add."""
    parts, later = msgspec.convert(
        (disk_estimate.get("parts") or {}, disk_estimate.get("later") or {}),
        tuple[dict[str, Figure], dict[str, Figure]],
    )
    if parts:
        _append_row(text, "kept", Text(disk.format_parts(parts)))
    if later:
        _append_row(
            text,
            "",
            Text(disk.describe_later_exports(later, disk.free_after_run(disk_estimate)), "dim"),
        )
