"""What ``estimate`` says of the needs of a training: rows, steps, memory, time and disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ftwizard.commands import of_money
from ftwizard.estimate.disk import later_words, left, named
from ftwizard.estimate.memory import Memory
from ftwizard.figure import Figure, oldest
from ftwizard.text import plural, size, sizes, spans, visible

METHODS = {"lora": "LoRA", "qlora": "QLoRA", "full": "all weights"}
PARTS = {"train": "training", "mix": "mixed in", "test": "held out"}
Figures = dict[str, Figure]
FITS = {"fits": "✓", "tight": "!", "does not fit": "✗"}


def lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a plan's estimate in words: what of, and how much; a line that goes on has no name."""
    lines = [("model", found["model"]["said"])]
    if refused := found["refused"]:
        lines.append(("✗", visible(refused, 600)))
    lines.append((
        "parameters", f"{found['parameters']:,}, of which {found['trained']:,} are trained"
    ))  # fmt: skip
    lines.append(("recipe", _recipe(found["recipe"])))
    lines += _rows(found)
    lines += _memory_lines(found)
    time = msgspec.convert(found["time"], Figure | None)
    lines.append((
        "time",
        _time(time, found["fit"])
        if time
        else "not known before the first run of this model here; the first steps will tell",
    ))  # fmt: skip
    return [*lines, *of_money.lines(found), *disk_lines(found["disk"]), *_thoughts(found)]


def _thoughts(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what should be thought about before the training."""
    for one in found["warnings"]:
        asked = f" Training asks for --allow {one['allow']}." if one["allow"] else ""
        yield "!", visible(one["message"], 600) + asked
    if why := found["epochs_because"]:
        yield "epochs", visible(why, 600)


def _recipe(recipe: dict[str, Any]) -> str:
    method = METHODS[recipe["method"]]
    rank = "" if recipe["method"] == "full" else f", rank {recipe['rank']}"
    passes = recipe["gradient_accumulation"]
    step = f" × {plural(passes, 'pass', 'passes')}" if passes > 1 else ""
    packed = "packed sequences" if recipe["packing"] else "rows"
    rows = f"{recipe['batch_size']:,} {packed if recipe['batch_size'] != 1 else packed[:-1]}"
    return (
        f"{method}{rank}; {rows}{step} a step, {recipe['max_length']:,} tokens of a row at most; "
        f"{recipe['epochs']:g} {'epoch' if recipe['epochs'] == 1 else 'epochs'}"
    )


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, part in found["parts"].items():
        words = f"{plural(part['kept'], 'row')} of {part['rows']:,}"
        if part["kept"]:
            words += f", {part['tokens']:,} tokens, {part['trained']:,} with loss"
        if part["cut"]:
            words += f"; {plural(part['cut'], 'row')} cut"
        yield PARTS.get(name, name), words
    if found["mix_short"]:
        yield "", found["mix_short"]
    if found["steps"]:
        often = found["evaluate_every"]
        validated = f"; validated every {plural(often, 'step')}" if often else ""
        each = f"{found['steps_per_epoch']:,} an epoch"
        yield "steps", f"{found['steps']:,} ({each}){validated}"


def _memory_lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    memory = msgspec.convert(found["memory"], Memory | None)
    if memory is None:
        yield (
            "memory",
            "not known for a model of this kind; a few real steps tell: ftwizard probe PLAN",
        )
    else:
        peak = memory.peak
        worked_out = f"{sizes(peak.low or 0, peak.high or 0)} ({said(peak)})"
        if measured := msgspec.convert(found["measured"], Figure | None):
            yield "memory", _measured(measured, found["room"])
            yield "", f"worked out: {worked_out}"
        else:
            yield "memory", worked_out
        yield "", _parts(memory)
    for words in (found["uncounted"], found["one_gpu"]):
        if words:
            yield "", words
    if (probe := found["probe"]) and probe["halved"]:
        fits = f"{size(probe['memory']['value'])} with a batch of {probe['batch_size']:,}"
        yield "", f"A probe here measured {fits}, as this one ran out of memory."
    if rule := found["article"]:
        yield "", _article(rule)
    if (fit := found["fit"]) and not found["measured"]:
        yield "", f"{FITS.get(fit['verdict'], '·')} {visible(fit['sentence'], 600)}"
        for change in fit["changes"][:4]:
            yield "", f"· {_change_words(change)}"


def _measured(measured: Figure, room: int | None) -> str:
    """Return what a probe measured, against what there is."""
    on = f" on {measured.as_of}" if measured.as_of else ""
    words = f"{size(measured.value)}, as a probe here measured{on}"
    if not room:
        return words
    fits = measured.value <= room
    return f"{words}: {FITS['fits'] if fits else FITS['does not fit']} of {size(room)}"


def _article(rule: dict[str, Any]) -> str:
    """Return what the article says, with its parts, and why ours differs."""
    parts = ", ".join(f"{name} {size(one['value'])}" for name, one in rule["parts"].items())
    peak = size(rule["peak"]["value"]) + (f" ({parts})" if parts else "")
    return f"The article ({rule['peak']['as_of']}), for QLoRA: {peak}. {rule['why']}"


def said(one: Figure) -> str:
    """Say where a figure comes from, and the month that this is of."""
    return f"{one.source}; {one.as_of[:7]}" if one.as_of else one.source


def _parts(memory: Memory) -> str:
    parts = (
        f"{name} {size(part.value)}" for name, part in memory.parts.items() if part.value >= 5e5
    )
    return ", ".join(parts)


def _time(time: Figure, fit: dict[str, Any] | None) -> str:
    span = spans(time.low or 0, time.high or 0)
    if fit and fit["verdict"] == "does not fit":
        return f"{span} of training if it fitted ({said(time)})"
    return f"{span} of training ({said(time)})"


def _change_words(change: dict[str, Any]) -> str:
    peak = change["memory"]["peak"]
    return f"{change['words']}: {sizes(peak['low'], peak['high'])}; {change['costs']}"


def disk_lines(disk: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return what of ``room.room`` is to be said."""
    yield from _room_lines(disk)
    if short := disk["short"]:
        yield "", f"✗ {short['message']} {short['hint']}"


def _room_lines(disk: dict[str, Any]) -> Iterator[tuple[str, str]]:
    words = f"about {size(disk['needed']['value'])} of {size(disk['free']['value'])} free"
    if elsewhere := disk["elsewhere"]:
        yield "disk", words
        yield (
            "model",
            (
                f"about {size(elsewhere['needed']['value'])} to fetch; {size(elsewhere['free']['value'])} are free where "
                f"{elsewhere['folder']} is"
            ),
        )
    elif download := disk["parts"].get("download"):
        yield "disk", f"{words}; {size(download['value'])} of it to fetch the model"
    else:
        yield "disk", words
    parts, later = msgspec.convert((disk["parts"], disk["later"]), tuple[Figures, Figures])
    dates = oldest(one.as_of for one in parts.values())
    yield "", f"{named(parts)} (by parameters and bytes of each{f'; {dates[:7]}' if dates else ''})"
    yield "", later_words(later, left(disk))
