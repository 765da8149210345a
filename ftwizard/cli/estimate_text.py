"""Text of an estimate: data, steps, memory, time and disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ftwizard.estimate.disk import describe_later_exports, format_parts, free_after_run
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.pricing import machine_rate, money
from ftwizard.quantity import Figure, oldest_date
from ftwizard.text import (
    format_byte_range,
    format_bytes,
    format_count,
    format_duration_range,
    make_visible,
)

# Cost of a plan on this machine, as lines of an estimate.


def cost_lines(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield cost and setup as names and values, or how to make them known."""
    hour = document["hour"]
    price = msgspec.convert(hour["price"], Figure | None)
    if price is None:
        guide = machine_rate.describe_rental(msgspec.convert(hour["rental"], Figure | None))
        file = machine_rate.shown_file()
        row = 'kind = "machine", usd = USD'
        yield (
            "cost",
            f"unknown: set the hourly price with {machine_rate.OPTION}, or in {file}: {row}",
        )
        if guide:
            yield "", guide
        return
    cost = msgspec.convert((document["follows"] or {}).get("cost"), Figure | None)
    if cost is None:
        yield "cost", f"unknown, as the time is unknown; {machine_rate.describe_price(price)}"
        return
    fit = document["fit"]
    fitted = " if it fit" if fit and fit["verdict"] == "does not fit" else ""
    text = f"{money.format_price(cost)} for the whole run{fitted}, {machine_rate.describe_price(price)}"
    yield "cost", text
    yield "setup", machine_rate.describe_setup_cost(price)


METHODS = {"lora": "LoRA", "qlora": "QLoRA", "full": "full fine-tune"}
PARTS = {"train": "training", "mix": "mixed in", "test": "test"}
Figures = dict[str, Figure]
FITS = {"fits": "✓", "tight": "!", "does not fit": "✗"}


