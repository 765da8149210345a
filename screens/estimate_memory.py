"""The memory of a plan in words: of what there is, by part, and beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from ftwizard.screens import palette
from ftwizard.text import size, sizes, visible

BAR = 48
"""Cells of the bar of memory."""
CHANGES = 4
"""That would make it fit, at most."""
A_LINE = 3
"""Parts on one line of what the bar tells, so that none is broken."""
_MARKS = {
    "fits": ("✓", palette.GOOD),
    "tight": ("!", f"bold {palette.WARNING}"),
    "does not fit": ("✗", f"bold {palette.BAD}"),
}
_GROUPS = (
    ("█", "weights", ("weights",)),
    ("▆", "LoRA", ("adapter",)),
    ("▃", "gradients", ("gradients",)),
    ("▅", "optimizer", ("optimizer",)),
    ("▒", "activations", ("activations", "logits", "dequantisation")),
    ("░", "around it", ("context",)),
)
"""Of the parts of an estimate: how a bar tells them, in words, and which."""
_MEASURED = "█"


def verdict(middle: float, high: float, room: float) -> tuple[str, str, str]:
    """Return mark, word and style of what bytes come to in ``room``."""
    said = "fits" if high <= room else "tight" if middle <= room else "does not fit"
    mark, style = _MARKS[said]
    return mark, said, style


def memory(found: Mapping[str, Any], indent: int) -> Text:
    """Return what an estimate says of memory: of how much, by which parts, and what would make it
    fit; the lines below the first begin at ``indent``."""
    lines = list(_lines(found))
    text = Text()
    for number, line in enumerate(lines):
        text.append(" " * indent if number else f"{'memory':<{indent}}", "dim")
        text.append_text(line).append("\n")
    return text


def _lines(found: Mapping[str, Any]) -> Iterator[Text]:
    known, here = found.get("memory"), found.get("here") or {}
    room = found.get("room") or here.get("memory")
    if not known or not room:
        yield Text("not known for this model; p measures it", "dim")
    else:
        yield from _needed(found, known, here, room)
    for name in ("uncounted", "one_gpu"):
        if said := found.get(name):
            yield Text(visible(said, 600), "dim")
    if rule := found.get("article"):
        yield Text(visible(article(rule), 900), "dim")
    if known and room and not found.get("measured"):
        yield from _changes(found.get("fit"))


def _needed(
    found: Mapping[str, Any], known: Mapping[str, Any], here: Mapping[str, Any], room: float
) -> Iterator[Text]:
    peak, measured = known["peak"], found.get("measured")
    low, middle, high = peak["low"] or peak["value"], peak["value"], peak["high"] or peak["value"]
    worked_out = sizes(low, high)
    if measured:
        low = middle = high = measured["value"]
    mark, said, style = verdict(middle, high, room)
    free = f"{size(room)} free of " if room < (here.get("memory") or 0) else ""
    words = f"{sizes(low, high)} of {free}{size(here['memory'])}, {visible(here['name'], 40)}"
    yield Text.assemble((f"{mark} {said}", style), f"  {words}")
    if measured:
        yield _bar([(_MEASURED, high)], room)
        yield Text(f"measured {measured['as_of']}; worked out {worked_out}:", "dim")
        yield from _legend(known["parts"], drawn=False)
        return
    yield _bar([(glyph, value) for glyph, _, value in _grouped(known["parts"])], room)
    yield from _legend(known["parts"])
    if (probe := found.get("probe")) and probe["halved"]:
        yield Text(
            f"a probe: a batch of {probe['batch_size']} fits, with "
            f"{size(probe['memory']['value'])}; this one did not"
        )


def article(rule: Mapping[str, Any]) -> str:
    """Return what the article says beside ours, with its parts, and why they differ."""
    parts = ", ".join(f"{name} {size(one['value'])}" for name, one in rule["parts"].items())
    peak = size(rule["peak"]["value"]) + (f" ({parts})" if parts else "")
    return f"the article ({rule['peak']['as_of']}), for QLoRA: {peak}. {rule['why']}"


def _changes(fit: Mapping[str, Any] | None) -> Iterator[Text]:
    if not fit or fit["verdict"] == "fits":
        return
    yield Text(visible(fit["sentence"], 600))
    for change in fit["changes"][:CHANGES]:
        peak = change["memory"]["peak"]
        words = f"{visible(change['words'], 200)}: {sizes(peak['low'], peak['high'])}"
        costs = (f"  {visible(change['costs'], 200)}", "dim")
        yield Text.assemble(("→ ", palette.ACCENT), words, costs)


def _grouped(parts: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    return [
        (glyph, name, sum(parts[one]["value"] for one in which if one in parts))
        for glyph, name, which in _GROUPS
    ]


def _bar(parts: list[tuple[str, float]], room: float) -> Text:
    """Return the parts as a share of what there is, or of all of them where that is less."""
    whole = max(room, sum(value for _, value in parts))
    bar, before, drawn = Text(), 0.0, 0
    for glyph, value in parts:
        before += value
        upto = round(before / whole * BAR)
        bar.append(glyph * (upto - drawn), palette.ACCENT)
        drawn = upto
    return bar.append("·" * (BAR - drawn), "dim")


def _legend(parts: Mapping[str, Any], *, drawn: bool = True) -> Iterator[Text]:
    """Yield lines of the parts with their sizes; ``drawn``: with what the bar tells them by."""
    there = [
        Text.assemble(
            (f"{glyph} " if drawn else "", palette.ACCENT), (f"{name} ", "dim"), size(value)
        )
        for glyph, name, value in _grouped(parts)
        if value >= 5e5
    ]
    for first in range(0, len(there), A_LINE):
        yield Text("  ").join(there[first : first + A_LINE])
