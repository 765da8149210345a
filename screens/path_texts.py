"""What the page of the path says, and the questions line by line: the recommendation, what each path
costs, what the rows speak for, what would change it, and how the paths compare."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ftwizard.advice import evidence as evidences
from ftwizard.advice import path_costs
from ftwizard.advice.evidence import Evidence
from ftwizard.advice.path import Recommendation
from ftwizard.advice.path_costs import PathCost
from ftwizard.catalog.paths import Claims, PathId, catalog
from ftwizard.catalog.prices import STALE_DAYS
from ftwizard.screens import palette, texts

HANG = 4
_NAME = 20
"""Cells of the longest name of a path."""
_ROOMY = 70
"""Cells from which what a path costs stands in a column."""
SIDE_BY_SIDE = 100
"""Cells from which all paths' factors have room."""
_LABEL = 20
NOT_READ = "No rows are read yet; once they are, this says what they cost."
NO_ROWS = "None of the rows can be used, so these are the prices at a glance."
COUNTING = "Working out what these rows cost …"
LEFT_OUT = "Your own prices are left out: something is wrong with their file."


@dataclass(frozen=True)
class Known:
    """What is known of the rows."""

    evidence: Evidence | None = None
    costs: tuple[PathCost, ...] = ()
    """Empty: not known, or not yet."""
    tokens: str = ""
    """What is trained on, in words."""
    counting: bool = False
    """Whether the costs are being worked out."""
    own_left_out: bool = False


def page(
    found: Recommendation, path: PathId, known: Known, width: int, more: str, today: datetime.date
) -> Text:
    """Return all that the page says below its questions, in ``width`` cells.

    ``more``: what shows every offer, in words.
    """
    parts: list[Text] = []
    if path != found.path:
        parts.append(texts.hanging(instead(found, path, known.costs), HANG, width))
    if words := raised(known.evidence):
        parts.append(texts.hanging(words, 2, width))
    parts.append(texts.hanging(recommendation(found, known.evidence), HANG, width))
    turns = texts.flips(found)
    if found.blocked:  # nothing can be done before one of these has changed
        parts.append(texts.hanging(turns[1:], HANG, width))
    parts.append(costs(found, path, known, width, more))
    if words := speaks_for(known.evidence):
        parts.append(texts.hanging(words, HANG, width))
    if turns and not found.blocked:
        parts.append(texts.hanging(turns[1:], HANG, width))
    if width >= SIDE_BY_SIDE:
        parts.append(side_by_side(found, path, width))
    else:
        parts.append(texts.hanging(texts.factors(found, path), 2 + _LABEL, width))
    parts.append(texts.hanging(sources(found, today), HANG, width))
    return Text("\n\n").join(parts)


def raised(found: Evidence | None) -> Text:
    """Return what speaks against fine-tuning on these rows; empty where nothing does."""
    again = evidences.raised(found) if found else None
    if again is None:
        return Text()
    mark, style = ("✗", palette.BAD) if again.wrong_tool else ("!", f"bold {palette.WARNING}")
    lines = ", ".join(map(str, again.lines))
    return Text.assemble((f"{mark} ", style), again.words, (f" Lines {lines}.", "dim"))


def speaks_for(found: Evidence | None) -> Text:
    """Return what the rows speak for besides: reinforcement where answers can be verified."""
    if found is None or found.rft is None:
        return Text()
    text = Text.assemble(("What the rows speak for\n", "bold"))
    where = f"Offered by {' and '.join(found.rft.where)}." if found.rft.where else ""
    said = f"{found.rft.reason} {found.rft.caution} {where}"
    return text.append("  · ", "dim").append(said.rstrip())


def recommendation(found: Recommendation, evidence: Evidence | None) -> Text:
    """Return the recommendation; the rows' own word on the tool counts more than an answer."""
    if evidence is not None and evidences.raised(evidence) and not found.wrong_tool:
        found = msgspec.structs.replace(found, fit=None)
    text = texts.recommendation(found)
    text.rstrip()
    return text


def instead(found: Recommendation, path: PathId, known: Sequence[PathCost]) -> Text:
    """Return what choosing another path than the recommended one costs, in money first."""
    text = texts.instead(found, path)
    by_path = {one.path: one for one in known}
    if known and (words := path_costs.instead(by_path[path], by_path[found.path])):
        title = text.plain.index("\n") + 1
        text = text[:title] + Text.assemble(("  · ", "dim"), f"{words}\n") + text[title:]
    text.rstrip()
    return text


