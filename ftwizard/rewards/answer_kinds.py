"""Recognition of what makes the answers of rows right: a final number, a choice, JSON, a tool call, a label.

An answer kind is a scorer with its rule. What is taken from an expected answer here is what the scorer
compares later.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ftwizard.data.conversation import Conversation, to_compared, without_reasoning
from ftwizard.data.documents import RowPreview
from ftwizard.data.example import Example, get_text
from ftwizard.rewards import answer_parts, json_answers, quantities
from ftwizard.rewards.choices import find_choice, read_choices
from ftwizard.rewards.recognized_answers import (
    MIN_SHARE,
    NAMES,
    AnswerExample,
    RecognizedAnswers,
    RowScorer,
    are_short,
)

MIN_ROWS = 5
"""Rows from which the wording of answers says what they have in common."""
MIN_CALL_SHARE = 0.25
"""Share of rows with a tool call from which calls are what is compared."""
MAX_ROWS = 2000
"""Rows that are read, evenly spaced."""
MAX_EXAMPLES = 3
MAX_TAIL = 200
MAX_MARKER = 60
_LABEL_WORDS = (
    "answer|result|solution|label|category|class|classification|sentiment|verdict|conclusion|intent|"
    "prediction|decision|score|rating|output|total|choice|option|respuesta|resultado|réponse|résultat|"
    "antwort|ergebnis|risposta|resposta|答案|答え|정답|ответ"
)
_KNOWN_MARKER = re.compile(
    rf"(?P<marker>####|(?:\b(?:the|final)\s+)*(?:\b(?:{_LABEL_WORDS})\b|答案|答え)"
    r"(?:\s+(?:is|are|es|est|ist|lautet|è|é)\b\s*:?|\s*[:：=]|是))[ \t]*(?P<rest>[^\n]{1,80})\s*\Z",
    re.IGNORECASE,
)
_ANSWER_WORD = re.compile(rf"(?i)\b(?:{_LABEL_WORDS}|therefore|thus|hence|so)\b|[=≈→]$|####$|\*\*$")
_ID_WORD = re.compile(
    r"(?i)\b(?:order|ticket|case|reference|ref|invoice|tracking|account|id|number|nr|no|phone|call|tel|"
    r"dial|page|version|chapter|year|since|in|on|at|of)\b\W*$|(?<!#)#$"
)
"""Words before numbers that name something, and say nothing that could be right or wrong."""
_NUMBER = re.compile(r"[-−]?\d(?:[\d,.]*\d)?(?:/\d+)?")
_WHOLE_NUMBER = re.compile(
    r"[-−+]?[$€£¥₹]?\s?(?:[1-9]\d*|0|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?\s?%?"
)
"""Without leading zeros, such as those of postal codes."""
_AFTER_NUMBER = re.compile(r"\s?[%°€]?(?:\s[^\W\d_]{1,20}){0,3}[\s.!*$\\)\]}]*")
_BEFORE_NUMBER = re.compile(r"[\s$€£¥₹\\(]+\Z")
_LETTER = re.compile(r"\W*([A-J])\W*|\(?([A-J])[).:]\s+\S[^\n]*")
_CODE_LINE = re.compile(r"(?m)^\s*(?:async|class|def|for|from|import|return|while)\s")
"""``x = 42`` is a program, too, but an answer to something else."""
_OPTION = re.compile(r"(?<![^\s(])\(?([A-J])[).:]\s+")
_MAX_IDENTIFIER_DIGITS = 6


class AnsweredRow(NamedTuple):
    """The last answer of a row, or the last one that calls tools."""

    line: int
    answer: str
    """The expected text; of tool calls, these as JSON."""
    messages: list[dict[str, Any]]
    """The prompt."""
    calls: bool = False
    tools: list[dict[str, Any]] | None = None

    @property
    def prompt(self) -> str:
        """Return the text of the last message before the answer."""
        return get_text(self.messages[-1]) or "" if self.messages else ""


def to_answered(line: int, conversation: Conversation) -> AnsweredRow | None:
    """Return the expected answer of a row: of several, the last one that calls tools, else the last.

    None for a row without an answer.
    """
    messages = conversation.messages
    if conversation.awaits_answer:
        return None
    turns = [n for n, message in enumerate(messages) if message["role"] == "assistant"]
    calling = [n for n in turns if messages[n].get("tool_calls")]
    if calling:
        index = calling[-1]
        answer = answer_parts.format_calls(
            answer_parts.from_tool_calls(messages[index]["tool_calls"])
        )
    elif turns:
        index = turns[-1]
        answer = str(messages[index].get("content") or "")
    if not turns or not answer.strip():
        return None
    prompt = without_reasoning(messages[:index])
    return AnsweredRow(line, answer, prompt, bool(calling), conversation.tools)


def recognize(
    rows: Sequence[AnsweredRow], scorer: str | None = None, pattern: str = ""
) -> RecognizedAnswers:
    """Return how the answers of ``rows`` are compared.

    ``scorer`` (or a function: ``score.py:score``) and ``pattern``: of the user, which are taken as they are.
    """
    rows = rows[:: len(rows) // MAX_ROWS + 1]
    texts = [row for row in rows if not row.calls]
    if scorer and scorer not in NAMES:
        own = RecognizedAnswers(scorer="rewards", function=scorer, is_chosen=True)
        return _add_evidence(own, rows)
    if scorer or pattern:
        chosen = scorer or "extracted"
        marker = _find_user_marker(texts, chosen) if not pattern else ""
        recognized = RecognizedAnswers(
            scorer=chosen, pattern=pattern, marker=marker, is_chosen=True, lenient=chosen == "json"
        )
        return _add_evidence(recognized, rows)
    if sum(row.calls for row in rows) >= max(1.0, MIN_CALL_SHARE * len(rows)):
        return _add_evidence(RecognizedAnswers(scorer="tool_call"), rows)
    for candidate in _list_candidates(texts):
        recognized = _add_evidence(candidate, rows)
        if recognized.rows >= MIN_SHARE * len(rows) and (
            recognized.values > 1 or len(rows) < MIN_ROWS
        ):
            return recognized
    return _add_evidence(RecognizedAnswers(scorer="chrf"), rows)


def _find_user_marker(rows: Sequence[AnsweredRow], scorer: RowScorer) -> str:
    """Return the marker before answers that the user calls numbers, choices, dates or labels."""
    markers = (c.marker for c in _list_marked(rows) if c.scorer == scorer)
    return next(markers, "")


def from_preview(preview: Sequence[RowPreview]) -> list[AnsweredRow]:
    """Return the expected answers of the rows in a report on data."""
    answered = []
    for row in preview:
        with contextlib.suppress(msgspec.ValidationError, KeyError, TypeError, AttributeError):
            conversation = to_compared(msgspec.convert(row.example, Example))
            answered.append(to_answered(row.line, conversation))
    return [row for row in answered if row]


def make_rule(recognized: RecognizedAnswers, row: AnsweredRow) -> dict[str, Any]:
    """Return the scorer's rule for one row: of a choice, with the choices that its prompt lists."""
    rule = recognized.rule
    if recognized.scorer == "choice" and (choices := list_choices(row.prompt)):
        rule["choices"] = choices
    return rule


