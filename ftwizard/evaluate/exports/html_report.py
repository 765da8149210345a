"""Self-contained HTML report of an evaluation: one file, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from xml.etree.ElementTree import Element, SubElement, tostring

from ftwizard.plan.schema import Gate
from ftwizard.runs import describe_evaluation as words
from ftwizard.runs.evaluation import ArmScore, Evaluation, Failure, Flip, SetResult
from ftwizard.runs.failure_text import FAILURE_TITLES, describe_failure
from ftwizard.runs.ship_verdict import get_tolerance
from ftwizard.runs.verdict import ShipVerdict
from ftwizard.text import format_count, make_lines_visible, make_visible

MAX_TEXT = 4000
"""Characters of an answer that are shown."""
MAX_OPEN_FLIPS = 5
"""Flips of a set that are shown without a click."""
MAX_FLIPS = 200
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_CLASSES: dict[ShipVerdict, str] = {"ship": "good", "do_not_ship": "bad", "cannot_tell": "open"}
_WIDTH, _LEFT, _RIGHT, _ROW = 800, 130, 60, 22
"""Sizes of the chart in units of the picture: all of it, its labels, its figures, the row of an arm."""


def render_report(evaluation: Evaluation, title: str, facts: Sequence[tuple[str, str]] = ()) -> str:
    """Render an evaluation as an HTML document.

    ``title``: the run or model. ``facts``: names and values of what it was made from, such as the
    base model, hashes and versions. All text is escaped, and its control characters are made visible.
    """
    page = Element("html", lang="en")
    head = SubElement(page, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY})
    SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    mark = words.VERDICTS[evaluation.verdict]
    _add(head, "title", f"{mark}: {make_visible(title, 100)}")
    SubElement(head, "style").text = _read_style()
    body = SubElement(page, "body")
    _add_verdict(body, evaluation, title)
    _add_scores(body, evaluation.sets)
    if evaluation.gate:
        _add_gate(body, evaluation, evaluation.gate)
    _add_failures(body, evaluation.failures)
    for name, result in evaluation.sets.items():
        _add_flips(body, f"{words.name_set(name)}: broken", result.broken, MAX_OPEN_FLIPS)
    for name, result in evaluation.sets.items():
        _add_flips(body, f"{words.name_set(name)}: fixed", result.fixed, 0)
    if facts:
        _add(body, "h2", "Made from")
        _add_table(body, [], [list(fact) for fact in facts], "words")
    return "<!doctype html>\n" + tostring(page, encoding="unicode", method="html") + "\n"


def _read_style() -> str:
    return files("ftwizard").joinpath("assets", "evaluation", "report.css").read_text("utf-8")


def _add(parent: Element, tag: str, text: str = "", css: str = "") -> Element:
    element = SubElement(parent, tag, {"class": css} if css else {})
    element.text = make_visible(text)
    return element


def _add_table(
    parent: Element, heading: Sequence[str], rows: Iterable[Sequence[str]], css: str = ""
) -> None:
    table = SubElement(parent, "table", {"class": css} if css else {})
    if heading:
        line = SubElement(SubElement(table, "thead"), "tr")
        for cell in heading:
            _add(line, "th", cell)
    body = SubElement(table, "tbody")
    for row in rows:
        line = SubElement(body, "tr")
        for cell in row:
            _add(line, "td", cell)


def _add_verdict(body: Element, evaluation: Evaluation, title: str) -> None:
    _add(body, "h1", title)
    verdict, css = words.describe_verdict(evaluation), _CLASSES[evaluation.verdict]
    _add(body, "p", verdict, f"verdict {css}")
    for reason in words.describe_reasons(evaluation):
        _add(body, "p", reason)
    if evaluation.actions:
        _add(body, "h2", "What to change")
        items = SubElement(body, "ul")
        for action in evaluation.actions:
            _add(items, "li", words.describe_action(action))


def _add_scores(body: Element, sets: Mapping[str, SetResult]) -> None:
    if not sets:
        return
    _add(body, "h2", "Scores")
    _add_chart(body, sets)
    table = words.format_scores(sets)
    _add_table(body, table.heading, table.rows)
    sizes = [
        f"{words.name_set(name)}: {format_count(result.n, 'item')}, {metrics}"
        for name, result in sets.items()
        if (
            metrics := ", ".join({words.name_metric(arm.metric): 0 for arm in result.arms.values()})
        )
    ]
    note = "Scores with 95% intervals; change from base to tuned model in points, paired by item. "
    _add(body, "p", f"{note}{'; '.join(sizes)}.", "quiet")


def _add_chart(body: Element, sets: Mapping[str, SetResult]) -> None:
    """Add a picture of all scores: a mark for each arm of each set, on the line of its interval."""
    arms = [
        (name, arm, score) for name, result in sets.items() for arm, score in result.arms.items()
    ]
    height = len(arms) * _ROW + len(sets) * 12 + 36
    size = {
        "viewBox": f"0 0 {_WIDTH} {height}",
        "role": "img",
        "aria-label": "Scores by set and model",
    }
    picture = SubElement(body, "svg", size)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = f"{_to_x(share):.1f}"
        SubElement(
            picture, "line", {"class": "grid", "x1": x, "x2": x, "y1": "0", "y2": f"{height - 20}"}
        )
        _add_label(picture, f"{share:.0%}", _to_x(share), height - 6, "quiet", "middle")
    y, last = 0.0, None
    for name, arm, score in arms:
        y += _ROW + (12 if last != name else 0)
        if last != name:
            _add_label(picture, words.name_set(name)[:10], 0, y + 4, "name")
        last = name
        _add_mark(picture, arm, score, y)


def _add_mark(picture: Element, arm: str, score: ArmScore, y: float) -> None:
    css = arm if arm in ("base", "prompted", "tuned") else "other"
    _add_label(picture, make_visible(arm, 10), _LEFT - 12, y + 4, "quiet", "end")
    if not score.n:
        return
    group = SubElement(picture, "g", {"class": css})
    x, low, high = (_to_x(value) for value in (score.score, score.low, score.high))
    ends = {"x1": f"{low:.1f}", "x2": f"{high:.1f}", "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
    dashes = {"stroke-dasharray": "5 4"} if css == "prompted" else {}
    SubElement(group, "line", ends | dashes)
    if css == "prompted":  # told apart by shape, too
        corner = {"x": f"{x - 4.5:.1f}", "y": f"{y - 4.5:.1f}", "width": "9", "height": "9"}
        SubElement(group, "rect", corner)
    else:
        SubElement(group, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "5"})
    _add_label(picture, f"{score.score:.0%}", _WIDTH, y + 4, "", "end")


def _to_x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _add_label(
    picture: Element, text: str, x: float, y: float, css: str = "", anchor: str = "start"
) -> None:
    label = _add(picture, "text", text, css)
    label.attrib |= {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}


def _add_gate(body: Element, evaluation: Evaluation, gate: Gate) -> None:
    _add(body, "h2", "Gate")
    _add(body, "p", "What the plan asks for, from before the first step.", "quiet")
    rows = []
    for name, result in evaluation.sets.items():
        is_target = name == "target"
        limit = gate.gain if is_target else get_tolerance(name, gate)
        asked = "gain at least" if is_target else "lose at most"
        power = words.describe_set_power(name, result, gate)
        change = words.format_difference(result.difference)
        set_name = f"{words.mark_set(evaluation, name)} {words.name_set(name)}"
        rows.append([set_name, f"{asked} {words.format_points(limit)}", change, power])
    _add_table(body, ["", "asked", "measured", "what the set can show"], rows)


def _add_failures(body: Element, failures: Sequence[Failure]) -> None:
    if not failures:
        return
    _add(body, "h2", "The five failures")
    for failure in failures:
        state = {True: "bad", False: "good", None: "open"}[failure.found]
        mark = {True: "✗", False: "✓", None: "?"}[failure.found]
        _add(body, "h3", f"{mark} {FAILURE_TITLES[failure.name]}", state)
        _add(body, "p", " ".join(describe_failure(failure)))
        if failure.examples:
            details = SubElement(body, "details")
            _add(details, "summary", format_count(len(failure.examples), "example"), "quiet")
            for example in failure.examples:
                _add_flip(details, example)


def _add_flips(body: Element, heading: str, flips: Sequence[Flip], shown: int) -> None:
    """Add flips, of which only some are ``shown`` without a click."""
    if not flips:
        return
    title = f"{heading[:1].upper()}{heading[1:]}, {format_count(len(flips), 'item')}"
    _add(body, "h2", title)
    parent = body
    for index, flip in enumerate(flips[:MAX_FLIPS]):
        if index == shown:
            parent = SubElement(body, "details")
            more = len(flips[:MAX_FLIPS]) - index
            _add(parent, "summary", f"{more:,} more" if index else "Show", "quiet")
        _add_flip(parent, flip)
    if len(flips) > MAX_FLIPS:
        _add(parent, "p", f"{len(flips) - MAX_FLIPS:,} more are in evaluation.json.", "quiet")


def _add_flip(parent: Element, flip: Flip) -> None:
    box = SubElement(parent, "div", {"class": "flip"})
    where = [f"line {flip.line:,}" if flip.line else "", make_visible(flip.category, 40)]
    change = words.describe_rewards(flip.rewards)
    change = change or f"{words.sign_points(flip.change * 100)} points"
    _add(box, "p", " · ".join(filter(None, (*where, change))), "quiet")
    _add_text(box, "prompt", flip.prompt)
    if flip.expected:
        _add_text(box, "chosen" if flip.rejected else "expected", flip.expected)
    sides = SubElement(box, "div", {"class": "sides"})
    verb = " prefers" if flip.rejected else ""
    _add_text(SubElement(sides, "div"), f"base model{verb}", flip.base)
    _add_text(SubElement(sides, "div"), f"tuned model{verb}", flip.tuned)
    for row in flip.near:
        _add_text(box, f"training row, line {row.line:,}: {row.share:.0%} in common", row.text)


def _add_text(parent: Element, label: str, text: str) -> None:
    _add(parent, "div", label, "quiet")
    shown = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
    SubElement(parent, "pre").text = make_lines_visible(shown) or "(empty)"