def to_lines(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a plan's estimate as names and values; a continuation line has no name."""
    lines = [("model", document["model"]["said"])]
    if refused := document["refused"]:
        lines.append(("✗", make_visible(refused, 600)))
    lines.append((
        "parameters", f"{document['parameters']:,}, of which {document['trained']:,} trainable"
    ))  # fmt: skip
    lines.append(("recipe", _format_recipe(document["recipe"])))
    lines += _data_lines(document)
    lines += _memory_lines(document)
    time = msgspec.convert(document["time"], Figure | None)
    lines.append((
        "time",
        _format_time(time, document["fit"])
        if time
        else "unknown until the first run of this model here",
    ))  # fmt: skip
    return [
        *lines,
        *cost_lines(document),
        *disk_lines(document["disk"]),
        *_warning_lines(document),
    ]


def _warning_lines(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the warnings before training."""
    for warning in document["warnings"]:
        option = f" Training needs --allow {warning['allow']}." if warning["allow"] else ""
        yield "!", make_visible(warning["message"], 600) + option
    if why := document["epochs_because"]:
        yield "epochs", make_visible(why, 600)


def _format_recipe(recipe: dict[str, Any]) -> str:
    method = METHODS[recipe["method"]]
    rank = "" if recipe["method"] == "full" else f", rank {recipe['rank']}"
    passes = recipe["gradient_accumulation"]
    step = f" × {format_count(passes, 'pass', 'passes')}" if passes > 1 else ""
    packed = "packed sequences" if recipe["packing"] else "rows"
    rows = f"{recipe['batch_size']:,} {packed if recipe['batch_size'] != 1 else packed[:-1]}"
    return (
        f"{method}{rank}; {rows}{step} per step, max length {recipe['max_length']:,} tokens; "
        f"{recipe['epochs']:g} {'epoch' if recipe['epochs'] == 1 else 'epochs'}"
    )


def _data_lines(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, part in document["parts"].items():
        text = f"{format_count(part['kept'], 'row')} of {part['rows']:,}"
        if part["kept"]:
            text += f", {part['tokens']:,} tokens, {part['trained']:,} trained on"
        if part["cut"]:
            text += f"; {format_count(part['cut'], 'row')} cut"
        yield PARTS.get(name, name), text
    if document["mix_short"]:
        yield "", document["mix_short"]
    if document["steps"]:
        interval = document["evaluate_every"]
        evaluated = f"; evaluated every {format_count(interval, 'step')}" if interval else ""
        per_epoch = f"{document['steps_per_epoch']:,} per epoch"
        yield "steps", f"{document['steps']:,} ({per_epoch}){evaluated}"


def _memory_lines(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    memory = msgspec.convert(document["memory"], MemoryEstimate | None)
    if memory is None:
        yield (
            "memory",
            "unknown for this kind of model; to measure it: ftwizard probe PLAN",
        )
    else:
        peak = memory.peak
        estimated = f"{format_byte_range(peak.low or 0, peak.high or 0)} ({format_source(peak)})"
        if measured := msgspec.convert(document["measured"], Figure | None):
            yield "memory", _format_measured(measured, document["room"])
            yield "", f"estimated: {estimated}"
        else:
            yield "memory", estimated
        yield "", _format_parts(memory)
    for words in (document["uncounted"], document["one_gpu"]):
        if words:
            yield "", words
    if (probe := document["probe"]) and probe["halved"]:
        fits = (
            f"{format_bytes(probe['memory']['value'])} with a batch size of {probe['batch_size']:,}"
        )
        yield "", f"A probe here measured {fits}; this one ran out of memory."
    if rule := document["article"]:
        yield "", _format_article(rule)
    if (fit := document["fit"]) and not document["measured"]:
        yield "", f"{FITS.get(fit['verdict'], '·')} {make_visible(fit['sentence'], 600)}"
        for change in fit["changes"][:4]:
            yield "", f"· {_format_change(change)}"


def _format_measured(measured: Figure, room: int | None) -> str:
    """Format the memory that a probe measured, compared with the available memory."""
    on = f" on {measured.as_of}" if measured.as_of else ""
    text = f"{format_bytes(measured.value)}, measured by a probe here{on}"
    if not room:
        return text
    fits = measured.value <= room
    return f"{text}: {FITS['fits'] if fits else FITS['does not fit']} of {format_bytes(room)}"


def _format_article(rule: dict[str, Any]) -> str:
    """Format the article's figure, its parts, and why our estimate differs."""
    parts = ", ".join(
        f"{name} {format_bytes(part['value'])}" for name, part in rule["parts"].items()
    )
    peak = format_bytes(rule["peak"]["value"]) + (f" ({parts})" if parts else "")
    return f"The article ({rule['peak']['as_of']}), for QLoRA: {peak}. {rule['why']}"


def format_source(figure: Figure) -> str:
    """Format the source of a figure, and the month of its date."""
    return f"{figure.source}; {figure.as_of[:7]}" if figure.as_of else figure.source


def _format_parts(memory: MemoryEstimate) -> str:
    parts = (
        f"{name} {format_bytes(part.value)}"
        for name, part in memory.parts.items()
        if part.value >= 5e5
    )
    return ", ".join(parts)


def _format_time(time: Figure, fit: dict[str, Any] | None) -> str:
    span = format_duration_range(time.low or 0, time.high or 0)
    if fit and fit["verdict"] == "does not fit":
        return f"{span} of training if it fit ({format_source(time)})"
    return f"{span} of training ({format_source(time)})"


def _format_change(change: dict[str, Any]) -> str:
    peak = change["memory"]["peak"]
    return f"{change['words']}: {format_byte_range(peak['low'], peak['high'])}; {change['costs']}"


def disk_lines(disk: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines about the disk, from a document of ``disk_check``."""
    yield from _disk_parts(disk)
    if short := disk["short"]:
        yield "", f"✗ {short['message']} {short['hint']}"


def _disk_parts(disk: dict[str, Any]) -> Iterator[tuple[str, str]]:
    text = f"needs about {format_bytes(disk['needed']['value'])}, {format_bytes(disk['free']['value'])} free"
    if elsewhere := disk["elsewhere"]:
        yield "disk", text
        yield (
            "model",
            (
                f"about {format_bytes(elsewhere['needed']['value'])} to download; {format_bytes(elsewhere['free']['value'])} free on the "
                f"disk of {elsewhere['folder']}"
            ),
        )
    elif download := disk["parts"].get("download"):
        yield "disk", f"{text}; {format_bytes(download['value'])} of it for the model download"
    else:
        yield "disk", text
    parts, later = msgspec.convert((disk["parts"], disk["later"]), tuple[Figures, Figures])
    date = oldest_date(part.as_of for part in parts.values())
    yield (
        "",
        f"{format_parts(parts)} (by parameters and bytes each{f'; {date[:7]}' if date else ''})",
    )
    yield "", describe_later_exports(later, free_after_run(disk))