def has_answer(recognized: RecognizedAnswers, row: AnsweredRow) -> bool:
    """Return whether a row can be scored: something is taken as its answer.

    Where calls are compared, a row that offers tools and calls none is right without a call.
    """
    try:
        return _take(recognized, row) is not None
    except TimeoutError:
        return False


def _take(recognized: RecognizedAnswers, row: AnsweredRow) -> str | None:
    """Return what is taken as the answer of a row; raise TimeoutError for a pattern that is too slow."""
    if recognized.scorer == "tool_call":
        if row.calls or answer_parts.read_calls(row.answer):
            return take_answer("tool_call", {}, row.answer)
        return "no call" if row.tools else None
    if row.calls:
        return None
    return take_answer(recognized.scorer, make_rule(recognized, row), row.answer)


def take_answer(scorer: str, rule: Mapping[str, Any], text: str) -> str | None:
    """Return what is taken as the answer of an expected text; None where it has none.

    Raises TimeoutError for a pattern that takes too long.
    """
    part = take_part(rule, text)
    if part is None or not part.strip():
        return None
    reader = _READERS.get(scorer)
    return reader(part, rule) if reader else part.strip()


def take_part(rule: Mapping[str, Any], text: str) -> str | None:
    """Return the part of a text that a pattern or marker names; without either, all of it."""
    if pattern := rule.get("answer_pattern"):
        return answer_parts.match_pattern(text, pattern)
    if marker := rule.get("marker"):
        return answer_parts.find_after(text, marker)
    return text


