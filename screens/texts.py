"""What the wizard says, by screens and line by line: texts that need nothing to show them."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ftwizard.advice import questions, recipe
from ftwizard.advice.path import Recommendation
from ftwizard.advice.setting import Setting
from ftwizard.catalog import PathId, catalog
from ftwizard.data.formats import NAMES
from ftwizard.errors import FtwizardError
from ftwizard.machine import Facts
from ftwizard.screens import palette
from ftwizard.screens.draft import Draft
from ftwizard.text import duration, plural, size, visible, visible_lines

COUNTING = "Counting with the model's tokenizer"
NO_VALIDATION = (
    "Without validation data nobody can see the model overfit.",
    "A tenth of the rows is enough, and it is what the chart's dashed line is made of.",
    "no validation",
)
"""A warning, what to do about it, and the phrase that overrules it."""
MANY_EPOCHS = ("More is accepted when you insist.", "many epochs")
"""The same for the warning of a plan's own check."""
NAMES_WIDTH = 12
"""Cells of the names of an estimate's figures."""
SHOWN_CHARACTERS = 4000
"""Of a row."""


def this_machine(facts: Facts) -> str:
    """Return what was seen of this machine, on a line."""
    seen = dict(questions.seen(facts))
    here = f"This machine: GPU {seen['GPU']}; {seen['memory']} memory, {seen['free disk']} free"
    return f"{here}; {seen['processors']}"


def hanging(text: Text, hang: int, width: int) -> Text:
    """Return text wrapped at words; a line that is too long goes on below itself, at ``hang``.

    ``width`` counts cells.
    """
    room, lines = max(20, width - hang), []
    text.rstrip()
    for line in text.split("\n", allow_blank=True) or [text]:
        first, *below = line[hang:].wrap(Console(width=room), room) or [Text()]
        lines += [line[:hang] + first, *(Text(" " * hang) + part for part in below)]
    return Text("\n").join(lines)


def advice(found: Recommendation, path: PathId) -> Text:
    """Return the recommendation with its reasons, and the chosen path's six factors."""
    text = recommendation(found)
    if path != found.path:
        text.append("\n").append_text(instead(found, path))
    return text.append("\n").append_text(factors(found, path)).append_text(flips(found))


def recommendation(found: Recommendation) -> Text:
    """Return which path is recommended, what speaks for it and what against."""
    known, text = catalog(), Text()
    name = known.path(found.path).name
    if found.platform:
        name += f", {known.platform(found.platform).name}"
    if found.fit:
        mark, style = ("✗", palette.BAD) if found.wrong_tool else ("✓", palette.GOOD)
        text.append(f"{mark} ", style).append(f"{found.fit}\n")
    text.append("→ ", palette.ACCENT).append(name, "bold").append(" is recommended.\n")
    _list(text, "+", found.reasons)
    _list(text, "-", found.cautions)
    if found.close_to:
        _list(text, "~", [f"{known.path(found.close_to).name} is about as good here."])
    return text


def instead(found: Recommendation, path: PathId) -> Text:
    """Return what it costs to choose another path than the recommended one."""
    known = catalog().path(path)
    text = Text.assemble((f"Choosing {known.name} instead\n", "bold"))
    _list(text, "·", [found.costs_of[path]])
    if not known.available:
        text.append("! ", f"bold {palette.WARNING}").append(f"{known.unavailable}\n")
    return text


def factors(found: Recommendation, path: PathId) -> Text:
    """Return a path's six factors."""
    known = catalog()
    text = Text.assemble((f"{known.path(path).name}\n", "bold"))
    for factor, label in known.factors.items():
        platform = found.platform if path == "cloud" else None
        claim = known.path(path).claims(factor, platform)[0]
        text.append(f"  {label:<20}", "dim").append(f"{claim.words}\n")
    return text


def flips(found: Recommendation) -> Text:
    """Return what would change the recommendation; empty where nothing would."""
    text = Text()
    if found.flips:
        text.append("\nWhat would change the recommendation\n", "bold")
        _list(text, "·", found.flips)
    return text


def _list(text: Text, mark: str, lines: Iterable[str]) -> None:
    for line in lines:
        text.append(f"  {mark} ", "dim").append(f"{line}\n")


def elsewhere(path: PathId, checked: dict[str, Any]) -> Text:
    """Return what was done, why it ends here, and what ends there when."""
    known = catalog().path(path)
    text = Text.assemble((f"{known.name}\n\n", "bold"))
    text.append("✓ ", palette.GOOD)
    text.append(
        f"{plural(checked.get('usable', 0), 'row')} of {visible(str(checked.get('path')))} can be "
        f"used ({checked.get('format')}).\n"
    )
    text.append("! ", f"bold {palette.WARNING}").append(f"{known.unavailable}\n")
    today = datetime.date.today()
    for end in catalog().lifecycles:
        if end.path == path and end.date > today:
            text.append("· ", "dim").append(f"{end.date}: {end.text}\n")
    return text


def verdict(found: dict[str, Any]) -> Text:
    """Return how many rows a file holds, of which format, and how many cannot be used."""
    bad = found["rows"] - found["usable"]
    ok = not bad
    text = Text.assemble(("✓ ", palette.GOOD) if ok else ("✗ ", palette.BAD))
    text.append(plural(found["rows"], "row"), "bold")
    text.append(f", {NAMES.get(found['format'], 'no format that is known')}")
    if bad:
        text.append(f"; {plural(bad, 'row')} cannot be used", palette.BAD)
    if found.get("source"):
        text.append(f"\n  {visible(found['source'], 200)}", "dim")
    return text


