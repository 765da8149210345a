"""Scorers: whether an answer is right, or how near it is to the expected one."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import msgspec
import regex
from msgspec.structs import replace

from ftwizard.data.example import RowProblem
from ftwizard.data.privacy.quote import quote
from ftwizard.errors import MissingExtra
from ftwizard.evaluate import refusals
from ftwizard.evaluate.items import Item, ScorerName
from ftwizard.rewards import answer_kinds, answer_parts, json_answers, quantities
from ftwizard.rewards.answer_scores import normalize_answer
from ftwizard.rewards.choices import find_choice, read_choices
from ftwizard.rewards.json_answers import MAX_MATCH_S
from ftwizard.rewards.words import UNSPACED, fold, has_words
from ftwizard.runs.evaluation import AnswerClass, ItemScore

MAX_PATTERN_CHARACTERS = 10_000
MIN_VALUE_CHARACTERS = 5
"""Letters and digits of a value that must not occur; shorter ones occur by chance."""
_WORDS = re.compile(rf"{UNSPACED}|[^\W_]+")
NOT_JUDGED = "Not judged yet."
"""Note of an answer that the judge model has yet to read."""
_RIGHT, _WRONG = ItemScore(value=1.0, passed=True), ItemScore(value=0.0, passed=False)


def score(item: Item, answer: str) -> ItemScore:
    """Score one answer; a graded score (chrF, ROUGE) has no ``passed``.

    Works for any text. An answer that cannot be scored has neither value nor ``passed``, and a note
    why. Raises MissingExtra without the package of chrF or ROUGE.
    """
    if item.rule.get("answer_pattern") or item.rule.get("marker"):
        try:
            narrowed = _narrow(item, answer)
        except TimeoutError:
            return ItemScore(note=f"The pattern took more than {MAX_MATCH_S:g} s on this answer.")
        if narrowed is None:
            return _WRONG
        item, answer = narrowed
    if note := _NOT_HERE.get(item.scorer):
        return ItemScore(note=note)
    return _SCORERS[item.scorer](item, answer)


def _narrow(item: Item, answer: str) -> tuple[Item, str] | None:
    """Return the item and the answer with the part that is compared; None if the answer lacks it.

    A pattern must match. An answer without the rows' marker is read leniently, so that another style
    is not a mistake: as a whole where a number, letter or date is looked for, else its last line.
    """
    rule = dict(item.rule)
    parts = [answer_kinds.take_part(rule, text) for text in item.expected]
    pattern, marker = rule.pop("answer_pattern", ""), rule.pop("marker", "")
    if pattern:
        part = answer_parts.match_pattern(answer, pattern)
    else:
        is_word = re.search(r"[\w#]", marker)  # “=” is anywhere in a calculation
        part = answer_parts.find_after(answer, marker) if is_word else None
        if part is None:
            is_searched = item.scorer in ("numeric", "choice", "date")
            part = answer if is_searched else _find_last_part(answer)
    if not part:
        return None
    expected = [part or text for part, text in zip(parts, item.expected, strict=True)]
    # After a calculation the last number counts, also one of the question: without its messages.
    return msgspec.structs.replace(item, messages=[], expected=expected, rule=rule), part


def _find_last_part(answer: str) -> str:
    line = answer.strip().rpartition("\n")[2]
    return answer_parts.find_after(line, "answer is") or line.rpartition(": ")[2]


def check_item(item: Item) -> None:
    """Raise RowProblem if a scorer lacks its rule or answer, or does not accept its own answer."""
    if check := _RULE_CHECKS.get(item.scorer):
        check(item)
    if item.scorer in ("json_schema", "refusal", "answered", "absent", "judge", "regex"):
        return
    if not any(text.strip() for text in item.expected):
        raise RowProblem("no_answer", "it has no expected answer", "add expected")
    if item.scorer in ("chrf", "rouge", "extracted"):
        return
    together = item.scorer == "contains" and bool(item.rule.get("all"))
    for text in [" ".join(item.expected)] if together else item.expected:
        alone = item if together else replace(item, expected=[text])
        if score(alone, text).passed is not True:
            message = f"“{quote(text, 40)}” does not pass its own scorer, {item.scorer}"
            raise RowProblem("expected_fails", message, "correct it, or name another scorer")


def _judge_match(is_right: bool) -> ItemScore:
    return _RIGHT if is_right else _WRONG


def _score_exact(item: Item, answer: str) -> ItemScore:
    return _judge_match(answer.strip() in (text.strip() for text in item.expected))


def _score_normalized(item: Item, answer: str) -> ItemScore:
    """Without case, surrounding punctuation and repeated white space, as in the comparison."""
    return _judge_match(normalize_answer(answer) in map(normalize_answer, item.expected))


def _score_contains(item: Item, answer: str) -> ItemScore:
    """One of the expected texts occurs as whole words; with ``all``, each; none of ``without``."""
    text = fold(answer)
    rule = item.rule
    if any(has_words(text, word) for word in rule.get("without", [])):
        return _WRONG
    limit = rule.get("max_words")
    if limit is not None and len(answer.split()) > limit:
        return _WRONG
    hits = [has_words(text, phrase) for phrase in item.expected]
    return _judge_match(all(hits) if rule.get("all") else any(hits))


def _score_regex(item: Item, answer: str) -> ItemScore:
    try:
        match = _compile(item.rule["pattern"]).search(answer.strip(), timeout=MAX_MATCH_S)
    except TimeoutError:
        return ItemScore(note=f"The pattern took more than {MAX_MATCH_S:g} s on this answer.")
    return _judge_match(match is not None)


@functools.lru_cache(1024)
def _compile(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern)


def _score_json(item: Item, answer: str) -> ItemScore:
    """Share of fields that equal the expected ones; right if all do."""
    try:
        value = json_answers.read_json(answer, lenient=bool(item.rule.get("lenient")))
        expected = [json_answers.read_json(text) for text in item.expected]
        share = max((json_answers.share_of_fields(value, wanted) for wanted in expected), default=0)
    except (ValueError, RecursionError):
        return _WRONG
    return ItemScore(value=share, passed=share == 1.0)


def _score_json_schema(item: Item, answer: str) -> ItemScore:
    try:
        value = json_answers.read_json(answer, lenient=bool(item.rule.get("lenient")))
    except ValueError:
        return _WRONG
    try:
        return _judge_match(json_answers.is_valid(value, item.rule["schema"]))
    except (TimeoutError, RecursionError):
        return ItemScore(note="The schema took too long on this answer.")


def _score_choice(item: Item, answer: str) -> ItemScore:
    choices = read_choices(item.rule.get("choices"))
    wanted = {find_choice(text, choices) for text in item.expected}
    letter = find_choice(answer, choices)
    return _judge_match(letter is not None and letter in wanted)


def _score_numeric(item: Item, answer: str) -> ItemScore:
    wanted = [q for text in item.expected if (q := quantities.find_quantity(text))]
    asked = _list_asked(item) - {quantity.value for quantity in wanted}
    quantity = quantities.find_quantity(answer, asked)
    if quantity is None:
        return _WRONG
    tolerance = item.rule.get("tolerance")
    return _judge_match(any(quantities.is_same(q, quantity, tolerance) for q in wanted))


def _score_boxed(item: Item, answer: str) -> ItemScore:
    r"""The number or expression in ``\boxed{}``, else at the end of the answer."""
    part = answer_parts.find_boxed(answer)
    for text in item.expected:
        wanted = answer_parts.find_boxed(text) or text
        if part is not None and _is_same_value(part, wanted):
            return _RIGHT
        if part is not None:
            continue
        if quantities.read_quantity(wanted):
            alone = msgspec.structs.replace(item, expected=[wanted])
            return _score_numeric(alone, answer)
        last = answer_parts.normalize_math(answer.strip().rpartition("\n")[2])
        end = answer_parts.normalize_math(wanted)
        if last.endswith(end) and not last[: -len(end)][-1:].isdigit():
            return _RIGHT
    return _WRONG


def _score_extracted(item: Item, answer: str) -> ItemScore:
    return _judge_match(any(_is_same_value(answer, text) for text in item.expected))


def _is_same_value(answer: str, expected: str) -> bool:
    """Return whether two parts are the same number, date, expression or text."""
    wanted, quantity = quantities.read_quantity(expected), quantities.read_quantity(answer)
    if wanted and quantity:
        return quantities.is_same(wanted, quantity)
    dates, date = answer_parts.read_date(expected), answer_parts.read_date(answer)
    if dates and date:
        return answer_parts.is_same_date(dates, date)
    if answer_parts.normalize_math(answer) == answer_parts.normalize_math(expected):
        return True
    return normalize_answer(answer) == normalize_answer(expected)


def _score_date(item: Item, answer: str) -> ItemScore:
    dates = answer_parts.read_date(answer) or next(reversed(answer_parts.find_dates(answer)), None)
    wanted = filter(None, map(answer_parts.read_date, item.expected))
    return _judge_match(any(dates and answer_parts.is_same_date(each, dates) for each in wanted))


def _score_code(item: Item, answer: str) -> ItemScore:
    """The same program: equal syntax trees, so that layout and comments do not matter."""
    program = answer_parts.read_program(answer)
    wanted = [answer_parts.read_program(text) for text in item.expected]
    return _judge_match(program is not None and program in wanted)


def _score_tool_call(item: Item, answer: str) -> ItemScore:
    """Equal names and arguments; without an expected call, none is right."""
    calls = answer_parts.read_calls(answer)
    wanted = [answer_parts.read_calls(text) for text in item.expected]
    return _judge_match(any(answer_parts.is_same_calls(each, calls) for each in wanted))


def _list_asked(item: Item) -> set[float]:
    """Return the numbers of the question, which answers repeat."""
    content = item.messages[-1].get("content") if item.messages else None
    return quantities.list_numbers(content) if isinstance(content, str) else set()


def _score_chrf(item: Item, answer: str) -> ItemScore:
    """chrF (Popović 2015) with sacrebleu's defaults: character n-grams up to 6, beta 2."""
    if answer.strip() in (text.strip() for text in item.expected):
        return ItemScore(value=1.0)
    value = _get_chrf().sentence_score(answer, item.expected).score / 100
    return ItemScore(value=min(1.0, max(0.0, value)))