def costs(found: Recommendation, path: PathId, known: Known, width: int, more: str) -> Text:
    """Return what each path costs for the rows, or at a glance; ``path`` is the chosen one."""
    of_rows = known.costs or known.counting
    title = "What training on these rows costs" if of_rows else "What training costs"
    hang = HANG + _NAME + 2 if width >= _ROOMY else HANG + 2
    parts = [Text.assemble((title, "bold"))]
    for id, said in _said(found, known):
        mark = "→" if id == found.path and not found.blocked else " "
        line = Text.assemble((f"  {mark} ", palette.ACCENT))
        line.append(f"{catalog().path(id).name:<{_NAME}}  ", "bold" if id == path else "")
        parts.append(texts.hanging(line.append_text(said), hang, width))
    parts.append(texts.hanging(Text(f"  {_basis(known, more)}", "dim"), 2, width))
    if known.own_left_out:
        warning = Text.assemble(("  ! ", f"bold {palette.WARNING}"), LEFT_OUT)
        parts.append(texts.hanging(warning, HANG, width))
    return Text("\n").join(parts)


def _said(found: Recommendation, known: Known) -> Iterator[tuple[PathId, Text]]:
    """Yield what is said of each path: its cost, that it is awaited, or its price at a glance."""
    if known.costs:
        yield from _priced(known.costs)
    elif known.counting:
        yield from ((one.id, Text("…", "dim")) for one in catalog().paths)
    else:
        yield from _glance(found)


def _basis(known: Known, more: str) -> str:
    """Return what the costs are of."""
    if known.costs:
        tokens = f"{known.tokens[:1].upper()}{known.tokens[1:]}"
        return f"{tokens}; each path by its cheapest offer, {more}."
    if known.counting:
        return COUNTING
    return NO_ROWS if known.evidence else NOT_READ


def _priced(known: Sequence[PathCost]) -> Iterator[tuple[PathId, Text]]:
    room = max(cell_len(one.amount) for one in known)
    for one in known:
        quiet = "dim" if one.why_not else ""
        yield one.path, Text.assemble((f"{one.amount:>{room}}", quiet or "bold"), "  ", one.words)


def _glance(found: Recommendation) -> Iterator[tuple[PathId, Text]]:
    """Yield the price of a unit of training by each path, the newest first (SPEC P1)."""
    for one in catalog().paths:
        own = one.claims("cost", found.platform if one.id == "cloud" else None)
        yield one.id, Text(_dated(own))


def _dated(claims: Claims) -> str:
    return "; ".join(f"{one.words}, {one.as_of}" for one in claims)


def side_by_side(found: Recommendation, path: PathId, width: int) -> Text:
    """Return the six factors of the three paths in columns; the chosen one's name is bold."""
    room = (width - _LABEL - 2) // len(catalog().paths) - 2
    platform = found.platform
    head = Text(" " * (_LABEL + 2))
    for one in catalog().paths:
        mark = "→ " if one.id == found.path and not found.blocked else ""
        name = Text(f"{mark}{one.name}", "bold" if one.id == path else "dim")
        head.append_text(_padded(name, room)).append("  ")
    lines = [Text("How they compare", "bold"), head]
    console = Console(width=room)
    for factor, label in catalog().factors.items():
        cells = [
            Text(one.claims(factor, platform if one.id == "cloud" else None)[0].words).wrap(
                console, room
            )
            for one in catalog().paths
        ]
        for number in range(max(map(len, cells))):
            line = Text.assemble((f"  {'' if number else label:<{_LABEL}}", "dim"))
            for cell in cells:
                part = cell[number] if number < len(cell) else Text()
                line.append_text(_padded(part, room)).append("  ")
            lines.append(line)
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def sources(found: Recommendation, today: datetime.date) -> Text:
    """Return where what is said of the paths comes from, and of when it is: by source, the one of
    most first, whose claims are not named one by one."""
    known = catalog()
    said: dict[tuple[str, str], dict[str, list[str]]] = {}
    for factor, label in known.factors.items():
        for one in known.paths:
            claims = one.claims(factor, found.platform if one.id == "cloud" else None)
            for claim in claims if factor == "cost" else claims[:1]:  # at a glance all are said
                names = said.setdefault((claim.date(today), claim.source), {})
                names.setdefault(f"{label[0].lower()}{label[1:]}", []).append(one.name)
    for need in known.needs:
        names = said.setdefault((need.as_of, need.source), {})
        names.setdefault("GPU of a model", []).append(need.label)
    (first, _), *others = sorted(said.items(), key=lambda one: -len(one[1]))
    text = Text("Where this comes from\n", "bold")
    for (date, source), names in others:
        which = ", ".join(f"{name} ({', '.join(of)})" for name, of in names.items())
        text.append("  · ", "dim").append(f"{which}: {source}; {date}\n", "dim")
    text.append("  · ", "dim").append(f"all else: {first[1]}; {first[0]}", "dim")
    if any(date.endswith("!") for date, _ in said):
        text.append(f"; !: a price over {STALE_DAYS} days old", "dim")
    return text


def _padded(text: Text, room: int) -> Text:
    text.rstrip()
    text.truncate(room, overflow="ellipsis", pad=True)
    return text