def mark(finding: dict[str, Any]) -> tuple[str, str]:
    """Return the mark of a finding and its style."""
    return ("✗ ", palette.BAD) if finding["severity"] == "error" else ("! ", palette.WARNING)


def first_words(row: dict[str, Any]) -> str:
    """Return what a row asks, on a line."""
    messages = row["conversation"]["messages"]
    asked = next((m for m in messages if m["role"] == "user"), messages[0])
    return visible(str(asked["content"])[:SHOWN_CHARACTERS], 80)


def conversation(conversation: dict[str, Any]) -> str:
    """Return a row as it is read, each message below the role that says it."""
    parts = []
    for message in conversation["messages"]:
        said = visible_lines(str(message["content"])[:SHOWN_CHARACTERS])
        calls = "".join(
            f"\n→ {visible(str(call['function']['name']))}"
            f"({visible(str(call['function'].get('arguments', '')), 500)})"
            for call in message.get("tool_calls") or []
        )
        parts.append(f"{visible(message['role'])}\n{said}{calls}")
    return "\n\n".join(parts)[:SHOWN_CHARACTERS]


def where(finding: dict[str, Any]) -> str:
    """Say how many rows a problem concerns, and at which lines."""
    lines = ", ".join(map(str, finding["lines"][:20])) + ("…" if finding["count"] > 20 else "")
    return f"{plural(finding['count'], 'row')}, at line {lines}"


def figures(found: dict[str, Any], max_length: int) -> Text:
    """Return the estimate in groups: model, rows, steps, time and room."""
    text = Text()
    _row(text, "model", Text(visible(found["model"]["said"])))
    trained = found["trained"] / found["parameters"]
    _row(text, "parameters", Text(
        f"{found['parameters'] / 1e6:,.0f} million; {found['trained'] / 1e6:,.1f} million trained "
        f"({trained:.1%})"
    ))  # fmt: skip
    text.append("\n")
    text.append(
        f"{'':<{NAMES_WIDTH}}{'rows':>7}{'tokens':>12}{'with loss':>12}{'longest':>9}\n", "dim"
    )
    for name, label in (("train", "train on"), ("validation", "validate"), ("heldout", "compare")):
        part = found["parts"][name]
        line = f"{part['kept']:>7,}{part['tokens']:>12,}{part['trained']:>12,}{part['longest']:>9,}"
        text.append(f"{label:<{NAMES_WIDTH}}", "dim")
        text.append(line if part["kept"] else f"{'none':>7}")
        text.append("\n")
    text.append_text(_notes(found["parts"], max_length)).append("\n")
    each = f"{plural(found['steps'], 'step')}, {found['steps_per_epoch']:,} an epoch"
    if found["evaluate_every"]:
        each += f"; validation every {plural(found['evaluate_every'], 'step')}"
    _row(text, "steps", Text(each))
    _row(text, "tokens", Text(f"{found['tokens']:,} pass through the model in training"))
    _row(text, "time", _time(found["time"]))
    _row(text, "disk", _disk(found["disk"]))
    _row(text, "memory", Text("not estimated; the first step shows it", "dim"))
    _row(text, "money", Text("nothing here but electricity, or the hours of a rented GPU", "dim"))
    return text


def suited(changes: Sequence[str]) -> Text:
    """Say which settings were changed to suit the model, now that its size is known."""
    text = Text()
    for change in changes:
        text.append("\n· ", palette.ACCENT).append(f"for a model of this size  {change}")
    return text


def changed(draft: Draft) -> FtwizardError:
    """Return what there is to say of rows that were written again after they were checked."""
    return FtwizardError(
        f"{visible(draft.plan.data.files.train, 300)} has changed since it was checked.",
        "Check it again: enter on the page of the data.",
    )


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


def _time(figure: dict[str, Any] | None) -> Text:
    if figure is None:
        return Text("known after the first steps: no run of this model has trained here yet", "dim")
    low, high = figure["low"], figure["high"]
    ends = time.strftime("%H:%M", time.localtime(time.time() + figure["value"]))
    return Text.assemble(
        f"{duration(low)} – {duration(high)}, until about {ends}",
        (f"  ({visible(figure['source'])})", "dim"),
    )


def _disk(disk: dict[str, Any]) -> Text:
    enough = disk["needed"] < disk["free"]
    mark, style = ("✓", palette.GOOD) if enough else ("✗", palette.BAD)
    words = f" about {size(disk['needed'])} of {size(disk['free'])} free"
    return Text.assemble((mark, style), words, "" if enough else ": too little")


def warnings(draft: Draft) -> Text:
    """Return what there is to think about before training."""
    found = draft.estimate or {}
    text = Text()
    for one in recipe.warnings(draft.plan.recipe, draft.parameters, draft.earlier):
        text.append("! ", f"bold {palette.WARNING}").append(f"{one.message}\n")
    if (disk := found.get("disk")) and disk["needed"] >= disk["free"]:
        text.append("! ", f"bold {palette.WARNING}").append("The disk is too full for this run.\n")
    for name in draft.plan.insist:
        text.append("· ", "dim").append(f"you insisted: {name}\n")
    text.right_crop(1) if text else None
    return text


def reason(setting: Setting, why: str, origin: str) -> Text:
    """Return why a setting has its value, and where that comes from."""
    text = Text.assemble((setting.label, "bold"), f"  {why}")
    if origin == "yours":
        return text.append(f"\nyours; said by {setting.source}, {setting.as_of}", "dim")
    return text.append(f"\n{origin}: {setting.source}, {setting.as_of}", "dim")
