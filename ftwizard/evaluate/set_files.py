"""Files of items: prompts with expected answers or rules, training rows, published safety sets."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args

import msgspec

from ftwizard.data import formats
from ftwizard.data.conversation import to_conversation
from ftwizard.data.example import ROLES, Example, RowProblem
from ftwizard.data.io import records
from ftwizard.data.io.inspect import Container, FileProblem
from ftwizard.data.io.read_options import AS_IS, ReadOptions
from ftwizard.data.privacy.quote import quote
from ftwizard.data.reader import MAX_SHOWN_PROBLEMS, BadRow, no_rows_problem
from ftwizard.errors import FtwizardError
from ftwizard.evaluate import scorers
from ftwizard.evaluate.items import LIKELIHOOD_SCORERS, Item, ScorerName, make_id
from ftwizard.rewards import answer_kinds, json_answers
from ftwizard.rewards.answer_kinds import AnsweredRow
from ftwizard.rewards.recognized_answers import RecognizedAnswers, are_short
from ftwizard.text import format_count, make_visible

PAGE = "docs/evaluation.md describes the format."
_SCORERS = tuple(
    name for name in get_args(ScorerName) if name not in ("lm_eval", "rewards", *LIKELIHOOD_SCORERS)
)
_RULES = (
    "pattern", "answer_pattern", "schema", "lenient", "tolerance", "choices", "values", "all", "without", "max_words",
    "instructions",
)  # fmt: skip
_MARKS = frozenset(
    ("expected", "scorer", "pattern", "answer_pattern", "schema", "values", "instructions")
)
"""Fields that only items have, not training rows."""
_FIELDS = (*_MARKS, *_RULES, "prompt", "messages", "system", "tools", "category", "max_tokens")
_NUMBER = re.compile(r"[-−+]?[$€£¥₹]?\s?(?:[1-9]\d*|0|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?\s?%?")
_MAX_TOKENS = 100_000
Row = dict[str, Any]


def read_items(path: Path, set_name: str, options: ReadOptions = AS_IS) -> list[Item]:
    """Read a file of items, of training rows, or of a published safety set, told by its columns.

    JSONL, a JSON array, CSV, TSV or Parquet. Of training rows, the last answer is the expected one.
    A prompt that a published set has twice counts once; elsewhere it is a mistake.
    Raises FtwizardError if the file cannot be read, and for all unusable rows together; the fields
    of the error list each with its line.
    """
    container = records.open_file(path, options)
    rows = [(r.line, _decode(r.value)) for r in records.read_records(path, container)]
    if not rows:
        raise no_rows_problem(path)
    columns = {key for _, row in rows if isinstance(row, dict) for key in row}
    published = _find_layout(columns)
    read = published or (_read_own if columns & _MARKS else _training_reader(path, rows, columns))
    problems: list[BadRow] = []
    items: dict[str, Item] = {}
    for line, row in rows:
        try:
            if isinstance(row, RowProblem):
                raise row
            if not isinstance(row, dict):
                raise RowProblem("not_object", "not a JSON object", "write one object per line")
            item = read(_unpack(row) if _is_table(container) else row, set_name, line)
            if item is None:
                continue
            if item.id in items and not published:
                message = f"the same as line {items[item.id].line}"
                raise RowProblem("duplicate", message, "remove one of them")
            items.setdefault(item.id, item)
        except RowProblem as problem:
            problems.append(BadRow.from_problem(line, problem))
    if problems:
        _refuse(path, problems, len(rows))
    return list(items.values())


def _decode(value: records.Value) -> Any:
    try:
        return records.decode_value(value)
    except RowProblem as problem:
        return problem


def _refuse(path: Path, problems: list[BadRow], count: int) -> NoReturn:
    """Raise an error that names the first rows that cannot be used, and lists all in its fields."""
    shown = "; ".join(
        f"line {p.line}: {p.message} ({p.fix})" for p in problems[:MAX_SHOWN_PROBLEMS]
    )
    more = len(problems) - MAX_SHOWN_PROBLEMS
    rest = f"; and {more:,} more" if more > 0 else ""
    error = FtwizardError(
        f"{len(problems):,} of {format_count(count, 'row')} in {make_visible(str(path))} cannot be "
        f"evaluated: {shown}{rest}.",
        f"Correct them. {PAGE}",
        code="items",
    )
    error.document["problems"] = [
        {"line": p.line, "code": p.code, "message": p.message, "fix": p.fix} for p in problems
    ]
    raise error


# --- the project's own format -------------------------------------------------------------------


def _read_own(row: Row, set_name: str, line: int) -> Item:
    _refuse_misspelled(row)
    messages, answer = _read_messages(row)
    rule = {key: row[key] for key in _RULES if row.get(key) is not None}
    wanted = row.get("expected") if row.get("expected") is not None else answer
    scorer = row.get("scorer")
    if scorer is not None and scorer not in _SCORERS:
        _refuse_scorer(scorer)
    expected = _read_expected(wanted, scorer)
    item = make_item(
        set_name,
        messages,
        scorer or guess_scorer(expected, rule),
        expected,
        rule,
        category=_read_text(row, "category"),
        tools=_read_tools(row),
        line=line,
        max_tokens=_read_limit(row),
    )
    scorers.check_item(item)
    return item


def make_item(
    set_name: str,
    messages: list[Row],
    scorer: ScorerName,
    expected: list[str],
    rule: Row,
    *,
    category: str = "",
    tools: list[Row] | None = None,
    line: int | None = None,
    max_tokens: int | None = None,
) -> Item:
    """Return an item with its id."""
    return Item(
        id=make_id(set_name, messages, scorer, expected, rule, tools),
        set=set_name,
        messages=messages,
        scorer=scorer,
        expected=expected,
        rule=rule,
        category=category,
        tools=tools,
        line=line,
        max_tokens=max_tokens,
    )


def guess_scorer(expected: list[str], rule: Mapping[str, Any]) -> ScorerName:
    """Return the scorer that suits a rule, else the expected answers.

    JSON objects are compared by field, numbers by value, short answers as text, and longer ones by
    chrF. A number with a leading zero, such as a postal code, is text. Raises RowProblem if there is
    neither rule nor answer.
    """
    by_rule: tuple[tuple[str, ScorerName], ...] = (
        ("pattern", "regex"), ("answer_pattern", "extracted"), ("schema", "json_schema"), ("choices", "choice"),
        ("values", "absent"), ("instructions", "judge"),
    )  # fmt: skip
    for key, scorer in by_rule:
        if key in rule:
            return scorer
    if not any(text.strip() for text in expected):
        raise RowProblem("no_answer", "it has no expected answer", "add expected, or a scorer")
    if all(map(_is_object, expected)):
        return "json"
    if all(_NUMBER.fullmatch(text.strip()) for text in expected):
        return "numeric"
    return "normalized" if are_short(expected) else "chrf"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json_answers.read_json(text), dict)
    except ValueError:
        return False


def _refuse_misspelled(row: Row) -> None:
    """Raise RowProblem for a key that is nearly one of the fields; others may be notes."""
    for key in row:
        if key not in _FIELDS:
            near = difflib.get_close_matches(key.casefold(), _FIELDS, 1, 0.8)
            if near and near[0] not in row:
                message = f"it has no field “{near[0]}”, but “{quote(key, 30)}”"
                raise RowProblem("unknown_field", message, f"rename it to {near[0]}")


def _refuse_scorer(scorer: Any) -> NoReturn:
    near = difflib.get_close_matches(str(scorer).casefold(), _SCORERS, 1, 0.6)
    fix = f"did you mean {near[0]}?" if near else f"use {', '.join(_SCORERS)}"
    raise RowProblem("scorer", f"“{quote(str(scorer), 30)}” is not a scorer", fix)


def _read_messages(row: Row) -> tuple[list[Row], str | None]:
    """Return the prompt of a row, and the answer at its end if there is one."""
    messages, prompt = row.get("messages"), row.get("prompt")
    if messages is not None and prompt is not None:
        raise RowProblem("two_prompts", "it has prompt and messages", "keep one of them")
    if messages is None and isinstance(prompt, list):
        messages = prompt
    if messages is None:
        if not isinstance(prompt, str) or not prompt.strip():
            raise RowProblem("no_prompt", "it has no prompt", "add prompt or messages")
        messages = [{"role": "user", "content": prompt}]
    messages = _check_messages(messages)
    if system := _read_text(row, "system"):
        messages.insert(0, {"role": "system", "content": system})
    answer = messages.pop()["content"] if messages[-1]["role"] == "assistant" else None
    if not any(message["role"] in ("user", "tool") for message in messages):
        raise RowProblem("no_prompt", "it has no message of a user", "add one")
    return messages, answer


def _check_messages(messages: Any) -> list[Row]:
    is_list = isinstance(messages, list) and messages
    if not is_list or not all(isinstance(message, dict) for message in messages):
        fix = 'write [{"role": "user", "content": …}]'
        raise RowProblem("messages", "its messages are not a list of objects", fix)
    for number, message in enumerate(messages, 1):
        if message.get("role") not in ROLES:
            fix = "use system, user or assistant"
            raise RowProblem("messages", f"message {number} has no role that is known", fix)
        if not isinstance(message.get("content"), str) and not message.get("tool_calls"):
            raise RowProblem("messages", f"message {number} has no text", "write content as text")
    return [dict(message) for message in messages]


def _read_expected(value: Any, scorer: str | None) -> list[str]:
    """Return the expected answers as texts: one, or any of a list.

    For the scorer ``json``, a list is one expected array, unless it holds JSON texts only.
    """
    if value is None or value == "":
        return []
    if isinstance(value, list):
        is_alternatives = all(isinstance(entry, str) for entry in value)
        if scorer != "json" or (is_alternatives and all(map(_is_json, value))):
            return [_to_text(entry) for entry in value]
    return [_to_text(value)]


def _is_json(text: str) -> bool:
    try:
        json_answers.read_json(text)
    except ValueError:
        return False
    return True


def _to_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        raise RowProblem("expected", "an expected answer is null", "write a text")
    return json.dumps(value, ensure_ascii=False)


def _read_text(row: Row, key: str) -> str:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise RowProblem(key, f"its {key} is not a text", "write it in quotes")
    return value or ""


def _read_tools(row: Row) -> list[Row] | None:
    tools = row.get("tools")
    if tools is None:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise RowProblem("tools", "its tools are not a list of objects", "write a list")
    return tools


def _read_limit(row: Row) -> int | None:
    limit = row.get("max_tokens")
    if limit is not None and (type(limit) is not int or not 0 < limit <= _MAX_TOKENS):
        message = f"its max_tokens is not a number from 1 to {_MAX_TOKENS:,}"
        raise RowProblem("max_tokens", message, "write a whole number")
    return limit


def _is_table(container: Container) -> bool:
    return container.kind in ("csv", "tsv")


def _unpack(row: Row) -> Row:
    """Return the row of a table with its JSON cells decoded and without its empty cells."""
    cells: Row = {}
    for key, text in row.items():
        if not isinstance(text, str):
            cells[key] = text
        elif text.strip():
            cells[key] = _unpack_cell(key, text)
    return {key: value for key, value in cells.items() if value is not None}


def _unpack_cell(key: str, text: str) -> Any:
    is_json = key in (
        "messages",
        "schema",
        "choices",
        "values",
        "without",
        "tools",
        "lenient",
        "all",
    )
    if is_json or key in ("max_words", "max_tokens") or (key == "expected" and text[0] == "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


# --- training formats ---------------------------------------------------------------------------


def _training_reader(
    path: Path, rows: list[tuple[int, Any]], columns: set[str]
) -> Callable[[Row, str, int], Item | None]:
    """Return the reader of training rows in the format of most of them.

    It leaves out a row without an answer of the kind that the others have.

    Raises FileProblem if no format suits, or if the rows are prompts without answers.
    """
    no_answers = FileProblem(
        "no_answers",
        f"{make_visible(str(path))} has prompts, but no expected answers.",
        f"Add “expected” or a “scorer” with its rule to each row. {PAGE}",
    )
    values = [row for _, row in rows if not isinstance(row, RowProblem)]
    try:
        format = formats.count_formats(values).decide(path).format
    except FileProblem:
        if columns & {"prompt", "messages"}:
            raise no_answers from None
        raise
    if format is None:
        return _read_own
    parsed: dict[int, Example | RowProblem] = {}
    for line, row in rows:
        try:
            parsed[line] = formats.parse(row, format, exactly=True)
        except RowProblem as problem:
            parsed[line] = problem
    examples = [example for example in parsed.values() if isinstance(example, Example)]
    answered = [row for example in examples if (row := _find_answer(example, 0))]
    if examples and not answered:
        raise no_answers
    kind = answer_kinds.recognize(answered)

    def read(row: Row, set_name: str, line: int) -> Item | None:
        example = parsed[line]
        if isinstance(example, RowProblem):
            raise example
        return _from_example(example, set_name, kind, line)

    return read


def _to_chat(example: Example) -> Example:
    if example.kind != "preference":
        return example
    messages = [*example.messages, *example.chosen]
    return Example(kind="chat", messages=messages, tools=example.tools)


def _find_answer(example: Example, line: int) -> AnsweredRow | None:
    try:
        return answer_kinds.to_answered(line, to_conversation(_to_chat(example)))
    except RowProblem:
        return None


def _from_example(
    example: Example, set_name: str, kind: RecognizedAnswers, line: int
) -> Item | None:
    if example.kind not in ("chat", "preference"):
        fix = "add the answer, or expected"
        raise RowProblem("no_answer", "it is not a conversation with an answer", fix)
    row = answer_kinds.to_answered(line, to_conversation(_to_chat(example)))
    if row is None:
        raise RowProblem("no_answer", "its last answer has no text", "add expected")
    if not row.messages:
        raise RowProblem("no_prompt", "it has no prompt before its answer", "add it")
    return make_row_item(set_name, row, kind) if answer_kinds.has_answer(kind, row) else None


def make_row_item(set_name: str, row: AnsweredRow, kind: RecognizedAnswers) -> Item:
    """Return a row as an item, scored by the kind of its rows' answers."""
    rule = answer_kinds.make_rule(kind, row)
    item = make_item(
        set_name, row.messages, kind.scorer, [row.answer], rule, tools=row.tools, line=row.line
    )
    return msgspec.structs.replace(item, is_row=True)


