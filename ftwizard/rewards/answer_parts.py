"""Parts of answers that a program can compare: a boxed result, what follows a marker, dates, tool calls, programs."""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple

import regex

from ftwizard.rewards import json_answers
from ftwizard.rewards.json_answers import MAX_MATCH_S

MAX_PROGRAM_CHARACTERS = 20_000
MAX_CALLS = 32
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?P<bare>\w+))")
_MATH_NOISE = re.compile(
    r"\\(?:left|right|displaystyle|,|;|!|:|quad|qquad| )|[\s$]|(?<=\d)\{,\}|\^\{?\\circ\}?|\\%"
)
_MATH_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|operatorname)\{([^{}]*)\}")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_NAMES = "|".join(f"{name}|{name[:3]}" for name in _MONTHS) + "|sept"
_DATE = re.compile(
    rf"""(?<![\d.:/-])(?:
      (?P<y1>\d{{4}})(?P<s1>[-/.])(?P<m1>\d{{1,2}})(?P=s1)(?P<d1>\d{{1,2}})
    | (?P<a>\d{{1,2}})(?P<s2>[-/.])(?P<b>\d{{1,2}})(?P=s2)(?P<y2>\d{{4}}|\d{{2}})
    | (?P<d3>\d{{1,2}})(?:st|nd|rd|th)?\.?\ (?:of\ )?(?P<n3>{_NAMES})\.?,?\ (?P<y3>\d{{4}})
    | (?P<n4>{_NAMES})\.?\ (?P<d4>\d{{1,2}})(?:st|nd|rd|th)?,?\ (?P<y4>\d{{4}})
    )(?![\d:/-])""",
    re.VERBOSE | re.IGNORECASE,
)
_AROUND_DATE = re.compile(
    r"(?i)\W*(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|satur|sat|sun)(?:day)?\W+)?"
)
_FENCE = re.compile(r"```[ \t]*(\w*)[^\n]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_STATEMENTS = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign,
    ast.AugAssign, ast.AnnAssign, ast.For, ast.While, ast.If, ast.With, ast.Try, ast.Return, ast.Call,
)  # fmt: skip
"""Nodes that no sentence parses as."""
_BARE_NAME = re.compile(r"(:\s*)(?!(?:True|False|None)\b)([A-Za-z_][\w.]*)(?=\s*[,}])")
_TAGGED_CALL = re.compile(r"<function=([\w.-]+)>\s*(\{.*?\})\s*</function>", re.DOTALL)


class ToolCall(NamedTuple):
    """A call of a tool, as data."""

    name: str
    arguments: dict[str, Any]


def find_boxed(text: str) -> str | None:
    r"""Return what the last ``\boxed{}`` of a text holds; None without one that is closed."""
    for match in reversed(list(_BOX.finditer(text))):
        if match["bare"]:
            return match["bare"]
        depth = 1
        for index in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[index], 0)
            if not depth:
                return text[match.end() : index].strip()
    return None


def find_after(text: str, marker: str) -> str | None:
    """Return the line after the last ``marker``, in any case; None without anything after it."""
    matches = list(re.finditer(re.escape(marker), text, re.IGNORECASE))
    rest = text[matches[-1].end() :].strip() if matches else ""
    return rest.partition("\n")[0].strip() or None


def match_pattern(text: str, pattern: str) -> str | None:
    """Return the first group of the last match of a pattern, or all of a match without groups.

    ``^`` and ``$`` match at lines. None if it matches nothing but blanks; raises TimeoutError if it
    takes too long.
    """
    matches = _compile(pattern).finditer(text, timeout=MAX_MATCH_S)
    parts = [match[1] if match.re.groups else match[0] for match in matches]
    return next((part.strip() for part in reversed(parts) if part and part.strip()), None)


@functools.lru_cache(64)
def _compile(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern, regex.MULTILINE)


def find_pattern_problem(pattern: str) -> str:
    """Return what is wrong with a regular expression; empty if nothing is."""
    try:
        _compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        return str(error)
    return ""


def normalize_math(text: str) -> str:
    """Return a LaTeX expression without spacing, text commands and a final period."""
    text = _MATH_TEXT.sub(r"\1", text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)
    return _MATH_NOISE.sub("", text).rstrip(".").casefold()


# --- dates --------------------------------------------------------------------------------------


def find_dates(text: str) -> list[tuple[date, ...]]:
    """Return the dates in a text. One such as 03/05/2024 has two readings, the day first."""
    return [dates for match in _DATE.finditer(text) if (dates := _read_date(match))]


def read_date(text: str) -> tuple[date, ...] | None:
    """Return the readings of a text that is one date, perhaps with its weekday; else None."""
    start = _AROUND_DATE.match(text)
    match = _DATE.match(text, start.end() if start else 0)
    if match is None or text[match.end() :].strip(" .!*\"'`\n"):
        return None
    return _read_date(match) or None


def is_same_date(left: Sequence[date], right: Sequence[date]) -> bool:
    """Return whether two dates are equal; of two readings, a clear date decides which is meant."""
    if len(left) == len(right):
        return tuple(left) == tuple(right)
    return bool(set(left) & set(right))