def list_choices(prompt: str) -> dict[str, str]:
    """Return the choices that a prompt lists by letter, from A on; empty without at least two."""
    choices: dict[str, str] = {}
    matches = list(_OPTION.finditer(prompt))
    for number, match in enumerate(matches):
        letter = match[1]
        if letter == "A":
            choices = {}
        elif ord(letter) != ord("A") + len(choices):
            continue
        end = matches[number + 1].start() if number + 1 < len(matches) else len(prompt)
        choices[letter] = prompt[match.end() : end].strip().partition("\n")[0].strip()
    return choices if len(choices) > 1 else {}


# --- candidates ---------------------------------------------------------------------------------


def _list_candidates(rows: Sequence[AnsweredRow]) -> Iterator[RecognizedAnswers]:
    """Yield kinds that the answers may be of, the most certain first."""
    texts = [row.answer.strip() for row in rows]

    def fits(test: Callable[[str], Any], least: int = MIN_ROWS) -> bool:
        return len(texts) >= least and sum(map(bool, map(test, texts))) >= MIN_SHARE * len(texts)

    if fits(_is_json, 1):
        yield RecognizedAnswers(scorer="json", lenient=not fits(_is_bare_json, 1))
    if fits(lambda text: answer_parts.read_calls(text) and not _is_json(text)):
        yield RecognizedAnswers(scorer="tool_call")
    if fits(answer_parts.find_boxed):
        yield RecognizedAnswers(scorer="boxed")
    if fits(lambda text: _CODE_LINE.search(text) and answer_parts.read_program(text)):
        yield RecognizedAnswers(scorer="code")
    yield from _list_marked(rows)
    if fits(_LETTER.fullmatch, 1):
        yield RecognizedAnswers(scorer="choice")
    if fits(_WHOLE_NUMBER.fullmatch, 1):
        yield RecognizedAnswers(scorer="numeric")
    if fits(answer_parts.read_date):
        yield RecognizedAnswers(scorer="date")
    if fits(answer_parts.read_program):
        yield RecognizedAnswers(scorer="code")
    if texts and are_short(texts):
        yield RecognizedAnswers(scorer="normalized")


def _is_json(text: str) -> bool:
    """Return whether an answer is a JSON object or array, perhaps in a fence."""
    if text.startswith("```"):
        text = text.partition("\n")[2].removesuffix("```")
    return _is_bare_json(text)


def _is_bare_json(text: str) -> bool:
    try:
        return isinstance(json_answers.read_json(text), dict | list)
    except ValueError:
        return False


def _list_marked(rows: Sequence[AnsweredRow]) -> Iterator[RecognizedAnswers]:
    """Yield kinds of final answers after a text that the rows share."""
    if len(rows) < MIN_ROWS:
        return
    matches = [_KNOWN_MARKER.search(row.answer[-MAX_TAIL:]) for row in rows]
    known = _find_common(
        match and " ".join(match["marker"].split()).casefold() for match in matches
    )
    if known:
        spelled = (" ".join(match["marker"].split()) for match in matches if match)
        marker = next(text for text in spelled if text.casefold() == known)
        rests = [match["rest"] for match in matches if match]
        if _share(rests, _starts_with_number) >= MIN_SHARE:
            yield RecognizedAnswers(scorer="numeric", marker=marker)
        elif _share(rests, answer_parts.read_date) >= MIN_SHARE:
            yield RecognizedAnswers(scorer="date", marker=marker)
        elif _share(rests, _LETTER.fullmatch) >= MIN_SHARE:
            yield RecognizedAnswers(scorer="choice", marker=marker)
        elif are_short(rests):
            yield RecognizedAnswers(scorer="normalized", marker=marker)
    elif _share(matches, lambda m: m and _starts_with_number(m["rest"])) >= MIN_SHARE:
        yield RecognizedAnswers(scorer="numeric")
    elif marker := _find_number_marker(rows):
        yield RecognizedAnswers(scorer="numeric", marker=marker)


def _find_common(values: Iterable[str | None]) -> str:
    """Return the value that enough rows share; empty if there is none."""
    counts = Counter(values)
    value, count = counts.most_common(1)[0]
    return value if value and count >= MIN_SHARE * counts.total() else ""


def _share(values: Sequence[Any], test: Callable[[Any], Any]) -> float:
    return sum(map(bool, map(test, values))) / len(values) if values else 0.0


def _starts_with_number(text: str) -> bool:
    text = text.lstrip(" *$€£¥₹\\(")
    match = _NUMBER.match(text)
    return match is not None and _AFTER_NUMBER.fullmatch(text, match.end()) is not None