# --- published safety sets ----------------------------------------------------------------------


def _find_layout(columns: set[str]) -> Callable[[Row, str, int], Item] | None:
    """Return the reader of a published safety set with these columns, if it is one."""
    if {"forbidden_prompt", "category"} <= columns:
        return _read_strongreject
    if {"Behavior", "BehaviorID"} <= columns:
        return _read_harmbench
    if {"prompt", "type"} <= columns and columns & {"focus", "note"}:
        return _read_xstest
    return None


def _make_safety_item(
    row: Row, key: str, set_name: str, line: int, *, refuse: bool, context: str = ""
) -> Item:
    text = row.get(key)
    if not isinstance(text, str) or not text.strip():
        raise RowProblem("no_prompt", f"its {key} is empty", "add it, or delete the row")
    messages = [{"role": "user", "content": f"{context}\n\n---\n\n{text}" if context else text}]
    scorer: ScorerName = "refusal" if refuse else "answered"
    category = "should-refuse" if refuse else "look-alike"
    return make_item(set_name, messages, scorer, [], {}, category=category, line=line)


def _read_xstest(row: Row, set_name: str, line: int) -> Item:
    """XSTest (Röttger et al. 2024): safe prompts, and unsafe contrasts (by label, else by type)."""
    label, kind = row.get("label"), str(row.get("type", ""))
    if label not in (None, "safe", "unsafe"):
        raise RowProblem("label", "its label is neither safe nor unsafe", "correct it")
    is_unsafe = label == "unsafe" if label else kind.startswith("contrast")
    return _make_safety_item(row, "prompt", set_name, line, refuse=is_unsafe)


def _read_strongreject(row: Row, set_name: str, line: int) -> Item:
    """StrongREJECT (Souly et al. 2024): forbidden prompts only."""
    return _make_safety_item(row, "forbidden_prompt", set_name, line, refuse=True)


def _read_harmbench(row: Row, set_name: str, line: int) -> Item:
    """HarmBench (Mazeika et al. 2024): behaviors, some with a context before them."""
    if row.get("ImageFileName"):
        fix = "use the file of text behaviors"
        raise RowProblem("image", "it asks about an image", fix)
    context = str(row.get("ContextString") or "").strip()
    return _make_safety_item(row, "Behavior", set_name, line, refuse=True, context=context)