def _read_date(match: re.Match[str]) -> tuple[date, ...]:
    year = next(filter(None, (match[name] for name in ("y1", "y2", "y3", "y4"))))
    full = int(year) + (0 if len(year) == 4 else 1900 if int(year) >= 70 else 2000)
    if match["a"]:
        first, second = int(match["a"]), int(match["b"])
        pairs = dict.fromkeys(((second, first), (first, second)))
    elif match["m1"]:
        pairs = {(int(match["m1"]), int(match["d1"])): None}
    else:
        name = (match["n3"] or match["n4"]).lower()[:3]
        month = [month[:3] for month in _MONTHS].index(name) + 1
        pairs = {(month, int(match["d3"] or match["d4"])): None}
    dates = []
    for month, day in pairs:
        with contextlib.suppress(ValueError):
            dates.append(date(full, month, day))
    return tuple(dates)


# --- tool calls ---------------------------------------------------------------------------------


def read_calls(text: str) -> list[ToolCall]:
    """Return the tool calls in an answer, in the forms that models and platforms write.

    That is JSON with a name and arguments, alone, in a list, between tags or in a fence;
    ``<function=name>{…}</function>``, ``[name(key=value)]``, and a Python dictionary, whose names may
    lack quotes. Empty for other text.
    """
    calls = [
        ToolCall(match[1], arguments)
        for match in _TAGGED_CALL.finditer(text)
        if isinstance(arguments := _parse(match[2]), dict)
    ]
    if not calls:
        values = json_answers.list_values(text)
        calls = [call for value in values for call in _read_value(value)]
    return (calls or _read_python_calls(text))[:MAX_CALLS]


def from_tool_calls(calls: Sequence[Any]) -> list[ToolCall]:
    """Return the calls of a message, as ``tool_calls`` has them."""
    return [call for value in calls for call in _read_value(value)]


def format_calls(calls: Sequence[ToolCall]) -> str:
    """Return calls as JSON, in the form that ``read_calls`` reads."""
    return json.dumps([call._asdict() for call in calls], ensure_ascii=False)


def is_same_calls(left: Sequence[ToolCall], right: Sequence[ToolCall]) -> bool:
    """Return whether calls have equal names and arguments, in any order."""
    rest = list(right)
    for call in left:
        equal = (
            n for n, other in enumerate(rest)
            if other.name == call.name and json_answers.is_equal(other.arguments, call.arguments)
        )  # fmt: skip
        index = next(equal, None)
        if index is None:
            return False
        del rest[index]
    return not rest


def _read_value(value: Any) -> Iterator[ToolCall]:
    if isinstance(value, list):
        for entry in value:
            yield from _read_value(entry)
        return
    if not isinstance(value, dict):
        return
    function = value.get("function")
    fields = function if isinstance(function, dict) else value
    name = fields.get("name", function)
    arguments = fields.get("arguments", fields.get("parameters"))
    if isinstance(arguments, str):
        arguments = _parse(arguments or "{}")
    if isinstance(name, str) and isinstance(arguments, dict):
        yield ToolCall(name, arguments)


def _parse(text: str) -> Any:
    try:
        return json_answers.read_json(text)
    except ValueError:
        return None


def _read_python_calls(text: str) -> list[ToolCall]:
    """Return the calls of a dictionary, and of ``[name(key=value), …]``, the form of Llama 3.2 and 4."""
    text = text.strip()
    if text.startswith("{'") and len(text) <= MAX_PROGRAM_CHARACTERS:
        with contextlib.suppress(SyntaxError, ValueError, MemoryError, RecursionError):
            return list(_read_value(ast.literal_eval(_BARE_NAME.sub(r"\1'\2'", text))))
    tree = _parse_python(text) if text.startswith("[") and text.endswith(")]") else None
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        return []
    listed = tree.body[0].value
    nodes = listed.elts if isinstance(listed, ast.List) else []
    calls = []
    for node in nodes:
        if not isinstance(node, ast.Call) or node.args:
            return []
        try:
            values = {key.arg or "": ast.literal_eval(key.value) for key in node.keywords}
            calls.append(ToolCall(ast.unparse(node.func), values))
        except (ValueError, RecursionError):
            return []
    return calls


# --- programs -----------------------------------------------------------------------------------


def read_program(text: str) -> str | None:
    """Return the syntax tree of an answer that is one Python program, else None.

    It is the whole answer, or the only code fence in it. Two equal trees are the same program:
    layout and comments do not matter, names and order do.
    """
    fences = _FENCE.findall(text)
    if len(fences) > 1 or (fences and fences[0][0].lower() not in ("", "python", "py", "python3")):
        return None
    tree = _parse_python(fences[0][1] if fences else text)
    try:
        if tree is None or not any(isinstance(node, _STATEMENTS) for node in ast.walk(tree)):
            return None
        return ast.dump(tree)
    except RecursionError:
        return None


def _parse_python(text: str) -> ast.Module | None:
    if len(text) > MAX_PROGRAM_CHARACTERS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text.strip())
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return None