@functools.cache
def _get_chrf() -> Any:
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise MissingExtra("local", "sacrebleu") from None
    return CHRF()


def _score_rouge(item: Item, answer: str) -> ItemScore:
    """ROUGE-L (Lin 2004), F-measure over words in any script; the best of the expected texts."""
    if answer.strip() in (text.strip() for text in item.expected):
        return ItemScore(value=1.0)
    scorer = _get_rouge()
    return ItemScore(
        value=max(scorer.score(text, answer)["rougeL"].fmeasure for text in item.expected)
    )


class _WordTokenizer:
    """Words without case; rouge-score's own drops everything but a–z and 0–9."""

    def tokenize(self, text: str) -> list[str]:
        return _WORDS.findall(unicodedata.normalize("NFKC", text).casefold())


@functools.cache
def _get_rouge() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise MissingExtra("local", "rouge-score") from None
    return RougeScorer(["rougeL"], tokenizer=_WordTokenizer())


def _score_class(item: Item, answer: str) -> ItemScore:
    content = item.messages[-1].get("content") if item.messages else None
    prompt = content if isinstance(content, str) else ""
    return score_class(item, refusals.classify_answer(prompt, answer))


def score_class(item: Item, answer_class: AnswerClass) -> ItemScore:
    """Score an answer by its class; neither a refusal nor an answer is never right."""
    is_right = answer_class == ("refuses" if item.scorer == "refusal" else "answers")
    return replace(_judge_match(is_right), answer_class=answer_class)


