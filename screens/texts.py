"""What the wizard says, by screens and line by line: texts that need nothing to show them."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ftwizard.advice import questions, recipe
from ftwizard.advice.path import Recommendation
from ftwizard.advice.setting import Setting
from ftwizard.advice.tables import Advised
from ftwizard.catalog.paths import PathId, catalog
from ftwizard.earlier import Earlier
from ftwizard.errors import FtwizardError
from ftwizard.machine import Facts
from ftwizard.screens import palette, remembered, values
from ftwizard.screens.draft import Draft
from ftwizard.text import plural, size, spans, visible

COUNTING = "Counting with the model's tokenizer"
NO_VALIDATION = (
    "Without validation data nobody can see the model overfit.",
    "A tenth of the rows is enough, and it is what the chart's dashed line is made of.",
    "no validation",
)
"""A warning, what to do about it, and the phrase that overrules it."""
_ANSWER = re.compile(r" \([a-z_]+=[a-z-]+\)")
"""How a command is told an answer; on a screen it is chosen."""
MANY_EPOCHS = ("More is accepted when you insist.", "many epochs")
"""The same for the warning of a plan's own check."""


def this_machine(facts: Facts, width: int = 200) -> str:
    """Return what was seen of this machine, on a line; less of it where ``width`` is small."""
    seen = dict(questions.seen(facts))
    room = f"{seen['memory']} memory, {seen['free disk']} free"
    gpu = f"GPU {seen['GPU']}" if facts.gpus else "no GPU"
    lines = (
        f"This machine: GPU {seen['GPU']}; {room}; {seen['CPU']}",
        f"This machine: {gpu}; {room}; {seen['CPU']}",
        f"This machine: {gpu}; {room}",
        f"{gpu}; {room}",
    )
    return next((line for line in lines if cell_len(line) <= width), lines[-1])


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


def recommendation(found: Recommendation) -> Text:
    """Return which path is recommended, what speaks for it and what against."""
    known, text = catalog(), Text()
    name = known.path(found.path).name
    if found.platform:
        name += f", {known.platform(found.platform).name}"
    if found.fit:
        mark, style = ("✗", palette.BAD) if found.wrong_tool else ("✓", palette.GOOD)
        text.append(f"{mark} ", style).append(f"{found.fit}\n")
    if found.blocked:
        text.append("✗ ", palette.BAD).append(f"{found.blocked}\n")
        text.append("  ~ ", "dim").append("Nearest: ").append(name, "bold").append(".\n")
    else:
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
    if not known.available and known.unavailable not in found.costs_of[path]:
        text.append("  ! ", f"bold {palette.WARNING}").append(f"{known.unavailable}\n")
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
    """Return what would change the recommendation, or make a path possible where none is; empty
    where nothing would."""
    text = Text()
    if found.blocked:
        text.append("\nWhat would have to change, one of these\n", "bold")
        _list(text, "·", (_ANSWER.sub("", one) for one in found.changes))
    elif found.flips:
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


def warnings(draft: Draft) -> Text:
    """Return what there is to think about before training."""
    found = draft.estimate or {}
    text = Text()
    before = remembered.before(draft)
    falling = before is not None and before.falling
    for one in recipe.warnings(draft.plan.recipe, draft.parameters, draft.earlier, falling=falling):
        text.append("! ", f"bold {palette.WARNING}").append(f"{one.message}\n")
    if before is not None:
        text.append_text(earlier_run(before, draft.plan.recipe.epochs))
    if (found.get("disk") or {}).get("short"):
        text.append("! ", f"bold {palette.WARNING}").append("The disk is too full for this run.\n")
    for name in draft.plan.allow:
        text.append("· ", "dim").append(f"you insisted: {name}\n")
    text.right_crop(1) if text else None
    return text


def earlier_run(before: Earlier, epochs: float) -> Text:
    """Return what an earlier run on the same rows says of so many epochs."""
    mark, style = ("✓ ", palette.GOOD) if before.falling else ("! ", f"bold {palette.WARNING}")
    return Text.assemble((mark, style), f"{epochs:g} epochs: {before.said}\n")


def comes_to(draft: Draft) -> Text:
    """Return what the run that is about to start comes to; empty where it was not counted."""
    found = draft.estimate
    if not found:
        return Text()
    parts = [plural(found["steps"], "step")] if found.get("steps") else []
    whole = (found.get("follows") or {}).get("whole") or found.get("time")
    if whole and whole["low"] is not None:
        ends = time.strftime("%H:%M", time.localtime(time.time() + whole["value"]))
        parts.append(f"{spans(whole['low'], whole['high'])}, until about {ends}")
    if disk := found.get("disk"):
        parts.append(f"about {size(disk['needed']['value'])} on the disk")
    parts.append("goes on without this window")
    return Text.assemble(("→ ", palette.ACCENT), " · ".join(parts))


def reason(setting: Setting, advised: Advised | None, origin: str) -> Text:
    """Return why a setting has its value, and where value and reason come from.

    ``origin``: ``default``, ``advised`` or ``yours``.
    """
    text = Text.assemble((setting.label, "bold"), f"  {values.reason(setting, advised)}")
    return text.append(f"\n{values.sources(setting, advised, origin)}", "dim")
