"""Texts on the memory of a plan: total, parts, and comparison with measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from ftwizard.screens import palette
from ftwizard.screens.draft.live_estimate import judge_fit
from ftwizard.text import format_byte_range, format_bytes, make_visible

BAR_WIDTH = 48
"""Cells of the memory bar."""
MAX_CHANGES = 4
"""Suggested changes that would make it fit."""
PARTS_PER_LINE = 3
"""Parts per line of the legend, so that none wraps."""
_GROUPS = (
    ("█", "weights", ("weights",)),
    ("▆", "LoRA", ("adapter",)),
    ("▃", "gradients", ("gradients",)),
    ("▅", "optimizer", ("optimizer",)),
    ("▒", "activations", ("activations", "logits", "dequantisation")),
    ("░", "overhead", ("context",)),
)
"""Bar glyph, label and estimate parts of each group."""
_MEASURED = "█"


def format_memory(estimate: Mapping[str, Any], indent: int) -> Text:
    """Format an estimate's memory: total, parts, and what would make it fit. Lines after the
    first are indented by ``indent``."""
    lines = list(_list_lines(estimate))
    text = Text()
    for number, line in enumerate(lines):
        text.append(" " * indent if number else f"{'memory':<{indent}}", "dim")
        text.append_text(line).append("\n")
    return text


def _list_lines(estimate: Mapping[str, Any]) -> Iterator[Text]:
    memory, here = estimate.get("memory"), estimate.get("here") or {}
    room = estimate.get("room") or here.get("memory")
    if not memory or not room:
        yield Text("unknown for this model; p measures it", "dim")
    else:
        yield from _list_needed(estimate, memory, here, room)
    for name in ("uncounted", "one_gpu"):
        if note := estimate.get(name):
            yield Text(make_visible(note, 600), "dim")
    if rule := estimate.get("article"):
        yield Text(make_visible(format_article(rule), 900), "dim")
    if memory and room and not estimate.get("measured"):
        yield from _list_changes(estimate.get("fit"))


def _list_needed(
    estimate: Mapping[str, Any], memory: Mapping[str, Any], here: Mapping[str, Any], room: float
) -> Iterator[Text]:
    peak, measured = memory["peak"], estimate.get("measured")
    low, middle, high = peak["low"] or peak["value"], peak["value"], peak["high"] or peak["value"]
    estimated = format_byte_range(low, high)
    if measured:
        low = middle = high = measured["value"]
    mark, word, style = judge_fit(middle, high, room)
    free = f"{format_bytes(room)} free of " if room < (here.get("memory") or 0) else ""
    words = f"{format_byte_range(low, high)} of {free}{format_bytes(here['memory'])}, {make_visible(here['name'], 40)}"
    yield Text.assemble((f"{mark} {word}", style), f"  {words}")
    if measured:
        yield _draw_bar([(_MEASURED, high)], room)
        yield Text(f"measured {measured['as_of']}; estimated {estimated}:", "dim")
        yield from _list_legend(memory["parts"], drawn=False)
        return
    yield _draw_bar([(glyph, value) for glyph, _, value in _group_parts(memory["parts"])], room)
    yield from _list_legend(memory["parts"])
    if (probe := estimate.get("probe")) and probe["halved"]:
        yield Text(
            f"probe: batch size {probe['batch_size']} fits in {format_bytes(probe['memory']['value'])}; "
            "this one did not fit"
        )


def format_article(rule: Mapping[str, Any]) -> str:
    """Format the article's rule of thumb with its parts, and why it differs from ours."""
    parts = ", ".join(
        f"{name} {format_bytes(part['value'])}" for name, part in rule["parts"].items()
    )
    peak = format_bytes(rule["peak"]["value"]) + (f" ({parts})" if parts else "")
    return f"the article's rule of thumb for QLoRA ({rule['peak']['as_of']}): {peak}. {rule['why']}"


def _list_changes(fit: Mapping[str, Any] | None) -> Iterator[Text]:
    if not fit or fit["verdict"] == "fits":
        return
    yield Text(make_visible(fit["sentence"], 600))
    for change in fit["changes"][:MAX_CHANGES]:
        peak = change["memory"]["peak"]
        words = (
            f"{make_visible(change['words'], 200)}: {format_byte_range(peak['low'], peak['high'])}"
        )
        costs = (f"  {make_visible(change['costs'], 200)}", "dim")
        yield Text.assemble(("→ ", palette.ACCENT), words, costs)


def _group_parts(parts: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    return [
        (glyph, name, sum(parts[part]["value"] for part in names if part in parts))
        for glyph, name, names in _GROUPS
    ]


def _draw_bar(parts: list[tuple[str, float]], room: float) -> Text:
    """Draw the parts as shares of ``room``, or of their sum if that is larger."""
    whole = max(room, sum(value for _, value in parts))
    bar, before, drawn = Text(), 0.0, 0
    for glyph, value in parts:
        before += value
        upto = round(before / whole * BAR_WIDTH)
        bar.append(glyph * (upto - drawn), palette.ACCENT)
        drawn = upto
    return bar.append("·" * (BAR_WIDTH - drawn), "dim")


def _list_legend(parts: Mapping[str, Any], *, drawn: bool = True) -> Iterator[Text]:
    """Yield lines of parts and sizes; ``drawn``: with the bar's glyphs."""
    there = [
        Text.assemble(
            (f"{glyph} " if drawn else "", palette.ACCENT), (f"{name} ", "dim"), format_bytes(value)
        )
        for glyph, name, value in _group_parts(parts)
        if value >= 5e5
    ]
    for first in range(0, len(there), PARTS_PER_LINE):
        yield Text("  ").join(there[first : first + PARTS_PER_LINE])