def _score_absent(item: Item, answer: str) -> ItemScore:
    """None of ``values`` occurs, also not with other spaces, hyphens or case."""
    text = _squeeze(answer)
    return _judge_match(not any(_squeeze(value) in text for value in item.rule["values"]))


def _squeeze(text: str) -> str:
    """Return the letters and digits of a text without case."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


_NOT_HERE: dict[ScorerName, str] = {
    "judge": NOT_JUDGED,
    "lm_eval": "Only lm-eval scores it.",
    "rewards": "Not scored by the rewards yet.",
    "prefers": "Only its probability is scored.",
    "wanted": "Only its probability is scored.",
}
"""Notes of scorers that need more than the answer's text."""
_SCORERS: dict[ScorerName, Callable[[Item, str], ItemScore]] = {
    "exact": _score_exact,
    "normalized": _score_normalized,
    "contains": _score_contains,
    "regex": _score_regex,
    "json": _score_json,
    "json_schema": _score_json_schema,
    "choice": _score_choice,
    "numeric": _score_numeric,
    "boxed": _score_boxed,
    "tool_call": _score_tool_call,
    "date": _score_date,
    "code": _score_code,
    "extracted": _score_extracted,
    "chrf": _score_chrf,
    "rouge": _score_rouge,
    "refusal": _score_class,
    "answered": _score_class,
    "absent": _score_absent,
}