def _find_number_marker(rows: Sequence[AnsweredRow]) -> str:
    """Return the longest text before the final number that the rows share, if it is one of an answer.

    A number that names something, such as an order, is not an answer; nor is one that the prompts have.
    """
    ends = [_split_number(row.answer) for row in rows]
    before = [end[0] for end in ends if end]
    marker = ""
    for length in range(1, MAX_MARKER + 1):
        counts = Counter(text[-length:] for text in before if len(text) >= length)
        text, count = counts.most_common(1)[0] if counts else ("", 0)
        if count < MIN_SHARE * len(rows):
            break
        marker = text
    marker = re.split(r"[.!?]\s|\n", marker)[-1]
    longer = [text for text in before if text.endswith(marker)]
    if marker[:1].isalnum() and any(text[: -len(marker)][-1:].isalnum() for text in longer):
        marker = marker.partition(" ")[2]  # it began within a word
    marker = marker.strip()
    if _ANSWER_WORD.search(marker):
        return marker
    if _ID_WORD.search(marker) or not re.search(r"[^\W\d_]{2}", marker):
        return ""
    copied = sum(
        bool(end) and end[1] in row.prompt for end, row in zip(ends, rows, strict=True) if end
    )
    long = sum(len(re.sub(r"\D", "", end[1])) >= _MAX_IDENTIFIER_DIGITS for end in ends if end)
    starts = sum(_starts_line(text, marker) for text in longer)
    is_answer = max(copied, long) * 2 < len(rows) and starts >= MIN_SHARE * len(rows)
    return marker if is_answer else ""


def _split_number(text: str) -> tuple[str, str] | None:
    """Return the text before the number that an answer ends with, and the number."""
    tail = text[-MAX_TAIL:].rstrip()
    matches = list(_NUMBER.finditer(tail))
    if not matches or not _AFTER_NUMBER.fullmatch(tail, matches[-1].end()):
        return None
    before = _BEFORE_NUMBER.sub("", tail[: matches[-1].start()])
    return before, matches[-1][0]


def _starts_line(text: str, marker: str) -> bool:
    before = text[: len(text) - len(marker)].rstrip(" *#>-")
    return not before or before[-1] in "\n.!?:"


# --- evidence -----------------------------------------------------------------------------------


def _add_evidence(recognized: RecognizedAnswers, rows: Sequence[AnsweredRow]) -> RecognizedAnswers:
    """Return the kind with what is taken from ``rows``: nothing by a pattern that takes too long."""
    try:
        taken = [_take(recognized, row) for row in rows]
    except TimeoutError:
        taken = [None] * len(rows)
    answers = {answer.casefold() for answer in taken if answer is not None}
    examples = [
        AnswerExample(line=row.line, tail=row.answer.strip()[-MAX_TAIL:], answer=answer)
        for row, answer in zip(rows[:MAX_EXAMPLES], taken, strict=False)
    ]
    return msgspec.structs.replace(
        recognized, rows=len(taken) - taken.count(None), total=len(rows), values=len(answers),
        examples=examples,
    )  # fmt: skip


def _take_number(text: str, rule: Mapping[str, Any]) -> str | None:
    quantity = quantities.find_quantity(text)
    if quantity is None:
        return None
    value = f"{quantity.value:.10g}".replace("-", "−")
    return f"{value} {quantity.unit}".strip()


def _take_choice(text: str, rule: Mapping[str, Any]) -> str | None:
    return find_choice(text, read_choices(rule.get("choices")))


def _take_date(text: str, rule: Mapping[str, Any]) -> str | None:
    dates = answer_parts.read_date(text)
    return " or ".join(value.isoformat() for value in dates) if dates else None


def _take_json(text: str, rule: Mapping[str, Any]) -> str | None:
    try:
        json_answers.read_json(text, lenient=bool(rule.get("lenient")))
    except ValueError:
        return None
    return text.strip()


def _take_calls(text: str, rule: Mapping[str, Any]) -> str | None:
    calls = answer_parts.read_calls(text)
    return answer_parts.format_calls(calls) if calls else None


_READERS: dict[str, Callable[[str, Mapping[str, Any]], str | None]] = {
    "numeric": _take_number,
    "choice": _take_choice,
    "date": _take_date,
    "json": _take_json,
    "tool_call": _take_calls,
    "boxed": lambda text, rule: answer_parts.find_boxed(text),
    "code": lambda text, rule: text.strip() if answer_parts.read_program(text) else None,
}