def _check_pattern(item: Item) -> None:
    name = "answer_pattern" if item.scorer == "extracted" else "pattern"
    pattern = item.rule.get(name)
    if not isinstance(pattern, str) or not pattern:
        raise RowProblem("pattern", f"it has no {name}", f"add {name}: a regular expression")
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        message = f"its pattern has more than {MAX_PATTERN_CHARACTERS:,} characters"
        raise RowProblem("pattern", message, "shorten it")
    try:
        _compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        message = f"its pattern is not a regular expression: {error}"
        raise RowProblem("pattern", message, "correct it; a backslash is \\\\ in JSON") from None


def _check_schema(item: Item) -> None:
    json_answers.check_schema(item.rule.get("schema"))


def _check_choices(item: Item) -> None:
    choices = item.rule.get("choices")
    if choices is None:
        return
    is_listing = isinstance(choices, list | dict) and 2 <= len(choices) <= 26
    texts = list(choices.values() if isinstance(choices, dict) else choices) if is_listing else []
    if not is_listing or not all(isinstance(text, str | int | float) for text in texts):
        fix = 'write a list of 2 to 26 texts, or {"A": text, "B": text}'
        raise RowProblem("choices", "its choices are not a list of texts", fix)
    if not all(re.fullmatch("[A-Z]", letter) for letter in read_choices(choices)):
        raise RowProblem("choices", "a choice's key is not one letter", "use A, B, C …")


def _check_tolerance(item: Item) -> None:
    try:
        quantities.check_tolerance(item.rule.get("tolerance"))
    except (ValueError, OverflowError):
        message = "its tolerance is neither a number nor a share such as 1%"
        raise RowProblem("tolerance", message, "write 0.5 or “1%”") from None


def _check_values(item: Item) -> None:
    values = item.rule.get("values")
    if not isinstance(values, list) or not values or not all(isinstance(v, str) for v in values):
        fix = "add values: a list of texts that must not occur"
        raise RowProblem("values", "it has no values", fix)
    if any(len(_squeeze(value)) < MIN_VALUE_CHARACTERS for value in values):
        message = f"one of its values has fewer than {MIN_VALUE_CHARACTERS} letters and digits"
        raise RowProblem("values", message, "remove it: it occurs in answers by chance")


def _check_contains(item: Item) -> None:
    without, limit = item.rule.get("without", []), item.rule.get("max_words")
    if not isinstance(without, list) or not all(isinstance(text, str) for text in without):
        raise RowProblem("without", "without is not a list of texts", "write a list")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise RowProblem("max_words", "max_words is not a number above 0", "write a number")


_RULE_CHECKS: dict[ScorerName, Callable[[Item], None]] = {
    "regex": _check_pattern,
    "extracted": _check_pattern,
    "json_schema": _check_schema,
    "choice": _check_choices,
    "numeric": _check_tolerance,
    "absent": _check_values,
    "contains": _check_contains,
}
